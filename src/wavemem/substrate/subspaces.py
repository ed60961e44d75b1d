"""Invariant subspaces of a recurrent matrix: what persists, what dies out, and how to remove the latter.

Schur vectors are used throughout: they span an invariant subspace even where eigenvectors do not, as in the Jordan blocks of
the Φ of tasks that let entries leave the substrate unread.

Source: Karuvally, Sejnowski and Siegelmann, ICML 2024, Algorithm 1 ("remove the components along transient directions").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import finite, number_in, one_of, positive_int, shape_is

__all__ = ["Projection", "invariant_subspace", "persistent_subspace", "transient_projector"]

Projection = Literal["orthogonal", "spectral"]


def invariant_subspace(W: Float[Tensor, "N N"], chosen: Callable[[complex], bool]) -> Float[Tensor, "N k"]:
    """Real orthonormal basis of the invariant subspace that belongs to some eigenvalues.

    Args:
        W: a real matrix.
        chosen: which eigenvalues. Both of a complex pair must be chosen or neither; then the projector onto the complex Schur
            vectors is real and its range has a real basis.

    Returns:
        As many columns as eigenvalues are chosen, float64.

    Raises:
        ValueError: if W is not square and finite.
    """
    matrix = _square(W)
    # The stubs of SciPy take no function of a complex number here; SciPy does.
    schur: Any = scipy.linalg.schur
    _, vectors, count = schur(matrix.numpy(), output="complex", sort=chosen)
    if count == 0:
        return matrix.new_zeros((matrix.shape[0], 0))
    leading = vectors[:, :count]
    stacked = np.concatenate([leading.real, leading.imag], axis=1)
    left, _, _ = np.linalg.svd(stacked, full_matrices=False)
    return torch.from_numpy(np.ascontiguousarray(left[:, :count]))


def _square(W: Tensor) -> Tensor:
    shape_is("W", W, ("N", W.shape[0]))
    matrix = torch.as_tensor(W).detach().to(device="cpu", dtype=torch.float64)
    finite("W", matrix)
    return matrix


def persistent_subspace(W: Float[Tensor, "N N"], size: int) -> Float[Tensor, "N m"]:
    """Invariant subspace of the largest eigenvalues by modulus.

    Args:
        W: a real matrix.
        size: how many eigenvalues; one more is taken where the cut would separate a complex pair.

    Returns:
        Orthonormal columns, float64.

    Raises:
        ValueError: if W is not square and finite or size is not positive.
    """
    matrix, size = _square(W), positive_int("size", size)
    moduli = torch.linalg.eigvals(matrix).abs().sort(descending=True).values
    # The two of a pair have the same modulus up to rounding.
    while size < len(moduli) and moduli[size - 1] - moduli[size] <= 1e-9 * moduli[size - 1]:
        size += 1
    if size >= len(moduli):
        return torch.eye(matrix.shape[0], dtype=torch.float64)
    threshold = float((moduli[size - 1] + moduli[size]) / 2)
    return invariant_subspace(matrix, lambda value: abs(value) > threshold)


def transient_projector(
    W_hh: Float[Tensor, "N N"], alpha: float, projection: Projection = "orthogonal"
) -> Float[Tensor, "N N"]:
    """What removes the transient directions E, those of the eigenvalues of modulus below α.

    Args:
        W_hh: recurrent weights.
        alpha: 0 to 1; 0 removes nothing, 1 is the λ(E) < 1 that Algorithm 1 prints.
        projection: "orthogonal" is Algorithm 1's 1 − EE†, with E a basis of the whole transient invariant subspace. Where W_hh
            is not normal it removes too much: a persistent direction that is not at right angles to E loses its shadow on E,
            and what is left is no longer invariant. "spectral" removes E *along* the persistent directions, leaves those as
            they are, and commutes with W_hh.

    Returns:
        The projector, float64.

    Raises:
        ValueError: if W_hh is not square and finite, α lies outside [0, 1] or the projection is unknown.
    """
    W = _square(W_hh)
    alpha = number_in("alpha", alpha, 0.0, 1.0)
    one_of("projection", projection, ("orthogonal", "spectral"))
    identity = torch.eye(W.shape[0], dtype=torch.float64)
    if alpha == 0.0:
        return identity
    # A perfect wave has |λ| = 1 up to rounding: it must not fall to α = 1.
    limit = alpha * (1 - 1e-9)
    if projection == "orthogonal":
        E = invariant_subspace(W, lambda value: abs(value) < limit)
        return identity - E @ E.mT
    right = invariant_subspace(W, lambda value: abs(value) >= limit)
    left = invariant_subspace(W.mT.contiguous(), lambda value: abs(value) >= limit)
    return right @ torch.linalg.solve(left.mT @ right, left.mT)
