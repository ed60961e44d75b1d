r"""How far a gradient travels back through an Elman network: TWM Eqs. 10-17.

A network reads x(1) … x(s), reads nothing at step s + 1, and pays a cost C for what it says there. With
J(k) = diag σ'(a(k)), where a(k) is what enters σ at step k, the chain rule gives for every input
m = 1 … s

.. math::

    \frac{\partial C}{\partial x(m)} = \frac{\partial C}{\partial h(s+1)}\;
    J(s+1) W_{hh} \cdots J(m+1) W_{hh}\; J(m) W_{uh} .

Gradients are row vectors, so the factors stand in the order of time from right to left. This is Eq. 11 with the
factor J(m) that Eqs. 10 and 11 leave out.

What is bounded is ‖∂C/∂x(m)‖ for every input m = 1 … s. Each bound keeps another part of the product:

| function | keeps | paper |
|---|---|---|
| `bound_power` | one number μ for every factor | Eqs. 13-14 |
| `bound_step_norms` | the norm of each factor | Eq. 13 before its factors are set equal |
| `bound_waves` | one factor, ‖Ψ_m‖ and ‖∂ε/∂x(m)‖ | Eqs. 15-16 with ‖Ψ_m‖ put back |
| `bound_operator` | the norm of the whole product | the best that knows only ‖∂C/∂h(s+1)‖ |

All four hold for every network and every input; `bound_operator` is never above another one.

| variable | shape | symbol |
|---|---|---|
| `W_hh`, `W_uh`, `W_r` | (*runs, N, N), (*runs, N, d), (*runs, d, N) | weights of Eq. 9 |
| `x` | (*runs, B, s, d) | inputs x(1) … x(s), oldest first |
| `h` | (*runs, B, T, N) | states h(1) … h(T), T = s + 1 |
| `slopes` | (*runs, B, T, N) | diagonals of J(1) … J(T) |
| `dC_dh` | (*runs, B, N) | ∂C/∂h(s+1), from `cost_gradient` |
| `norms` | (*runs, B, T) | ‖J(k) W_hh‖, k = 1 … T |
| `columns` | (*runs, s, N, d) or (*runs, B, s, N, d) | Ψ_1 … Ψ_s: column j of Ψ_m is ψ_{(m-1)d+j} |

Every norm of a matrix is the spectral norm. Source: Karuvally, Sejnowski and Siegelmann (2024), section 4.3.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import finite, one_of, positive_int, require, shape_is

Activation = Literal["tanh", "linear"]


def states(
    W_hh: Float[Tensor, "*runs N N"],
    W_uh: Float[Tensor, "*runs N d"],
    x: Float[Tensor, "*runs B s d"],
    steps: int | None = None,
    activation: Activation = "tanh",
) -> Float[Tensor, "*runs B T N"]:
    """Run Eq. 9 from h(0) = 0 and return h(1) … h(T), with silence after the s inputs.

    Args:
        W_hh: Recurrent weights.
        W_uh: Input weights.
        x: Inputs, oldest first.
        steps: T; s + 1 by default, the step whose cost Eq. 10 differentiates.
        activation: σ, "tanh" or "linear".

    Raises:
        ValueError: If shapes do not fit, `steps` is below 1, or the activation is unknown.
    """
    runs, N = tuple(W_hh.shape[:-2]), W_hh.shape[-1]
    shape_is("W_hh", W_hh, (*runs, N, N))
    shape_is("W_uh", W_uh, (*runs, N, "d"))
    shape_is("x", x, (*runs, "B", "s", W_uh.shape[-1]))
    one_of("activation", activation, get_args(Activation))
    s = x.shape[-2]
    T = s + 1 if steps is None else positive_int("steps", steps)
    h = x.new_zeros(*x.shape[:-2], W_hh.shape[-1])
    trajectory = []
    for t in range(T):
        a = h @ W_hh.mT
        if t < s:
            a = a + x[..., t, :] @ W_uh.mT
        h = torch.tanh(a) if activation == "tanh" else a
        trajectory.append(h)
    return torch.stack(trajectory, dim=-2)


def slopes_of(h: Float[Tensor, "*any N"], activation: Activation = "tanh") -> Float[Tensor, "*any N"]:
    """Diagonal of J(σ) at a step, from the state after it: tanh' = 1 - h², or 1 for the identity."""
    return 1.0 - h.square() if activation == "tanh" else torch.ones_like(h)


