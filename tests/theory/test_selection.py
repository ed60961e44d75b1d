"""Signed selections: the paper's four tables, their numbers, and the numbering of all of them in both directions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.theory.hds import LinearHDS, generalized_fibonacci
from wavemem.theory.selection import (
    PAPER_IDS,
    PAPER_TABLES,
    ids_of,
    paper_task,
    selection_from_ids,
    signed_selection,
    table_of,
)


@st.composite
def selections(draw: st.DrawFn) -> tuple[list[int], list[int], int, int]:
    s, d = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    order = draw(st.permutations(range(s * d)))
    sign = draw(st.lists(st.sampled_from([-1, 1]), min_size=d, max_size=d))
    return list(order[:d]), sign, s, d


@settings(max_examples=200, deadline=None)
@given(selections())
def test_every_selection_has_a_number_and_every_number_its_selection(
    selection: tuple[list[int], list[int], int, int],
) -> None:
    source, sign, s, d = selection
    ids = ids_of(source, sign, s, d)
    system = selection_from_ids(*ids, s, d)
    assert table_of(system) == (source, sign)
    assert ids_of(*table_of(system), s, d) == ids


def test_numbers_are_distinct_and_dense() -> None:
    """At s = 1, d = 3 there are 3! orders and 2^3 signs: 48 tasks, 48 different numbers."""
    from itertools import permutations, product

    ids = {ids_of(source, sign, 1, 3) for source in permutations(range(3)) for sign in product((-1, 1), repeat=3)}
    assert len(ids) == 48


@pytest.mark.parametrize("name", PAPER_IDS)
def test_the_paper_s_numbers_give_the_paper_s_tables(name: str) -> None:
    system = selection_from_ids(*PAPER_IDS[name], 8, 8)
    source, sign = table_of(system)
    assert tuple(zip(source, sign, strict=True)) == PAPER_TABLES[name]
    assert ids_of(source, sign, 8, 8) == PAPER_IDS[name]
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


def test_outputs_stay_binary() -> None:
    system = paper_task("T3")
    u = torch.randint(0, 2, (6, 8, 8), generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    assert set(system.targets(u, 50).unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(system.targets(u, 50), system.rollout(u, 50))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: paper_task("T5"), "'T1', 'T2', 'T3', 'T4'"),
        (lambda: paper_task("T1", 0, 8), "s = 0"),
        (lambda: signed_selection([0], [1], 2, 2), "1 sources"),
        (lambda: signed_selection([0, 4], [1, 1], 2, 2), "source.1. = 4"),
        (lambda: signed_selection([0, 1], [1, 2], 2, 2), "sign.1. = 2"),
        (lambda: ids_of([0, 0], [1, 1], 2, 2), "entry twice"),
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
