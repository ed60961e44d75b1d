"""The substrate, d independent waves travelling over s columns, and the boundary that feeds them (Eqs. 3, 6, 7, 24, 27 to 29).

The state h has shape (..., s, d): column i = 1, ..., s of the papers is index i - 1. Activity travels from column s
(index -1), where the boundary writes, down to column 1 (index 0), whose end is open. At every step

    h_i(t+1) = h_{i+1}(t)              for 1 <= i < s,
    h_s(t+1) = f(h_s(t), ..., h_1(t)).

(Eq. 3 is printed with h_{i-1} on the right; Eq. 24 in the appendix has h_{i+1}, which is what "from column s down to
column 1" says. The errata page works this out.) Theorem 3.1, every HDS is a substrate with the boundary f, is :func:`run`
started from the history.

With a linear f one step is the operator Φ. Its first part carries every column's content to the next lower column (the
travelling waves); the second computes the boundary of the whole substrate and writes it into column s:

    Φ = Σ_{μ=1}^{(s-1)d} |ψ_μ⟩⟨ψ^{μ+d}|  +  Σ_{μ=(s-1)d+1}^{sd} Σ_ν Φ^μ_ν |ψ_μ⟩⟨ψ^ν|.

The vectors ψ_μ are the columns of ``Psi``, the covectors ψ^μ the rows of ``Psi_dual``; ⟨ψ^μ|ψ_ν⟩ = δ_μν. In the
standard basis both are identities and Φ is a block companion matrix. All operators are float64 unless a basis of another type
is given.

Repeat copy in closed form (appendix A.4, Eqs. 29-38). The network of Eq. 29 writes its input into the newest column of the
substrate, lets it travel, and feeds what leaves the oldest column back into the newest::

    h(t) = W_hh h(t-1) + W_uh u(t),   y(t) = W_r h(t),   W_hh = Ψ Φ Ψ*,   W_uh = Ψ_s,   W_r = Ψ*_s      (TWM Eq. 29)

The functions here do not step that recurrence. They place each vector where the derivation says it must be, so that they
and the recurrence can be tested against each other.

With vectors μ = 1..s, dimensions i = 1..d and ``|ψ_k⟩`` numbered k = 1..sd, oldest column first::

    |h(t)⟩   = Σ_{μ=1}^{t} u^i(μ) |ψ_{(s-t+μ-1)d+i}⟩             1 <= t <= s     (TWM Eqs. 33, 36, 37)
    |h(s+t)⟩ = Σ_{μ=1}^{s} u^i(μ) |ψ_{((μ-t-1) mod s)d+i}⟩       t >= 0          (TWM Eq. 38, corrected)

Difference from the paper. Eq. 38 prints the index as ``((μ-t-1 mod s)+1)d+i``. That is one block of d too far: at t = 0
it places vector μ at ``μd+i``, where Eq. 37 has ``(μ-1)d+i``, and for the newest vector it asks for a basis vector beyond
``ψ_sd``. The sentence below the equation is right: vector μ is in subspace number ``((μ-t-1) mod s) + 1``; subspace number
c holds the vectors ``(c-1)d+1 .. cd``.

Source: Karuvally et al., ICML 2024, sections 3 and 3.1, appendices A.2 to A.4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, require, shape_is
from wavemem.theory.basis import Basis, standard_basis
from wavemem.theory.hds import generalized_fibonacci, repeat_copy


def _of(basis: Tensor | Basis | None, size: int) -> Basis:
    """A basis of so many vectors: the standard basis for None, that of the columns of a matrix."""
    if basis is None:
        return standard_basis(size)
    shape_is("Psi", basis if isinstance(basis, Tensor) else basis.Psi, ("n", size))
    return Basis(basis) if isinstance(basis, Tensor) else basis


def phi_in_basis(Phi: Float[Tensor, "sd sd"], basis: Tensor | Basis) -> Float[Tensor, "n n"]:
    """The same memory in another basis (Eq. 6): Σ_μν Φ^μ_ν |ψ_μ⟩⟨ψ^ν| = Psi Φ Psi_dual.

    Args:
        Phi: components Φ^μ_ν, i.e. the operator in the standard basis.
        basis: a basis, or its vectors as the columns of a matrix (n, s·d).

    Returns:
        The operator acting on the n-dimensional hidden state, in the type of the basis.

    Raises:
        ValueError: if Phi is not square, sizes differ, or the basis is linearly dependent.
    """
    shape_is("Phi", Phi, ("s*d", Phi.shape[0]))
    chosen = _of(basis, int(Phi.shape[0]))
    return chosen.operator(Phi.to(chosen.Psi))


def fibonacci_phi(s: int, d: int, basis: Tensor | Basis | None = None) -> Float[Tensor, "n n"]:
    """Φ of the Generalized Fibonacci system (Eq. 27): the boundary writes the sum of all columns.

    Args:
        s: number of columns.
        d: number of waves.
        basis: None for the standard basis, else as in :func:`phi_in_basis`.

    Raises:
        ValueError: if s or d is not a positive whole number, or the basis does not fit.
    """
    Phi = generalized_fibonacci(s, d).Phi()
    return Phi if basis is None else phi_in_basis(Phi, basis)


def repeat_copy_phi(s: int, d: int, basis: Tensor | Basis | None = None) -> Float[Tensor, "n n"]:
    """Φ of repeat copy (Eq. 29): the boundary writes column 1 back into column s, so Φ is a cyclic shift by d.

    Arguments and errors as in :func:`fibonacci_phi`.
    """
    Phi = repeat_copy(s, d).Phi()
    return Phi if basis is None else phi_in_basis(Phi, basis)


def readout(s: int, d: int, basis: Tensor | Basis | None = None) -> Float[Tensor, "d n"]:
    """W_r = Ψ_s^* = Σ_{μ=(s-1)d+1}^{sd} |e_{μ-(s-1)d}⟩⟨ψ^μ| (Eqs. 7 and 28): the content of column s, standard basis.

    The last d covectors as rows. Arguments and errors as in :func:`fibonacci_phi`.
    """
    s, d = positive_int("s", s), positive_int("d", d)
    return _of(basis, s * d).dual[-d:]


def write(s: int, d: int, basis: Tensor | Basis | None = None) -> Float[Tensor, "n d"]:
    """W_uh = Ψ_s (Eq. 29): an input becomes the content of column s.

    The last d basis vectors as columns. Arguments and errors as in :func:`fibonacci_phi`.
    """
    s, d = positive_int("s", s), positive_int("d", d)
    return _of(basis, s * d).Psi[:, -d:]


def shift(h: Float[Tensor, "*batch s d"]) -> Float[Tensor, "*batch s d"]:
    """One step of free travel: every column takes what its upper neighbour held, column s is left empty.

    This is the first line of Eqs. 3 and 24 alone; what column 1 held leaves through the open end.

    Raises:
        ValueError: if h has fewer than two axes.
    """
    return step(h, lambda h: torch.zeros_like(h[..., 0, :]))


def step(h: Float[Tensor, "*batch s d"], boundary: Callable[[Tensor], Tensor]) -> Float[Tensor, "*batch s d"]:
    """One step of the substrate with a boundary, Eqs. 3 and 24.

    Args:
        h: substrate states.
        boundary: f, from states (..., s, d) to the activity (..., d) that is written into column s.

    Returns:
        The states one step later.

    Raises:
        ValueError: if h has fewer than two axes or the boundary's result does not fit a column.
    """
    shape_is("h", h, ("...", "s", "d"))
    written = boundary(h)
    shape_is("boundary(h)", written, (*h.shape[:-2], h.shape[-1]))
    return torch.cat([h[..., 1:, :], written.unsqueeze(-2)], dim=-2)


def run(
    h0: Float[Tensor, "*batch s d"], boundary: Callable[[Tensor], Tensor], steps: int
) -> Float[Tensor, "time *batch s d"]:
    """The substrate's states over ``steps`` steps, started from h0 (Theorem 3.1 when h0 is an HDS's history).

    Args:
        h0: initial states.
        boundary: f as in :func:`step`.
        steps: how many steps to take; 0 returns the initial state alone.

    Returns:
        States at times 0, ..., steps, time first.

    Raises:
        ValueError: if steps is negative or shapes do not fit.
    """
    steps = positive_int("steps", steps, minimum=0)
    states = [h0]
    for _ in range(steps):
        states.append(step(states[-1], boundary))
    return torch.stack(states)


def subspace(mu: int, t: int, s: int) -> int:
    """Number of the subspace that holds vector `mu` at t steps after the input phase: ((μ-t-1) mod s) + 1 (TWM Eq. 38).

    Args:
        mu: which stored vector, 1 (oldest) .. s (newest).
        t: steps since the end of the input phase, t >= 0.
        s: columns of the substrate.

    Returns:
        The subspace, 1 (oldest column) .. s (newest column, where the output is read).

    Raises:
        ValueError: if s is not a positive integer, `mu` is outside 1..s or t is negative.
    """
    s, mu, t = positive_int("s", s), positive_int("mu", mu), positive_int("t", t, minimum=0)
    require(mu <= s, f"mu = {mu}", f"1 <= mu <= s = {s}", "Stored vectors are numbered from 1, as in the paper.")
    return (mu - t - 1) % s + 1


def input_phase_state(u: Float[Tensor, "*batch s d"], t: int, basis: Basis | None = None) -> Float[Tensor, "*batch N"]:
    """The hidden state after t of the s inputs have been written (TWM Eqs. 33, 36, 37).

    Args:
        u: the inputs, u[..., 0, :] first (the oldest).
        t: steps since the start, 0 <= t <= s.
        basis: the s·d vectors of the substrate; the standard basis by default.

    Returns:
        The state in standard coordinates (one number per neuron).

    Raises:
        ValueError: if u is not (..., s, d), t is outside 0..s or the basis does not have s·d vectors.
    """
    shape_is("u", u, ("...", "s", "d"))
    s, t = u.shape[-2], positive_int("t", t, minimum=0)
    require(t <= s, f"t = {t}", f"0 <= t <= s = {s}", "output_phase_state continues where the input phase ends.")
    h = u.new_zeros(u.shape)
    # The t vectors written so far fill the newest t columns, in their order of arrival.
    if t > 0:
        h[..., s - t :, :] = u[..., :t, :]
    return _in_basis(h, basis)


def output_phase_state(u: Float[Tensor, "*batch s d"], t: int, basis: Basis | None = None) -> Float[Tensor, "*batch N"]:
    """The hidden state t steps after the input phase (TWM Eq. 38 with its index corrected; Eq. 37 at t = 0).

    Arguments, result and errors as of `input_phase_state`, but for t, which may be any number of steps.
    """
    shape_is("u", u, ("...", "s", "d"))
    h, s = torch.empty_like(u), u.shape[-2]
    for mu in range(1, s + 1):
        h[..., subspace(mu, t, s) - 1, :] = u[..., mu - 1, :]
    return _in_basis(h, basis)


def state(u: Float[Tensor, "*batch s d"], t: int, basis: Basis | None = None) -> Float[Tensor, "*batch N"]:
    """The hidden state at any time t >= 0 counted from the start of the input phase (TWM Eqs. 30-38).

    The state before any input (t = 0) is zero. Arguments and errors as of `input_phase_state` and `output_phase_state`.
    """
    shape_is("u", u, ("...", "s", "d"))
    s = u.shape[-2]
    return input_phase_state(u, t, basis) if t <= s else output_phase_state(u, t - s, basis)


def output(u: Float[Tensor, "*batch s d"], t: int) -> Float[Tensor, "*batch d"]:
    """y(s+t): what the newest column holds t >= 1 steps after the input phase, u(((t-1) mod s) + 1).

    Raises:
        ValueError: if u is not (..., s, d) or t < 1.
    """
    shape_is("u", u, ("...", "s", "d"))
    return u[..., (positive_int("t", t) - 1) % u.shape[-2], :]


def repeat_copy_weights(
    s: int, d: int, basis: Basis | None = None
) -> tuple[Float[Tensor, "N N"], Float[Tensor, "N d"], Float[Tensor, "d N"]]:
    """The three matrices of Eq. 29 among neurons: W_hh = Ψ Φ Ψ*, W_uh = Ψ_s, W_r = Ψ*_s.

    Args:
        s: columns of the substrate.
        d: independent waves.
        basis: s·d vectors in N >= s·d dimensions; the standard basis by default.

    Returns:
        W_hh (N, N), W_uh (N, d), W_r (d, N).

    Raises:
        ValueError: if s or d is not a positive integer, or the basis does not have s·d vectors.
    """
    return repeat_copy_phi(s, d, basis), write(s, d, basis), readout(s, d, basis)


def _in_basis(h: Tensor, basis: Basis | None) -> Tensor:
    """The hidden state whose components are the substrate's entries."""
    if basis is not None:
        shape_is("Psi", basis.Psi, ("N", h.shape[-2] * h.shape[-1]))
    flat = h.flatten(-2)
    return flat if basis is None else flat @ basis.Psi.mT
