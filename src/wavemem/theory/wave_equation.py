"""The one-way wave equation and what becomes of it on a lattice (Eqs. 2 and 19–24).

    ∂h/∂t = ν ∂h/∂v,      h(v, t) = h0(v + ν t)

Sign: a positive velocity ν carries activity towards *smaller* position v, from the boundary at v = s down to the open end. The
papers write the equation without the minus sign of most textbooks, and that is what it means.

On a lattice of spacing dx with time step dt everything depends on one number, the Courant number c = ν dt / dx: how many
positions the wave advances per step. The upwind scheme

    h_i(t+1) = h_i(t) + c (h_{i+1}(t) − h_i(t)),      0 ≤ c ≤ 1,

is Eq. 21 (c < 0 takes the difference on the other side); at c = 1 it is the shift of Eqs. 22–24, and exact. The
Lax–Wendroff scheme stands beside it as the contrast: second order, little diffusion, but dispersion.

Source: Karuvally et al., ICML 2024, appendix A.2; R. J. LeVeque, Finite Difference Methods for Ordinary and Partial
Differential Equations, SIAM 2007, chapter 10 (schemes, stability, modified equations).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from wavemem.checks import number_in, one_of, positive_int, require, shape_is

Scheme = Literal["upwind", "lax-wendroff"]
Profile = Callable[[Tensor], Tensor]


def exact_solution(
    h0: Profile,
    velocity: float | Tensor,
    v: Tensor,
    t: float | Tensor,
    inflow: Profile | None = None,
    length: float | None = None,
) -> Tensor:
    """The solution of Eq. 2 along its characteristics v + ν t = constant.

    Without a boundary, h(v, t) = h0(v + ν t). With activity g entering at v = length (ν > 0),

        h(v, t) = h0(v + ν t)             while v + ν t <= length,
        h(v, t) = g(t − (length − v)/ν)   afterwards.

    Args:
        h0: The initial activity as a function of position.
        velocity: ν in positions per unit of time, a number or one per wave; broadcast against v and t.
        v: Positions.
        t: Times.
        inflow: g, the activity at the driven boundary as a function of time; needs `length` and a positive velocity.
        length: Position of the driven boundary.

    Returns:
        h(v, t), of the broadcast shape of velocity, v and t. Differentiable with respect to all of them.

    Raises:
        ValueError: If a boundary is given without its position, or with a velocity that carries nothing inwards.
    """
    nu = torch.as_tensor(velocity, dtype=v.dtype, device=v.device)
    time = torch.as_tensor(t, dtype=v.dtype, device=v.device)
    foot = v + nu * time
    if inflow is None:
        return h0(foot)
    require(
        length is not None,
        "an inflow without length",
        "length, the position of the driven boundary",
        "Say where the activity enters.",
    )
    require(
        bool((nu > 0).all()),
        f"an inflow at v = {length} with velocity {velocity}",
        "velocities > 0",
        "A wave with ν <= 0 does not enter there; mirror the substrate.",
    )
    end = torch.as_tensor(length, dtype=v.dtype, device=v.device)
    entered = foot > end
    # Both branches are evaluated inside their own domain, so that neither h0 nor g meets arguments it was not made for.
    initial = h0(torch.where(entered, end, foot))
    driven = inflow(torch.where(entered, time - (end - v) / nu, torch.zeros_like(foot)))
    return torch.where(entered, driven, initial)


def _beyond(h: Tensor, inflow: float | Tensor | None, periodic: bool, upper: bool) -> Tensor:
    """The value that stands one position outside the lattice: the other end's, the inflow, or nothing."""
    if periodic:
        return h[..., :1] if upper else h[..., -1:]
    edge = h[..., -1:]
    if inflow is None:
        return torch.zeros_like(edge)
    return torch.as_tensor(inflow, dtype=h.dtype, device=h.device).expand(h.shape[:-1]).unsqueeze(-1)


