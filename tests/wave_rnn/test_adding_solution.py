from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.kernels.wave import wave_scan_reference
from wavemem.streams import stream
from wavemem.wave_rnn.adding_task import (
    BASELINE_MSE,
    AddingTask,
    conserving_adder,
    linear_floor,
    passed_content,
    ring_adder,
    single_ring_adder,
    single_ring_error,
)


def ring_outputs(p: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """Outputs (B,) of a one-run Wave-RNN, by the plain scan in double precision."""
    p = {name: value.double() for name, value in p.items()}
    c = p["u"].shape[1]
    b = p["b_V"] + p["b_u"].repeat_interleave(p["b_V"].shape[1] // c, 1)
    states = wave_scan_reference(p["u"], p["V"], b, inputs.double().unsqueeze(1))
    return (states[-1].flatten(2) @ p["W"].mT + p["b_y"][:, None])[0, :, 0]


def dense_outputs(p: dict[str, Tensor], inputs: Tensor) -> Tensor:
    p = {name: value.double()[0] for name, value in p.items()}
    h = inputs.new_zeros(inputs.shape[1], len(p["U"]), dtype=torch.float64)
    for x in inputs.double():
        h = torch.relu(h @ p["U"].T + x @ p["V"].T + p["b_V"] + p["b_U"])
    return (h @ p["W"].T + p["b_y"])[:, 0]


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 12), T=st.integers(2, 40), seed=st.integers(0, 99))
def test_gate_and_ring_add_exactly_at_any_length(n: int, T: int, seed: int) -> None:
    inputs, targets = AddingTask(T).batch(16, stream(seed, "adder"))
    torch.testing.assert_close(ring_outputs(ring_adder(n), inputs), targets.double(), atol=1e-6, rtol=0)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 30), T=st.integers(2, 30), seed=st.integers(0, 99))
def test_a_single_ring_is_exact_until_the_wave_comes_round(n: int, T: int, seed: int) -> None:
    inputs, targets = AddingTask(T).batch(32, stream(seed, "adder"))
    said = ring_outputs(single_ring_adder(n), inputs)
    assert bool((said <= targets.double() + 1e-6).all())  # it only ever loses
    if n >= T:
        torch.testing.assert_close(said, targets.double(), atol=1e-6, rtol=0)


@settings(max_examples=15, deadline=None)
@given(M=st.integers(1, 8), T=st.integers(2, 30), seed=st.integers(0, 99))
def test_every_conserving_memory_adds_exactly(M: int, T: int, seed: int) -> None:
    store = torch.rand(M, M, generator=stream(seed, "store"), dtype=torch.float64)
    store /= store.sum(0)
    inputs, targets = AddingTask(T).batch(16, stream(seed, "adder"))
    for weights in (store, torch.eye(M).double(), torch.eye(M).double().roll(1, 1)):
        said = dense_outputs(conserving_adder(weights), inputs)
        torch.testing.assert_close(said, targets.double(), atol=1e-6, rtol=0)


def test_a_lossy_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="column"):
        conserving_adder(0.9 * torch.eye(3))
    with pytest.raises(ValueError, match="negative"):
        conserving_adder(torch.tensor([[2.0, 0.0], [-1.0, 1.0]]))
    with pytest.raises(ValueError, match="store"):
        conserving_adder(torch.ones(2, 3))


@pytest.mark.parametrize("passes", [0, 1, 2, 4])
def test_what_a_pass_takes_away(passes: int) -> None:
    generator = stream(0, "passes")
    a = torch.rand(200_000, generator=generator, dtype=torch.float64)
    lost = torch.rand(passes, 200_000, generator=generator, dtype=torch.float64).sum(0)
    D = a - (a - lost).clamp_min(0)
    mean, square = passed_content(passes)
    assert float(D.mean()) == pytest.approx(mean, abs=3e-3)
    assert float((D**2).mean()) == pytest.approx(square, abs=3e-3)


@pytest.mark.parametrize(("T", "n"), [(20, 20), (24, 16), (30, 10), (40, 8)])
def test_error_of_the_single_ring(T: int, n: int) -> None:
    inputs, targets = AddingTask(T).batch(20_000, stream(1, "ring error"))
    steps = inputs[..., 1].argsort(dim=0, descending=True, stable=True)[:2]  # marked steps
    apart = (steps[0] - steps[1]) % n != 0
    said = ring_outputs(single_ring_adder(n), inputs)
    error = float(((said - targets) ** 2)[apart].mean())
    assert error == pytest.approx(single_ring_error(T, n), abs=0.01)
    if n == T:
        assert single_ring_error(T, n) == pytest.approx(0.0, abs=1e-12)


def test_forgetting_everything_is_worse_than_knowing_nothing() -> None:
    assert single_ring_error(400, 5) == pytest.approx(7 / 6, abs=0.2)
    assert single_ring_error(400, 5) > BASELINE_MSE


@pytest.mark.parametrize("T", [4, 10])
def test_linear_floor(T: int) -> None:
    inputs, targets = AddingTask(T).batch(60_000, stream(2, "linear floor"))
    shown = inputs.double().movedim(1, 0).flatten(1)
    shown = shown - shown.mean(0)
    y = targets.double() - targets.mean()
    # A ridge: the markers of each half sum to 1, so their columns are linearly dependent.
    w = torch.linalg.solve(shown.T @ shown + 1e-6 * torch.eye(2 * T), shown.T @ y)
    assert float(((shown @ w - y) ** 2).mean()) == pytest.approx(linear_floor(T), abs=2e-3)


def test_bad_sizes_are_refused() -> None:
    for call in (lambda: ring_adder(1), lambda: single_ring_adder(0), lambda: single_ring_error(1, 5)):
        with pytest.raises(ValueError, match="whole number"):
            call()
    with pytest.raises(ValueError, match="even"):
        linear_floor(7)
    with pytest.raises(ValueError, match="passes"):
        passed_content(-1)
