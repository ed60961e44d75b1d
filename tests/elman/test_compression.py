"""Memories with fewer dimensions than numbers: the bound, the laws for signs, and the readings."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.elman import compression
from wavemem.theory.boundary import repeat_copy_phi
from wavemem.theory.hds import random_histories
from wavemem.theory.spectrum import phase_counts


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 9), m=st.integers(0, 9), seed=st.integers(0, 1000))
def test_no_map_of_low_rank_beats_the_bound(n: int, m: int, seed: int) -> None:
    m = min(m, n)
    draw = generator(seed)
    A, B = (torch.randn(n, m, generator=draw, dtype=torch.float64) for _ in range(2))
    # The error of M for independent numbers of variance 1 is the mean square of M - 1.
    error = float(((A @ B.mT - torch.eye(n)) ** 2).sum()) / n
    assert error >= compression.least_error(m, n) - 1e-12
    Q = torch.linalg.qr(torch.randn(n, n, generator=draw, dtype=torch.float64)).Q[:, :m]
    attained = float(((Q @ Q.mT - torch.eye(n)) ** 2).sum()) / n
    assert attained == pytest.approx(compression.least_error(m, n), abs=1e-12)


@pytest.mark.parametrize(
    "dropped",
    [(1, 0, 2, 0), (0, 1, 0, 1), (2, 2, 2, 2), (0, 0, 0), (1, 2, 2), (3, 1, 1, 1, 1), (1,) * 8 + (2,) + (1,) * 7],
)
def test_invariant_projector(dropped: tuple[int, ...]) -> None:
    s, d = len(dropped), 3
    Phi = repeat_copy_phi(s, d)
    for draw in (None, generator(3)):
        P = compression.invariant_projector(dropped, d, draw)
        torch.testing.assert_close(P @ P, P)
        torch.testing.assert_close(P, P.mT)
        torch.testing.assert_close(P @ Phi, Phi @ P)
        assert float(P.trace()) == pytest.approx(s * d - sum(dropped))
        counts = phase_counts(P @ Phi, s)
        assert counts.tolist() == [d - n for n in dropped]


def test_signs_of_a_projection() -> None:
    u = random_histories(3000, 16, 5, generator(1)).flatten(1).double()
    P = compression.invariant_projector([1] * 16, 5, generator(2))
    assert compression.sign_accuracy(P, u) == pytest.approx(compression.spread_accuracy(64, 80), abs=0.01)
    whole = torch.diag((torch.arange(80) < 64).double())
    # A number that is not returned is exactly 0 and counts as wrong.
    assert compression.sign_accuracy(whole, u) == pytest.approx(0.8)
    assert compression.whole_wave_accuracy(64, 80) == pytest.approx(0.9)
    # One dimension less than there are numbers costs no sign.
    P = torch.eye(16, dtype=torch.float64) - 1 / 16
    assert compression.sign_accuracy(P, u[:, ::5]) >= 1 - 2.0**-10


def test_laws_at_their_ends() -> None:
    assert compression.spread_accuracy(0, 5) == pytest.approx(0.5)
    assert compression.spread_accuracy(5, 5) == 1.0
    assert compression.spread_accuracy(7, 5) == 1.0
    assert compression.spread_accuracy(1, 2) == pytest.approx(0.5 * (1 + math.erf(math.sqrt(0.5))))
    assert compression.whole_wave_accuracy(0, 5) == 0.5
    assert compression.least_error(9, 5) == 0.0


def test_linear_recall_separates_what_is_linear() -> None:
    u = random_histories(4096, 6, 1, generator(5)).flatten(1).double()
    P = compression.invariant_projector([0, 1, 0, 0, 0, 1], 1)
    found = compression.linear_recall(u, u @ P.mT)
    torch.testing.assert_close(found.map, P)
    assert found.error == pytest.approx(2 / 6, abs=0.02)
    assert found.nonlinear < 1e-12
    assert found.singular_values.tolist() == pytest.approx([1, 1, 1, 1, 0, 0], abs=1e-9)
    products = u * u.roll(1, 1)
    assert compression.linear_recall(u, products).nonlinear > 0.98
    assert compression.linear_recall(u, torch.zeros_like(u)).nonlinear == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: compression.linear_recall(torch.ones(4, 6), torch.ones(4, 6)), "more trials than numbers"),
        (lambda: compression.linear_recall(torch.ones(9, 6), torch.ones(9, 5)), "answers"),
        (lambda: compression.invariant_projector([3, 0], 2), "numbers from 0 to d = 2"),
        (lambda: compression.invariant_projector([1, 2] + [1] * 14, 5), "the same at phases k and s - k"),
        (lambda: compression.sign_accuracy(torch.eye(3), torch.ones(4, 2)), "histories"),
        (lambda: compression.least_error(1, 0), "n"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
