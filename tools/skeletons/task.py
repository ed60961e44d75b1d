"""Task skeleton: say here what a network sees, and what it has to answer (and which paper the task is from).

Each step shows one number. After the last step the network has to name the first of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, shape_is


class SkeletonBatch(NamedTuple):
    """Sequences of the task.

    Attributes:
        inputs: what each step shows, float32, (T, batch, 1).
        targets: what has to be answered, float32, (batch,).
    """

    inputs: Float[Tensor, "T batch 1"]
    targets: Float[Tensor, " batch"]


@dataclass(frozen=True)
class SkeletonTask:
    """The task with sequences of T steps.

    Args:
        T: length of the sequences.

    Raises:
        ValueError: if T is not a positive whole number.
    """

    T: int

    def __post_init__(self) -> None:
        positive_int("T", self.T)

    def batch(
        self,
        size: int,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> SkeletonBatch:
        """Draw sequences.

        Args:
            size: number of sequences.
            generator: source of the random numbers; what is drawn depends on its state alone, not on ``device``.
            device: where the tensors shall live.

        Raises:
            ValueError: if the size is not a positive whole number.
        """
        shape = (self.T, positive_int("size", size), 1)
        inputs = torch.randn(shape, generator=generator, device=generator.device).to(device)
        return SkeletonBatch(inputs, inputs[0, :, 0])


def skeleton_loss(
    outputs: Float[Tensor, "*runs batch 1"],
    targets: Float[Tensor, "*runs batch"],
) -> Float[Tensor, "*runs"]:
    """Mean squared error of the answers, for each run.

    Args:
        outputs: what the networks say after the last step, (…, batch, 1).
        targets: the answers, (…, batch), or (batch,) if all runs saw the same sequences.

    Returns:
        One error per run, differentiable; a scalar tensor if there is no axis of runs.

    Raises:
        ValueError: if the shapes do not fit.
    """
    shape_is("outputs", outputs, ("...", "batch", 1))
    shape_is("targets", targets, outputs.shape[-2:-1] if targets.dim() == 1 else outputs.shape[:-1])
    return ((outputs.squeeze(-1) - targets) ** 2).mean(dim=-1)
