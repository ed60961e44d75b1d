"""The Wave-RNN, the network without waves and gated networks: starts, shapes, parameter counts, and what they are equal to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.training.ensemble import Ensemble
from wavemem.wave_rnn.network import PUBLISHED_SCALE, Cell, GatedRNN, IdentityRNN, WaveRNN, shift_kernel


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


@pytest.mark.parametrize(
    ("network", "count", "biases"),
    [
        (WaveRNN.initialise([0], 100, 6, 10, 10), 12_108, False),  # printed 12k
        (IdentityRNN.initialise([0], 100, 10, 10), 12_000, False),  # 12k
        (IdentityRNN.initialise([0], 625, 10, 10), 403_125, False),  # 403k
        (WaveRNN.initialise([0], 100, 27, 2, 1), 10_287, False),  # 10.29k
        (IdentityRNN.initialise([0], 100, 2, 1), 10_300, False),  # 10.3k
        (IdentityRNN.initialise([0], 256, 1, 10), 68_352, False),  # 68k
        (IdentityRNN.initialise([0], 529, 96, 10), 335_915, False),  # 336k
        (WaveRNN.initialise([0], 256, 16, 96, 10), 434_944, False),  # 435k
        (WaveRNN.initialise([0], 256, 16, 1, 10, readout="mlp"), 419_686, True),  # 420k
        (GatedRNN.initialise([0], 256, 1, 10, "LSTM"), 267_786, True),  # 267k
        (GatedRNN.initialise([0], 256, 1, 10, "GRU"), 201_482, True),  # 201k
        (GatedRNN.initialise([0], 128, 96, 10, "GRU"), 88_074, True),  # 88k
        (GatedRNN.initialise([0], 2, 1, 3, "GRU"), 6 + 12 + 6, False),
    ],
)
def test_parameter_counts_of_the_paper(network: Ensemble, count: int, biases: bool) -> None:
    assert network.parameter_count(biases) == count


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_gated_networks_start_as_pytorch_s_do(cell: Cell) -> None:
    network = GatedRNN.initialise([0, 1, 2], 5, 3, 4, cell)
    assert all(float(value.abs().max()) <= 5**-0.5 for value in network.state_dict().values())
