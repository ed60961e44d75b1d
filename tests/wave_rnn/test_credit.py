"""Jacobians through time: those of autograd, and the ranks that tell identity and shift apart."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.streams import stream
from wavemem.wave_rnn.onsets import input_jacobians, state_jacobians, times_told_apart


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), N=st.integers(1, 6), d=st.integers(1, 3), steps=st.integers(1, 6))
def test_products_are_what_autograd_finds(seed: int, N: int, d: int, steps: int) -> None:
    g = stream(seed, "credit")
    U, V = (torch.randn(N, k, generator=g, dtype=torch.float64) for k in (N, d))
    x = torch.randn(steps, d, generator=g, dtype=torch.float64)
    start = torch.randn(N, generator=g, dtype=torch.float64)

    def last(h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        for x_t in x:
            h = torch.relu(U @ h + V @ x_t)
        return h

    h, slopes = start, []
    for x_t in x:
        h = torch.relu(U @ h + V @ x_t)
        slopes.append((h > 0).double())
    by_state, by_input = torch.autograd.functional.jacobian(last, (start, x))
    torch.testing.assert_close(state_jacobians(U, torch.stack(slopes))[-1], by_state)
    torch.testing.assert_close(input_jacobians(U, V, torch.stack(slopes)).flip(0).movedim(0, 1), by_input)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 12), steps=st.integers(1, 30))
def test_the_shift_tells_n_times_apart_and_the_identity_one(n: int, steps: int) -> None:
    V, slopes = torch.eye(n, dtype=torch.float64)[:, :1], torch.ones(steps, n)
    shift = torch.eye(n, dtype=torch.float64).roll(1, dims=1)
    assert times_told_apart(input_jacobians(shift, V, slopes)) == min(n, steps)
    assert times_told_apart(input_jacobians(torch.eye(n, dtype=torch.float64), V, slopes)) == 1
    assert times_told_apart(torch.zeros(3, n, 1)) == 0


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="slopes"):
        state_jacobians(torch.eye(3), torch.ones(4, 2))
    with pytest.raises(ValueError, match="one row of input weights"):
        input_jacobians(torch.eye(3), torch.ones(2, 1), torch.ones(4, 3))
    with pytest.raises(ValueError, match="input_jacobians returns"):
        times_told_apart(torch.ones(3, 2))
