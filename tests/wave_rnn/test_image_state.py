"""What a ring and a bump hold of an image before training, and what linear readouts recover."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.wave_rnn.image_tasks import folded, recovered, ridge_accuracy
from wavemem.wave_rnn.network import IdentityRNN, WaveRNN


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(T=st.integers(1, 30), n=st.integers(3, 20), bias=st.floats(0, 0.5))
def test_an_untrained_wave_rnn_holds_the_image_folded_onto_its_ring(T: int, n: int, bias: float) -> None:
    network = WaveRNN.initialise([0], n, 2, 1, 3, dtype=torch.float64)
    with torch.no_grad():
        network.b_u.fill_(bias)
    x = drawn(T, 4)
    held = network.states(x[..., None])[-1, 0]
    for channel in range(2):
        torch.testing.assert_close(held[:, channel], folded(x, n) + T * bias)


def test_folding_adds_what_is_one_round_apart() -> None:
    x = torch.arange(1.0, 7.0)[:, None]
    assert folded(x, 4).tolist() == [[6 + 2, 3, 4, 5 + 1]]  # unit 0 has the newest and what came four steps before it
    assert folded(x, 6).tolist() == [[6, 1, 2, 3, 4, 5]]
    torch.testing.assert_close(folded(drawn(20, 3, 2), 7).sum(-1), drawn(20, 3, 2).sum(0))


def test_an_untrained_identity_network_holds_the_total_ink_whatever_the_order() -> None:
    network = IdentityRNN.initialise([0], 40, 1, 3, dtype=torch.float64)
    x = drawn(30, 5)
    held = network.states(x[..., None])[-1, 0, :, 0]
    bias, V = network.b_V[0], network.V[0, :, 0]
    sure = bias.abs() > 0.01  # far from the edge of the rectifier, which V = O(0.001) does not cross
    expected = torch.where(bias > 0, 30 * bias + x.sum(0)[:, None] * V, torch.zeros_like(V))
    torch.testing.assert_close(held[:, sure], expected[:, sure])
    permuted = x[torch.randperm(30, generator=torch.Generator().manual_seed(1))]
    torch.testing.assert_close(network.states(permuted[..., None])[-1, 0, :, 0][:, sure], held[:, sure])


def test_a_readout_sees_what_is_there() -> None:
    states, labels = drawn(200, 6), torch.arange(200) % 3
    states[torch.arange(200), labels] += 2
    assert ridge_accuracy(states[:100], labels[:100], states[100:], labels[100:]) > 0.99
    guessed = ridge_accuracy(drawn(300, 6), torch.arange(300) % 3, drawn(300, 6, seed=1), torch.arange(300) % 3)
    assert 0.2 < guessed < 0.5


def test_what_is_recovered_of_each_input() -> None:
    inputs = drawn(400, 5)
    states = torch.stack([inputs[:, 0], inputs[:, 1] + inputs[:, 2], torch.ones(400).double()], 1)
    found = recovered(states[:200], inputs[:200], states[200:], inputs[200:])
    assert float(found[0]) == pytest.approx(1, abs=1e-4)
    assert found[1:3].tolist() == pytest.approx([0.5, 0.5], abs=0.1)  # half the variance of a sum of two
    assert float(found[3:].abs().max()) < 0.05
    constant = inputs.clone()
    constant[:, 4] = 1.0
    assert math.isnan(float(recovered(states[:200], constant[:200], states[200:], constant[200:])[4]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: folded(torch.zeros(0, 2), 3), "inputs of shape"),
        (lambda: folded(torch.zeros(2, 2), 0), "units = 0"),
        (
            lambda: recovered(torch.zeros(9, 2), torch.zeros(8, 3), torch.zeros(9, 2), torch.zeros(9, 3)),
            "inputs of shape",
        ),
        (lambda: recovered(torch.zeros(9, 2), torch.zeros(9, 3), torch.zeros(9, 2), torch.zeros(9, 4)), "test_inputs"),
        (lambda: ridge_accuracy(torch.zeros(9), torch.zeros(9), torch.zeros(9, 1), torch.zeros(9)), "states of shape"),
        (lambda: ridge_accuracy(*[torch.zeros(9, 1), torch.zeros(9).long()] * 2, ridge=0), "ridge = 0"),
    ],
)
def test_bad_input_is_explained(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
