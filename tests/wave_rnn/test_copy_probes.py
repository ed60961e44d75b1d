"""Traces of symbols: apart in a register, on top of each other in a bump."""

from __future__ import annotations

import pytest
import torch

from wavemem.streams import stream
from wavemem.wave_rnn.copy_task import CopyTask, displacement, effective_number, symbol_traces, trace
from wavemem.wave_rnn.network import IdentityRNN, WaveRNN
from wavemem.wave_rnn.registers import delay_line

TASK = CopyTask(4, 6, 5)


def test_a_register_keeps_traces_at_right_angles_and_each_moves_its_own_answer() -> None:
    traces = symbol_traces(delay_line(TASK, 12), TASK, 40, stream(0, "traces"))
    off = traces.answers[0] - torch.diag(traces.answers[0].diagonal())
    assert off.abs().max() < 1e-9
    assert traces.answers[0].diagonal().min() > 1.0
    torch.testing.assert_close(traces.effective, torch.full((1,), 6.0, dtype=torch.float64))
    torch.testing.assert_close(traces.singular, torch.ones(1, 6, dtype=torch.float64))


def test_a_bump_leaves_one_trace_however_many_symbols_there_are() -> None:
    network = IdentityRNN.initialise(
        [0, 1], 20, TASK.categories, TASK.categories, activation="linear", dtype=torch.float64
    )
    traces = symbol_traces(network, TASK, 20, stream(0, "traces"))
    torch.testing.assert_close(traces.effective, torch.ones(2, dtype=torch.float64), atol=1e-5, rtol=0)
    assert float(traces.singular[:, 1:].max()) < 1e-5
    # every shown symbol moves every answer alike
    torch.testing.assert_close(traces.answers, traces.answers[:, :1, :1].expand(2, 6, 6), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("n", [11, 15, 30])
def test_the_readout_of_a_delay_line_is_its_input_pattern_moved_by_the_lag(n: int) -> None:
    found = displacement(delay_line(TASK, n), 1)
    wanted = torch.zeros(1, n, dtype=torch.float64)
    wanted[0, (TASK.T + TASK.memory) % n] = 1.0
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


def test_a_trace_travels_one_unit_per_step() -> None:
    activity = trace(delay_line(TASK, 20), TASK, 5, stream(0, "trace"), step=2)
    assert activity.shape == (TASK.length - 2, 1, 5, 1, 20)
    start = activity[0, 0, :, 0, 0]
    assert start.abs().max() > 0
    for k in range(len(activity)):
        moved = torch.zeros(5, 20, dtype=torch.float64)
        moved[:, -k % 20] = start
        torch.testing.assert_close(activity[k, 0, :, 0], moved)


def test_the_effective_number() -> None:
    assert float(effective_number(torch.ones(7))) == pytest.approx(7.0)
    assert float(effective_number(torch.tensor([1.0, 1e-9, 0.0]))) == pytest.approx(1.0)


def test_probes_refuse_what_they_cannot_do() -> None:
    network = WaveRNN.initialise([0], 8, 2, 10, 10)
    with pytest.raises(ValueError, match="10 inputs for 7 categories"):
        symbol_traces(network, TASK, 4, stream(0, "x"))
    with pytest.raises(ValueError, match="1 symbol"):
        symbol_traces(network, CopyTask(1, 2, 1), 4, stream(0, "x"))
    with pytest.raises(ValueError, match="16 units in 3 rings"):
        displacement(network, 3)
    mlp = WaveRNN.initialise([0], 8, 2, 10, 10, readout="mlp")
    with pytest.raises(ValueError, match="mlp"):
        displacement(mlp, 2)
    with pytest.raises(ValueError, match="step = 6; allowed: 0 to 5"):
        trace(delay_line(TASK, 12), TASK, 4, stream(0, "x"), step=6)
