"""What a recurrent network has to learn the adding task from: gradients by the marker's place, and what a readout can know.

Two questions about a network *before* it has learned the task:

*Can its gradients tell where the marker was?* `marker_gradients` holds the shown numbers fixed, moves one marker through the
sequence, and returns the gradient of the output with respect to every weight, one for each place. `place_share` says how
much of it depends on the place, `directions` in how many directions it does.

*Can its state tell the marked number from the others?* `readout_error` is what the best linear readout of the last state
leaves of the error. A state that is a linear function of what was shown cannot go below
`wavemem.substrate.adding_solution.linear_floor`.

The measurements are the book's own; the networks are those of Keller et al., ICLR 2024.
"""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import finite, number_in, positive_int, require, shape_is
from wavemem.tasks.adding import AddingTask, Batch

__all__ = [
    "AddingNetwork",
    "directions",
    "input_sensitivity",
    "marked_at",
    "marker_gradients",
    "place_share",
    "readout_error",
]


class AddingNetwork(Protocol):
    """What `marker_gradients` needs of a network: `wavemem.models.recurrent.RecurrentNetwork` has it."""

    @property
    def K(self) -> int:
        """Number of runs."""
        ...

    def outputs(self, inputs: Float[Tensor, "T B 2"], every_step: bool = False) -> Float[Tensor, "K B 1"]:
        """The outputs after the last step."""
        ...

    def named_parameters(self) -> object:
        """Name → parameter."""
        ...


def marked_at(task: AddingTask, batch: Batch, place: int) -> Batch:
    """The same sequences with the marker of one half moved to a given step; the other marker stays.

    Args:
        task: the adding task.
        batch: sequences of it.
        place: the step, 0 … T - 1; the marker of its half moves there.

    Returns:
        Inputs and targets of the changed sequences.

    Raises:
        ValueError: if there is no such step, or the sequences have another length.
    """
    place = positive_int("place", place, minimum=0)
    require(place < task.T, f"place = {place}", f"0 to {task.T - 1}", "Choose a step of the sequence.")
    shape_is("inputs", batch.inputs, (task.T, "batch", 2))
    half = task.T // 2
    inputs = batch.inputs.clone()
    its_half = slice(0, half) if place < half else slice(half, task.T)
    inputs[its_half, :, 1] = 0.0
    inputs[place, :, 1] = 1.0
    return Batch(inputs, (inputs[..., 0] * inputs[..., 1]).sum(0))


def marker_gradients(network: AddingNetwork, task: AddingTask, batch: Batch) -> dict[str, Float[Tensor, "T weights"]]:
    """Gradients of the output with respect to every weight, by the place of one marker, all else being equal.

    The gradient of the squared error is the output's times twice the error. It is the output's that says in which directions
    training can push at all, whatever the errors are.

    Args:
        network: an ensemble of one run.
        task: the adding task.
        batch: the sequences whose marker is moved; their numbers and the other marker are the same for every place.

    Returns:
        Name of the parameter → gradients (T, number of weights), averaged over sequences: row p with a marker at step p.

    Raises:
        ValueError: if the network holds several runs or the sequences have another length.
    """
    require(network.K == 1, f"an ensemble of {network.K} runs", "one run", "Pass network.run(k).")
    parameters = dict(network.named_parameters())  # type: ignore[call-overload]
    rows: dict[str, list[Tensor]] = {name: [] for name in parameters}
    for place in range(task.T):
        moved = marked_at(task, batch, place)
        gradients = torch.autograd.grad(network.outputs(moved.inputs).mean(), list(parameters.values()))
        for name, gradient in zip(parameters, gradients, strict=True):
            rows[name].append(gradient.detach().flatten())
    return {name: torch.stack(row) for name, row in rows.items()}


