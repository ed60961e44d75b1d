"""What the functions of Part III cannot work with is named, module by module."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from torch import Generator, eye, full, int64, ones, rand, tensor, zeros

from wavemem.records.experiment import Result
from wavemem.wave_rnn import (
    adding,
    adding_search,
    adding_task,
    copy_task,
    copying,
    grids,
    image_tasks,
    images,
    linear_waves,
    onsets,
    ring,
    wave_learning,
    wave_readings,
)
from wavemem.wave_rnn import copy_task as registers
from wavemem.wave_rnn.adding_task import AddingTask
from wavemem.wave_rnn.copy_task import CopyTask
from wavemem.wave_rnn.image_tasks import SequentialImages
from wavemem.wave_rnn.network import GatedRNN, IdentityRNN, WaveRNN


def wave(**arguments: Any) -> WaveRNN:
    return WaveRNN.initialise(**{"seeds": [0], "units": 4, "channels": 1, "inputs": 1, "outputs": 1, **arguments})


def dense(**arguments: Any) -> IdentityRNN:
    return IdentityRNN.initialise(**{"seeds": [0], "units": 4, "inputs": 1, "outputs": 1, **arguments})


def gated(**arguments: Any) -> GatedRNN:
    return GatedRNN.initialise(**{"seeds": [0], "units": 3, "inputs": 2, "outputs": 2, **arguments})


COPYING = CopyTask(4, 6, 5)
LINE, RINGS = registers.delay_line(COPYING, 12), WaveRNN.initialise([0], 8, 2, 10, 10)
BATCH = AddingTask(12).batch(4, Generator())
EMPTY = Result(pd.DataFrame())
SEARCHED = pd.DataFrame({"model": ["iRNN"], "quantity": ["best validation accuracy"]})


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
        (lambda: WaveRNN(wave().state_dict() | {"u": zeros(1, 3, 3, 3), "b_u": zeros(1, 3)}), "a multiple of 3"),
        (lambda: WaveRNN(wave().state_dict() | {"b_u": zeros(1, 3)}), "b_u has shape"),
        (lambda: WaveRNN(wave().state_dict(), "sigmoid"), "activation"),  # type: ignore[arg-type]
        (lambda: wave()(zeros(3, 2, 2, 1)), "inputs has shape"),
        (lambda: dense(U_init="eye"), "U_init"),
        (lambda: dense(V_init="eye"), "V_init"),
        (lambda: dense(readout="big"), "readout"),
        (lambda: gated(seeds=[]), "seeds is empty"),
        (lambda: gated(units=0), "units = 0"),
        (lambda: gated(cell="RNN"), "cell = 'RNN'"),
        (lambda: gated()(zeros(4, 5, 3)), "inputs has shape"),
        (lambda: GatedRNN({"W": zeros(1, 2, 3)}), "parameters named W"),
        (lambda: GatedRNN(gated(cell="GRU").state_dict(), "LSTM"), "4 rows per hidden unit"),
        (lambda: ring.correlate(zeros(2, 2, 4), zeros(2, 5)), "odd number"),
        (lambda: ring.correlate(zeros(3, 3, 3), zeros(2, 5)), "h has shape"),
        (lambda: ring.one_way_kernel(math.nan), "velocity"),
        (lambda: ring.gain_and_velocity(zeros(2, 2, 3), ones(1)), "Several channels"),
        (lambda: ring.gain_and_velocity(zeros(3), zeros(1)), "different from 0"),
        (lambda: ring.surviving_power(zeros(2, 2, 3), 4, 1), "one channel"),
        (lambda: ring.surviving_power(zeros(3), 4, -1), "steps"),
        (lambda: ring.ring_matrix(zeros(3), 0), "n = 0"),
        (lambda: ring.spectral_velocity(zeros(3, 8)), "time >= 4"),
        (lambda: ring.line_strength(zeros(8, 8), math.nan), "velocity = nan"),
        (lambda: ring.mirror_ratio(full((8, 8), math.inf)), "infinite"),
        (lambda: wave_readings.ring_pass(rand(20, 8, 2, 24)), "Follow the disturbance"),
        (lambda: wave_readings.ring_pass(zeros(30, 2, 1, 24)), "a disturbance of zero"),
        (lambda: wave_readings.varying_part(rand(4, 1, 2, 8)), "batch of one"),
        (lambda: wave_readings.state_response(RINGS, rand(6, 4, 10), 6, Generator()), "at = 6"),
        (lambda: wave_readings.state_response(RINGS, rand(6, 4, 10), 2, Generator(), channel=2), "channel = 2"),
        (lambda: wave_readings.ring_velocity(rand(4, 8)), "shape"),
        (lambda: onsets.wave_states(full((3, 1), 0.5), 4), "zeros and ones"),
        (lambda: onsets.wave_states(zeros(3, 1), 1), "n = 1"),
        (lambda: onsets.bump_states(zeros(3, 1), 1.5), "decay"),
        (lambda: onsets.decode_fading_bump(zeros(1), 3, 0.7), "decay"),
        (lambda: onsets.decode_wave(zeros(1, 4), 0), "time"),
        (lambda: onsets.all_histories(21), "sample instead"),
        (lambda: onsets.best_accuracy(zeros(2, 1), -1.0), "resolution"),
        (lambda: onsets.state_jacobians(eye(3), ones(4, 2)), "slopes"),
        (lambda: onsets.input_jacobians(eye(3), ones(2, 1), ones(4, 3)), "V has shape"),
        (lambda: onsets.times_told_apart(ones(3, 2)), "jacobians has shape"),
        (lambda: linear_waves.input_memory(zeros(2, 2, 3), zeros(5, 1), 3), "multiple of 2"),
        (lambda: linear_waves.propagator(zeros(3, 2, 4)), "disturbance of zero"),
        (lambda: linear_waves.memory_of_states(zeros(3, 2), zeros(5, 3)), "four or more"),
        (lambda: linear_waves.networks(None, "tanh"), "name = 'tanh'"),
        (lambda: registers.delay_line(CopyTask(3), 1), "units = 1; allowed: a whole number, 2"),
        (lambda: registers.circulating_register(CopyTask(3), 20, gain=-1.0), "gain"),
        (lambda: registers.bump_limits(0, 3), "memory = 0"),
        (lambda: registers.float32_step(20, 0), "batch = 0"),
        (lambda: registers.reading_unit(CopyTask(3), 0), "units"),
        (lambda: CopyTask(-1), "T = -1"),
        (lambda: CopyTask(0, memory=0), "memory = 0"),
        (lambda: CopyTask(0, symbols=0), "symbols = 0"),
        (lambda: CopyTask(0).batch(0, Generator()), "size = 0"),
        (lambda: copy_task.public_generator(0, 3, Generator()), "T_flag = 0"),
        (lambda: copy_task.copy_loss(zeros(5, 2, 3), zeros(4, 2, dtype=int64)), "logits has shape"),
        (lambda: copy_task.exact_recall(zeros(5, 2, 3), zeros(5, 2, dtype=int64), 6), "memory = 6"),
        (lambda: copy_task.symbol_traces(RINGS, COPYING, 4, Generator()), "10 inputs for 7 categories"),
        (lambda: copy_task.symbol_traces(LINE, CopyTask(1, 2, 1), 4, Generator()), "1 symbol"),
        (lambda: copy_task.displacement(RINGS, 3), "16 units in 3 rings"),
        (lambda: copy_task.displacement(wave(readout="mlp"), 2), "mlp"),
        (lambda: copy_task.trace(LINE, COPYING, 4, Generator(), step=6), "step = 6; allowed: 0, 1, 2, 3, 4, 5"),
        (lambda: copying.networks(EMPTY, "wRNN", 7), "no weights"),
        (lambda: copying.Config(models=("iRNN large",), search=1), "search of 'iRNN large' = 1; allowed: 0"),
        (lambda: copying.initial(copying.Config(), "LSTM", 0, [0]), "model"),
        (lambda: copying.GridConfig(lengths=(7,)), r"lengths = \(.*allowed: wRNN: "),
        (lambda: copying.GridConfig(clips=(3.0,)), r"clips = \(.*allowed: wRNN: "),
        (lambda: grids.scores(pd.DataFrame({"value": [1.0]})), "column"),
        (lambda: AddingTask(1), "T = 1"),
        (lambda: AddingTask(10).batch(0, Generator()), "size = 0"),
        (lambda: adding_task.adding_loss(zeros(3, 5, 1), zeros(4)), "targets has shape"),
        (lambda: adding_task.adding_loss(zeros(3, 5), zeros(2, 5)), "outputs has shape"),
        (lambda: adding_task.conserving_adder(0.9 * eye(3)), "column"),
        (lambda: adding_task.conserving_adder(tensor([[2.0, 0.0], [-1.0, 1.0]])), "negative"),
        (lambda: adding_task.conserving_adder(ones(2, 3)), "store"),
        (lambda: adding_task.ring_adder(1), "whole number"),
        (lambda: adding_task.single_ring_adder(0), "whole number"),
        (lambda: adding_task.single_ring_error(1, 5), "whole number"),
        (lambda: adding_task.linear_floor(7), "even"),
        (lambda: adding_task.passed_content(-1), "passes"),
        (lambda: adding_task.marked_at(AddingTask(12), BATCH, 12), "place"),
        (lambda: adding_task.marked_at(AddingTask(10), BATCH, 1), "inputs"),
        (lambda: adding_task.marker_gradients(dense(seeds=[0, 1], inputs=2), AddingTask(12), BATCH), "one run"),
        (lambda: adding_task.place_share(zeros(3)), "gradients"),
        (lambda: adding_task.readout_error(zeros(3, 2), zeros(4), zeros(3, 2), zeros(3)), "targets"),
        (lambda: adding.networks(EMPTY, "iRNN", 7), "no weights"),
        (lambda: adding.ComparedConfig(updates=(1,)), "updates"),
        (lambda: adding.setting("LSTM", 100), "contestant"),
        (lambda: adding.start("LSTM", [adding.Setting(0.1, False, 1e-3, 1.0)], [0], 5), "model"),
        (lambda: adding_search.Config(dense_updates=(1,)), "dense_updates"),
        (lambda: adding_search.Config(lengths=(6, 8), wave_lengths=(6,)), "wave_lengths"),
        (lambda: SequentialImages("mnist"), "kind = 'mnist'"),
        (lambda: SequentialImages("sdigits", length=100), "length = 100"),
        (lambda: SequentialImages("nsdigits", length=7), "length = 7"),
        (lambda: SequentialImages("sdigits").sequence(tensor([1797])), "indices from 1797"),
        (lambda: SequentialImages("sdigits").sequence(tensor([[1]])), "indices of shape"),
        (lambda: SequentialImages("sdigits").sequence(tensor([1.0])), "indices of shape"),
        (lambda: image_tasks.permutation(0), "length = 0"),
        (lambda: image_tasks.noise_block(-1, 2), "steps = -1"),
        (lambda: image_tasks.folded(zeros(0, 2), 3), "inputs of shape"),
        (lambda: image_tasks.folded(zeros(2, 2), 0), "units = 0"),
        (
            lambda: image_tasks.recovered(zeros(9, 2), zeros(8, 3), zeros(9, 2), zeros(9, 3)),
            "inputs or labels has shape",
        ),
        (lambda: image_tasks.recovered(zeros(9, 2), zeros(9, 3), zeros(9, 2), zeros(9, 4)), "test_inputs"),
        (lambda: image_tasks.ridge_accuracy(zeros(9), zeros(9).long(), zeros(9, 1), zeros(9)), "states has shape"),
        (lambda: images.networks(EMPTY, "sdigits", "wRNN"), "no weights of 'sdigits/wRNN"),
        (lambda: images.networks(EMPTY, "mnist", "wRNN"), "task = 'mnist'"),
        (lambda: images.scores(EMPTY.rows, "sdigits", "RNN"), "model = 'RNN'"),
        (lambda: images.updates_to(EMPTY.rows, "digits", "wRNN", 0.5), "task = 'digits'"),
        (lambda: images.best(SEARCHED, "GRU"), "no rows of GRU"),
        (lambda: images.best(SEARCHED, "RNN"), "model = 'RNN'"),
        (lambda: wave_learning.Config(iterations=10, snapshots=(0, 5)), "snapshots"),
        (lambda: wave_learning.initial(wave_learning.Config(), "wRNN", 0), "model"),
    ],
)
def test_bad_input_is_explained(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
