"""The Wave-RNN, the network without waves and gated networks: starts, shapes, parameter counts, and what they are equal to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.wave_rnn.network import PUBLISHED_SCALE, Cell, GatedRNN, IdentityRNN, WaveRNN, shift_kernel

GATED = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def sequence(T: int, K: int, B: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(T, K, B, d, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(velocity=st.floats(-2, 2), n=st.integers(5, 12), seed=st.integers(0, 1000))
def test_a_whole_velocity_shifts_and_a_fraction_mixes_two_shifts(velocity: float, n: int, seed: int) -> None:
    u = shift_kernel(torch.tensor([velocity], dtype=torch.float64), 5)[0, 0]
    h = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    moved = sum(u[j] * torch.roll(h, 2 - j) for j in range(5))
    whole = int(torch.floor(torch.tensor(velocity, dtype=torch.float64)))
    f = velocity - whole
    expected = (1 - f) * torch.roll(h, -whole) + f * torch.roll(h, -whole - 1)
    torch.testing.assert_close(moved, expected)
    torch.testing.assert_close(u.sum(), torch.tensor(1.0, dtype=torch.float64))


def test_shift_kernel_is_the_papers() -> None:
    torch.testing.assert_close(
        shift_kernel(torch.tensor([0.3, 1.0, 0.0]))[[0, 1, 2], [0, 1, 2]],
        torch.tensor([[0, 0.7, 0.3], [0, 0, 1], [0, 1, 0]]),
    )
    assert shift_kernel(torch.zeros(1), taps=1).tolist() == [[[1.0]]]


def test_identity_start_keeps_and_shift_start_moves() -> None:
    for start, moves in (("identity", 0), ("shift", 1)):
        network: Any = IdentityRNN.initialise([0], 6, 1, 1, U_init=start, V_init="sparse")
        pulse = torch.zeros(3, 1, 1)
        pulse[0] = 1.0
        states = network.states(pulse)
        assert states.shape == (3, 1, 1, 1, 6)
        for t in range(3):
            expected = torch.zeros(6)
            expected[-moves * t % 6] = 1.0
            torch.testing.assert_close(states[t, 0, 0, 0], expected)


@pytest.mark.parametrize("readout", ["linear", "mlp"])
def test_outputs_are_the_readout_of_the_states(readout: Any) -> None:
    network = WaveRNN.initialise([0, 5], 6, 2, 3, 4, readout=readout, u_init="uniform", V_init="normal")
    x = sequence(5, 2, 3, 3)
    states = network.states(x).flatten(-2)
    if readout == "linear":
        expected = states @ network.W.mT + network.b_y[:, None]
    else:
        expected = torch.relu(states @ network.W1.mT + network.b1[:, None]) @ network.W2.mT + network.b2[:, None]
    torch.testing.assert_close(network(x, every_step=True), expected)
    torch.testing.assert_close(network(x), expected[-1])


@pytest.mark.parametrize("start", ["sparse", "normal"])
@pytest.mark.parametrize("biases", [True, False])
def test_scale_and_biases_change_nothing_else_of_a_start(start: Any, biases: bool) -> None:
    for cls, sizes in ((WaveRNN, {"units": 5, "channels": 2}), (IdentityRNN, {"units": 7})):
        kind: Any = cls
        published = kind.initialise([3], **sizes, inputs=2, outputs=1, V_init=start).state_dict()
        scaled = kind.initialise([3], **sizes, inputs=2, outputs=1, V_init=start, V_scale=0.5, biases=biases)
        for name, value in scaled.state_dict().items():
            if name == "V":
                torch.testing.assert_close(value, published["V"] * 0.5 / PUBLISHED_SCALE[start])
            elif name.startswith("b_") and name != "b_y" and not biases:
                assert not value.any()
            else:
                assert torch.equal(value, published[name])


def test_parameter_counts_of_the_paper() -> None:
    def wave(inputs: int, n: int, c: int, outputs: int, **further: Any) -> WaveRNN:
        return WaveRNN.initialise([0], n, c, inputs, outputs, **further)

    def dense(inputs: int, N: int, outputs: int) -> IdentityRNN:
        return IdentityRNN.initialise([0], N, inputs, outputs)

    printed = {
        12_000: [wave(10, 100, 6, 10), dense(10, 100, 10)],
        403_000: [dense(10, 625, 10)],
        10_290: [wave(2, 100, 27, 1)],
        10_300: [dense(2, 100, 1)],
        68_000: [dense(1, 256, 10)],
        336_000: [dense(96, 529, 10)],
        435_000: [wave(96, 256, 16, 10)],
    }
    for count, networks in printed.items():
        for network in networks:
            assert network.parameter_count() == pytest.approx(count, rel=0.01)
    assert wave(1, 256, 16, 10, readout="mlp").parameter_count(biases=True) == 419_686  # printed 420k


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_gated_networks_are_pytorch_s_layers(cell: Cell) -> None:
    network = GatedRNN.initialise([0, 1, 2], 5, 3, 4, cell)
    inputs = sequence(7, 3, 6, 3)
    states = network.states(inputs)
    assert states.shape == (7, 3, 6, 1, 5)
    for k in range(3):
        layer = getattr(torch.nn, cell)(3, 5)
        own = {f"{name}_l0": getattr(network, name.replace("weight", "W").replace("bias", "b"))[k] for name in GATED}
        expected = torch.func.functional_call(layer, own, (inputs[:, k],))[0]
        torch.testing.assert_close(states[:, k, :, 0], expected)
        torch.testing.assert_close(network(inputs)[k], expected[-1] @ network.W[k].T + network.b_y[k])
    assert all(float(value.abs().max()) <= 5**-0.5 for value in network.state_dict().values())
    assert (network.hidden, network.d) == (5, 3)


def test_parameter_counts_of_gated_networks_that_the_wave_rnn_paper_prints() -> None:
    assert GatedRNN.initialise([0], 256, 1, 10, "LSTM").parameter_count() == 267_786  # 267k
    assert GatedRNN.initialise([0], 256, 1, 10, "GRU").parameter_count() == 201_482  # 201k
    assert GatedRNN.initialise([0], 128, 96, 10, "GRU").parameter_count() == 88_074  # 88k
    assert GatedRNN.initialise([0], 2, 1, 3, "GRU").parameter_count(biases=False) == 6 + 12 + 6


def wave(**arguments: Any) -> WaveRNN:
    return WaveRNN.initialise(**{"seeds": [0], "units": 4, "channels": 1, "inputs": 1, "outputs": 1, **arguments})


def dense(**arguments: Any) -> IdentityRNN:
    return IdentityRNN.initialise(**{"seeds": [0], "units": 4, "inputs": 1, "outputs": 1, **arguments})


def gated(**arguments: Any) -> GatedRNN:
    return GatedRNN.initialise(**{"seeds": [0], "units": 3, "inputs": 2, "outputs": 2, **arguments})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wave(seeds=[]), "seeds is empty"),
        (lambda: wave(units=0), "units = 0"),
        (lambda: wave(kernel=4), "odd"),
        (lambda: wave(u_init="eye"), "u_init"),
        (lambda: wave(channels=2, velocities=[1.0]), "velocities"),
        (lambda: wave(velocities=[1.5]), "3 taps"),
        (lambda: wave(velocities=[0.5], u_init="dirac"), "shift"),
        (
            lambda: WaveRNN(wave().state_dict() | {"u": torch.zeros(1, 3, 3, 3), "b_u": torch.zeros(1, 3)}),
            "a multiple of 3",
        ),
        (lambda: WaveRNN(wave().state_dict() | {"b_u": torch.zeros(1, 3)}), "b_u has shape"),
        (lambda: WaveRNN(wave().state_dict(), "sigmoid"), "activation"),  # type: ignore[arg-type]
        (lambda: wave()(torch.zeros(3, 2, 2, 1)), "inputs has shape"),
        (lambda: dense(U_init="eye"), "U_init"),
        (lambda: dense(V_init="eye"), "V_init"),
        (lambda: dense(readout="big"), "readout"),
        (lambda: gated(seeds=[]), "seeds is empty"),
        (lambda: gated(units=0), "units = 0"),
        (lambda: gated(cell="RNN"), "cell = 'RNN'"),
        (lambda: gated()(torch.zeros(4, 5, 3)), "inputs has shape"),
        (lambda: GatedRNN({"W": torch.zeros(1, 2, 3)}), "parameters named W"),
        (lambda: GatedRNN(gated(cell="GRU").state_dict(), "LSTM"), "4 rows per hidden unit"),
    ],
)
def test_bad_input_is_explained(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
