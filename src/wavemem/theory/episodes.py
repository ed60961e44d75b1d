"""Episodes: random binary histories, the input and output phases of a recurrent network, and its accuracy.

In the input phase (s steps) the network receives the vectors of the history, oldest first; in the output phase it
receives zeros and must produce the states that follow (Karuvally et al., ICML 2024, section 4, "Experimental Setup").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, require, shape_is


@dataclass(frozen=True)
class Phases:
    """Where the two phases of an episode lie on the time axis (steps counted from 0).

    Attributes:
        s: steps of the input phase.
        horizon: steps of the output phase.
    """

    s: int
    horizon: int

    @property
    def input(self) -> slice:
        """The steps at which the history is read in."""
        return slice(0, self.s)

    @property
    def output(self) -> slice:
        """The steps whose outputs are compared with the targets."""
        return slice(self.s, self.s + self.horizon)

    @property
    def length(self) -> int:
        """All steps of the episode."""
        return self.s + self.horizon


def phases(s: int, horizon: int) -> Phases:
    """The phases of an episode.

    Args:
        s: length of the history.
        horizon: steps of the output phase.

    Returns:
        Slices of the time axis.

    Raises:
        ValueError: if s or the horizon is not a positive whole number.
    """
    return Phases(positive_int("s", s), positive_int("horizon", horizon))


def random_histories(
    batch: int,
    s: int,
    d: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "batch s d"]:
    """Histories with independent, uniformly drawn entries in {-1, +1}.

    Args:
        batch: number of histories.
        s: length of a history.
        d: dimension of its vectors.
        generator: source of the random numbers; histories depend on its state alone, not on ``device``.
        dtype: type of the result.
        device: where the result shall live.

    Returns:
        Histories, oldest vector first.

    Raises:
        ValueError: if a size is not a positive whole number.
    """
    shape = (positive_int("batch", batch), positive_int("s", s), positive_int("d", d))
    bits = torch.randint(0, 2, shape, generator=generator, device=generator.device)
    return (2 * bits - 1).to(dtype=dtype, device=device)


def elman_inputs(u: Float[Tensor, "*batch s d"], horizon: int) -> Float[Tensor, "time *batch d"]:
    """What a recurrent network receives: the history, oldest vector first, then zeros.

    Args:
        u: histories (..., s, d).
        horizon: steps of the output phase.

    Returns:
        Inputs with time first, (s + horizon, ..., d).

    Raises:
        ValueError: if u has fewer than two axes or the horizon is not positive.
    """
    horizon = positive_int("horizon", horizon)
    shape_is("u", u, ("...", "s", "d"))
    shown = u.movedim(-2, 0)
    return torch.cat([shown, shown.new_zeros((horizon, *shown.shape[1:]))])


def accuracy(y: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"], per: int | None = None) -> Tensor:
    """Share of outputs with the right sign (chance level 1/2 on random histories). An output of exactly 0 counts half.

    Args:
        y: outputs.
        target: targets in {-1, +1}, same shape.
        per: axis to keep, for one accuracy per run or per time step; by default all are averaged.

    Returns:
        A scalar tensor, or a vector along the axis ``per``.

    Raises:
        ValueError: if the shapes differ or the axis does not exist.
    """
    require(
        y.shape == target.shape,
        f"y of shape {tuple(y.shape)} and target of shape {tuple(target.shape)}",
        "two tensors of the same shape",
        "Move the axes so that both agree.",
    )
    # A network whose weights have decayed to 0 says nothing: it is neither right nor wrong, but at chance.
    right = (y * target > 0).to(torch.float64) + 0.5 * (y == 0)
    if per is None:
        return right.mean()
    require(
        -y.dim() <= per < y.dim(), f"per = {per}", f"an axis of a {y.dim()}-dimensional tensor", "Choose another axis."
    )
    return right.movedim(per, 0).flatten(1).mean(dim=1)