def place_share(gradients: Float[Tensor, "T weights"]) -> float:
    """Share of the gradients' squared length that depends on the place: Σ‖g_p − ḡ‖² / Σ‖g_p‖².

    Args:
        gradients: one entry of what `marker_gradients` returns.

    Returns:
        0 if the place makes no difference, up to 1; 0 also where there is no gradient.

    Raises:
        ValueError: if it is not a matrix.
    """
    shape_is("gradients", gradients, ("T", "weights"))
    g = gradients.double()
    total = float(g.square().sum())
    return float((g - g.mean(0)).square().sum()) / total if total > 0 else 0.0


def directions(gradients: Float[Tensor, "T weights"]) -> float:
    """In how many directions the gradients for the different places spread: (Σ σ²)² / Σ σ⁴ after taking out their mean.

    σ are the singular values; it is 1 if moving the marker moves the gradient along one line, and T - 1 if every place pulls
    its own way with equal force.

    Args:
        gradients: one entry of what `marker_gradients` returns.

    Returns:
        The participation ratio; 0 if the place makes no difference beyond rounding.

    Raises:
        ValueError: if it is not a matrix.
    """
    shape_is("gradients", gradients, ("T", "weights"))
    finite("gradients", gradients)
    spread = gradients.double() - gradients.double().mean(0)
    squares = torch.linalg.svdvals(spread).square()
    total = float(squares.sum())
    if place_share(gradients) < 1e-9:  # what is left is the rounding of single precision
        return 0.0
    return total**2 / float(squares.square().sum())


def input_sensitivity(network: AddingNetwork, batch: Batch) -> tuple[Float[Tensor, "K T"], Float[Tensor, "K T"]]:
    """What a number is worth to the output, ∂y/∂x, by its age: mean over sequences, marked and unmarked numbers apart.

    A network that adds has 1 for marked and 0 for unmarked numbers at every age.

    Args:
        network: trained runs.
        batch: sequences of the adding task.

    Returns:
        Marked and unmarked, each (K, T), age 0 (the last step) first. NaN where no sequence has such a number.

    Raises:
        ValueError: if the sequences are not (T, batch, 2).
    """
    shape_is("inputs", batch.inputs, ("T", "batch", 2))
    shown = batch.inputs[:, None].repeat(1, network.K, 1, 1).requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(network.outputs(shown).sum(), [shown])
    marks = shown.detach()[..., 1]
    found = []
    for chosen in (marks, 1 - marks):
        mean = (slope[..., 0] * chosen).sum(-1) / chosen.sum(-1)  # 0/0 where there is none
        found.append(mean.flip(0).T)
    return found[0], found[1]


def readout_error(
    states: Float[Tensor, "B N"],
    targets: Float[Tensor, " B"],
    new_states: Float[Tensor, "M N"],
    new_targets: Float[Tensor, " M"],
    ridge: float = 1e-4,
) -> float:
    """Mean squared error, on new sequences, of the best linear readout with a bias of states that are what they are.

    Args:
        states: last states of the sequences to fit.
        targets: their sums.
        new_states: last states of other sequences, on which the error is measured.
        new_targets: their sums.
        ridge: penalty, as a share of the mean variance of a unit. Units that never vary are left out by it.

    Returns:
        The error.

    Raises:
        ValueError: if the shapes do not fit or the penalty is negative.
    """
    ridge = number_in("ridge", ridge, 0.0, 1e6)
    shape_is("states", states, ("B", "N"))
    shape_is("targets", targets, (len(states),))
    shape_is("new_states", new_states, ("M", states.shape[1]))
    shape_is("new_targets", new_targets, (len(new_states),))
    h, y = states.detach().double(), targets.double()
    mean, level = h.mean(0), y.mean()
    h = h - mean
    covariance = h.T @ h / len(h)
    size = covariance.diagonal().mean().clamp_min(1e-30)
    penalty = ridge * size * torch.eye(len(covariance), dtype=torch.float64)
    weights = torch.linalg.solve(covariance + penalty, h.T @ (y - level) / len(h))
    said = (new_states.detach().double() - mean) @ weights + level
    return float((said - new_targets.double()).square().mean())
