"""The Wave-RNN and the network without waves: starts, shapes, parameter counts, and what they are equal to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.wave_rnn.network import PUBLISHED_SCALE, IdentityRNN, WaveRNN, shift_kernel
from wavemem.wave_rnn.recurrent import RecurrentNetwork


def sequence(T: int, K: int, B: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(T, K, B, d, generator=torch.Generator().manual_seed(seed))


def test_the_start_moves_every_ring_by_one_unit_per_step() -> None:
    network = WaveRNN.initialise([0], units=7, channels=3, inputs=1, outputs=2)
    parameters = network.parameters_dict()
    parameters["b_u"].zero_()
    network = WaveRNN.from_parameters(parameters)
    pulse = torch.zeros(9, 1, 1)
    pulse[0] = 1.0
    states = network.states(pulse)
    assert states.shape == (9, 1, 1, 3, 7)
    for t in range(9):
        expected = torch.zeros(3, 7)
        expected[:, (0 - t) % 7] = 1.0
        torch.testing.assert_close(states[t, 0, 0], expected)


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


def test_identity_network_equals_torch_rnn() -> None:
    network = IdentityRNN.initialise([3], 5, 2, 4, U_init="uniform")
    rnn = torch.nn.RNN(2, 5, nonlinearity="relu")
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(network.U[0])
        rnn.weight_ih_l0.copy_(network.V[0])
        rnn.bias_hh_l0.copy_(network.b_U[0])
        rnn.bias_ih_l0.copy_(network.b_V[0])
    x = sequence(6, 1, 3, 2)
    expected, _ = rnn(x[:, 0])
    torch.testing.assert_close(network.states(x)[:, 0, :, 0], expected)
    torch.testing.assert_close(network(x, every_step=True)[:, 0], expected @ network.W[0].T + network.b_y[0])


@pytest.mark.parametrize("readout", ["linear", "mlp"])
def test_outputs_are_the_readout_of_the_states(readout: Any) -> None:
    network = WaveRNN.initialise([0, 5], 6, 2, 3, 4, readout=readout, u_init="uniform", V_init="normal")
    x = sequence(5, 2, 3, 3)
    states = network.states(x).flatten(-2)
    if readout == "linear":
        expected = states @ network.W.mT + network.b_y[:, None]
    else:
        expected = torch.relu(states @ network.W1.mT + network.b1[:, None]) @ network.W2.mT + network.b2[:, None]
    torch.testing.assert_close(network.outputs(x, every_step=True), expected)
    torch.testing.assert_close(network.outputs(x), expected[-1])
    torch.testing.assert_close(network.run(1)(x[:, 1:]), expected[-1, 1:])


@pytest.mark.parametrize("build", [WaveRNN, IdentityRNN])
def test_a_runs_weights_depend_on_its_seed_alone(build: Any) -> None:
    def initialise(seeds: list[int]) -> RecurrentNetwork:
        if build is WaveRNN:
            return WaveRNN.initialise(seeds, 5, 2, 3, 2, u_init="uniform", V_init="normal")
        return IdentityRNN.initialise(seeds, 5, 3, 2, U_init="uniform")

    together, alone = initialise([7, 8]), initialise([8])
    for name, value in together.run(1).parameters_dict().items():
        assert torch.equal(value, alone.parameters_dict()[name]), name
    assert not torch.equal(together.V[0], together.V[1])


@pytest.mark.parametrize("start", ["sparse", "normal"])
@pytest.mark.parametrize("biases", [True, False])
def test_scale_and_biases_change_nothing_else_of_a_start(start: Any, biases: bool) -> None:
    for cls, sizes in ((WaveRNN, {"units": 5, "channels": 2}), (IdentityRNN, {"units": 7})):
        kind: Any = cls
        published = kind.initialise([3], **sizes, inputs=2, outputs=1, V_init=start).parameters_dict()
        scaled = kind.initialise([3], **sizes, inputs=2, outputs=1, V_init=start, V_scale=0.5, biases=biases)
        for name, value in scaled.parameters_dict().items():
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


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (WaveRNN.initialise, {"seeds": [], "units": 4, "channels": 1, "inputs": 1, "outputs": 1}, "seeds is empty"),
        (WaveRNN.initialise, {"seeds": [0], "units": 0, "channels": 1, "inputs": 1, "outputs": 1}, "units"),
        (
            WaveRNN.initialise,
            {"seeds": [0], "units": 4, "channels": 1, "inputs": 1, "outputs": 1, "kernel": 4},
            "odd",
        ),
        (
            WaveRNN.initialise,
            {"seeds": [0], "units": 4, "channels": 1, "inputs": 1, "outputs": 1, "u_init": "eye"},
            "u_init",
        ),
        (
            WaveRNN.initialise,
            {"seeds": [0], "units": 4, "channels": 2, "inputs": 1, "outputs": 1, "velocities": [1.0]},
            "velocities",
        ),
        (
            WaveRNN.initialise,
            {"seeds": [0], "units": 4, "channels": 1, "inputs": 1, "outputs": 1, "velocities": [1.5]},
            "3 taps",
        ),
        (
            WaveRNN.initialise,
            {
                "seeds": [0],
                "units": 4,
                "channels": 1,
                "inputs": 1,
                "outputs": 1,
                "velocities": [0.5],
                "u_init": "dirac",
            },
            "shift",
        ),
        (IdentityRNN.initialise, {"seeds": [0], "units": 4, "inputs": 1, "outputs": 1, "U_init": "eye"}, "U_init"),
        (IdentityRNN.initialise, {"seeds": [0], "units": 4, "inputs": 1, "outputs": 1, "readout": "big"}, "readout"),
    ],
)
def test_bad_input_is_refused(build: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**arguments)


def test_weights_that_do_not_fit_are_refused() -> None:
    parameters = WaveRNN.initialise([0], 4, 2, 1, 1).parameters_dict()
    with pytest.raises(ValueError, match="b_u has shape"):
        WaveRNN({**parameters, "b_u": torch.zeros(1, 3)})
    with pytest.raises(ValueError, match="parameters named"):
        WaveRNN({name: value for name, value in parameters.items() if name != "b_V"})
    with pytest.raises(ValueError, match="activation"):
        WaveRNN(parameters, "sigmoid")
    network = WaveRNN(parameters)
    with pytest.raises(ValueError, match="inputs has shape"):
        network(torch.zeros(3, 2, 2, 1))
    with pytest.raises(ValueError, match="k = 1"):
        network.run(1)
