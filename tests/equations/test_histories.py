"""Eqs. 1, 3, 4, 5, 24, 26 and Theorem 3.1 of the travelling-wave paper, against slow loops that share no code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.theory.boundary import run, step
from wavemem.theory.hds import HDS, generalized_fibonacci


def drawn(test: Callable[..., None]) -> Callable[..., None]:
    """A test of sizes s, d, and of a seed."""
    seed = st.integers(0, 2**31 - 1)
    return settings(max_examples=30, deadline=None)(given(st.integers(1, 5), st.integers(1, 4), seed)(test))


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _quadratic(h: Tensor) -> Tensor:
    """A boundary that is neither linear nor symmetric in the columns."""
    weights = torch.arange(1.0, h.shape[-2] + 1, dtype=h.dtype).unsqueeze(-1)
    return torch.tanh((weights * h).sum(dim=-2)) * h[..., 0, :].flip(-1)


@drawn
def test_eq1_state_i_is_f_of_the_s_states_before_it(s: int, d: int, seed: int) -> None:
    u = _normal(seed, s, d)
    x = [u[i] for i in range(s)]
    for i in range(s, s + 9):
        x.append(_quadratic(torch.stack(x[i - s : i])))
    torch.testing.assert_close(HDS(s, d, _quadratic).rollout(u, 9), torch.stack(x[s:]))


@drawn
def test_eq3_and_eq24_column_by_column(s: int, d: int, seed: int) -> None:
    """h_i(t+1) = h_{i+1}(t) below the top column, f(h) in it: waves travel from column s down to column 1."""
    h = _normal(seed, s, d)
    after = step(h, _quadratic)
    for j in range(d):
        for i in range(1, s):
            assert after[i - 1, j] == h[i, j]
        assert after[s - 1, j] == _quadratic(h)[j]


@drawn
def test_theorem_3_1_the_substrate_with_boundary_f_runs_the_hds(s: int, d: int, seed: int) -> None:
    system = HDS(s, d, _quadratic)
    u = _normal(seed, 3, s, d)
    states = run(u, system.f, 11)
    written = states[1:, :, -1].movedim(0, 1)
    torch.testing.assert_close(written, system.rollout(u, 11))
    everything = torch.cat([u, system.rollout(u, 11)], dim=1)
    for t in range(12):
        torch.testing.assert_close(states[t], everything[:, t : t + s])


@drawn
def test_eq4_and_eq26_each_vector_is_the_sum_of_the_last_s(s: int, d: int, seed: int) -> None:
    u = _normal(seed, s, d)
    series = [u[n] for n in range(s)]
    for n in range(s, s + 8):
        total = torch.zeros(d, dtype=torch.float64)
        for t in range(n - s, n):
            total = total + series[t]
        series.append(total)
    torch.testing.assert_close(generalized_fibonacci(s, d).targets(u, 8), torch.stack(series[s:]))


@drawn
def test_eq5_the_boundary_sums_all_s_columns(s: int, d: int, seed: int) -> None:
    """Eq. 5 lists h_{s-1}, ..., h_1 as arguments but sums i = 1..s; only the sum of all s columns gives Eq. 4."""
    h = _normal(seed, s, d)
    system = generalized_fibonacci(s, d)
    for j in range(d):
        torch.testing.assert_close(system.f(h)[j], sum(h[i, j] for i in range(s)))
    without_newest = h[:-1].sum(dim=0)
    assert not torch.allclose(system.f(h), without_newest), "the list of arguments would leave out the newest vector"
