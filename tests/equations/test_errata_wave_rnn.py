"""The errata of the Wave-RNN and v-Wave papers and of the string-copying code, and the page that lists them all.

Numbers of the papers that follow from their own text by counting are counted here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from wavemem.records.status import test_exists
from wavemem.streams import stream
from wavemem.wave_rnn.adding_task import AddingTask, directions, marker_gradients
from wavemem.wave_rnn.network import IdentityRNN

Array = npt.NDArray[np.float64]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_wrnn_kernel_is_a_correlation(rng: np.random.Generator) -> None:
    n, nu = 7, 0.3
    Sigma = (1 - nu) * np.eye(n) + nu * np.roll(np.eye(n), 1, axis=1)
    h = rng.standard_normal(n)
    kernel = np.array([0, 1 - nu, nu])

    def circular(weights: Array) -> Array:
        return np.array([sum(weights[k] * h[(i + k - 1) % n] for k in range(3)) for i in range(n)])

    np.testing.assert_allclose(circular(kernel), Sigma @ h, atol=1e-14)  # what PyTorch's conv1d computes
    np.testing.assert_allclose(circular(kernel[::-1]), Sigma.T @ h, atol=1e-14)  # convolution: the other direction


def test_wrnn_input_initialisation_makes_all_symbols_alike() -> None:
    V = np.zeros((6, 10))
    V[0] = 1.0  # weight 1 from every input into the first unit
    one_hot = np.eye(10)
    assert np.ptp(V @ one_hot, axis=1).max() == 0


def test_wrnn_final_state_has_not_seen_the_last_input(rng: np.random.Generator) -> None:
    N, T = 5, 4
    U, V = rng.standard_normal((2, N, N))

    def last(x: Array) -> Array:  # as printed: x_0 … x_T, h_0 = 0, h_{t+1} = σ(U h_t + V x_t), y = W h_T
        h = np.zeros((T + 2, N))
        for t in range(T + 1):
            h[t + 1] = np.tanh(U @ h[t] + V @ x[t])
        return h[T]

    x = rng.standard_normal((T + 1, N))
    changed = x.copy()
    changed[T] += 1.0
    assert np.array_equal(last(x), last(changed))
    changed[T - 1] += 1.0
    assert not np.allclose(last(x), last(changed))


@pytest.mark.parametrize(("c", "bias"), [(6, -0.19), (6, -0.031), (16, 0.1)])
def test_wrnn_default_bias_ends_the_wave_or_buries_it(c: int, bias: float) -> None:
    assert abs(bias) <= 1 / np.sqrt(3 * c)  # the default range of the convolution's bias
    n, steps = 200, 150
    h = np.zeros(n)
    alive = 0
    for t in range(steps):
        h = np.roll(h, -1)
        h[0] += float(t == 0)
        h = np.maximum(h + bias, 0)
        alive += bool(h.any())
    if bias < 0:
        assert alive == np.ceil(1 / -bias) - 1 < steps
    else:
        assert np.median(h) == pytest.approx(bias * steps)  # a pedestal that grows without bound
        assert h.max() - np.median(h) == pytest.approx(1)


def test_wrnn_copy_lengths_disagree() -> None:
    flags, printed = (10, 20, 50, 100, 500), (0, 10, 30, 80, 480)
    generated = [flag + 10 for flag in flags]
    described = [T + 20 for T in printed]
    assert generated == [20, 30, 60, 110, 510]
    assert described == [20, 30, 50, 100, 500]
    sequence = np.zeros(20)
    sequence[:10] = np.arange(1, 11)
    sequence[-11] = 9  # the delimiter of the shortest task falls on the tenth symbol
    assert sequence[9] == 9
    assert len(sequence[10:]) == 10


def test_wrnn_parameter_counts() -> None:
    def iRNN(inputs: int, n: int, outputs: int) -> int:
        return inputs * n + n * n + n * outputs

    def wRNN(inputs: int, n: int, c: int, outputs: int) -> int:
        return inputs * n * c + 3 * c * c + n * c * outputs

    counted: dict[str, tuple[Callable[..., int], tuple[int, ...], float]] = {
        "copy, wRNN": (wRNN, (10, 100, 6, 10), 12e3),
        "copy, iRNN 100": (iRNN, (10, 100, 10), 12e3),
        "copy, iRNN 625": (iRNN, (10, 625, 10), 403e3),
        "adding, wRNN": (wRNN, (2, 100, 27, 1), 10.29e3),
        "adding, iRNN": (iRNN, (2, 100, 1), 10.3e3),
        "nsCIFAR10, wRNN": (wRNN, (96, 256, 16, 10), 435e3),
        "nsCIFAR10, iRNN": (iRNN, (96, 529, 10), 336e3),
        "sMNIST, iRNN": (iRNN, (1, 256, 10), 68e3),
    }
    for name, (count, sizes, printed) in counted.items():
        assert count(*sizes) == pytest.approx(printed, rel=0.01), name
    V, u, hidden = 256 * 16, 3 * 16**2, 256 * 16
    without, biases = wRNN(1, 256, 16, 10), hidden + 16 + 10
    assert (without, without + biases) == (45_824, 49_946)  # the paper prints 47k
    # nor does counting some of the biases give 47k; a kernel of seven weights would
    some = {without + a * hidden + b * 16 + r * 10 for a in (0, 1) for b in (0, 1) for r in (0, 1)}
    assert not any(round(count, -3) == 47_000 for count in some)
    assert round(without + 4 * 16**2, -3) == 47_000
    # with the readout of one hidden layer of 100 all biases are counted: 420k
    mlp = V + u + hidden * 100 + 100 * 10
    assert (mlp, mlp + hidden + 16 + 100 + 10) == (415_464, 419_686)
    assert round(iRNN(10, 625, 10) / wRNN(10, 100, 6, 10)) == 33  # the paper says nearly 40 times


def test_wrnn_unsolved_adding_is_the_variance_of_the_target(rng: np.random.Generator) -> None:
    assert np.var(rng.random((100_000, 2)).sum(1)) == pytest.approx(1 / 6, rel=0.02)  # printed 0.16


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


def test_vwave_upper_diagonal_with_input_at_0_remembers_one_step() -> None:
    n = 6

    def memory(A: Array, at: int) -> int:
        h, steps = np.eye(n)[at], 0
        while h.any():
            h, steps = A @ h, steps + 1
        return steps

    upper = np.eye(n, k=1)
    assert memory(upper, 0) == 1
    assert memory(upper, n - 1) == n
    assert memory(upper.T, 0) == n


def test_string_copy_evaluation_leaves_out_the_longest() -> None:
    assert 20 not in np.arange(10, 20)
    assert len(np.arange(20, 20)) == 0


def test_the_page_names_every_check_and_only_existing_ones() -> None:
    root = Path(__file__).resolve().parents[2]
    page = (root / "book" / "errata.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    everywhere, here = set(), set()
    for file in (root / "tests").rglob("test_*.py"):
        found = set(re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE))
        everywhere |= found
        if file.stem.startswith("test_errata"):
            here |= found
    assert named <= everywhere
    assert here - named == {"test_the_page_names_every_check_and_only_existing_ones"}
    for test in re.findall(r"`(tests/[\w/]+\.py::\w+)`", page):
        assert test_exists(root, test), test
