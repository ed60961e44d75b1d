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

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, require
from wavemem.theory.basis import Basis, standard_basis
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
    positive_int("s", s)
    require(
        1 <= mu <= s,
        got=f"mu={mu}",
        allowed=f"1 <= mu <= s = {s}",
        fix="Stored vectors are numbered from 1, as in the paper.",
    )
    _steps(t, 0, None)
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
    s, _, basis = _check(u, basis)
    _steps(t, 0, s)
    h = u.new_zeros(u.shape)
    # The t vectors written so far fill the newest t columns, in their order of arrival.
    if t > 0:
        h[..., s - t :, :] = u[..., :t, :]
    return basis.vector(h.flatten(-2))


def output_phase_state(u: Float[Tensor, "*batch s d"], t: int, basis: Basis | None = None) -> Float[Tensor, "*batch N"]:
    """The hidden state t steps after the input phase (TWM Eq. 38 with its index corrected; Eq. 37 at t = 0).

    Args:
        u: the stored vectors, oldest first.
        t: steps since the end of the input phase, t >= 0.
        basis: the s·d vectors of the substrate; the standard basis by default.

    Returns:
        The state in standard coordinates (one number per neuron).

    Raises:
        ValueError: if u is not (..., s, d), t is negative or the basis does not have s·d vectors.
    """
    s, _, basis = _check(u, basis)
    _steps(t, 0, None)
    h = torch.empty_like(u)
    for mu in range(1, s + 1):
        h[..., subspace(mu, t, s) - 1, :] = u[..., mu - 1, :]
    return basis.vector(h.flatten(-2))


def state(u: Float[Tensor, "*batch s d"], t: int, basis: Basis | None = None) -> Float[Tensor, "*batch N"]:
    """The hidden state at any time t >= 0 counted from the start of the input phase (TWM Eqs. 30-38).

    Args:
        u: the inputs, oldest first.
        t: steps since the start; the state before any input (t = 0) is zero.
        basis: the s·d vectors of the substrate; the standard basis by default.

    Returns:
        The state in standard coordinates.

    Raises:
        ValueError: as `input_phase_state` and `output_phase_state`.
    """
    s = _check(u, basis)[0]
    return input_phase_state(u, t, basis) if t <= s else output_phase_state(u, t - s, basis)


def output(u: Float[Tensor, "*batch s d"], t: int) -> Float[Tensor, "*batch d"]:
    """y(s+t): what the newest column holds t >= 1 steps after the input phase, u(((t-1) mod s) + 1).

    Raises:
        ValueError: if u is not (..., s, d) or t < 1.
    """
    s = _check(u, None)[0]
    _steps(t, 1, None)
    return u[..., (t - 1) % s, :]


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
    positive_int("s", s)
    positive_int("d", d)
    basis = _basis(s, d, basis, torch.float64)
    require(
        abs(gain) < float("inf"),
        got=f"gain={gain}",
        allowed="a finite number",
        fix="Use 1.0 for the operator of Eq. 29.",
    )
    return gain * repeat_copy_phi(s, d, basis), write(s, d, basis), readout(s, d, basis)


def _check(u: Tensor, basis: Basis | None) -> tuple[int, int, Basis]:
    require(
        u.ndim >= 2 and u.is_floating_point(),
        got=f"u of shape {tuple(u.shape)} and type {u.dtype}",
        allowed="a floating tensor of shape (..., s, d)",
        fix="Give the inputs as one row per time step, oldest first.",
    )
    s, d = u.shape[-2:]
    return s, d, _basis(s, d, basis, u.dtype)


def _basis(s: int, d: int, basis: Basis | None, dtype: torch.dtype) -> Basis:
    if basis is None:
        return standard_basis(s * d, dtype=dtype)
    require(
        basis.n == s * d,
        got=f"a basis of {basis.n} vectors",
        allowed=f"s·d = {s}·{d} = {s * d} vectors",
        fix="Draw it with random_basis(s * d, generator).",
    )
    return basis


def _steps(t: int, least: int, most: int | None) -> None:
    allowed = f"an integer t >= {least}" if most is None else f"an integer {least} <= t <= {most}"
    require(
        isinstance(t, int) and t >= least and (most is None or t <= most),
        got=f"t={t!r}",
        allowed=allowed,
        fix="Count whole steps; output_phase_state continues where input_phase_state ends.",
    )
