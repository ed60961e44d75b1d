"""Waves through training: the experiment of chapter 16 at a very small size."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from wavemem.records.experiment import Result
from wavemem.wave_rnn import wave_learning as experiment
from wavemem.wave_rnn.network import IdentityRNN, WaveRNN
from wavemem.wave_rnn.wave_learning import CHANNELS, SPEEDS, STARTS, Config

SMALL = Config(
    runs=2,
    iterations=4,
    snapshots=(0, 2, 4),
    units=12,
    channels=2,
    dense_units=12,
    probes=8,
    tests=16,
    image_units=12,
    image_channels=2,
    image_runs=1,
    image_iterations=2,
    image_batch=4,
)


@pytest.fixture(scope="module")
def result() -> Result:
    return experiment.run(SMALL, 0, progress=False)


def _values(rows: pd.DataFrame, model: str, quantity: str, iteration: int, channel: int = -1) -> np.ndarray:
    chosen = rows[(rows["model"] == model) & (rows["quantity"] == quantity) & (rows["channel"] == channel)]
    found: np.ndarray = chosen.loc[chosen["iteration"] == iteration, "value"].to_numpy()
    return found


def test_every_part_is_measured(result: Result) -> None:
    rows = result.rows
    assert set(rows["model"]) == {*STARTS, *SPEEDS, CHANNELS}
    measured = [*product(("coherence", "right"), SMALL.snapshots), *product(("response velocity", "loss"), [4])]
    for model, (quantity, iteration) in product((*STARTS, *SPEEDS), measured):
        assert len(_values(rows, model, quantity, iteration)) == SMALL.runs
    for model, (_, velocities) in SPEEDS.items():
        for channel in range(len(velocities)):
            assert len(_values(rows, model, "response velocity", 0, channel)) == SMALL.runs
    for channel in range(SMALL.image_channels):
        assert len(_values(rows, CHANNELS, "velocity", SMALL.image_iterations, channel)) == 1
    assert _values(rows, CHANNELS, "coupling", 0) == pytest.approx([0.0])
    assert float(_values(rows, CHANNELS, "coupling", SMALL.image_iterations)[0]) > 0


def test_waves_are_measured_through_training(result: Result) -> None:
    """Before training the shift carries a disturbance, the Dirac kernel does not, and symbols evoke the same activity."""
    rows = result.rows
    assert _values(rows, "wRNN shift", "response velocity", 0) == pytest.approx([1.0, 1.0], abs=0.1)
    assert np.isnan(_values(rows, "wRNN dirac", "response velocity", 0)).all()
    assert _values(rows, "wRNN shift", "coherence", 0) == pytest.approx([0.0, 0.0])
    for model, there in (("wRNN shift", 1.0), ("wRNN dirac", 0.0), ("wRNN uniform", 0.0), ("wRNN normal", 0.0)):
        assert _values(rows, model, "travelling", 0) == pytest.approx([there, there])
        assert _values(rows, model, "recirculating", 0) == pytest.approx([there, there])
    assert len(_values(rows, "iRNN identity", "travel", 0)) == 0  # units without places
    diverged = torch.full((30, 2, 1, 8), np.nan)
    assert np.isnan(list(experiment.pass_of(diverged).values())).all()


def test_networks_come_back_as_they_were(result: Result) -> None:
    network = experiment.networks(result, "wRNN shift", 0)
    assert isinstance(network, WaveRNN)
    torch.testing.assert_close(network.u, experiment.initial(SMALL, "wRNN shift", 0).kernel())
    assert isinstance(experiment.networks(result, "iRNN identity", 4), IdentityRNN)
    with pytest.raises(ValueError, match=r"no weights of 'wRNN shift/3'; allowed: wRNN shift/0, "):
        experiment.networks(result, "wRNN shift", 3)


def test_dense_units_are_sorted_on_other_sequences(result: Result) -> None:
    network = experiment.networks(result, "iRNN uniform", 4)
    inputs = experiment.probe_inputs(SMALL, "iRNN uniform", 0)
    assert experiment.activity(network, inputs).shape == (2, SMALL.task.length, SMALL.probes // 2, 1, 12)
    orders = experiment.onset_orders(network, inputs)
    assert all(sorted(order.tolist()) == list(range(12)) for order in orders)
    wave = experiment.networks(result, "wRNN shift", 4)
    assert experiment.onset_orders(wave, inputs)[0].tolist() == list(range(12))


def test_summary_has_a_line_per_quantity(result: Result) -> None:
    table = experiment.summarise(result.rows)
    line = table[(table["model"] == "wRNN shift") & (table["quantity"] == "coupling") & (table["iteration"] == 0)]
    assert line["count"].tolist() == [2]
    assert line["mean"].tolist() == [0.0]
