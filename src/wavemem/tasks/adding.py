"""The adding task: the sum of the two numbers, among T, that a marker points at.

Each step shows a number from U(0, 1) and a marker, 0 or 1. Two steps are marked, one in each half of the sequence; after
the last step the network has to name the sum of the two marked numbers (Hochreiter & Schmidhuber, 1997; Keller et al.,
ICLR 2024, section 3). Saying 1 whatever was shown has the mean squared error 1/6, the variance of the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, require

__all__ = ["BASELINE_MSE", "SOLVED_MSE", "AddingTask", "Batch", "adding_loss"]

BASELINE_MSE = 1 / 6
"""Mean squared error of the constant 1: the variance of a sum of two numbers from U(0, 1)."""

SOLVED_MSE = 5e-2
"""The paper calls the task solved at the first training loss that is not above this (its Table 1)."""


class Batch(NamedTuple):
    """Sequences of the adding task.

    Attributes:
        inputs: number and marker at each step, float32, (T, batch, 2).
        targets: the sum of the marked numbers, float32, (batch,).
    """

    inputs: Float[Tensor, "T batch 2"]
    targets: Float[Tensor, " batch"]


@dataclass(frozen=True)
class AddingTask:
    """The adding task with sequences of T steps.

    The first marker lies in the steps 0 … ⌊T/2⌋ − 1, the second in ⌊T/2⌋ … T − 1, both uniformly drawn.

    Args:
        T: length of the sequences, at least 2.

    Raises:
        ValueError: if T is not a whole number of at least 2.
    """

    T: int

    def __post_init__(self) -> None:
        positive_int("T", self.T, minimum=2)

    @property
    def length(self) -> int:
        """Steps of a sequence, T."""
        return self.T

    def batch(self, size: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Batch:
        """Draw sequences.

        Args:
            size: number of sequences.
            generator: source of the random numbers; what is drawn depends on its state alone, not on ``device``.
            device: where the tensors shall live.

        Returns:
            Inputs and targets.

        Raises:
            ValueError: if the size is not a positive whole number.
        """
        size, half, home = positive_int("size", size), self.T // 2, generator.device
        numbers = torch.rand((self.T, size), generator=generator, device=home)
        first = torch.randint(0, half, (1, size), generator=generator, device=home)
        second = torch.randint(half, self.T, (1, size), generator=generator, device=home)
        markers = torch.zeros_like(numbers).scatter_(0, torch.cat([first, second]), 1.0)
        targets = numbers.gather(0, first)[0] + numbers.gather(0, second)[0]
        return Batch(torch.stack([numbers, markers], dim=-1).to(device), targets.to(device))


def adding_loss(
    outputs: Float[Tensor, "*runs batch 1"], targets: Float[Tensor, "*runs batch"]
) -> Float[Tensor, "*runs"]:
    """Mean squared error of the named sums, for each run.

    Args:
        outputs: what the networks say after the last step, (…, batch, 1) or (…, batch).
        targets: the sums, (…, batch), or (batch,) if all runs saw the same sequences.

    Returns:
        One error per run; a scalar tensor if there is no axis of runs. Differentiable.

    Raises:
        ValueError: if the shapes do not fit.
    """
    said = outputs
    if outputs.dim() >= 2 and outputs.shape[-1] == 1 and outputs.shape[-2] == targets.shape[-1]:
        said = outputs.squeeze(-1)
    require(
        said.dim() >= 1
        and targets.dim() >= 1
        and said.shape[-1] == targets.shape[-1]
        and tuple(targets.shape) in {tuple(said.shape), (said.shape[-1],)},
        f"outputs of shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)}",
        "outputs (…, batch, 1) or (…, batch) with targets (…, batch) or (batch,)",
        "Pass the outputs after the last step, one number per sequence.",
    )
    return ((said - targets) ** 2).mean(dim=-1)
