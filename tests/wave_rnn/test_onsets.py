"""Onsets read from wave fields and bumps, exactly where they are stored; Jacobians through time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.streams import stream
from wavemem.wave_rnn.onsets import (
    all_histories,
    best_accuracy,
    bump_states,
    by_age,
    decode_fading_bump,
    decode_wave,
    guess_from_bump,
    input_jacobians,
    state_jacobians,
    times_told_apart,
    wave_states,
)


def signals(seed: int, steps: int, c: int) -> torch.Tensor:
    return (torch.rand(steps, c, generator=stream(seed, "signals")) < 0.4).double()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(3, 12), steps=st.integers(1, 50))
def test_an_absorbing_ring_forgets_the_oldest_and_nothing_else(seed: int, n: int, steps: int) -> None:
    x = signals(seed, steps, 2)
    found = decode_wave(wave_states(x, n, absorb=True)[-1], steps)
    kept = min(steps, n - 1)
    assert torch.equal(found[:, steps - kept :], x[steps - kept :].T.bool())
    assert not found[:, : steps - kept].any()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 9), laps=st.integers(1, 4))
def test_a_ring_adds_what_comes_round(seed: int, n: int, laps: int) -> None:
    x = signals(seed, n * laps, 1)
    folded = x.reshape(laps, n, 1).sum(0)  # inputs n steps apart share a unit
    assert torch.equal(by_age(wave_states(x, n)[-1]).flip(-1)[0], folded[:, 0])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 30))
def test_a_static_bump_is_blind_to_order(seed: int, steps: int) -> None:
    x = signals(seed, steps, 3)
    order = torch.randperm(steps, generator=stream(seed, "order"))
    last = bump_states(x)[-1]
    assert torch.equal(last, bump_states(x[order])[-1])
    assert torch.equal(guess_from_bump(last, steps).sum(-1), x.sum(0).long())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 25), decay=st.floats(0.25, 0.5))
def test_a_fading_bump_is_a_number_whose_digits_are_the_history(seed: int, steps: int, decay: float) -> None:
    x = signals(seed, steps, 2)
    assert torch.equal(decode_fading_bump(bump_states(x, decay)[-1], steps, decay), x.T.bool())


@pytest.mark.parametrize("steps", [1, 5, 9])
def test_the_best_decoder_is_a_matter_of_counting(steps: int) -> None:
    x, n = all_histories(steps), 6
    assert len(torch.unique(x[..., 0].T, dim=0)) == 2**steps
    assert best_accuracy(bump_states(x)[-1])[0] == steps + 1
    assert best_accuracy(bump_states(x, 0.5)[-1]) == (2**steps, 1.0)
    # inputs n steps apart are summed: units that two inputs share hold 0, 1 or 2
    shared = max(0, steps - n)
    assert best_accuracy(wave_states(x, n)[-1])[0] == 3**shared * 2 ** (min(steps, n) - shared)
    assert best_accuracy(wave_states(x, n, absorb=True)[-1])[0] == 2 ** min(steps, n - 1)


def test_golden_bumps_collide_exactly() -> None:
    golden = (math.sqrt(5) - 1) / 2  # λ² + λ = 1: one input now looks like two earlier ones
    now, before = torch.tensor([[0.0], [0], [1]]), torch.tensor([[1.0], [1], [0]])
    torch.testing.assert_close(bump_states(now, golden)[-1], bump_states(before, golden)[-1])


@settings(max_examples=30, deadline=None)
@given(decay=st.floats(0.05, 0.99), resolution=st.floats(1e-3, 0.5))
def test_resolution_bounds_what_a_fading_bump_tells(decay: float, resolution: float) -> None:
    count, _ = best_accuracy(bump_states(all_histories(10), decay)[-1], resolution)
    assert count <= 1 / (1 - decay) / resolution + 2  # heights lie between 0 and 1/(1 − λ)


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
