"""Is there a wave? One measurement for linear, trained and ring networks and for registers.

A *response* T[p, τ] says how place p depends on what was written at the entrance τ steps ago. Places are counted from
the entrance on. A wave is

    travelling      if what stands at a place tells its age: T[p, τ] lives on a line τ = p / v,
    recirculating   if it travels, and what has left at the end enters again: T[0, τ] lives on after a lap.

With P = ‖T‖² (Frobenius) and q_p(τ) = P[p, τ] / Σ_τ P[p, τ] over the ages of one lap, the travel score is the share of the
variance of age that a straight line through the places explains, with the sign of the slope:

    travel = r |r|,   r = cov(p, τ) / (σ_p σ_τ) under q_p(τ) / s,     velocity = σ_p² / cov(p, τ),
    gain per lap = (Σ P[0, second lap] / Σ P[0, first lap])^½.

An exact delay line has travel 1 and gain 0, repeat copy and a ring 1 and 1. What stands still has the same ages at all
places: travel 0. Nothing depends on the basis in which W, entrance and readers are written, nor on the unit of a place. It does
depend on the readers: ones fitted to the state find every age in any W whose powers are independent, so they have to be given
by something else, the places of a substrate or the readout (`readers_of_readout`).

Source: our own, after Karuvally et al., ICML 2024, section 4.2; the impulse response is the Markov parameters of linear systems.
"""

from __future__ import annotations

import math
from itertools import permutations
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, require, shape_is

LEAST_TRAVEL = 0.5
"""Half of the variance of age. The places of a perfect register in random order have 1/(s - 1) on average, 1/3 at most."""

LEAST_GAIN = 0.5
"""Half of the amplitude has to come back. A pair of eigenvalues of modulus r has gain r^lap: 0.84 at a lap of 4, 0.92 at 8."""


class Wave(NamedTuple):
    """What `find_wave` found.

    Attributes:
        travel: from -1 to 1; negative if age falls with the distance from the entrance.
        null: the travel that 95 % of all orders of the same places stay below.
        velocity: places per step, away from the entrance; NaN unless `travelling`.
        gain: amplitude at the entrance in the second lap over that in the first; NaN if the response ends before.
    """

    travel: float
    null: float
    velocity: float
    gain: float

    @property
    def travelling(self) -> bool:
        """Content passes through, from the entrance to the end, in order."""
        return self.travel >= LEAST_TRAVEL and self.travel > self.null

    @property
    def recirculating(self) -> bool:
        """It travels, and what has passed through enters again."""
        return self.travelling and self.gain >= LEAST_GAIN


def readers_of_readout(
    W_hh: Float[Tensor, "N N"], W_r: Float[Tensor, "r N"], places: int
) -> Float[Tensor, "places r N"]:
    """A network's own readers: place p from the entrance is read with W_r W_hh^(s-p), what the readout will say s - p steps on.

    Places of a network that says its inputs in their order, as in repeat copy. What composes its output is read in a basis.

    Raises:
        ValueError: if the shapes do not fit or there is no place.
    """
    places = positive_int("places", places)
    shape_is("W_hh", W_hh, (W_hh.shape[-1], W_hh.shape[-1]))
    shape_is("W_r", W_r, ("r", W_hh.shape[-1]))
    readers = [W_r @ W_hh]
    for _ in range(places - 1):
        readers.append(readers[-1] @ W_hh)
    return torch.stack(readers[::-1])


def impulse_response(
    W_hh: Float[Tensor, "N N"], entrance: Float[Tensor, "N d"], readers: Float[Tensor, "places r N"], ages: int
) -> Float[Tensor, "places ages r d"]:
    """T[p, τ] = R_p W_hh^τ U of a linear network, or of a non-linear one at the origin.

    Args:
        W_hh: recurrent weights.
        entrance: U, where content is written: input weights, or the vectors of the first place.
        readers: R_p, one per place from the entrance on: covectors of a basis, rows of the identity, `readers_of_readout`.
        ages: number of ages; two laps to see whether anything comes back.

    Raises:
        ValueError: if the shapes do not fit or there is no age.
    """
    ages = positive_int("ages", ages)
    N = W_hh.shape[-1]
    shape_is("W_hh", W_hh, (N, N))
    shape_is("entrance", entrance, (N, "d"))
    shape_is("readers", readers, ("places", "r", N))
    columns = [entrance]
    for _ in range(ages - 1):
        columns.append(W_hh @ columns[-1])
    return torch.einsum("prn,and->pard", readers, torch.stack(columns))


