"""Linear waves on a ring: modes, exact memory, propagators; Wave-RNNs with and without the rectifier learn."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.kernels.wave import wave_scan_reference
from wavemem.kernels.wave_linear import spectral_blocks
from wavemem.streams import stream
from wavemem.wave_rnn import linear_waves
from wavemem.wave_rnn.linear_waves import (
    Config,
    input_memory,
    memory_of_states,
    modes,
    networks,
    propagator,
    run,
    summarise,
)
from wavemem.wave_rnn.network import shift_kernel


def ring(velocity: float = 1.0) -> Tensor:
    return shift_kernel(torch.tensor([velocity], dtype=torch.float64))


def written_at_zero(n: int) -> Tensor:
    V = torch.zeros(n, 1, dtype=torch.float64)
    V[0] = 1.0
    return V


@pytest.mark.parametrize("velocity", [0.0, 0.25, 0.5, 1.0])
def test_modes_lie_on_a_circle_through_one(velocity: float) -> None:
    n = 12
    theta = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    found = modes(ring(velocity), n)[:, 0]
    torch.testing.assert_close(found, 1 - velocity + velocity * torch.exp(1j * theta))
    loss = 1 - 2 * velocity * (1 - velocity) * (1 - torch.cos(theta))
    torch.testing.assert_close(found.abs().square(), loss)


@settings(deadline=None, max_examples=40)
@given(taps=st.lists(st.floats(-1.5, 1.5), min_size=5, max_size=5))
def test_only_one_tap_is_lossless(taps: list[float]) -> None:
    """Theorem: if all |Û(m)| are 1 on a ring of n >= 2k - 1 units, one tap is ±1 and the others are 0."""
    u = torch.tensor(taps, dtype=torch.float64)
    moduli = spectral_blocks(u.view(1, 1, 1, 5), 9, every=True).abs()
    lossless = bool(((moduli - 1).abs() < 1e-6).all())
    sizes = u.abs().sort(descending=True).values
    assert lossless == bool((sizes[0] - 1).abs() < 1e-6 and (sizes[1:] < 1e-6).all())


def test_two_channels_carry_half_a_unit_per_step_without_loss() -> None:
    u = torch.zeros(2, 2, 3, dtype=torch.float64)
    u[1, 0, 1] = u[0, 1, 2] = 1.0
    n = 8
    found = modes(u, n).flatten()
    roots = torch.exp(1j * math.pi * torch.arange(2 * n, dtype=torch.float64) / n)
    assert float((found[:, None] - roots).abs().amin(0).max()) < 1e-9


@pytest.mark.parametrize(("u", "T"), [(ring(), 24), (0.9 * ring(), 30), (ring(0.5), 9), (0.8 * ring(-1.0), 5)])
def test_memory_is_conserved(u: Tensor, T: int) -> None:
    """Theorem: Σ R² is the rank of the state's covariance, at most the number of units."""
    n = 8
    total = float(input_memory(u, written_at_zero(n), T).sum())
    assert total <= n + 1e-6
    if n <= T and u[0, 0].count_nonzero() == 1:
        assert total == pytest.approx(n)


def test_a_lossless_ring_spreads_its_memory_evenly() -> None:
    n = 6
    torch.testing.assert_close(input_memory(ring(), written_at_zero(n), n), torch.ones(n, dtype=torch.float64))
    quarter = input_memory(ring(), written_at_zero(n), 4 * n)[: 2 * n]
    torch.testing.assert_close(quarter, torch.full((2 * n,), 0.25, dtype=torch.float64))


def test_a_damped_ring_forgets_turn_by_turn() -> None:
    n, gamma, turns = 4, 0.9, 30
    found = input_memory(gamma * ring(), written_at_zero(n), turns * n)
    for q in range(3):
        expected = gamma ** (2 * n * q) * (1 - gamma ** (2 * n))
        torch.testing.assert_close(found[q * n : (q + 1) * n], torch.full((n,), expected, dtype=torch.float64))


