"""Closed paths of signed selections: against the spectrum of Φ and against counting contents by force."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch

from wavemem.elman.fixed_points import SignedCycle, expected_fixed_points, recurrence_time, signed_cycles
from wavemem.theory.hds import generalized_fibonacci
from wavemem.theory.selection import paper_task
from wavemem.theory.spectrum import angle_error_optimal, reduced_basis, theoretical_eigenvalues


def _cases() -> list[tuple[str, int]]:
    return [(name, size) for name in ("T1", "T2", "T3", "T4") for size in (3, 4, 8)]


@pytest.mark.parametrize(("name", "size"), _cases())
def test_cycles_have_the_spectrum_of_phi(name: str, size: int) -> None:
    Phi = paper_task(name, size, size).Phi()
    values = []
    for cycle in signed_cycles(Phi):
        offset = 0.0 if cycle.sign > 0 else math.pi
        values += [np.exp(1j * (offset + 2 * math.pi * k) / cycle.length) for k in range(cycle.length)]
    theory = theoretical_eigenvalues(Phi, modulus=0.9)
    result = angle_error_optimal(theory, np.array(values))
    assert result.determinate
    assert result.error < 1e-6  # defective eigenvalues of the unreduced Φ are computed with little precision


@pytest.mark.parametrize("name", ["T1", "T2", "T3", "T4"])
def test_everything_returns_after_the_recurrence_time_and_not_before(name: str) -> None:
    Phi = paper_task(name, 4, 4).Phi()
    reduced = reduced_basis(Phi).Phi
    time = recurrence_time(signed_cycles(Phi))
    identity = torch.eye(len(reduced), dtype=torch.float64)
    power = identity
    for step in range(1, time + 1):
        power = reduced @ power
        assert bool((power == identity).all()) == (step == time)


def test_sites_are_visited_in_this_order() -> None:
    Phi = paper_task("T3", 4, 4).Phi()
    for cycle in signed_cycles(Phi):
        state = torch.zeros(16, dtype=torch.float64)
        state[cycle.sites[0]] = 1.0
        for site in (*cycle.sites[1:], cycle.sites[0]):
            state = Phi @ state
            assert abs(float(state[site])) == 1.0
        assert float(state[cycle.sites[0]]) == cycle.sign


@pytest.mark.parametrize("name", ["T2", "T3", "T4"])
@pytest.mark.parametrize("period", [1, 2, 3, 5])
def test_expected_counts_equal_counting_by_force(name: str, period: int) -> None:
    Phi = paper_task(name, 3, 3).Phi()
    reduced = reduced_basis(Phi).Phi
    power = torch.linalg.matrix_power(reduced, period)
    found: Counter[int] = Counter()
    for content in itertools.product((-1.0, 0.0, 1.0), repeat=len(reduced)):
        state = torch.tensor(content, dtype=torch.float64)
        if bool((power @ state == state).all()):
            found[int((state == 0).sum())] += 1
    assert expected_fixed_points(signed_cycles(Phi), period) == dict(sorted(found.items()))


def test_repeat_copy_by_hand() -> None:
    cycles = signed_cycles(paper_task("T1", 3, 2).Phi())
    assert [(cycle.length, cycle.sign, cycle.period) for cycle in cycles] == [(3, 1, 3), (3, 1, 3)]
    assert expected_fixed_points(cycles) == {0: 4, 3: 4, 6: 1}
    assert expected_fixed_points(cycles, period=3)[0] == 2**6
    assert SignedCycle((0, 1), -1).period == 4


def test_bad_input_is_explained() -> None:
    with pytest.raises(ValueError, match="permutation with signs"):
        signed_cycles(generalized_fibonacci(2, 2).Phi())
    with pytest.raises(ValueError, match="Phi has shape"):
        signed_cycles(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="no cycles"):
        recurrence_time([])
    with pytest.raises(ValueError, match="period = 0"):
        expected_fixed_points([SignedCycle((0,), 1)], period=0)
