"""Signed selections: the paper's four tables, their numbers, and the numbering of all of them in both directions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.theory.hds import LinearHDS, generalized_fibonacci
from wavemem.theory.selection import (
    PAPER_IDS,
    PAPER_TABLES,
    paper_task,
    recurrence,
    selection_from_ids,
    signed_selection,
    table_of,
)
from wavemem.theory.spectrum import angle_error, theoretical_eigenvalues


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_every_number_is_the_selection_that_its_digits_say(s: int, d: int, data: st.DataObject) -> None:
    chosen = sorted(data.draw(st.permutations(range(s * d)))[:d])
    swaps = [data.draw(st.integers(0, d - 1 - p)) for p in range(d)]
    minus = data.draw(st.lists(st.booleans(), min_size=d, max_size=d))
    ids = (
        sum(2**k for k in chosen),
        sum(g * d**p for p, g in enumerate(swaps)),
        sum(2**j * m for j, m in enumerate(minus)),
    )
    for p, g in enumerate(swaps):
        chosen[p], chosen[p + g] = chosen[p + g], chosen[p]
    assert table_of(selection_from_ids(*ids, s, d)) == (chosen, [-1 if m else 1 for m in minus])


@pytest.mark.parametrize("name", PAPER_IDS)
def test_the_paper_s_numbers_give_the_paper_s_tables(name: str) -> None:
    system = selection_from_ids(*PAPER_IDS[name], 8, 8)
    source, sign = table_of(system)
    assert tuple(zip(source, sign, strict=True)) == PAPER_TABLES[name]
    assert torch.equal(system.F, paper_task(name).F)


@pytest.mark.parametrize(("name", "rank", "unit"), [("T1", 64, 64), ("T2", 57, 36), ("T3", 57, 36), ("T4", 57, 36)])
def test_rank_and_unit_eigenvalues_of_the_paper_s_tasks(name: str, rank: int, unit: int) -> None:
    Phi = paper_task(name).Phi()
    assert int(torch.linalg.matrix_rank(Phi)) == rank
    modulus = torch.linalg.eigvals(Phi).abs()
    assert int(((modulus - 1).abs() < 1e-6).sum()) == unit
    assert int((modulus < 0.1).sum()) == 64 - unit


@pytest.mark.parametrize("name", PAPER_IDS)
@pytest.mark.parametrize(("s", "d"), [(4, 4), (8, 8), (3, 8), (5, 12), (16, 5), (1, 1)])
def test_paper_tasks_at_other_sizes_are_permuted_signed_selections(name: str, s: int, d: int) -> None:
    system = paper_task(name, s, d)
    source, _ = table_of(system)
    assert (system.s, system.d) == (s, d)
    assert len(set(source)) == d
    if name != "T1":
        assert sorted(k % d for k in source) == list(range(d)), "each dimension is used once"
        assert all(k // d == (k % d) % s for k in source), "dimension j comes from vector j mod s"


@pytest.mark.parametrize("name", PAPER_IDS)
@pytest.mark.parametrize("size", [3, 4, 8])
def test_loops_have_the_spectrum_of_phi_and_are_walked_backwards(name: str, size: int) -> None:
    task = paper_task(name, size, size)
    values = []
    for cycle in recurrence(task).cycles:
        offset = 0.0 if cycle.sign > 0 else math.pi
        values += [np.exp(1j * (offset + 2 * math.pi * k) / cycle.length) for k in range(cycle.length)]
        state = torch.eye(size * size, dtype=torch.float64)[cycle.entries[0]]
        for k in (*cycle.entries[:0:-1], cycle.entries[0]):
            state = task.Phi() @ state
            assert abs(float(state[k])) == 1.0
        assert float(state[cycle.entries[0]]) == cycle.sign
    found = angle_error(theoretical_eigenvalues(task, modulus=0.9), np.array(values), assignment="optimal")
    assert found.error < 1e-6  # defective eigenvalues of the unreduced Φ are computed with little precision


@pytest.mark.parametrize("name", PAPER_IDS)
def test_everything_returns_after_the_period_and_not_before(name: str) -> None:
    task = paper_task(name, 4, 4)
    found, Phi = recurrence(task), task.Phi()
    states = [torch.linalg.matrix_power(Phi, found.transient + t) for t in range(found.period + 1)]
    assert [torch.equal(later, states[0]) for later in states[1:]] == [False] * (found.period - 1) + [True]
    if found.transient:
        before = torch.linalg.matrix_power(Phi, found.transient - 1)
        assert not torch.equal(torch.linalg.matrix_power(Phi, found.period) @ before, before)
    used = torch.cat([task.F @ torch.linalg.matrix_power(Phi, t) for t in range(16)]).any(0)
    assert found.used == tuple(used.nonzero().flatten().tolist())
    assert found.lasting == int(torch.linalg.matrix_rank(states[0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: paper_task("T5"), "'T1', 'T2', 'T3', 'T4'"),
        (lambda: paper_task("T1", 0, 8), "s = 0"),
        (lambda: signed_selection([0], [1], 2, 2), "1 sources"),
        (lambda: signed_selection([0, 4], [1, 1], 2, 2), "source.1. = 4"),
        (lambda: signed_selection([0, 1], [1, 2], 2, 2), "sign.1. = 2"),
        (lambda: selection_from_ids(1, 0, 0, 2, 2), "id1 = 1"),
        (lambda: selection_from_ids(0b110000, 0, 0, 2, 2), "id1 = 48"),
        (lambda: selection_from_ids(3, 2, 0, 2, 2), "id2 = 2"),
        (lambda: selection_from_ids(7, 2 * 3, 0, 2, 3), "digit 2 at position 1"),
        (lambda: selection_from_ids(3, 4, 0, 2, 2), "id2 = 4"),
        (lambda: selection_from_ids(3, 0, 4, 2, 2), "id3 = 4"),
        (lambda: selection_from_ids(3, 0, -1, 2, 2), "id3 = -1"),
        (lambda: selection_from_ids(1, 1, 0, 1, 1), "id2 = 1"),
        (lambda: table_of(generalized_fibonacci(2, 2)), "one entry times"),
        (lambda: table_of(LinearHDS(torch.full((1, 1), 2.0))), "one entry times"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
