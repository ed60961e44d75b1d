"""Spectra of memory operators: what theory predicts, what training leaves, and how far apart the two are.

The comparison is the one behind Table 1 of the travelling-wave paper: eigenvalues of modulus > 0.9 of both operators, each
theoretical one paired greedily with the nearest unused learned one by angle, mean absolute angle in radians. Where the counts
differ the error is indeterminate, which is NaN here and a dash in the table; it is never a number. Beside the greedy pairing
stands the optimal one, whose sum of angles no other pairing undercuts, and the difference of the paired moduli.

Source: Karuvally et al., ICML 2024, section 4.1, Table 1, appendix A.3; details of the comparison from the public code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from wavemem.checks import finite, number_in, one_of, positive_int, require, shape_is


def eigenvalues(W: Float[Tensor, "*batch n n"]) -> Complex[Tensor, "*batch n"]:
    """Eigenvalues of one or many real matrices, in double precision on the CPU, in no particular order.

    Args:
        W: square matrices.

    Returns:
        complex128 eigenvalues.

    Raises:
        ValueError: if W is not square in its last two axes or holds NaN or infinite numbers.
    """
    matrix = torch.as_tensor(W).detach().to(device="cpu", dtype=torch.float64)
    shape_is("W", matrix, ("...", matrix.shape[-1], matrix.shape[-1]))
    finite("W", matrix)
    return torch.linalg.eigvals(matrix)


def theoretical_eigenvalues(system: Any, modulus: float = 0.0) -> Complex[Tensor, " n"]:
    """Eigenvalues of the Φ of a linear system, those above a modulus.

    Args:
        system: anything with a ``Phi()`` method (a ``LinearHDS``), or Φ itself.
        modulus: only eigenvalues of larger modulus are returned; 0 keeps all.

    Returns:
        complex128 eigenvalues, sorted by angle from -π to π.

    Raises:
        ValueError: if Φ is not a square matrix of finite numbers.
    """
    values = eigenvalues(system.Phi() if hasattr(system, "Phi") else system)
    if modulus > 0:
        values = values[values.abs() > modulus]
    return values[torch.argsort(values.angle(), stable=True)]


def growth_polynomial(s: int) -> Float[Tensor, " s_plus_two"]:
    """Coefficients, highest power first, of x^{s+1} - 2x^s + 1.

    It is (x - 1) times the characteristic polynomial x^s - x^{s-1} - ... - 1 of the s-nacci recursion, so its roots are
    the growth factors of the Generalized Fibonacci system (each d times in Φ) and 1.

    Raises:
        ValueError: if s is not a positive whole number.
    """
    s = positive_int("s", s)
    coefficients = torch.zeros(s + 2, dtype=torch.float64)
    coefficients[0], coefficients[1] = 1.0, -2.0
    coefficients[-1] += 1.0
    return coefficients


def snacci_constant(s: int) -> float:
    """The growth factor of the s-nacci numbers: the largest root of x^s = x^{s-1} + ... + x + 1.

    1 for s = 1, the golden ratio for s = 2, the tribonacci constant 1.839... for s = 3, approaching 2 like 2 - 2^{-s}.

    Args:
        s: how many predecessors are summed.

    Returns:
        The constant, to double precision.

    Raises:
        ValueError: if s is not a positive whole number.
    """
    s = positive_int("s", s)
    if s == 1:
        return 1.0
    x = 2.0
    for _ in range(200):
        # x^{s+1} - 2x^s + 1 = 0 rewritten as x = 2 - x^{-s}: a contraction near the root for every s >= 2.
        following = 2.0 - x**-s
        if following == x:
            break
        x = following
    return x


@dataclass(frozen=True)
class SpectralError:
    """How far a learned spectrum is from a theoretical one.

    Attributes:
        error: mean absolute difference of the paired angles in radians; NaN (indeterminate) if the counts differ or
            neither operator has an eigenvalue above the threshold.
        n_theory: theoretical eigenvalues above the threshold.
        n_learned: learned eigenvalues above the threshold.
        pairs: (theoretical, learned) eigenvalues that were paired, complex, shape (n, 2); empty if indeterminate.
    """

    error: float
    n_theory: int
    n_learned: int
    pairs: np.ndarray

    @property
    def modulus_error(self) -> float:
        """Mean absolute difference of the moduli of the pairs; NaN where the comparison is indeterminate."""
        if len(self.pairs) == 0:
            return math.nan
        return float(np.abs(np.abs(self.pairs[:, 1]) - np.abs(self.pairs[:, 0])).mean())


def _spectrum(values: Any) -> np.ndarray:
    """Eigenvalues as a complex vector, from eigenvalues or from a square matrix."""
    tensor = torch.as_tensor(values).detach().cpu()
    if tensor.dim() == 2:
        tensor = eigenvalues(tensor)
    shape_is("eigenvalues", tensor, ("n",))
    return tensor.to(torch.complex128).numpy()


def _greedy(distance: np.ndarray) -> np.ndarray:
    """For each row in turn the nearest column that no earlier row took."""
    unused = np.ones(len(distance), dtype=bool)
    chosen = np.empty(len(distance), dtype=int)
    for row in range(len(distance)):
        chosen[row] = int(np.argmin(np.where(unused, distance[row], np.inf)))
        unused[chosen[row]] = False
    return chosen


def angle_error(
    theory: Any, learned: Any, modulus: float = 0.9, assignment: Literal["greedy", "optimal"] = "greedy"
) -> SpectralError:
    """The spectral error of Table 1.

    Eigenvalues of modulus > ``modulus`` of both operators are kept. If their numbers agree, each theoretical one is paired
    with a learned one, and the absolute differences of the angles, measured around the circle, are averaged. The greedy
    pairing (the paper's) gives each theoretical eigenvalue, in order of angle, the nearest unused learned one; the optimal
    one minimises the mean itself, so its error is never larger.

    Args:
        theory: theoretical eigenvalues, or Φ itself.
        learned: learned eigenvalues, or the learned matrix.
        modulus: threshold on the modulus.
        assignment: "greedy" or "optimal".

    Returns:
        The error with the counts and the pairs; NaN where it is indeterminate.

    Raises:
        ValueError: if an argument is neither a vector of eigenvalues nor a square matrix, the threshold is negative, or the
            assignment is unknown.
    """
    modulus = number_in("modulus", modulus, 0.0, math.inf)
    one_of("assignment", assignment, ("greedy", "optimal"))
    kept_theory, kept_learned = (values[np.abs(values) > modulus] for values in (_spectrum(theory), _spectrum(learned)))
    n_theory, n_learned = len(kept_theory), len(kept_learned)
    if n_theory != n_learned or n_theory == 0:
        return SpectralError(math.nan, n_theory, n_learned, np.zeros((0, 2), dtype=complex))
    kept_theory = kept_theory[np.argsort(np.angle(kept_theory), kind="stable")]
    # Angle of the quotient: the difference around the circle, so that π and -π are neighbours.
    distance = np.abs(np.angle(kept_learned[None, :] * np.conj(kept_theory[:, None])))
    chosen = _greedy(distance) if assignment == "greedy" else linear_sum_assignment(distance)[1]
    error = float(distance[np.arange(n_theory), chosen].mean())
    return SpectralError(error, n_theory, n_learned, np.stack([kept_theory, kept_learned[chosen]], axis=1))


def counts_by_direction(
    theory: Complex[np.ndarray, " n"], learned: Complex[np.ndarray, " m"]
) -> list[tuple[float, int, int]]:
    """How many eigenvalues lie in each direction of the theory (Fig. 6 of the paper).

    Args:
        theory: theoretical eigenvalues; angles closer than 1e-3 are one direction.
        learned: learned ones; each counts for the direction nearest to it in angle.

    Returns:
        (angle, theoretical count, learned count) of every direction, by increasing angle.

    Raises:
        ValueError: if there is no theoretical eigenvalue.
    """
    require(
        len(theory) > 0, "no theoretical eigenvalue", "at least one", "Lower the modulus above which they are kept."
    )
    width = 1e-3
    angles = np.angle(theory)
    angles[angles < width - np.pi] += 2 * np.pi  # either side of the negative axis is one direction
    angles.sort()
    groups = np.split(angles, np.flatnonzero(np.diff(angles) > width) + 1)
    centres = np.array([group.mean() for group in groups])
    nearest = np.abs(np.angle(learned[:, None] * np.exp(-1j * centres))).argmin(1)
    counts = np.bincount(nearest, minlength=len(groups))
    return [(float(c), len(group), int(k)) for c, group, k in zip(centres, groups, counts, strict=True)]


@dataclass(frozen=True)
class ReducedBasis:
    """The part of Φ that its lasting dynamics need (the authors' 'optimized basis').

    Attributes:
        keep: kept entries of the flattened substrate, increasing.
        Phi: Φ restricted to these rows and columns.
    """

    keep: Int[Tensor, " m"]
    Phi: Float[Tensor, "m m"]


def reduced_basis(Phi: Float[Tensor, "n n"], modulus: float = 0.8) -> ReducedBasis:
    """Keep the rows and columns of Φ whose removal lowers the number of eigenvalues of modulus > ``modulus``.

    What is dropped are substrate sites that no wave needs to pass: entries whose content leaves through the open end unread.

    Args:
        Phi: the operator in the standard basis.
        modulus: threshold on the modulus.

    Returns:
        The kept entries and the reduced operator.

    Raises:
        ValueError: if Phi is not a square matrix of finite numbers.
    """
    full = torch.as_tensor(Phi).detach().to(device="cpu", dtype=torch.float64)
    count = int((eigenvalues(full).abs() > modulus).sum())
    keep = []
    for k in range(full.shape[0]):
        others = torch.cat([torch.arange(k), torch.arange(k + 1, full.shape[0])])
        remaining = eigenvalues(full[others][:, others])
        if int((remaining.abs() > modulus).sum()) < count:
            keep.append(k)
    kept = torch.tensor(keep, dtype=torch.long)
    return ReducedBasis(kept, full[kept][:, kept])


def phase_counts(
    W_hh: Float[Tensor, "*runs N N"], s: int, modulus: float = 0.9, within: float = math.inf
) -> Int[Tensor, "*runs s"]:
    """Number of persistent eigenvalues at each of the phases 2πk/s of a cycle of s steps.

    Every eigenvalue above the threshold is counted at the phase nearest to it (the boxes in Figs. 6, 8 and 9 of the paper).

    Args:
        W_hh: recurrent weights.
        s: columns of the substrate.
        modulus: eigenvalues above it are counted.
        within: largest distance to the phase, in distances between phases; by default any.

    Returns:
        Counts, phase 0 first, on the CPU.

    Raises:
        ValueError: if s is not a positive integer, the threshold is negative, or the matrices are not square and finite.
    """
    s = positive_int("s", s)
    modulus = number_in("modulus", modulus, 0.0, math.inf)
    values = eigenvalues(W_hh)
    turns = values.angle() * s / (2 * torch.pi)
    counted = ((turns - turns.round()).abs() < within) & (values.abs() > modulus)
    phase = turns.round().long() % s
    return torch.stack([((phase == k) & counted).sum(-1) for k in range(s)], dim=-1)


def complete_waves(W_hh: Float[Tensor, "*runs N N"], s: int, modulus: float = 0.9) -> Int[Tensor, "*runs"]:
    """How many full sets of the s phases 2πk/s the lasting eigenvalues have: d for repeat copy of d-dimensional vectors.

    The count at the phase that has fewest, of eigenvalues closer to it than a quarter of the distance between phases. It does
    not say that anything travels (for that, `wavemem.theory.waves`). Arguments and errors as of `phase_counts`.
    """
    return phase_counts(W_hh, s, modulus, within=0.25).amin(-1)
