"""Repeat copy in closed form: where every stored vector is at every time (TWM appendix A.4, Eqs. 29-38).

The network of Eq. 29 writes its input into the newest column of the substrate, lets it travel, and feeds what leaves the
oldest column back into the newest::

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

Source: Karuvally, Sejnowski and Siegelmann (2024), appendix A.4.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, require, shape_is
from wavemem.theory.basis import Basis
from wavemem.theory.boundary import readout, repeat_copy_phi, write


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
    s: int, d: int, basis: Basis | None = None, gain: float = 1.0
) -> tuple[Float[Tensor, "N N"], Float[Tensor, "N d"], Float[Tensor, "d N"]]:
    """The three matrices of Eq. 29 among neurons: W_hh = gain · Ψ Φ Ψ*, W_uh = Ψ_s, W_r = Ψ*_s.

    Args:
        s: columns of the substrate.
        d: independent waves.
        basis: s·d vectors in N >= s·d dimensions; the standard basis by default.
        gain: factor on W_hh; 1 is the paper's operator.

    Returns:
        W_hh (N, N), W_uh (N, d), W_r (d, N).

    Raises:
        ValueError: if s or d is not a positive integer, the basis does not have s·d vectors or gain is not finite.
    """
    require(math.isfinite(gain), f"gain = {gain}", "a finite number", "Use 1.0 for the operator of Eq. 29.")
    return gain * repeat_copy_phi(s, d, basis), write(s, d, basis), readout(s, d, basis)


def _in_basis(h: Tensor, basis: Basis | None) -> Tensor:
    """The hidden state whose components are the substrate's entries."""
    flat = h.flatten(-2)
    return flat if basis is None else basis.vector(flat)
