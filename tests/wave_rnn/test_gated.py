"""Gated baselines: PyTorch's own cells, stacked over runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from wavemem.wave_rnn.gated import Cell, GatedRNN


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_each_run_is_pytorch_s_layer(cell: Cell) -> None:
    network = GatedRNN.initialise([0, 1, 2], 5, 3, 4, cell)
    inputs = torch.randn((7, 3, 6, 3), generator=torch.Generator().manual_seed(0))
    states = network.states(inputs)
    assert states.shape == (7, 3, 6, 1, 5)
    for k in range(3):
        layer = getattr(torch.nn, cell)(3, 5)
        with torch.no_grad():
            for ours, name in (
                ("W_ih", "weight_ih_l0"),
                ("W_hh", "weight_hh_l0"),
                ("b_ih", "bias_ih_l0"),
                ("b_hh", "bias_hh_l0"),
            ):
                getattr(layer, name).copy_(getattr(network, ours)[k])
            expected = layer(inputs[:, k])[0]
        torch.testing.assert_close(states[:, k, :, 0], expected)
        torch.testing.assert_close(network(inputs)[k], expected[-1] @ network.W[k].T + network.b_y[k])
        torch.testing.assert_close(
            network.run(k).outputs(inputs[:, k : k + 1], every_step=True)[:, 0],
            network.outputs(inputs, every_step=True)[:, k],
        )


def test_runs_do_not_influence_each_other() -> None:
    network = GatedRNN.initialise([3, 4], 4, 2, 2, "GRU")
    network(torch.randn(5, 6, 2))[1].sum().backward()
    for value in network.parameters():
        assert value.grad is not None
        assert not value.grad[0].any()
        assert value.grad[1].any()


def test_a_run_depends_on_its_own_seed_and_starts_within_the_bound() -> None:
    both, one = GatedRNN.initialise([5, 9], 8, 1, 10), GatedRNN.initialise([9], 8, 1, 10)
    for name, value in one.parameters_dict().items():
        assert torch.equal(both.parameters_dict()[name][1], value[0])
        assert float(value.abs().max()) <= 8**-0.5


def test_parameter_counts_that_the_wave_rnn_paper_prints() -> None:
    assert GatedRNN.initialise([0], 256, 1, 10, "LSTM").parameter_count() == 267_786  # 267k
    assert GatedRNN.initialise([0], 256, 1, 10, "GRU").parameter_count() == 201_482  # 201k
    assert GatedRNN.initialise([0], 128, 96, 10, "GRU").parameter_count() == 88_074  # 88k
    assert GatedRNN.initialise([0], 2, 1, 3, "GRU").parameter_count(biases=False) == 6 + 12 + 6


def test_parameters_make_the_same_network() -> None:
    network = GatedRNN.initialise([0, 1], 3, 2, 2, "LSTM")
    inputs = torch.randn(4, 5, 2)
    again = GatedRNN.from_parameters(network.parameters_dict(), "LSTM")
    assert torch.equal(again(inputs), network(inputs))
    assert (again.K, again.N, again.hidden, again.d, again.o) == (2, 3, 3, 2, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GatedRNN.initialise([], 3, 2, 2), "seeds is empty"),
        (lambda: GatedRNN.initialise([0], 0, 2, 2), "units = 0"),
        (lambda: GatedRNN.initialise([0], 3, 2, 2, "RNN"), "cell = 'RNN'"),
        (lambda: GatedRNN.initialise([0], 3, 2, 2).run(1), "k = 1"),
        (lambda: GatedRNN.initialise([0], 3, 2, 2)(torch.zeros(4, 5, 3)), "inputs has shape"),
        (lambda: GatedRNN({"W": torch.zeros(1, 2, 3)}), "parameters named W"),
        (
            lambda: GatedRNN(GatedRNN.initialise([0], 3, 2, 2, "GRU").parameters_dict(), "LSTM"),
            "4 rows per hidden unit",
        ),
    ],
)
def test_bad_input_is_explained(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
