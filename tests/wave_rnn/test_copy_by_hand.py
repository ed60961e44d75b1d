"""Waves as registers: what hand-written rings copy, how small they may be, and what a memory of counts cannot do."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.streams import stream
from wavemem.wave_rnn.copy_task import (
    CopyBatch,
    CopyTask,
    bump_limits,
    circulating_register,
    copy_scores,
    delay_line,
    float32_step,
    reading_unit,
)
from wavemem.wave_rnn.network import WaveRNN


def _batch(task: CopyTask, size: int = 16) -> CopyBatch:
    batch = task.batch(size, stream(0, "registers"))
    return CopyBatch(batch.inputs.double(), batch.targets)


def _right(network: WaveRNN, task: CopyTask) -> torch.Tensor:
    """Which of the steps are right, (length, batch)."""
    batch = _batch(task)
    return network(batch.inputs, every_step=True)[:, 0].argmax(-1) == batch.targets


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(1, 12), st.integers(1, 9), st.integers(1, 8))
def test_a_delay_line_copies_exactly_from_one_unit_more_than_the_lag(T: int, m: int, S: int, extra: int) -> None:
    task = CopyTask(T, m, S)
    assert _right(delay_line(task, T + m + extra), task).all()


@pytest.mark.parametrize("T", [0, 3, 30])
def test_a_delay_line_with_as_many_units_as_the_lag_speaks_too_early(T: int) -> None:
    task = CopyTask(T)
    right = _right(delay_line(task, T + 10), task)
    assert right[-10:].all()  # what is asked for is there
    assert not right[:10].any()  # but each symbol is also named when it is shown


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 120), st.integers(2, 12), st.integers(1, 9), st.integers(0, 8))
def test_a_register_copies_for_any_wait_from_one_unit_per_symbol(T: int, m: int, S: int, extra: int) -> None:
    task = CopyTask(T, m, S)
    assert _right(circulating_register(task, m + extra), task).all()


@pytest.mark.parametrize("T", [0, 10, 30])
def test_a_register_with_a_unit_too_few_writes_a_symbol_over_another(T: int) -> None:
    task = CopyTask(T)
    right = _right(circulating_register(task, 9), task)[-10:]
    assert not right[0].all()
    assert not right[-1].all()
    assert right[1:-1].all()  # only the first and the last symbol share a unit


@pytest.mark.parametrize("make", [delay_line, circulating_register])
def test_the_loss_falls_with_the_gain_as_the_margin_says(make: object) -> None:
    task = CopyTask(5)
    batch = _batch(task, 64)
    for gain in (20.0, 40.0):
        outputs = make(task, 30, gain)(batch.inputs, every_step=True)
        # nearest wrong answers are γ/2 below the right one: one or two of them per position
        loss = float(copy_scores(outputs, batch.targets).cross_entropy)
        assert 0.2 * math.exp(-gain / 2) < loss < 3 * math.exp(-gain / 2)


def test_the_rings_only_shift() -> None:
    task = CopyTask(7)
    network = circulating_register(task, 12)
    h0 = torch.rand(1, 3, 2, 12, dtype=torch.float64)
    silent = torch.zeros(24, 3, task.categories, dtype=torch.float64)
    states = network.states(silent, h0)
    torch.testing.assert_close(states[4], h0.roll(-5, -1))
    torch.testing.assert_close(states[11], h0)
    assert [reading_unit(task, n) for n in (100, 17, 10)] == [83, 0, 3]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4))
def test_the_limits_of_a_bump_agree_with_counting_every_history(m: int, S: int) -> None:
    entropy = right = 0.0
    seen = set()
    for history in itertools.product(range(S), repeat=m):
        counts = Counter(history).values()
        entropy -= sum(c / m * math.log(c / m) for c in counts)
        right += max(counts) / m
        seen.add(tuple(sorted(history)))
    limits = bump_limits(m, S)
    assert limits.cross_entropy == pytest.approx(entropy / S**m, abs=1e-12)
    assert limits.symbol_accuracy == pytest.approx(right / S**m)
    assert limits.recall == pytest.approx(len(seen) / S**m)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 6), st.integers(2, 5), st.integers(6, 12), st.integers(0, 2**31))
def test_whoever_delays_linearly_has_a_shift_inside(T: int, m: int, N: int, seed: int) -> None:
    """Any linear network whose response is zero at lags T+1 … T+2m-1 but T+m moves m independent vectors on."""
    generator = torch.Generator().manual_seed(seed)
    n, lag = max(N, T + 2 * m), T + m
    basis = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    shift = torch.roll(torch.eye(n, dtype=torch.float64), -1, 0)
    U, v = basis @ shift @ basis.T, basis[:, 0]
    w = basis[:, -lag % n]
    response = torch.stack([w @ torch.linalg.matrix_power(U, k) @ v for k in range(T + 1, T + 2 * m)])
    wanted = torch.zeros(2 * m - 1, dtype=torch.float64)
    wanted[m - 1] = 1.0
    torch.testing.assert_close(response, wanted)
    held = torch.stack([torch.linalg.matrix_power(U, i) @ v for i in range(m)], 1)
    assert int(torch.linalg.matrix_rank(held)) == m


def test_the_paper_s_smallest_losses_are_a_few_steps_of_float32() -> None:
    logits = torch.zeros(1, 1, 2)
    found = set()
    for margin in torch.linspace(10.0, 18.0, 20_001):
        logits[..., 1] = -margin
        found.add(float(-torch.log_softmax(logits, -1)[0, 0, 0]))
    steps = sorted(found)
    assert steps[0] == 0.0
    assert steps[1] == pytest.approx(2.0**-23, rel=1e-6)
    assert float32_step(20, 50) == pytest.approx(2.384e-12, rel=1e-3)