class CostGradient(NamedTuple):
    """The gradient of one cost, by automatic differentiation: what the bounds are bounds of.

    Attributes:
        x: ∂C/∂x(m) for m = 1 … s.
        h: ∂C/∂h(s+1).
        cost: C itself.
    """

    x: Float[Tensor, "*runs B s d"]
    h: Float[Tensor, "*runs B N"]
    cost: Float[Tensor, "*runs B"]


def cost_gradient(
    W_hh: Float[Tensor, "*runs N N"],
    W_uh: Float[Tensor, "*runs N d"],
    W_r: Float[Tensor, "*runs d N"],
    x: Float[Tensor, "*runs B s d"],
    target: Float[Tensor, "*runs B d"],
    activation: Activation = "tanh",
) -> CostGradient:
    """Differentiate C = ½‖y(s+1) - x(s+1)‖² with autograd (the left side of Eq. 10).

    The paper leaves C open; half the squared error is used here, and every bound holds for any other cost of
    y(s + 1), because C enters through ∂C/∂h(s+1) alone.

    Args:
        W_hh: Recurrent weights.
        W_uh: Input weights.
        W_r: Readout.
        x: Inputs, oldest first.
        target: x(s + 1), the next state of the history-dependent system.
        activation: σ.

    Returns:
        The gradients with respect to all inputs and to h(s + 1), and the cost.

    Raises:
        ValueError: If shapes do not fit or the activation is unknown.
    """
    shape_is("target", target, (*x.shape[:-2], x.shape[-1]))
    inputs = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        last = states(W_hh.detach(), W_uh.detach(), inputs, activation=activation)[..., -1, :]
        cost = 0.5 * (last @ W_r.detach().mT - target).square().sum(-1)
        # The costs of a batch do not share inputs, so the gradient of their sum holds every single gradient.
        dC_dx, dC_dh = torch.autograd.grad(cost.sum(), (inputs, last))
    return CostGradient(dC_dx, dC_dh, cost.detach())


def chain_gradient(
    dC_dh: Float[Tensor, "*runs B N"],
    W_hh: Float[Tensor, "*runs N N"],
    W_uh: Float[Tensor, "*runs N d"],
    slopes: Float[Tensor, "*runs B T N"],
) -> Float[Tensor, "*runs B s d"]:
    """Eqs. 10-11 written out: carry the row vector ∂C/∂h(s+1) back, one factor J(k) W_hh at a time.

    Args:
        dC_dh: ∂C/∂h(s+1).
        W_hh: Recurrent weights.
        W_uh: Input weights.
        slopes: Slopes of steps 1 … s + 1, from `slopes_of`; s = T - 1.

    Returns:
        ∂C/∂x(m) for m = 1 … s.
    """
    g = dC_dh * slopes[..., -1, :]  # ∂C/∂a(s+1)
    gradients = []
    for k in range(slopes.shape[-2] - 2, -1, -1):
        g = (g @ W_hh) * slopes[..., k, :]  # ∂C/∂a(k + 1): index k holds step k + 1
        gradients.append(g @ W_uh)
    return torch.stack(gradients[::-1], dim=-2)


def stored_columns(
    W_hh: Float[Tensor, "*runs N N"], W_uh: Float[Tensor, "*runs N d"], slopes: Float[Tensor, "*runs B T N"]
) -> Float[Tensor, "*runs B s N d"]:
    r"""Where each input stands in h(s).

    .. math:: \partial h(s)/\partial x(m) = J(s)W_{hh}\cdots J(m+1)W_{hh}\;J(m)W_{uh}

    In a travelling-wave memory this is Ψ_m + ∂ε/∂x(m), the bracket of Eq. 15. In any other network it exists
    just as well, and how its norm depends on s - m is what tells the two apart.

    Args:
        W_hh: Recurrent weights.
        W_uh: Input weights.
        slopes: Slopes of steps 1 … s + 1; the last one is not used.

    Returns:
        One N × d matrix per input.
    """
    s = slopes.shape[-2] - 1
    columns: list[Tensor] = []
    for k in range(s):
        D = slopes[..., k, :, None]
        columns = [D * torch.einsum("...nm,...bmd->...bnd", W_hh, column) for column in columns]
        columns.append(D * W_uh.unsqueeze(-3))
    return torch.stack(columns, dim=-3)


