"""Bases and their duals: Dirac's notation made concrete (TWM Eq. 18).

A vector of the hidden space is one thing; its components depend on the basis in which it is read. A `Basis` holds
the basis vectors as the columns of ``Psi`` and the covectors as the rows of ``Psi_dual``, tied together by::

    ⟨ψ^μ|ψ_ν⟩ = δ^μ_ν,        |v⟩ = v^μ |ψ_μ⟩ = ⟨ψ^μ|v⟩ |ψ_μ⟩        (TWM Eq. 18)

Where the paper's symbols meet the code::

    |ψ_μ⟩, μ = 1..n              Psi[:, μ - 1]         (N,)
    ⟨ψ^μ|                        Psi_dual[μ - 1]       (N,)
    components v^μ of |v⟩        components(v)         (n,)
    Ψ_i, column i of a substrate block(i - 1, d)       (N, d)
    Ψ*_i, its covectors          dual_block(i - 1, d)  (d, N)

``N`` is the number of neurons and ``n`` the number of basis vectors. With n = N the covectors are the inverse matrix.
With n < N the vectors span a subspace, and the covectors are the Moore-Penrose inverse: the one dual whose rows vanish
on the orthogonal complement of that subspace, so that reading a state ignores whatever else the neurons do.

Source: Karuvally, Sejnowski and Siegelmann (2024), section 3.1 and appendix A.1.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import finite, one_of, positive_int, require, shape_is


class Basis:
    """n linearly independent vectors of R^N together with their covectors (TWM Eq. 18).

    Args:
        Psi: the basis vectors as columns, shape (N, n) with n <= N.
        max_condition: largest ratio of extreme singular values to accept. Duality is lost in proportion to condition number
            × machine epsilon; the default keeps that product at 1e-3 or below, and never exceeds 1e8, beyond which a basis
            is degenerate in all but name: 1e8 for float64, about 8.4e3 for float32.

    Attributes:
        Psi: (N, n), the vectors ``|ψ_μ⟩`` as columns.
        dual: (n, N), the covectors ``⟨ψ^μ|`` as rows: the paper's Ψ*.
        condition: ratio of the largest to the smallest singular value of `Psi` (1 for an orthonormal basis).

    Raises:
        ValueError: if `Psi` is not a finite floating matrix, has more columns than rows, or its columns are linearly
            dependent to within `max_condition`.
    """

    def __init__(self, Psi: Float[Tensor, "N n"], max_condition: float | None = None) -> None:
        shape_is("Psi", Psi, ("N", "n"))
        N, n = Psi.shape
        require(0 < n <= N, f"{n} vectors in {N} dimensions", "1 to as many", "Vectors are columns: transpose Psi?")
        require(
            Psi.is_floating_point(), f"Psi of {Psi.dtype}", "a floating type", "Convert it with .to(torch.float64)."
        )
        finite("Psi", Psi)
        limit = min(1e8, 1e-3 / torch.finfo(Psi.dtype).eps) if max_condition is None else max_condition
        # One SVD gives both the condition number and the covectors; double precision costs nothing at these sizes.
        U, S, Vh = torch.linalg.svd(Psi.to(torch.float64), full_matrices=False)
        condition = float(S[0] / S[-1]) if float(S[-1]) > 0 else float("inf")
        require(
            condition <= limit,
            f"vectors with condition number {condition:.3g}",
            f"at most {limit:.3g} for {Psi.dtype}",
            "The vectors are (nearly) linearly dependent: drop the redundant ones or draw another basis.",
        )
        self.Psi: Float[Tensor, "N n"] = Psi
        self.dual: Float[Tensor, "n N"] = ((Vh.mT / S) @ U.mT).to(Psi.dtype)
        self.condition: float = condition

    @property
    def N(self) -> int:
        """Dimensions of the space the vectors live in (neurons)."""
        return self.Psi.shape[0]

    @property
    def n(self) -> int:
        """Number of basis vectors."""
        return self.Psi.shape[1]

    def components(self, v: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch n"]:
        """``v^μ = ⟨ψ^μ|v⟩``: read vectors, one number per neuron, in this basis (TWM Eq. 18).

        For n < N, these are the components of the orthogonal projection onto the span.

        Raises:
            ValueError: if the last dimension of `v` is not N.
        """
        shape_is("v", v, ("...", self.N))
        return v @ self.dual.mT

    def vector(self, c: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch N"]:
        """``|v⟩ = v^μ |ψ_μ⟩``: the vectors with components `c`, in standard coordinates (TWM Eq. 18).

        Raises:
            ValueError: if the last dimension of `c` is not n.
        """
        shape_is("c", c, ("...", self.n))
        return c @ self.Psi.mT

    def operator(self, Phi: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch N N"]:
        """``Φ^μ_ν |ψ_μ⟩⟨ψ^ν|``: the matrix among neurons whose matrix in this basis is `Phi` (TWM Eqs. 6, 25).

        For n < N it sends the orthogonal complement of the span to zero.

        Raises:
            ValueError: if `Phi` is not (..., n, n).
        """
        shape_is("Phi", Phi, ("...", self.n, self.n))
        return self.Psi @ Phi @ self.dual

    def matrix(self, W: Float[Tensor, "*batch N N"]) -> Float[Tensor, "*batch n n"]:
        """``⟨ψ^μ|W|ψ_ν⟩``: what the operator `W` among neurons does, seen in this basis; undoes `operator`.

        Raises:
            ValueError: if `W` is not (..., N, N).
        """
        shape_is("W", W, ("...", self.N, self.N))
        return self.dual @ W @ self.Psi

    def block(self, i: int, d: int) -> Float[Tensor, "N d"]:
        """The d vectors of column i (0-based, oldest first) of an s × d substrate: ``Ψ_{i+1}`` in the paper.

        Raises:
            ValueError: if n is not a multiple of d or there is no column i.
        """
        i = self._column(i, d)
        return self.Psi[:, i * d : (i + 1) * d]

    def dual_block(self, i: int, d: int) -> Float[Tensor, "d N"]:
        """The d covectors of column i (0-based, oldest first): ``Ψ*_{i+1}`` in the paper; i = -1 reads the newest.

        Raises:
            ValueError: if n is not a multiple of d or there is no column i.
        """
        i = self._column(i, d)
        return self.dual[i * d : (i + 1) * d]

    def _column(self, i: int, d: int) -> int:
        positive_int("d", d)
        s = self.n // d
        require(self.n % d == 0, f"d = {d} for a basis of {self.n} vectors", "a divisor of their number", "n is s·d.")
        require(-s <= i < s, f"column i = {i}", f"{-s} <= i < {s}", "Column 0 is the oldest stored vector.")
        return i % s

    def __repr__(self) -> str:
        return f"Basis(N={self.N}, n={self.n}, condition={self.condition:.3g}, dtype={self.Psi.dtype})"


def standard_basis(n: int, N: int | None = None) -> Basis:
    """The basis ``|e_1⟩ … |e_n⟩`` in which component and neuron are the same thing.

    Args:
        n: number of basis vectors.
        N: dimension of the space, n by default; with N > n the first n neurons carry the memory.

    Returns:
        The basis, its own dual.

    Raises:
        ValueError: if n or N is not a positive integer or n > N.
    """
    return Basis(torch.eye(positive_int("N", n if N is None else N), positive_int("n", n), dtype=torch.float64))


def random_basis(
    n: int,
    generator: torch.Generator,
    kind: Literal["gaussian", "orthogonal"] = "gaussian",
    N: int | None = None,
) -> Basis:
    """A basis drawn at random, in which no vector is special.

    Args:
        n: number of basis vectors.
        generator: source of randomness (on the CPU).
        kind: ``"gaussian"``: independent normal entries of variance 1/N, linearly independent with probability one
            but neither orthogonal nor of equal length; ``"orthogonal"``: orthonormal vectors, uniformly distributed.
        N: dimension of the space, n by default.

    Returns:
        The basis and its dual.

    Raises:
        ValueError: if n or N is not a positive integer, n > N, `kind` is unknown, or the draw is too ill-conditioned
            (for n = N of the order of one draw in 10^6; choose n < N or another seed).
    """
    n, N = positive_int("n", n), positive_int("N", n if N is None else N)
    one_of("kind", kind, ("gaussian", "orthogonal"))
    Psi = torch.randn(N, n, generator=generator, dtype=torch.float64) / N**0.5
    if kind == "orthogonal":
        Q, R = torch.linalg.qr(Psi)
        # The signs of R's diagonal are a convention of the factorisation; undoing it makes Q uniformly distributed.
        Psi = Q * torch.sign(torch.diagonal(R))
    return Basis(Psi)
