"""The copy task: sequences as the paper's text has them, scores, float32; traces of symbols in registers and bumps."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.streams import stream
from wavemem.wave_rnn.copy_task import (
    CopyTask,
    copy_loss,
    copy_scores,
    delay_line,
    displacement,
    exact_recall,
    paper_loss,
    public_generator,
    symbol_traces,
    trace,
)
from wavemem.wave_rnn.network import IdentityRNN


@settings(max_examples=25, deadline=None)
@given(T=st.integers(0, 30), memory=st.integers(1, 12), symbols=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_sequence_is_symbols_blanks_delimiter_blanks(T: int, memory: int, symbols: int, seed: int) -> None:
    task = CopyTask(T, memory, symbols)
    inputs, targets = task.batch(5, torch.Generator().manual_seed(seed))
    assert inputs.shape == (T + 2 * memory, 5, symbols + 2) == (task.length, 5, task.categories)
    assert inputs.dtype == torch.float32
    assert targets.dtype == torch.int64
    assert torch.equal(inputs.sum(-1), torch.ones(task.length, 5))  # one-hot at every step
    shown = inputs.argmax(-1)
    assert 1 <= int(shown[:memory].min()) <= int(shown[:memory].max()) <= symbols
    assert not shown[memory : T + memory].any()
    assert (shown[T + memory] == symbols + 1).all()
    assert not shown[T + memory + 1 :].any()
    assert not targets[: T + memory].any()
    assert torch.equal(targets[T + memory :], shown[:memory])


def test_batches_use_every_symbol() -> None:
    targets = CopyTask(3).batch(200, torch.Generator().manual_seed(1)).targets
    counts = torch.bincount(targets[-10:].flatten(), minlength=10)
    assert counts[0] == counts[9] == 0
    assert counts[1:9].min() > 150


def test_the_public_generator_asks_for_the_delimiter_at_the_end_of_the_shortest_task() -> None:
    inputs, targets = public_generator(10, 64, torch.Generator().manual_seed(0))
    assert inputs.shape == (20, 64, 10)
    assert (inputs[9].argmax(-1) == 9).all()  # the delimiter stands where the tenth symbol was
    assert torch.equal(targets[10:], inputs[:10].argmax(-1))  # as printed: Y[:, -10:] = X[:, :10]
    assert (targets[19] == 9).all()
    # Were the tenth symbol asked for, guessing it would leave a loss far above what the paper prints, 9e-12.
    floor = math.log(8) / len(inputs) / 50
    assert floor == pytest.approx(2.1e-3, rel=0.02)
    longer, due = public_generator(50, 4, torch.Generator().manual_seed(0))
    assert longer.shape[0] == 60
    assert int(longer[:, 0].argmax(-1).eq(9).nonzero()) == 49
    assert torch.equal(due[50:], longer[:10].argmax(-1))


def test_scores_of_perfect_even_and_half_right_outputs() -> None:
    task = CopyTask(2, memory=3)
    _, targets = task.batch(6, torch.Generator().manual_seed(2))
    perfect = 30.0 * torch.nn.functional.one_hot(targets, task.categories).double()
    scores = copy_scores(perfect, targets, memory=3)
    assert float(scores.recall) == float(scores.symbol_accuracy) == 1.0
    assert 0 < float(scores.cross_entropy) < 1e-12
    even = torch.zeros(task.length, 6, task.categories)
    assert float(copy_loss(even, targets)) == pytest.approx(math.log(10))
    assert float(paper_loss(even, targets)) == pytest.approx(math.log(10) / 6)
    spoilt = perfect.clone()
    spoilt[-1, :3] = 0  # three of six sequences say "blank" at the last step
    assert float(exact_recall(spoilt, targets, 3)) == 0.5
    assert float(copy_scores(spoilt, targets, 3).symbol_accuracy) == pytest.approx(1 - 3 / 18)


def test_each_run_has_its_own_score_and_targets_may_be_shared() -> None:
    task = CopyTask(1)
    generator = torch.Generator().manual_seed(3)
    _, targets = task.batch(7, generator)
    logits = torch.randn((task.length, 4, 7, task.categories), generator=generator)
    shared = copy_loss(logits, targets)
    assert shared.shape == (4,)
    for k in range(4):
        reference = torch.nn.functional.cross_entropy(logits[:, k].flatten(0, 1), targets.flatten())
        torch.testing.assert_close(shared[k], reference)
        torch.testing.assert_close(paper_loss(logits, targets)[k], reference / 7)
    own = targets.unsqueeze(1).expand(-1, 4, -1)
    assert torch.equal(copy_loss(logits, own), shared)
    assert copy_scores(logits, targets).recall.shape == (4,)


def test_chance_loss_is_that_of_guessing_among_the_symbols() -> None:
    task = CopyTask(5)
    _, targets = task.batch(9, torch.Generator().manual_seed(0))
    logits = torch.full((task.length, 9, 10), -1e3, dtype=torch.float64)
    logits[: task.delimiter, :, 0] = 0
    logits[task.delimiter :, :, 1:9] = 0
    assert float(copy_loss(logits, targets)) == pytest.approx(task.chance_loss, rel=1e-12)


def test_double_precision_resolves_losses_that_float32_cannot() -> None:
    gaps = torch.linspace(10, 40, 400, dtype=torch.float64)
    logits = torch.zeros((1, 400, 2), dtype=torch.float64)
    logits[0, :, 0] = gaps
    targets = torch.zeros((1, 400), dtype=torch.int64)
    double = torch.stack([copy_loss(logits[:, i : i + 1], targets[:, :1]) for i in range(400)])
    torch.testing.assert_close(double, torch.log1p(torch.exp(-gaps)), rtol=1e-3, atol=2e-16)
    assert (double[gaps < 34] > 0).all()


TASK = CopyTask(4, 6, 5)


def test_in_a_register_each_symbol_moves_its_own_answer() -> None:
    traces = symbol_traces(delay_line(TASK, 12), TASK, 40, stream(0, "traces"))
    off = traces[0] - torch.diag(traces[0].diagonal())
    assert off.abs().max() < 1e-9
    assert traces[0].diagonal().min() > 1.0


def test_in_a_bump_every_symbol_moves_every_answer_alike() -> None:
    network = IdentityRNN.initialise([0, 1], 20, 7, 7, activation="linear", dtype=torch.float64)
    traces = symbol_traces(network, TASK, 20, stream(0, "traces"))
    torch.testing.assert_close(traces, traces[:, :1, :1].expand(2, 6, 6), rtol=1e-4, atol=1e-7)


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