def linear_columns(
    W_hh: Float[Tensor, "*runs N N"], W_uh: Float[Tensor, "*runs N d"], s: int
) -> Float[Tensor, "*runs s N d"]:
    """The columns with every slope set to one: Ψ_m = W_hh^(s-m) W_uh, m = 1 … s.

    With W_hh = ΨΦΨ† and W_uh = Ψ_s these are the basis blocks of the paper, because one step of the wave part
    of Φ turns Ψ_{m+1} into Ψ_m: the power of W_hh is still there, and it acts as a shift.

    Raises:
        ValueError: If s is below 1.
    """
    columns = [W_uh]
    for _ in range(positive_int("s", s) - 1):
        columns.append(W_hh @ columns[-1])
    return torch.stack(columns[::-1], dim=-3)


def chain_operators(
    W_hh: Float[Tensor, "*runs N N"], W_uh: Float[Tensor, "*runs N d"], slopes: Float[Tensor, "*runs B T N"]
) -> Float[Tensor, "*runs B s N d"]:
    """All of Eq. 11 but its first factor: ∂h(s+1)/∂x(m), so that ∂C/∂x(m) = ∂C/∂h(s+1) times this."""
    last = slopes[..., -1, None, :, None]
    return last * torch.einsum("...nm,...bsmd->...bsnd", W_hh, stored_columns(W_hh, W_uh, slopes))


def decay_rate(norms: Float[Tensor, "*any s"]) -> Float[Tensor, "*any"]:
    """Rate at which gradient norms fall with the distance: -slope of log‖∂C/∂x(m)‖ against s - m.

    A least-squares line through all s points; exp(-rate) is the factor that one more step costs. Zero is a
    gradient that arrives undiminished, negative one that grows on its way.

    Args:
        norms: Positive norms, oldest input first, so that the distance falls along the last axis.

    Returns:
        The rate, in nats per step.

    Raises:
        ValueError: If there are fewer than two inputs, or a norm is not positive.
    """
    s = norms.shape[-1]
    require(
        s >= 2 and bool((norms > 0).all()),
        f"norms of {s} input(s), the smallest {float(norms.min()):.1e}",
        "positive norms of at least 2 inputs",
        "A slope needs two distances, and a dead gradient has no logarithm.",
    )
    distance = torch.arange(s - 1, -1, -1, dtype=norms.dtype, device=norms.device)
    centred = distance - distance.mean()
    return -(norms.log() * centred).sum(-1) / centred.square().sum()


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
    dC_dh: Float[Tensor, "*runs B N"], W_uh: Float[Tensor, "*runs N d"], norms: Float[Tensor, "*runs B T"]
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
    dC_dh: Float[Tensor, "*runs B N"], W_uh: Float[Tensor, "*runs N d"], norms: Float[Tensor, "*runs B T"]
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
        shape_is("deps_dx", deps_dx, ("...", *columns.shape[-3:]))
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


class Comparison(NamedTuple):
    """The true gradient at every input beside its bounds; each of shape (*runs, B, s) unless said otherwise.

    Attributes:
        mu: the μ of Eq. 14, shape (*runs, B).
        stored: ‖Ψ_m‖ of the wave that `waves` used, shape (*runs, s).
    """

    true: Float[Tensor, "*runs B s"]
    operator: Float[Tensor, "*runs B s"]
    waves: Float[Tensor, "*runs B s"]
    step_norms: Float[Tensor, "*runs B s"]
    power: Float[Tensor, "*runs B s"]
    mu: Float[Tensor, "*runs B"]
    stored: Float[Tensor, "*runs s"]


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
        stored=_spectral(columns),
    )