def test_sampled_memory_agrees_with_the_exact_one() -> None:
    n, T, batch = 5, 12, 4000
    u, V = 0.8 * ring(), written_at_zero(n)
    x = torch.randn(T, 1, batch, 1, generator=stream(0, "x"), dtype=torch.float64)
    zero = torch.zeros(1, n, dtype=torch.float64)
    states = wave_scan_reference(u[None], V[None], zero, x, activation="linear")[-1, 0].flatten(1)
    sampled = memory_of_states(states, x[:, 0, :, 0])
    torch.testing.assert_close(sampled, input_memory(u, V, T), rtol=0, atol=0.05)


def test_half_of_a_normal_input_passes_a_rectifier() -> None:
    x = torch.randn(1, 20_000, generator=stream(0, "x"), dtype=torch.float64)
    expected = 0.25 / (0.5 - 1 / (2 * math.pi))
    assert float(memory_of_states(torch.relu(x[0]).unsqueeze(-1), x)) == pytest.approx(expected, abs=0.02)


def test_propagator_of_a_shift_and_of_half_a_shift() -> None:
    n = 10
    first = torch.randn(3000, n, generator=stream(0, "disturbance"), dtype=torch.float64)
    moved = torch.stack([torch.roll(first, -2 * t, -1) for t in range(4)])
    found = propagator(moved)
    assert (found.argmax(-1) - n // 2).tolist() == [0, 2, 4, -4]
    torch.testing.assert_close(found.max(-1).values, torch.ones(4, dtype=torch.float64))
    half = propagator(torch.stack([first, 0.5 * (first + torch.roll(first, -1, -1))]))[1]
    torch.testing.assert_close(half[n // 2 : n // 2 + 2], torch.full((2,), 0.5, dtype=torch.float64), rtol=0, atol=0.03)


TINY = Config(units=12, channels=2, runs=2, iterations=3, rates=(3e-3, 1e-2), search_runs=2, tests=64)


def test_the_rate_is_searched_on_other_seeds_and_not_at_an_edge() -> None:
    result = run(TINY, 1, progress=False)
    rows = result.rows
    assert set(rows.loc[rows["part"] == "search", "seed"]) == {2000, 2001}
    assert set(rows.loc[rows["part"] == "test", "seed"]) == {1000, 1001}
    for name in linear_waves.ACTIVATIONS:
        own = rows[rows["activation"] == name]
        losses = linear_waves._losses(own[own["part"] == "search"])
        best = own.loc[own["part"] == "test", "lr"].unique().tolist()
        assert best == [losses.idxmin()]
        assert losses.index[0] < best[0] < losses.index[-1]
        trained = networks(result, name)
        assert trained.K == 2
        assert trained.activation == linear_waves.ACTIVATIONS[name]
    shift = rows[(rows["part"] == "test") & (rows["quantity"] == "travelling") & (rows["activation"] == "linear")]
    assert shift["value"].tolist() == [1.0] * 2  # a few updates do not undo the shift
    assert len(summarise(rows)) == rows.groupby(["activation", "part", "lr"]).ngroups


def test_losses_are_averaged_as_logarithms_of_their_own_rate(rows_of: Callable[..., pd.DataFrame]) -> None:
    shares = {"right": (0.5, 0.5), "travelling": (1.0, 1.0), "recirculating": (0.0, 0.0)}
    of = {"activation": "linear", "part": "test"}
    losses = {1e-2: (1e-1, 1e-3), 1e-3: (4e-2, 1e-2)}
    rows = rows_of(*((of | {"lr": lr}, {"loss": own, **shares}) for lr, own in losses.items()))
    unusual = pd.DataFrame({"quantity": "loss", "lr": [1e-2, 1e-1], "value": [0.0, math.nan]})
    assert linear_waves._losses(unusual).tolist() == [math.log(linear_waves.FLOOR), math.inf]
    assert linear_waves._losses(rows).to_dict() == pytest.approx({1e-3: math.log(2e-2), 1e-2: math.log(1e-2)})
    table = summarise(rows).set_index("lr")
    assert table["loss"].to_dict() == pytest.approx({1e-3: 2e-2, 1e-2: 1e-2})
    assert table["n"].tolist() == [2, 2]
    assert table["right"].tolist() == [0.5, 0.5]
