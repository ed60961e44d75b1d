"""Evidence that activity travels: what a basis shows by construction, and what it can only show if the network does it.

In the basis of Algorithm 1 column i - 1 is *defined* as what W_hh makes of column i. In that basis the operator of any network
moves column i to column i - 1, and whatever state enters the substrate travels. What is not built in is what becomes of an
entry at the end of its way, which states occur, and how long they last. The functions here tell the two apart.

Source: our own analysis of Karuvally et al., ICML 2024, section 4.2 and Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from wavemem.checks import number_in, positive_int, require, shape_is
from wavemem.substrate.memories import VariableMemories

__all__ = [
    "OperatorShare",
    "agreement",
    "inherited_entries",
    "line_share",
    "operator_share",
    "standardised",
    "step_correlation",
]


def inherited_entries(memories: VariableMemories) -> Bool[Tensor, " m"]:
    """Kept entries whose next place towards the oldest column is kept as well.

    For these Algorithm 1 fixes what W_hh does: column k of Ψ†W_hhΨ is a multiple of a unit vector, for any W_hh with
    linearly independent vectors. The other columns, one per dimension, are free; there the boundary has to show itself.
    """
    present = set(memories.keep.tolist())
    return torch.tensor([k - memories.d in present for k in memories.keep.tolist()])


@dataclass(frozen=True)
class OperatorShare:
    """Share of the squared weight of Ψ†W_hhΨ that lies where Φ is not zero.

    Attributes:
        all: over all columns.
        inherited: over the columns that Algorithm 1 fixes (NaN if there are none).
        free: over the columns that it does not.
    """

    all: float
    inherited: float
    free: float


def operator_share(memories: VariableMemories, W: Float[Tensor, "N N"], Phi: Float[Tensor, "sd sd"]) -> OperatorShare:
    """How much of a network's operator lies where the theory has it, with and without what is built in.

    Args:
        memories: the basis.
        W: recurrent weights.
        Phi: the task's operator.

    Returns:
        The shares, from 0 to 1.

    Raises:
        ValueError: if the shapes do not fit.
    """
    weight, there = memories.operator(W) ** 2, memories.theory(Phi) != 0
    built_in = inherited_entries(memories)

    def share(columns: Tensor) -> float:
        part = weight[:, columns]
        return float((part * there[:, columns]).sum() / part.sum()) if columns.any() else float("nan")

    return OperatorShare(share(torch.ones_like(built_in)), share(built_in), share(~built_in))


def agreement(content: Float[Tensor, "*batch m"], truth: Float[Tensor, "*batch m"]) -> Float[Tensor, " m"]:
    """Correlation of what is read with what should be there, per entry, over all other axes; NaN where one does not vary.

    Args:
        content: from `VariableMemories.coordinates`.
        truth: from `true_histories`, flattened and restricted to the kept entries.

    Raises:
        ValueError: if the shapes differ.
    """
    shape_is("truth", truth, tuple(content.shape))
    x, y = (values.double().reshape(-1, values.shape[-1]) for values in (content, truth))
    x, y = x - x.mean(0), y - y.mean(0)
    power = ((x**2).sum(0) * (y**2).sum(0)).sqrt()
    return torch.where(power > 0, (x * y).sum(0) / power.clamp_min(1e-300), torch.nan)


def step_correlation(content: Float[Tensor, "time *batch s d"]) -> tuple[float, float]:
    """Correlation of the content with itself one step later, one column on: towards the oldest and towards the newest.

    Works with columns of different extent: pairs of which one entry was dropped (NaN) are left out. A wave of velocity 1 has 1
    and, on random histories, about 0.

    Args:
        content: from `VariableMemories.substrate`.

    Returns:
        Mean over entries of the correlation along the way of the waves, and of that against it.

    Raises:
        ValueError: if there are fewer than two steps or two columns.
    """
    require(
        content.ndim >= 3 and content.shape[0] >= 2 and content.shape[-2] >= 2,
        f"content of shape {tuple(content.shape)}",
        "(time, ..., s, d) with at least two steps and two columns",
        "Record more of the episode.",
    )
    before, after = content[:-1].double(), content[1:].double()
    pairs = ((before[..., 1:, :], after[..., :-1, :]), (before[..., :-1, :], after[..., 1:, :]))
    means = []
    for x, y in pairs:
        values = agreement(x.flatten(-2), y.flatten(-2))
        means.append(float(values[torch.isfinite(values)].mean()))
    return means[0], means[1]


def line_share(activity: Float[Tensor, "time *rest position"], velocity: float = 1.0) -> float:
    """Share of the power of the space-time spectrum on the line ω = ν k; means over time are removed.

    The number of steps should be a multiple of the number of positions, so that the line meets the frequencies. Activity that
    travels at ν has 1. Activity without order has 1 / steps.

    Args:
        activity: (time, ..., channel, position).
        velocity: ν in columns per step.

    Returns:
        The share; NaN for activity that does not change.

    Raises:
        ValueError: if there are fewer than two positions, the steps are no multiple of the positions, or values are missing.
    """
    shape_is("activity", activity, ("...", "position"))
    time, position = int(activity.shape[0]), int(activity.shape[-1])
    require(
        activity.ndim >= 2 and position >= 2 and time % position == 0 and bool(torch.isfinite(activity).all()),
        f"an activity of shape {tuple(activity.shape)}",
        "(time, ..., position), finite, two positions or more, a number of steps that is a multiple of the number of positions",
        "Cut the episode, and choose channels whose positions are all kept.",
    )
    velocity = number_in("velocity", velocity, -position / 2, position / 2)
    x = activity.double().reshape(time, -1, position)
    power = torch.fft.fft2(x - x.mean(0), dim=(0, 2)).abs().pow(2).sum(1)
    k = torch.arange(position, dtype=torch.float64) / position
    row = torch.round(velocity * k * time).long() % time
    total = float(power.sum())
    return float(power[row, torch.arange(position)].sum()) / total if total > 0 else float("nan")


def standardised(
    content: Float[Tensor, "time *batch s d"], reference: Float[Tensor, "T *more s d"], skip: int = 0
) -> Float[Tensor, "time *batch s d"]:
    """Content in units of its standard deviation, entry by entry, as the paper's figures have it.

    Args:
        content: what is shown, maybe one episode.
        reference: many episodes of the same network. One episode will not do: an entry that happens to hold the same value all
            the time has no deviation.
        skip: steps at the beginning of the reference that do not count, e.g. the input phase.

    Returns:
        The content divided by the deviation of the reference; entries that never vary are left as they are.

    Raises:
        ValueError: if the substrates differ or no step is left.
    """
    skip = positive_int("skip", skip, minimum=0)
    s, d = (int(n) for n in content.shape[-2:])
    shape_is("reference", reference, ("T", "...", s, d))
    require(reference.shape[0] > skip, f"skip = {skip} of {reference.shape[0]} steps", "fewer steps", "Record longer.")
    deviation = reference[skip:].double().reshape(-1, s, d).std(0, correction=0)
    return content.double() / torch.where(deviation == 0, torch.ones_like(deviation), deviation)
