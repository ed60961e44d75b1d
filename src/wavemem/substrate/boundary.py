"""Linear boundaries: the operator Φ, in the standard basis and in any other (Eqs. 6, 7, 27, 28, 29).

Φ has two parts. The first carries every column's content to the next lower column (the travelling waves); the second
computes the boundary f of the whole substrate and writes it into column s:

    Φ = Σ_{μ=1}^{(s-1)d} |ψ_μ⟩⟨ψ^{μ+d}|  +  Σ_{μ=(s-1)d+1}^{sd} Σ_ν Φ^μ_ν |ψ_μ⟩⟨ψ^ν|.

The vectors ψ_μ are the columns of ``Psi``, the covectors ψ^μ the rows of ``Psi_dual``; ⟨ψ^μ|ψ_ν⟩ = δ_μν. In the
standard basis both are identities and Φ is a block companion matrix. All operators are float64 unless a basis of another type
is given.

Source: Karuvally et al., ICML 2024, section 3.1 and appendices A.3, A.4.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import finite, positive_int, require, shape_is

__all__ = [
    "boundary_operator",
    "dual_of",
    "fibonacci_phi",
    "linear_boundary_operator",
    "phi_in_basis",
    "readout",
    "repeat_copy_phi",
    "shift_operator",
    "write",
]


def shift_operator(s: int, d: int, dtype: torch.dtype = torch.float64) -> Float[Tensor, "sd sd"]:
    """The travelling part of Φ in the standard basis: Σ_{μ=1}^{(s-1)d} |e_μ⟩⟨e^{μ+d}| (first sum of Eq. 6).

    Args:
        s: number of columns.
        d: number of waves.
        dtype: type of the result.

    Returns:
        Ones on the d-th superdiagonal: column i of the substrate receives column i + 1.

    Raises:
        ValueError: if s or d is not a positive whole number.
    """
    s, d = positive_int("s", s), positive_int("d", d)
    return torch.diag(torch.ones((s - 1) * d, dtype=dtype), d)


def boundary_operator(F: Float[Tensor, "d sd"]) -> Float[Tensor, "sd sd"]:
    """The boundary part of Φ in the standard basis (second sum of Eq. 6): F in the last d rows, zeros above.

    Args:
        F: the linear boundary f as a matrix acting on the flattened substrate.

    Returns:
        Square matrix of the type and device of F.

    Raises:
        ValueError: if the width of F is not a multiple of its height.
    """
    shape_is("F", F, ("d", "s*d"))
    d, width = int(F.shape[0]), int(F.shape[1])
    require(
        d > 0 and width > 0 and width % d == 0,
        f"F of shape {(d, width)}",
        "(d, s*d) with whole s and d",
        "The width of F must be a multiple of its height.",
    )
    return torch.cat([F.new_zeros(width - d, width), F])


def linear_boundary_operator(F: Float[Tensor, "d sd"]) -> Float[Tensor, "sd sd"]:
    """Φ of a linear boundary F in the standard basis (Eq. 6): shift plus boundary.

    Args:
        F: the boundary's matrix (d, s·d).

    Returns:
        Φ, with ``flatten(step(h)) == Phi @ flatten(h)``.

    Raises:
        ValueError: if the width of F is not a multiple of its height.
    """
    boundary = boundary_operator(F)
    d, width = int(F.shape[0]), int(F.shape[1])
    return shift_operator(width // d, d, dtype=F.dtype).to(F.device) + boundary


def dual_of(Psi: Float[Tensor, "n sd"]) -> Float[Tensor, "sd n"]:
    """The covectors of a basis: rows ψ^μ with ⟨ψ^μ|ψ_ν⟩ = δ_μν.

    The inverse of a square ``Psi``; its pseudo-inverse when the basis spans a subspace of a larger hidden space.

    Args:
        Psi: basis vectors as columns, in a space of n >= sd dimensions.

    Returns:
        Covectors as rows.

    Raises:
        ValueError: if the columns are linearly dependent to working precision.
    """
    shape_is("Psi", Psi, ("n", "s*d"))
    n, k = int(Psi.shape[0]), int(Psi.shape[1])
    require(
        n >= k, f"Psi of shape {(n, k)}", "at least as many rows as columns", "Basis vectors are columns; transpose?"
    )
    finite("Psi", Psi)
    singular = torch.linalg.svdvals(Psi.to(torch.float64))
    tolerance = n * torch.finfo(Psi.dtype).eps
    require(
        bool(singular[-1] > tolerance * singular[0]),
        f"Psi with condition number {float(singular[0] / singular[-1]):.1e}",
        f"up to {1 / tolerance:.1e} for {Psi.dtype}",
        "Its columns are linearly dependent; choose other basis vectors.",
    )
    return torch.linalg.inv(Psi) if n == k else torch.linalg.pinv(Psi)


def _vectors_and_covectors(basis: Any) -> tuple[Tensor, Tensor]:
    """Columns Psi and rows Psi_dual of a matrix or of any object that has both (``.Psi``, ``.dual``)."""
    if isinstance(basis, Tensor):
        return basis, dual_of(basis)
    require(
        hasattr(basis, "Psi") and hasattr(basis, "dual"),
        f"basis of type {type(basis).__name__}",
        "a matrix with basis vectors as columns, or an object with .Psi and .dual",
        "Pass a tensor or a Basis.",
    )
    return basis.Psi, basis.dual


def phi_in_basis(Phi: Float[Tensor, "sd sd"], basis: Any) -> Float[Tensor, "n n"]:
    """The same memory in another basis (Eq. 6): Σ_μν Φ^μ_ν |ψ_μ⟩⟨ψ^ν| = Psi Φ Psi_dual.

    Args:
        Phi: components Φ^μ_ν, i.e. the operator in the standard basis.
        basis: basis vectors as the columns of a matrix (n, s·d), or an object with ``.Psi`` and ``.dual``.

    Returns:
        The operator acting on the n-dimensional hidden state, in the type of the basis.

    Raises:
        ValueError: if Phi is not square, sizes differ, or the basis is linearly dependent.
    """
    shape_is("Phi", Phi, ("s*d", "s*d"))
    Psi, Psi_dual = _vectors_and_covectors(basis)
    size = int(Phi.shape[0])
    shape_is("Phi", Phi, (size, size))
    shape_is("Psi", Psi, ("n", size))
    return Psi @ Phi.to(dtype=Psi.dtype, device=Psi.device) @ Psi_dual


def fibonacci_phi(s: int, d: int, basis: Any = None) -> Float[Tensor, "n n"]:
    """Φ of the Generalized Fibonacci system (Eq. 27): the boundary writes the sum of all columns.

    Args:
        s: number of columns.
        d: number of waves.
        basis: None for the standard basis, else as in :func:`phi_in_basis`.

    Returns:
        The operator.

    Raises:
        ValueError: if s or d is not a positive whole number, or the basis does not fit.
    """
    s, d = positive_int("s", s), positive_int("d", d)
    Phi = linear_boundary_operator(torch.eye(d, dtype=torch.float64).repeat(1, s))
    return Phi if basis is None else phi_in_basis(Phi, basis)


def repeat_copy_phi(s: int, d: int, basis: Any = None) -> Float[Tensor, "n n"]:
    """Φ of repeat copy (Eq. 29): the boundary writes column 1 back into column s, so Φ is a cyclic shift by d.

    Args:
        s: number of columns.
        d: number of waves.
        basis: None for the standard basis, else as in :func:`phi_in_basis`.

    Returns:
        The operator.

    Raises:
        ValueError: if s or d is not a positive whole number, or the basis does not fit.
    """
    s, d = positive_int("s", s), positive_int("d", d)
    F = torch.eye(d, s * d, dtype=torch.float64)
    Phi = linear_boundary_operator(F)
    return Phi if basis is None else phi_in_basis(Phi, basis)


def readout(s: int, d: int, basis: Any = None) -> Float[Tensor, "d n"]:
    """W_r = Ψ_s^* = Σ_{μ=(s-1)d+1}^{sd} |e_{μ-(s-1)d}⟩⟨ψ^μ| (Eqs. 7 and 28): the content of column s, standard basis.

    Args:
        s: number of columns.
        d: number of waves.
        basis: None for the standard basis, else as in :func:`phi_in_basis`.

    Returns:
        The last d covectors as rows.

    Raises:
        ValueError: if s or d is not a positive whole number, or the basis does not have s·d vectors.
    """
    s, d = positive_int("s", s), positive_int("d", d)
    if basis is None:
        return torch.eye(s * d, dtype=torch.float64)[-d:]
    Psi, Psi_dual = _vectors_and_covectors(basis)
    shape_is("Psi", Psi, ("n", s * d))
    return Psi_dual[-d:]


def write(s: int, d: int, basis: Any = None) -> Float[Tensor, "n d"]:
    """W_uh = Ψ_s (Eq. 29): an input becomes the content of column s.

    Args:
        s: number of columns.
        d: number of waves.
        basis: None for the standard basis, else as in :func:`phi_in_basis`.

    Returns:
        The last d basis vectors as columns.

    Raises:
        ValueError: if s or d is not a positive whole number, or the basis does not have s·d vectors.
    """
    s, d = positive_int("s", s), positive_int("d", d)
    if basis is None:
        return torch.eye(s * d, dtype=torch.float64)[:, -d:]
    Psi = basis if isinstance(basis, Tensor) else basis.Psi
    shape_is("Psi", Psi, ("n", s * d))
    return Psi[:, -d:]
