"""Fixed points and slow points: known ones are all found, and told apart."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch

from wavemem.elman.fixed_points import (
    RecurrentMap,
    expected_fixed_points,
    find_fixed_points,
    minimise_speed,
    starting_points,
)
from wavemem.streams import stream
from wavemem.theory.selection import Cycle, paper_task, recurrence
from wavemem.theory.spectrum import reduced_basis


def _amplitude(gain: float) -> float:
    a = 1.0
    for _ in range(10_000):
        a = math.tanh(gain * a)
    return a


def _one_neuron(w: float, b: float, count: int = 60) -> tuple:
    starts = torch.linspace(-2, 2, count, dtype=torch.float64)[:, None]
    return find_fixed_points(RecurrentMap(torch.tensor([[w]]), b=torch.tensor([b])), starts)


def test_one_neuron_has_three() -> None:
    points, slow, lost = _one_neuron(2.0, 0.0)
    assert (len(points), len(slow), lost) == (3, 0, 0)
    a = _amplitude(2.0)
    assert points.h[:, 0].abs().tolist() == pytest.approx([0.0, a, a])
    assert points.stable.tolist() == [False, True, True]
    assert points.eigenvalues[0, 0].real == pytest.approx(2.0)
    assert points.eigenvalues[1, 0].real == pytest.approx(2.0 * (1 - a * a))
    assert int(points.starts.sum()) == 60


def test_a_bias_beyond_the_fold_leaves_a_slow_point() -> None:
    w = 2.0
    # Two fixed points meet where F' = 1: tanh(z)² = 1 - 1/w, at b = z - w·tanh(z).
    touching = math.sqrt(1 - 1 / w)
    fold = abs(math.atanh(touching) - w * touching)
    points, slow, lost = _one_neuron(w, 0.99 * fold)
    assert (len(points), len(slow), lost) == (3, 0, 0)
    points, slow, lost = _one_neuron(w, 1.01 * fold)
    assert (len(points), len(slow), lost) == (1, 1, 0)
    assert bool(points.stable[0])
    assert float(slow.residual[0]) > 1e-4
    # At a slow point the slope is one: w (1 - F²) = 1.
    F = float(RecurrentMap(torch.tensor([[w]]), b=torch.tensor([1.01 * fold]))(slow.h)[0, 0])
    assert w * (1 - F * F) == pytest.approx(1.0, abs=1e-5)


def test_uncoupled_neurons_have_all_combinations() -> None:
    gain, N = 1.5, 3
    starts = starting_points(N, 2000, stream(0, "starts"))
    points, slow, _ = find_fixed_points(gain * torch.eye(N), starts)
    assert len(points) == 3**N
    assert len(slow) == 0
    off = (points.h.abs() < 1e-6).sum(1)
    assert torch.equal(off, points.unstable)  # an empty neuron is unstable, a full one is not
    full = points.h.abs()[points.h.abs() > 1e-6]
    torch.testing.assert_close(full, torch.full_like(full, _amplitude(gain)))
    assert float(points.residual.max()) <= 1e-10
    assert points.unseen < 0.01
    few, _, _ = find_fixed_points(gain * torch.eye(N), starts[:20])
    assert len(few) < 3**N
    assert few.unseen == int((few.starts == 1).sum()) / 20 > 0.05


def test_a_memory_of_the_theory_has_the_fixed_points_that_counting_predicts() -> None:
    # Neurons as substrate sites: the assumption of independent squashing holds exactly.
    task = paper_task("T2", 3, 3)
    expected = expected_fixed_points(recurrence(task).cycles)
    starts = starting_points(9, 1500, stream(1, "starts"))
    points, _, _ = find_fixed_points(1.5 * task.Phi(), starts)
    found = {int(k): int((points.unstable == k).sum()) for k in points.unstable.unique()}
    assert found == expected


@pytest.mark.parametrize("name", ["T2", "T3", "T4"])
@pytest.mark.parametrize("period", [1, 2, 3, 5])
def test_expected_counts_equal_counting_by_force(name: str, period: int) -> None:
    task = paper_task(name, 3, 3)
    reduced = reduced_basis(task.Phi()).Phi
    power = torch.linalg.matrix_power(reduced, period)
    found: Counter[int] = Counter()
    for content in itertools.product((-1.0, 0.0, 1.0), repeat=len(reduced)):
        state = torch.tensor(content, dtype=torch.float64)
        if bool((power @ state == state).all()):
            found[int((state == 0).sum())] += 1
    assert expected_fixed_points(recurrence(task).cycles, period) == dict(sorted(found.items()))


def test_small_weights_leave_the_origin_alone_and_nothing_found_is_an_empty_list() -> None:
    W = torch.randn(10, 10, generator=stream(0, "W"), dtype=torch.float64)
    W = 0.95 * W / torch.linalg.matrix_norm(W, ord=2)
    points, slow, lost = find_fixed_points(W, starting_points(10, 100, stream(0, "s")))
    assert (len(points), len(slow), lost) == (1, 0, 0)
    assert float(points.h.norm()) < 1e-8
    points, slow, lost = find_fixed_points(1.5 * torch.eye(2), torch.full((3, 2), 0.3), iterations=1)
    assert (len(points), len(slow), lost) == (0, 0, 3)
    assert points.eigenvalues.shape == (0, 2)
    assert points.unseen == 1.0


def test_q_never_rises_and_starts_are_reproducible() -> None:
    W = 1.2 * torch.randn(8, 8, generator=stream(4, "W"), dtype=torch.float64) / 8**0.5
    network = RecurrentMap(W)
    starts = starting_points(8, 30, stream(4, "s"), visited=torch.ones(5, 8))
    assert torch.equal(starts, starting_points(8, 30, stream(4, "s"), visited=torch.ones(5, 8)))
    assert bool((starts[:15] == 1).all())
    before = 0.5 * (network(starts) - starts).square().sum(1)
    few, more = (minimise_speed(network, starts, iterations=n).q for n in (3, 30))
    assert bool((few <= before).all())
    assert bool((more <= few).all())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: find_fixed_points(torch.zeros(2, 3), torch.zeros(1, 2)), "W_hh has shape"),
        (lambda: find_fixed_points(torch.eye(2), torch.zeros(1, 3)), "starts has shape"),
        (lambda: find_fixed_points(torch.eye(2), torch.full((1, 2), math.nan)), "NaN"),
        (lambda: expected_fixed_points([Cycle((0,), 1)], period=0), "period = 0"),
        (lambda: minimise_speed(RecurrentMap(torch.eye(2)), torch.zeros(1, 2), iterations=0), "iterations = 0"),
        (lambda: starting_points(0, 1, stream(0, "s")), "N = 0"),
        (lambda: starting_points(2, 0, stream(0, "s")), "count = 0"),
        (lambda: starting_points(2, 4, stream(0, "s"), visited=torch.zeros(3, 3)), "visited has shape"),
        (lambda: starting_points(2, 4, stream(0, "s"), visited=torch.zeros(0, 2)), "visited is empty"),
        (lambda: starting_points(2, 4, stream(0, "s"), longest=0.0), "longest = 0"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
