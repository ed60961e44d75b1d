from __future__ import annotations

import pytest
import torch

from wavemem.streams import stream
from wavemem.wave_rnn.adding_task import (
    AddingTask,
    directions,
    input_sensitivity,
    linear_floor,
    marked_at,
    marker_gradients,
    place_share,
    readout_error,
    single_ring_adder,
)
from wavemem.wave_rnn.network import IdentityRNN, WaveRNN

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
    assert place_share(torch.ones(4, 3)) == 0
    assert place_share(torch.zeros(4, 3)) == 0
    assert place_share(torch.tensor([[1.0], [-1.0]])) == 1
    assert place_share(torch.tensor([[3.0], [1.0]])) == pytest.approx(0.2)


def test_readout_error_of_what_is_known() -> None:
    inputs, targets = TASK.batch(3000, stream(1, "a"))
    fresh, sums = TASK.batch(3000, stream(1, "b"))
    adder = WaveRNN(single_ring_adder(12))
    states, new = (adder.states(x)[-1, 0].flatten(1) for x in (inputs, fresh))
    assert readout_error(states, targets, new, sums, ridge=1e-9) < 1e-9
    shown, new = (x.movedim(1, 0).flatten(1) for x in (inputs, fresh))
    assert readout_error(shown, targets, new, sums) == pytest.approx(linear_floor(12), abs=0.01)
    nothing = torch.zeros(3000, 2)
    assert readout_error(nothing, targets, nothing, sums) == pytest.approx(1 / 6, abs=0.01)


def test_an_adder_heeds_marked_numbers_alone() -> None:
    marked, unmarked = input_sensitivity(WaveRNN(single_ring_adder(12)), BATCH)
    assert marked.shape == unmarked.shape == (1, 12)
    seen = ~marked.isnan()  # with few sequences some age may lack a marked number
    assert bool((marked[seen] == 1).all())
    assert bool((unmarked == 0).all())


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="place"):
        marked_at(TASK, BATCH, 12)
    with pytest.raises(ValueError, match="inputs"):
        marked_at(AddingTask(10), BATCH, 1)
    with pytest.raises(ValueError, match="one run"):
        marker_gradients(IdentityRNN.initialise([0, 1], 4, 2, 1), TASK, BATCH)
    with pytest.raises(ValueError, match="gradients"):
        place_share(torch.zeros(3))
    with pytest.raises(ValueError, match="targets"):
        readout_error(torch.zeros(3, 2), torch.zeros(4), torch.zeros(3, 2), torch.zeros(3))
