"""Spectra: constants, the angle error and when it is indeterminate, the reduced basis."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.theory.basis import random_basis
from wavemem.theory.boundary import fibonacci_phi
from wavemem.theory.hds import repeat_copy
from wavemem.theory.selection import paper_task
from wavemem.theory.spectrum import (
    angle_error,
    complete_waves,
    counts_by_direction,
    eigenvalues,
    growth_polynomial,
    phase_counts,
    reduced_basis,
    snacci_constant,
    theoretical_eigenvalues,
)


def _unit(angles: np.ndarray, modulus: float = 1.0) -> np.ndarray:
    return modulus * np.exp(1j * angles)


def test_snacci_constants() -> None:
    assert [snacci_constant(s) for s in (1, 200)] == [1.0, 2.0]
    assert snacci_constant(2) == pytest.approx((1 + math.sqrt(5)) / 2, abs=1e-15)
    assert [snacci_constant(s) for s in (3, 4)] == pytest.approx([1.839286755214161, 1.927561975482925], abs=1e-14)


@pytest.mark.parametrize("s", range(1, 12))
def test_snacci_constant_is_the_spectral_radius_and_a_root(s: int) -> None:
    radius = float(eigenvalues(fibonacci_phi(s, 1)).abs().max())
    assert snacci_constant(s) == pytest.approx(radius, abs=1e-12)
    assert np.polyval(growth_polynomial(s).numpy(), snacci_constant(s)) == pytest.approx(0.0, abs=1e-10)


def test_theoretical_eigenvalues_from_system_or_operator() -> None:
    system = paper_task("T2")
    lasting = theoretical_eigenvalues(system, modulus=0.9)
    assert len(lasting) == 36
    assert torch.equal(lasting, theoretical_eigenvalues(system.Phi(), modulus=0.9))
    assert len(theoretical_eigenvalues(system)) == 64
    assert bool((lasting.angle().diff() >= 0).all())


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.floats(-0.05, 0.05), st.integers(0, 1000))
def test_a_small_rotation_is_measured_exactly_in_any_order(n: int, rotation: float, seed: int) -> None:
    theory = _unit(2 * np.pi * np.arange(n) / n)
    order = np.random.default_rng(seed).permutation(n)
    result = angle_error(theory, 1.3 * _unit(np.angle(theory) + rotation)[order])
    assert result.error == pytest.approx(abs(rotation), abs=1e-12)
    assert result.pairs.shape == (n, 2)


def test_angles_are_measured_around_the_circle_and_small_eigenvalues_do_not_count() -> None:
    result = angle_error(_unit(np.array([np.pi - 0.01])), _unit(np.array([-np.pi + 0.01])))
    assert result.error == pytest.approx(0.02, abs=1e-12)
    theory = np.concatenate([_unit(np.zeros(1)), _unit(np.ones(3), 0.2)])
    result = angle_error(theory, np.concatenate([_unit(np.zeros(1)), _unit(np.ones(5), 0.85)]))
    assert (result.n_theory, result.n_learned, result.error) == (1, 1, 0.0)


@pytest.mark.parametrize(("theory", "learned"), [(3, 2), (0, 2), (0, 0)])
def test_different_counts_are_indeterminate(theory: int, learned: int) -> None:
    result = angle_error(_unit(np.arange(theory)), _unit(np.arange(learned)))
    assert math.isnan(result.error)
    assert (result.n_theory, result.n_learned) == (theory, learned)
    assert len(result.pairs) == 0


def test_greedy_pairing_can_miss_the_best_one() -> None:
    theory, learned = _unit(np.array([0.0, 0.1])), _unit(np.array([0.06, -0.2]))
    # Each learned one is used once. In order of angle: 0 takes 0.06, and 0.1 is left with -0.2.
    assert angle_error(theory, learned).error == pytest.approx((0.06 + 0.3) / 2)
    assert angle_error(theory, learned, assignment="optimal").error == pytest.approx((0.2 + 0.04) / 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10_000))
def test_optimal_pairing_is_the_best_of_all(n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    theory, learned = (_unit(generator.uniform(-np.pi, np.pi, n)) for _ in range(2))
    optimal = angle_error(theory, learned, assignment="optimal")
    every = [np.abs(np.angle(learned[list(order)] / theory)).mean() for order in itertools.permutations(range(n))]
    assert optimal.error == pytest.approx(min(every), abs=1e-12)
    assert optimal.error <= angle_error(theory, learned).error + 1e-12
    assert sorted(np.angle(optimal.pairs[:, 1])) == pytest.approx(sorted(np.angle(learned)))


def test_moduli_are_compared_within_the_pairs() -> None:
    theory = _unit(2 * np.pi * np.arange(4) / 4)
    result = angle_error(theory, theory * np.array([1.01, 0.99, 1.02, 1.0]))
    assert result.error == pytest.approx(0.0, abs=1e-12)
    assert result.modulus_error == pytest.approx(0.01)
    assert math.isnan(angle_error(theory, theory[:3]).modulus_error)


@pytest.mark.parametrize("name", ["T2", "T3", "T4"])
def test_reduced_basis_keeps_what_lasts(name: str) -> None:
    assert len(reduced_basis(repeat_copy(3, 2).Phi()).keep) == 6
    system = paper_task(name)
    reduced = reduced_basis(system.Phi())
    assert len(reduced.keep) == 36
    assert bool(((eigenvalues(reduced.Phi).abs() - 1).abs() < 1e-6).all())
    used = {int(k) for k in reduced.keep}
    sources = set(system.F.abs().argmax(dim=1).tolist())
    assert sources <= used
    for k in sources:  # a wave is kept from the boundary down to the site that is read
        assert all(site in used for site in range(k, 64, 8))


@pytest.mark.parametrize("name", ["T1", "T2", "T3", "T4"])
def test_every_eigenvalue_counts_in_one_direction(name: str) -> None:
    theory = theoretical_eigenvalues(paper_task(name, 4, 4), 0.9).numpy()
    found = counts_by_direction(theory, 1.1 * theory * np.exp(0.02j))
    assert sum(n for _, n, _ in found) == len(theory)
    assert all(n == m for _, n, m in found)
    assert min(np.diff([angle for angle, _, _ in found])) > 0.3


def test_directions_merge_across_minus_pi() -> None:
    theory = np.exp(1j * np.array([np.pi - 1e-7, -np.pi + 1e-7, 0.0]))
    assert [(n, m) for _, n, m in counts_by_direction(theory, theory)] == [(1, 1), (2, 2)]
    with pytest.raises(ValueError, match="no theoretical eigenvalue"):
        counts_by_direction(theory[:0], theory)


@pytest.mark.parametrize(("s", "d"), [(1, 2), (4, 2), (5, 3), (8, 4)])
def test_repeat_copy_has_d_waves_in_any_basis(s: int, d: int) -> None:
    basis = random_basis(s * d, torch.Generator().manual_seed(0), N=s * d + 5)
    W_hh = basis.operator(repeat_copy(s, d).Phi().double())
    assert complete_waves(W_hh, s).item() == d
    assert complete_waves(torch.stack([W_hh, 0.5 * W_hh]), s).tolist() == [d, 0]
    assert phase_counts(torch.stack([W_hh, 0.5 * W_hh]), s).tolist() == [[d] * s, [0] * s]


def test_one_missing_eigenvalue_costs_a_whole_wave() -> None:
    s, d = 4, 2
    Phi = repeat_copy(s, d).Phi().double()
    # The same vector in every column returns after one step: an eigenvector of eigenvalue 1. Project it out.
    even = torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(s) / math.sqrt(s)
    torch.testing.assert_close(Phi @ even, even)
    assert complete_waves(Phi - torch.outer(even, even), s).item() == d - 1


def test_eigenvalues_between_the_phases_do_not_count() -> None:
    turn = math.pi / 4
    between = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    assert complete_waves(torch.block_diag(between, between), 4).item() == 0
    assert int(phase_counts(between, 4).sum()) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: eigenvalues(torch.zeros(2, 3)), "W has shape"),
        (lambda: eigenvalues(torch.full((2, 2), float("nan"))), "NaN"),
        (lambda: phase_counts(torch.eye(2), 0), "s = 0"),
        (lambda: snacci_constant(0), "s = 0"),
        (lambda: growth_polynomial(0), "s = 0"),
        (lambda: angle_error(np.zeros((2, 2, 2)), np.zeros(2)), "eigenvalues has shape"),
        (lambda: angle_error(np.zeros(2), np.zeros(2), modulus=-1), "modulus = -1"),
        (lambda: angle_error(np.zeros(2), np.zeros(2), assignment="best"), "assignment = 'best'"),
        (lambda: reduced_basis(torch.zeros(2, 3)), "W has shape|square|has shape"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
