"""The adding task: markers and sum, networks that add exactly, what a network can learn it from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.streams import stream
from wavemem.wave_rnn.adding_task import (
    BASELINE_MSE,
    AddingTask,
    adding_loss,
    conserving_adder,
    directions,
    input_sensitivity,
    linear_floor,
    marked_at,
    marker_gradients,
    passed_content,
    place_share,
    readout_error,
    ring_adder,
    single_ring_adder,
    single_ring_error,
)
from wavemem.wave_rnn.network import IdentityRNN, WaveRNN


@settings(max_examples=25, deadline=None)
@given(T=st.integers(2, 41), seed=st.integers(0, 99))
def test_one_marker_in_each_half_and_the_sum_of_the_two(T: int, seed: int) -> None:
    inputs, targets = AddingTask(T).batch(8, torch.Generator().manual_seed(seed))
    assert inputs.shape == (T, 8, 2)
    assert inputs.dtype == targets.dtype == torch.float32
    numbers, markers = inputs.unbind(-1)
    assert set(markers.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(markers[: T // 2].sum(0), torch.ones(8))
    assert torch.equal(markers[T // 2 :].sum(0), torch.ones(8))
    assert float(numbers.min()) >= 0
    assert float(numbers.max()) < 1
    torch.testing.assert_close((numbers * markers).sum(0), targets)


def test_every_step_can_be_marked() -> None:
    marked = AddingTask(7).batch(600, torch.Generator().manual_seed(0)).inputs[..., 1].sum(1)
    assert marked.min() > 100
    assert float(marked[:3].sum()) == float(marked[3:].sum()) == 600


def test_errors_are_per_run() -> None:
    targets = torch.tensor([1.0, 0.5])
    outputs = torch.tensor([[[1.0], [0.5]], [[2.0], [0.5]], [[0.0], [1.5]]])
    assert adding_loss(outputs, targets).tolist() == [0.0, 0.5, 1.0]
    assert adding_loss(outputs, targets.expand(3, 2)).tolist() == [0.0, 0.5, 1.0]
    assert adding_loss(outputs[1], targets).shape == ()


def said(network: WaveRNN | IdentityRNN, inputs: Tensor) -> Tensor:
    """What a network of one run says of each sequence, in double precision."""
    with torch.no_grad():
        return network.double()(inputs.double())[0, :, 0]


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 12), T=st.integers(2, 40), seed=st.integers(0, 99))
def test_gate_and_ring_add_exactly_at_any_length(n: int, T: int, seed: int) -> None:
    inputs, targets = AddingTask(T).batch(16, stream(seed, "adder"))
    torch.testing.assert_close(said(WaveRNN(ring_adder(n)), inputs), targets.double(), atol=1e-6, rtol=0)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 30), T=st.integers(2, 30), seed=st.integers(0, 99))
def test_a_single_ring_is_exact_until_the_wave_comes_round(n: int, T: int, seed: int) -> None:
    inputs, targets = AddingTask(T).batch(32, stream(seed, "adder"))
    found = said(WaveRNN(single_ring_adder(n)), inputs)
    assert bool((found <= targets.double() + 1e-6).all())  # it only ever loses
    if n >= T:
        torch.testing.assert_close(found, targets.double(), atol=1e-6, rtol=0)


@settings(max_examples=15, deadline=None)
@given(M=st.integers(1, 8), T=st.integers(2, 30), seed=st.integers(0, 99))
def test_every_conserving_memory_adds_exactly(M: int, T: int, seed: int) -> None:
    store = torch.rand(M, M, generator=stream(seed, "store"), dtype=torch.float64)
    store /= store.sum(0)
    inputs, targets = AddingTask(T).batch(16, stream(seed, "adder"))
    for weights in (store, torch.eye(M).double(), torch.eye(M).double().roll(1, 1)):
        found = said(IdentityRNN(conserving_adder(weights)), inputs)
        torch.testing.assert_close(found, targets.double(), atol=1e-6, rtol=0)


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
    error = float(((said(WaveRNN(single_ring_adder(n)), inputs) - targets) ** 2)[apart].mean())
    assert error == pytest.approx(single_ring_error(T, n), abs=0.01)
    if n == T:
        assert single_ring_error(T, n) == pytest.approx(0.0, abs=1e-12)
    # forgetting everything is worse than knowing nothing
    assert single_ring_error(400, 5) == pytest.approx(7 / 6, abs=0.2)


@pytest.mark.parametrize("T", [4, 10])
def test_linear_floor(T: int) -> None:
    inputs, targets = AddingTask(T).batch(60_000, stream(2, "linear floor"))
    shown = inputs.double().movedim(1, 0).flatten(1)
    shown = shown - shown.mean(0)
    y = targets.double() - targets.mean()
    # A ridge: the markers of each half sum to 1, so their columns are linearly dependent.
    w = torch.linalg.solve(shown.T @ shown + 1e-6 * torch.eye(2 * T), shown.T @ y)
    assert float(((shown @ w - y) ** 2).mean()) == pytest.approx(linear_floor(T), abs=2e-3)


TASK = AddingTask(12)
BATCH = TASK.batch(64, stream(0, "signal"))


def quiet(network: WaveRNN | IdentityRNN) -> WaveRNN | IdentityRNN:
    """The network without biases in the hidden units."""
    parameters = network.state_dict()
    for name in ("b_V", "b_u", "b_U"):
        if name in parameters:
            parameters[name].zero_()
    return type(network)(parameters)


def test_one_marker_moves_and_nothing_else() -> None:
    for place in (0, 5, 6, 11):
        moved = marked_at(TASK, BATCH, place)
        assert torch.equal(moved.inputs[..., 0], BATCH.inputs[..., 0])
        assert bool((moved.inputs[place, :, 1] == 1).all())
        assert torch.equal(moved.inputs[..., 1].sum(0), torch.full((64,), 2.0))
        other = slice(6, 12) if place < 6 else slice(0, 6)
        assert torch.equal(moved.inputs[other], BATCH.inputs[other])
        torch.testing.assert_close(moved.targets, moved.inputs.prod(-1).sum(0))


def test_gradients_are_those_of_autograd() -> None:
    network = WaveRNN.initialise([0], 6, 2, 2, 1)
    gradients = marker_gradients(network, TASK, BATCH)
    network(marked_at(TASK, BATCH, 3).inputs).mean().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(gradients[name][3], parameter.grad.flatten(), rtol=1e-4, atol=1e-6)


def test_a_ring_tells_places_apart_and_an_integrator_does_not() -> None:
    wave = quiet(WaveRNN.initialise([0], 12, 1, 2, 1))
    still = quiet(IdentityRNN.initialise([0], 12, 2, 1, V_init="sparse"))
    moving, fixed = (marker_gradients(network, TASK, BATCH) for network in (wave, still))
    for name in ("V", "W"):
        assert place_share(moving[name]) > 0.01
        assert directions(moving[name]) > 4
        assert place_share(fixed[name]) < 1e-9
        assert directions(fixed[name]) == 0
    # U[i, j] sees the sum over time of unit j: an early marker counts for longer, and that is all there is.
    assert directions(fixed["U"]) == pytest.approx(1, abs=1e-3)


def test_directions_counts() -> None:
    assert directions(torch.eye(8)) == pytest.approx(7)  # 8 corners of a simplex span 7 dimensions
    assert directions(torch.arange(5.0)[:, None] * torch.ones(1, 3)) == pytest.approx(1)
    assert directions(torch.ones(4, 3)) == 0


def test_place_share() -> None:
    gradients = ([[1.0, 1.0], [1.0, 1.0]], [[0.0], [0.0]], [[1.0], [-1.0]], [[3.0], [1.0]])
    assert [place_share(torch.tensor(own)) for own in gradients] == pytest.approx([0, 0, 1, 0.2])


def test_readout_error_of_what_is_known() -> None:
    inputs, targets = TASK.batch(3000, stream(1, "a"))
    fresh, sums = TASK.batch(3000, stream(1, "b"))
    adder = WaveRNN(single_ring_adder(12))
    states, new = (adder.states(x)[-1, 0].flatten(1) for x in (inputs, fresh))
    assert readout_error(states, targets, new, sums, ridge=1e-9) < 1e-9
    shown, new = (x.movedim(1, 0).flatten(1) for x in (inputs, fresh))
    assert readout_error(shown, targets, new, sums) == pytest.approx(linear_floor(12), abs=0.01)
    nothing = torch.zeros(3000, 2)
    assert readout_error(nothing, targets, nothing, sums) == pytest.approx(BASELINE_MSE, abs=0.01)


def test_an_adder_heeds_marked_numbers_alone() -> None:
    marked, unmarked = input_sensitivity(WaveRNN(single_ring_adder(12)), BATCH)
    assert marked.shape == unmarked.shape == (1, 12)
    seen = ~marked.isnan()  # with few sequences some age may lack a marked number
    assert bool((marked[seen] == 1).all())
    assert bool((unmarked == 0).all())
