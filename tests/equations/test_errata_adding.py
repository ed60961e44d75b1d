"""What the errata page says about the adding task of the Wave-RNN paper."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import torch

from wavemem.streams import stream
from wavemem.wave_rnn.adding_task import AddingTask, directions, marker_gradients
from wavemem.wave_rnn.network import IdentityRNN

# Table 7: mean and standard deviation of the iteration at which three runs had solved the task.
COUNTS = {
    ("iRNN", 100): (11_500.0, 2910.33),
    ("iRNN", 200): (21_000.0, 4582.58),
    ("wRNN", 100): (233.33, 57.74),
    ("wRNN", 200): (1000.0, 0.0),
    ("wRNN", 400): (1333.33, 577.35),
    ("wRNN", 700): (3000.0, 0.0),
    ("wRNN", 1000): (1666.67, 577.35),
}


def triples(mean: float, sd: float, step: int) -> list[tuple[int, ...]]:
    """All triples of multiples of a step with this mean and this standard deviation."""
    total = round(3 * mean)
    if total % step:
        return []
    found = []
    for a, b in combinations_with_replacement(range(0, total + 1, step), 2):
        c = total - a - b
        if c >= b and abs(float(np.std([a, b, c], ddof=1)) - sd) < 0.01:
            found.append((a, b, c))
    return found


def test_adding_iterations_were_counted_with_two_clocks() -> None:
    fine = {key for key, count in COUNTS.items() if not triples(*count, 1000)}
    assert fine == {("iRNN", 100), ("wRNN", 100)}
    assert triples(*COUNTS["wRNN", 100], 100) == [(200, 200, 300)]
    assert triples(*COUNTS["wRNN", 200], 1000) == [(1000, 1000, 1000)]
    assert triples(*COUNTS["wRNN", 400], 1000) == [(1000, 1000, 2000)]
    assert all(triples(*count, 100) for count in COUNTS.values())


def test_adding_the_printed_ratios_are_below_fifty() -> None:
    solved = {"iRNN": (14_000, 22_000, 30_000), "wRNN": (300, 1000, 1000)}  # Table 1, T = 100, 200, 400
    ratios = [a / b for a, b in zip(solved["iRNN"], solved["wRNN"], strict=True)]
    assert [round(ratio) for ratio in ratios] == [47, 22, 30]
    errors = {"iRNN": (1.40e-5, 5.13e-5, 7.70e-2), "wRNN": (6.12e-5, 8.54e-5, 1.59e-4)}  # Table 7
    better = [a < b for a, b in zip(errors["iRNN"], errors["wRNN"], strict=True)]
    assert better == [True, True, False]


def test_adding_the_published_irnn_sees_sums_only() -> None:
    task = AddingTask(20)
    batch = task.batch(64, stream(0, "errata, adding"))
    networks = IdentityRNN.initialise(list(range(4)), 50, 2, 1)  # as in the public code
    with torch.no_grad():
        states = networks.states(batch.inputs)[-1, :, :, 0]  # runs, batch, units
    off = (states == 0).all(1)
    assert 0.3 < float(off.float().mean()) < 0.7
    assert bool((states > 0).all(1).logical_or(off).all())  # every other unit is always on
    assert directions(marker_gradients(networks.run(0), task, batch)["V"]) == 0
