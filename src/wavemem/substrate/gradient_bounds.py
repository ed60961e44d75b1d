r"""Upper bounds of the gradient that reaches an input: TWM Eqs. 13-16, and the bounds on either side of them.

What is bounded is ‖∂C/∂x(m)‖ for every input m = 1 … s, where the cost C is paid at step s + 1. Each function
keeps another part of the product of `wavemem.substrate.gradients`:

| function | keeps | paper |
|---|---|---|
| `bound_power` | one number μ for every factor | Eqs. 13-14 |
| `bound_step_norms` | the norm of each factor | Eq. 13 before its factors are set equal |
| `bound_waves` | one factor, ‖Ψ_m‖ and ‖∂ε/∂x(m)‖ | Eqs. 15-16 with ‖Ψ_m‖ put back |
| `bound_operator` | the norm of the whole product | the best that knows only ‖∂C/∂h(s+1)‖ |

All four hold for every network and every input; `bound_operator` is never above another one.

| variable | shape | symbol |
|---|---|---|
| `dC_dh` | (*runs, B, N) | ∂C/∂h(s+1), from `cost_gradient` |
| `W_hh`, `W_uh` | (*runs, N, N), (*runs, N, d) | weights of Eq. 9 |
| `slopes` | (*runs, B, s + 1, N) | diagonals of J(1) … J(s + 1) |
| `norms` | (*runs, B, s + 1) | ‖J(k) W_hh‖, k = 1 … s + 1 |
| `columns` | (*runs, s, N, d) or (*runs, B, s, N, d) | Ψ_1 … Ψ_s |

Every norm of a matrix is the spectral norm. Source: Karuvally, Sejnowski and Siegelmann (2024), section 4.3.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import finite, require
from wavemem.substrate.gradients import (
    Activation,
    chain_operators,
    cost_gradient,
    linear_columns,
    slopes_of,
    states,
    stored_columns,
)

__all__ = [
    "Comparison",
    "bound_operator",
    "bound_power",
    "bound_printed",
    "bound_step_norms",
    "bound_waves",
    "compare",
    "step_norms",
    "wave_norms",
]


def step_norms(W_hh: Float[Tensor, "*runs N N"], slopes: Float[Tensor, "*runs B T N"]) -> Float[Tensor, "*runs B T"]:
    """Spectral norm of J(k) W_hh at every step; the largest over steps 2 … s + 1 is the μ of Eq. 14."""
    flat = slopes.reshape(*W_hh.shape[:-2], -1, slopes.shape[-1])
    products = flat[..., :, None] * W_hh.unsqueeze(-3)
    return _spectral(products).reshape(slopes.shape[:-1])


def _norm(vectors: Float[Tensor, "*any n"]) -> Float[Tensor, "*any"]:
    return torch.linalg.vector_norm(vectors, dim=-1)


def _spectral(matrices: Float[Tensor, "*any m n"]) -> Float[Tensor, "*any"]:
    finite("matrices", matrices)
    return torch.linalg.matrix_norm(matrices, ord=2)


def bound_power(
    dC_dh: Float[Tensor, "*runs B N"],
    W_uh: Float[Tensor, "*runs N d"],
    norms: Float[Tensor, "*runs B T"],
) -> Float[Tensor, "*runs B s"]:
    r"""Eqs. 13-14, the bound without travelling waves: one number μ for every step.

    .. math:: \lVert\partial C/\partial h(s+1)\rVert\;\mu^{s+1-m}\;\lVert W_{uh}\rVert

    Eq. 13 prints ∂C/∂h(s); beside the power s that it also prints, this must be ∂C/∂h(s+1), as in Eq. 10. The
    bound shrinks with the distance only where μ < 1, and it assumes no slope above one (true of tanh).

    Args:
        dC_dh: ∂C/∂h(s+1).
        W_uh: Input weights.
        norms: ‖J(k) W_hh‖ of steps 1 … s + 1, from `step_norms`; μ is the largest of steps 2 … s + 1.

    Returns:
        One bound per input m = 1 … s.
    """
    s = norms.shape[-1] - 1
    mu = norms[..., 1:].amax(-1, keepdim=True)
    powers = torch.arange(s, 0, -1, dtype=norms.dtype, device=norms.device)
    return _norm(dC_dh)[..., None] * _spectral(W_uh)[..., None, None] * mu**powers


def bound_step_norms(
    dC_dh: Float[Tensor, "*runs B N"],
    W_uh: Float[Tensor, "*runs N d"],
    norms: Float[Tensor, "*runs B T"],
) -> Float[Tensor, "*runs B s"]:
    r"""Eq. 13 with each step's own Jacobian.

    .. math:: \lVert\partial C/\partial h(s+1)\rVert \prod_{k=m+1}^{s+1}\lVert J(k)W_{hh}\rVert\;\lVert W_{uh}\rVert

    Arguments and result as in `bound_power`, which it never exceeds.
    """
    products = norms[..., 1:].flip(-1).cumprod(-1).flip(-1)
    return _norm(dC_dh)[..., None] * _spectral(W_uh)[..., None, None] * products


def bound_waves(
    dC_dh: Float[Tensor, "*runs B N"],
    last_norm: Float[Tensor, "*runs B"],
    columns: Float[Tensor, "*any s N d"],
    deps_dx: Float[Tensor, "*runs B s N d"] | None = None,
) -> Float[Tensor, "*runs B s"]:
    r"""Eqs. 15-16, the bound with travelling waves: no power of μ is left.

    .. math::

        \lVert\partial C/\partial h(s+1)\rVert\;\mu\,
        \left(\lVert\Psi_m\rVert + \lVert\partial\epsilon/\partial x(m)\rVert\right)

    Eq. 16 prints d in the place of ‖Ψ_m‖: that takes a sum of d vectors for a matrix of d columns, and each
    vector's norm for one. ‖Ψ_m‖ ≤ √d max‖ψ‖ ≤ d max‖ψ‖, so the printed form follows where no ‖ψ‖ exceeds one.

    Args:
        dC_dh: ∂C/∂h(s+1).
        last_norm: ‖J(s+1) W_hh‖, the only factor that is left: `step_norms(...)[..., -1]`.
        columns: Ψ_1 … Ψ_s, of the wave: a basis, or `linear_columns`.
        deps_dx: ∂ε/∂x(m), what h(s) holds of x(m) beside the wave; zero by default.

    Returns:
        One bound per input.

    Raises:
        ValueError: If the columns and ∂ε/∂x differ in s, N or d.
    """
    stored = _spectral(columns)
    if columns.ndim == dC_dh.ndim + 1:
        stored = stored.unsqueeze(-2)  # the same wave for every member of the batch
    if deps_dx is not None:
        require(
            deps_dx.shape[-3:] == columns.shape[-3:],
            got=f"deps_dx of shape {tuple(deps_dx.shape)} beside columns of shape {tuple(columns.shape)}",
            allowed="the same s, N and d",
            fix="Take both from the same network and history.",
        )
        stored = stored + _spectral(deps_dx)
    return (_norm(dC_dh) * last_norm)[..., None] * stored


def bound_printed(
    dC_dh: Float[Tensor, "*runs B N"],
    last_norm: Float[Tensor, "*runs B"],
    d: int,
    deps_dx_norm: Float[Tensor, "*runs B s"],
) -> Float[Tensor, "*runs B s"]:
    r"""Eq. 16 exactly as printed, with d where ‖Ψ_m‖ belongs.

    .. math:: \lVert\partial C/\partial h(s+1)\rVert\,(\mu d + \mu\lVert\partial\epsilon/\partial x\rVert)

    Not a bound for every basis: the left-hand side does not change when Ψ is scaled by c and W_r by 1/c, and
    the right-hand side shrinks by c. Kept so that the difference can be measured.
    """
    return (_norm(dC_dh) * last_norm)[..., None] * (d + deps_dx_norm)


def bound_operator(
    dC_dh: Float[Tensor, "*runs B N"], operators: Float[Tensor, "*runs B s N d"]
) -> Float[Tensor, "*runs B s"]:
    r"""The best bound that knows ∂C/∂h(s+1) by its norm alone.

    .. math:: \lVert\partial C/\partial h(s+1)\rVert\;\lVert\partial h(s+1)/\partial x(m)\rVert

    Args:
        dC_dh: ∂C/∂h(s+1).
        operators: from `chain_operators`.
    """
    return _norm(dC_dh)[..., None] * _spectral(operators)


def wave_norms(columns: Float[Tensor, "*any s N d"]) -> Float[Tensor, "*any s"]:
    """‖Ψ_m‖ for every m: constant along a lossless wave, falling with s - m in a network that forgets."""
    return _spectral(columns)


class Comparison(NamedTuple):
    """The true gradient at every input beside its bounds; each of shape (*runs, B, s) unless said otherwise."""

    true: Float[Tensor, "*runs B s"]
    operator: Float[Tensor, "*runs B s"]
    waves: Float[Tensor, "*runs B s"]
    step_norms: Float[Tensor, "*runs B s"]
    power: Float[Tensor, "*runs B s"]
    mu: Float[Tensor, "*runs B"]
    """The μ of Eq. 14, shape (*runs, B)."""
    stored: Float[Tensor, "*runs s"]
    """‖Ψ_m‖ of the wave that `waves` used, shape (*runs, s)."""


def compare(
    W_hh: Float[Tensor, "*runs N N"],
    W_uh: Float[Tensor, "*runs N d"],
    W_r: Float[Tensor, "*runs d N"],
    x: Float[Tensor, "*runs B s d"],
    target: Float[Tensor, "*runs B d"],
    activation: Activation = "tanh",
) -> Comparison:
    """Measure the gradient of one cost at every input, and all bounds of it, in one network or many.

    The wave of Eqs. 15-16 is the linear one, Ψ_m = W_hh^(s-m) W_uh, and ε is whatever else h(s) holds.

    Args:
        W_hh: Recurrent weights.
        W_uh: Input weights.
        W_r: Readout.
        x: Inputs, oldest first.
        target: What y(s + 1) should have been.
        activation: σ.

    Raises:
        ValueError: If shapes do not fit or the activation is unknown.
    """
    true = cost_gradient(W_hh, W_uh, W_r, x, target, activation)
    slopes = slopes_of(states(W_hh, W_uh, x, activation=activation), activation)
    norms = step_norms(W_hh, slopes)
    columns = linear_columns(W_hh, W_uh, x.shape[-2])
    deps_dx = stored_columns(W_hh, W_uh, slopes) - columns.unsqueeze(-4)
    return Comparison(
        true=_norm(true.x),
        operator=bound_operator(true.h, chain_operators(W_hh, W_uh, slopes)),
        waves=bound_waves(true.h, norms[..., -1], columns, deps_dx),
        step_norms=bound_step_norms(true.h, W_uh, norms),
        power=bound_power(true.h, W_uh, norms),
        mu=norms[..., 1:].amax(-1),
        stored=wave_norms(columns),
    )