def upwind_step(
    h: Float[Tensor, "*batch position"],
    courant: float | Tensor,
    inflow: float | Tensor | None = None,
    periodic: bool = False,
) -> Float[Tensor, "*batch position"]:
    """One Euler step of the wave equation, Eq. 21, with the difference taken on the side the wave comes from.

        c >= 0:  h_i ← (1 − c) h_i + c h_{i+1}          c < 0:  h_i ← (1 − |c|) h_i + |c| h_{i−1}

    At c = 1 this is the shift (Eqs. 22–24): nothing is averaged and nothing is lost. With the boundary function of a
    travelling-wave memory as the inflow, it is Eq. 24.

    Args:
        h: Activity; position is the last axis.
        courant: c, a number or a tensor that broadcasts against h without its last axis (one velocity per wave).
        inflow: What stands just outside the end where the wave enters, (batch,) or a number; None for nothing.
        periodic: Join the two ends instead.

    Returns:
        The activity one step later. Any c is accepted, |c| > 1 too: that it then blows up is the CFL condition.

    Raises:
        ValueError: If h has no position, or an inflow is given to a periodic substrate.
    """
    shape_is("h", h, ("...", "position"))
    require(
        not (periodic and inflow is not None),
        "an inflow on a periodic substrate",
        "one or the other",
        "A ring has no end at which anything could enter.",
    )
    c = torch.as_tensor(courant, dtype=h.dtype, device=h.device).unsqueeze(-1)
    above = torch.cat([h[..., 1:], _beyond(h, inflow, periodic, upper=True)], dim=-1)
    below = torch.cat([_beyond(h, inflow, periodic, upper=False), h[..., :-1]], dim=-1)
    # Written as an average, not as h + c (above − h): at |c| = 1 the neighbour is then copied without rounding.
    return (1 - c.abs()) * h + c.clamp_min(0) * above - c.clamp_max(0) * below


def lax_wendroff_step(h: Float[Tensor, "*batch position"], courant: float) -> Float[Tensor, "*batch position"]:
    """One step of the Lax–Wendroff scheme on a ring: second order in dt and dx, dispersive instead of diffusive.

        h_i ← h_i + c/2 (h_{i+1} − h_{i−1}) + c²/2 (h_{i+1} − 2 h_i + h_{i−1})

    Args:
        h: Activity; position is the last axis, its ends joined.
        courant: c; stable for |c| <= 1.

    Returns:
        The activity one step later.

    Raises:
        ValueError: If h has no position.
    """
    shape_is("h", h, ("...", "position"))
    above, below = h.roll(-1, -1), h.roll(1, -1)
    return h + courant / 2 * (above - below) + courant**2 / 2 * (above - 2 * h + below)


def march(
    h0: Float[Tensor, "*batch position"], steps: int, step: Callable[[Tensor], Tensor]
) -> Float[Tensor, "time *batch position"]:
    """Apply a step again and again and keep every state.

    Args:
        h0: The initial activity.
        steps: How many steps to take; 0 returns h0 alone.
        step: One step, e.g. ``lambda h: upwind_step(h, 0.5, periodic=True)``.

    Returns:
        States at times 0, ..., steps, time first.

    Raises:
        ValueError: If steps is not a whole number >= 0.
    """
    steps = positive_int("steps", steps, minimum=0)
    states = [h0]
    for _ in range(steps):
        states.append(step(states[-1]))
    return torch.stack(states)


def upwind_matrix(s: int, courant: float, periodic: bool = False) -> Float[Tensor, "s s"]:
    """The upwind step as a matrix: (1 − |c|) on the diagonal, |c| beside it on the side the wave comes from.

    At c = 1 it is the shift matrix of Eq. 6 for d = 1 (open ends) or a cyclic permutation (periodic).

    Args:
        s: Number of positions.
        courant: c.
        periodic: Join the two ends.

    Returns:
        Float64 matrix A with ``upwind_step(h) == A @ h`` where nothing flows in.

    Raises:
        ValueError: If s is not a positive whole number.
    """
    s = positive_int("s", s)
    eye = torch.eye(s, dtype=torch.float64)
    return upwind_step(eye, courant, periodic=periodic).mT.contiguous()


