"""What carries activity from step to step: the operator fitted to a space-time picture, and how far it moves things.

`wavemem.substrate.velocity.estimate_velocity` looks for a slanted stripe and needs no model. On a register of four neurons it
has little to look at, and its answer depends on how the input is correlated. Here the question is put to the dynamics: fit

    h_j(t+1) ≈ Σ_i S_ji h_i(t)

and ask, for every neuron but the one that the input enters, from how far away its content came. For a register of
velocity v the fit is exact, S_jj = 1 − v, S_j,j−1 = v: displacement v, variance of the displacement v (1 − v), both to rounding,
whatever the input was. Modes that only fade have displacement 0. A wave has *one* velocity: a displacement that differs from
neuron to neuron, as that of a register with its neurons in a wrong order, is none.

Sign: as everywhere in the book, a positive velocity moves activity towards *smaller* position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import number_in, require
from wavemem.substrate.velocity import check_activity

__all__ = ["Transport", "transport"]


@dataclass(frozen=True)
class Transport:
    """A fitted operator and what it says about travel.

    Attributes:
        operator: S, (position, position).
        explained: Share of the power of h_j(t+1) that S explains, per position (nan where nothing happens).
        velocity: Mean displacement per step over all positions but the source, positive towards smaller position; nan if their
            content is not explained or their displacements differ.
        diffusion: Variance of the displacement per step, averaged likewise.
        uneven: Standard deviation of the displacement from position to position.
        nearest: Share of |S| in these rows that lies on the diagonal or beside it: 1 for anything that moves step by step.
    """

    operator: Float[Tensor, "n n"]
    explained: Float[Tensor, " n"]
    velocity: float
    diffusion: float
    uneven: float
    nearest: float


def transport(
    activity: Float[Tensor, "time *rest position"], least: float = 0.9, most: float = 0.25, source: int = 0
) -> Transport:
    """Fit one step of the activity by a linear map of the step before, and read displacement and spread from it.

    Args:
        activity: (time, ..., position); whatever is between shares one operator.
        least: Share of the power that the map has to explain everywhere but at the source for a velocity to be given.
        most: Largest `uneven` for a velocity to be given, in positions per step.
        source: The position where input enters, left out of the readings: 0, or −1 for the last.

    Returns:
        The operator and its readings.

    Raises:
        ValueError: If there are fewer than 2 steps or positions, values are not finite, ``least`` is no share, ``most`` is
            negative, or ``source`` is no position.
    """
    check_activity(activity, 2, 2)
    number_in("least", least, 0.0, 1.0)
    number_in("most", most, 0.0, math.inf)
    h = activity.detach().to("cpu", torch.float64)
    n = h.shape[-1]
    require(-n <= source < n, f"source = {source}", f"{-n} to {n - 1}", "Name a position of the activity.")
    before, after = h[:-1].reshape(-1, n), h[1:].reshape(-1, n)
    gram = before.mT @ before
    # Normal equations: the same bits in every process. The ridge only decides what no data decides.
    ridge = 1e-13 * float(gram.diagonal().mean()) + 1e-300
    S = torch.linalg.solve(gram + ridge * torch.eye(n, dtype=torch.float64), before.mT @ after).mT
    power = after.square().sum(0)
    explained = 1 - (after - before @ S.mT).square().sum(0) / power
    place = torch.arange(n)
    inner = place != source % n
    rows, share = S[inner], explained[inner]
    from_where = (place - place[inner].unsqueeze(1)).double()
    mass = rows.sum(1)
    moved = -(rows * from_where).sum(1) / mass
    spread = (rows * from_where.square()).sum(1) / mass - moved.square()
    magnitude = rows.abs()
    nearest = float((magnitude * (from_where.abs() <= 1)).sum() / magnitude.sum())
    uneven = float(moved.std(correction=0))
    known = bool((share >= least).all()) and bool((mass > 0).all()) and uneven <= most
    return Transport(
        S,
        explained,
        -float(moved.mean()) if known else math.nan,
        float(spread.mean()) if known else math.nan,
        uneven,
        nearest,
    )