def fitted_response(
    content: Float[Tensor, "time batch places r"], inputs: Float[Tensor, "time batch d"], ages: int
) -> Float[Tensor, "places ages r d"]:
    """T of any network, from its activity: least squares of what is read at the places on the last inputs.

    Args:
        content: What stands at the places after each step, from the entrance on. For the first pass alone, give the steps
            of the input phase alone.
        inputs: What was written at each of these steps, zero where nothing was; random, or the ages cannot be told apart.
        ages: Number of ages.

    Raises:
        ValueError: if the axes differ, or ages exceed the steps.
    """
    shape_is("content", content, ("time", "batch", "places", "r"))
    time, batch, places, r = content.shape
    shape_is("inputs", inputs, (time, batch, "d"))
    ages, d = positive_int("ages", ages), inputs.shape[-1]
    require(ages <= time, f"{ages} ages in {time} steps", f"1 to {time}", "Record longer.")
    padded = torch.cat([inputs.new_zeros(ages - 1, batch, d), inputs]).double()
    lagged = torch.stack([padded[ages - 1 - age : ages - 1 - age + time] for age in range(ages)], -2)
    design, read = lagged.reshape(-1, ages * d), content.double().reshape(-1, places * r)
    gram = design.mT @ design
    # The ridge decides only what the inputs leave open.
    ridge = 1e-10 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    solved = torch.linalg.solve(gram + ridge, design.mT @ read)
    return solved.reshape(ages, d, places, r).permute(2, 0, 3, 1)


def find_wave(response: Float[Tensor, "places ages r d"], lap: int | None = None) -> Wave:
    """Whether a response is that of a travelling and of a recirculating wave.

    Args:
        response: T, from `impulse_response` or `fitted_response`. Of several waves of unequal length, give one at a time.
        lap: steps of one pass; one per place unless given. For a register of velocity v take about 2 s / v, so that the
            slowest content arrives, for a ring s / v.

    Returns:
        Travel, its null, velocity and gain per lap.

    Raises:
        ValueError: if there are fewer than 4 places (3 come in the right order once in 6 by chance), values are missing, or
            a lap has fewer than 2 ages or more than the response.
    """
    shape_is("response", response, ("places", "ages", "r", "d"))
    s, ages = response.shape[:2]
    lap = s if lap is None else positive_int("lap", lap)
    require(
        s >= 4 and 2 <= lap <= ages and bool(torch.isfinite(response).all()),
        f"a response of shape {tuple(response.shape)} for a lap of {lap}",
        "finite, (places, ages, r, d) with 4 places or more, a lap from 2 to the number of ages",
        "Read more places, or follow the response for longer.",
    )
    power = response.detach().cpu().double().square().sum((-2, -1))
    pass_ = power[:, :lap]
    total = pass_.sum(1, keepdim=True)
    # A place that holds nothing tells no age.
    q = torch.where(total > 1e-20 * power.max(), pass_ / total.clamp_min(1e-300), torch.tensor(1 / lap).double())
    place, age = torch.arange(s).double(), torch.arange(lap).double()
    place = place - place.mean()
    at = q @ age
    spread = float((q @ age.square()).mean() - at.mean().square())
    scale = math.sqrt(float(place.square().mean()) * max(spread, 0.0))

    def travel_of(order: Float[Tensor, "*orders s"]) -> Float[Tensor, "*orders"]:
        r = (order * (at - at.mean())).mean(-1) / scale if scale > 1e-9 else order.sum(-1) * 0
        return r * r.abs()

    if s <= 6:
        orders = torch.tensor(list(permutations(place.tolist()))).double()
    else:
        generator = torch.Generator().manual_seed(0)
        orders = place[torch.rand(1000, s, generator=generator).argsort(1)]
    travel, null = float(travel_of(place)), float(travel_of(orders).quantile(0.95))
    first = float(power[0, :lap].sum())
    again = float(power[0, lap : 2 * lap].sum())
    gain = math.nan if ages < 2 * lap else math.sqrt(again / first) if first > 0 else 0.0
    found = Wave(travel, null, math.nan, gain)
    slope = float((place * at).mean() / place.square().mean())
    return found._replace(velocity=1 / slope) if found.travelling else found