def upwind_kernel(courant: float, steps: int) -> Float[Tensor, " reach"]:
    """What ``steps`` upwind steps do to a single active position: binomial weights.

        h_i(t) = Σ_j binom(t, j) c^j (1 − c)^{t−j} h_{i+j}(0),   j = 0, ..., t

    A packet arrives after j/c steps on average, smeared over √(t c (1 − c)) positions: that is numerical diffusion.

    Args:
        courant: c in [0, 1].
        steps: t.

    Returns:
        Float64 weights for j = 0, ..., t; they sum to 1.

    Raises:
        ValueError: If c lies outside [0, 1] or steps is not a whole number >= 0.
    """
    number_in("courant", courant, 0.0, 1.0)
    t = positive_int("steps", steps, minimum=0)
    j = torch.arange(t + 1, dtype=torch.float64)
    choose = torch.lgamma(torch.tensor(t + 1.0, dtype=torch.float64)) - torch.lgamma(j + 1) - torch.lgamma(t - j + 1)
    c = torch.tensor(courant, dtype=torch.float64)
    return torch.exp(choose + torch.xlogy(j, c) + torch.xlogy(t - j, 1 - c))


def numerical_diffusion(courant: float, velocity: float = 1.0) -> float:
    """D = |ν| (1 − |c|) / 2, the diffusion that the upwind scheme adds to the wave equation, at a lattice spacing of 1.

    To second order the scheme solves ∂h/∂t = ν ∂h/∂v + D ∂²h/∂v²: a packet's variance grows by 2 D t. D vanishes
    at |c| = 1 and is negative beyond, which is the instability.

    Args:
        courant: c.
        velocity: ν, positions per unit of time.

    Returns:
        D in positions² per unit of time.
    """
    return abs(velocity) * (1 - abs(courant)) / 2


def amplification(
    theta: Float[Tensor, " theta"], courant: float, scheme: Scheme = "upwind"
) -> Complex[Tensor, " theta"]:
    """g(θ): the factor by which one step multiplies the spatial mode e^{iθ·i} (von Neumann's analysis).

    Exact transport has g = e^{icθ}. |g| < 1 is damping, |g| > 1 growth; arg g − cθ is the error of the phase.

    Args:
        theta: Wave numbers in radians per position.
        courant: c.
        scheme: "upwind", g = 1 + c (e^{iθ} − 1) for c >= 0, or "lax-wendroff", g = 1 + i c sin θ − c² (1 − cos θ).

    Returns:
        The complex factors.

    Raises:
        ValueError: If the scheme is unknown.
    """
    one_of("scheme", scheme, ("upwind", "lax-wendroff"))
    theta = theta.to(torch.float64)
    if scheme == "lax-wendroff":
        return torch.complex(1 - courant**2 * (1 - torch.cos(theta)), courant * torch.sin(theta))
    direction = math.copysign(1.0, courant)
    shift = torch.polar(torch.ones_like(theta), direction * theta)
    return 1 + abs(courant) * (shift - 1)


def group_velocity(
    theta: Float[Tensor, " theta"], courant: float, scheme: Scheme = "upwind"
) -> Float[Tensor, " theta"]:
    """Velocity of a packet of modes around θ relative to the true one, (1/c) d arg g / dθ; 1 is exact.

    Args:
        theta: Wave numbers, radians per position.
        courant: c, not 0.
        scheme: As in `amplification`.

    Returns:
        The ratio, dimensionless.

    Raises:
        ValueError: If c is 0 or the scheme is unknown.
    """
    require(courant != 0, "courant = 0", "c different from 0", "What does not move has no group velocity.")
    angle = theta.detach().to(torch.float64).clone().requires_grad_(True)
    g = amplification(angle, courant, scheme)
    (slope,) = torch.autograd.grad(torch.atan2(g.imag, g.real).sum(), angle)
    return slope / courant
