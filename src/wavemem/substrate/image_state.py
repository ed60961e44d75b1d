"""What the last state of a network holds of an image that it was shown pixel by pixel, and what a linear readout makes of it.

On a ring of n units with the shift kernel and its input at unit 0, the input of step t stands at unit −(T − t) mod n after
the last step T. A sequence longer than the ring comes round, and what meets is added: the image is *folded* onto the ring.
Units that do not pass their activity on, as those of a network started from the identity, add up everything: they hold the
image's total ink.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import number_in, positive_int, require, shape_is

__all__ = ["folded", "recovered", "ridge_accuracy"]


def folded(inputs: Float[Tensor, "T ..."], units: int) -> Float[Tensor, "... n"]:
    """What a lossless ring of velocity 1 holds after the last step: at each unit, the sum of the inputs that are there.

    Args:
        inputs: x(1) … x(T), one number per step.
        units: n.

    Returns:
        The state of the ring, unit 0 first; for n >= T the inputs themselves, backwards in time.

    Raises:
        ValueError: if there are no inputs or the number of units is not positive.
    """
    n, T = positive_int("units", units), inputs.shape[0] if inputs.dim() else 0
    require(T >= 1, f"inputs of shape {tuple(inputs.shape)}", "at least one step, time first", "Pass a sequence.")
    unit = -(T - 1 - torch.arange(T, device=inputs.device)) % n
    ring = inputs.new_zeros((n, *inputs.shape[1:])).index_add_(0, unit, inputs)
    return ring.movedim(0, -1)


def _ridge(x: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, mean of x and mean of y of a ridge regression in float64; columns of x that never change get weight 0."""
    x, y = x.double(), y.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x = x - mean_x
    scale = x.square().mean(0).sqrt()
    # A column that is constant up to rounding carries nothing but rounding.
    scale = torch.where(scale > 1e-9 * (mean_x.abs() + 1e-300), scale, torch.inf)
    x = x / scale
    penalty = ridge * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(x.mT @ x + penalty, x.mT @ (y - mean_y))
    return weights / scale[:, None], mean_x, mean_y


def _check(states: Tensor, others: Tensor, name: str, ridge: float) -> None:
    require(
        states.dim() == 2 and others.shape[0] == states.shape[0] and len(states) >= 4,
        f"states of shape {tuple(states.shape)} and {name} of shape {tuple(others.shape)}",
        "(images, features) and as many of the others, at least 4 images",
        "Flatten the state of one image into one vector.",
    )
    number_in("ridge", ridge, 1e-15, 1e6)


def ridge_accuracy(
    states: Float[Tensor, "images features"],
    labels: Int[Tensor, " images"],
    test_states: Float[Tensor, "tests features"],
    test_labels: Int[Tensor, " tests"],
    ridge: float = 1e-3,
) -> float:
    """Share of test images whose class a linear readout names, fitted by ridge regression on one-hot classes.

    Args:
        states: what the readout sees, one row per image.
        labels: classes.
        test_states, test_labels: other images.
        ridge: penalty relative to the variance of a feature (features are scaled to variance 1 first).

    Returns:
        The accuracy.

    Raises:
        ValueError: if the shapes do not fit or the penalty is not positive.
    """
    _check(states, labels, "labels", ridge)
    _check(test_states, test_labels, "labels", ridge)
    classes = int(labels.max()) + 1
    weights, mean_x, mean_y = _ridge(states, torch.nn.functional.one_hot(labels, classes), ridge)
    said = ((test_states.double() - mean_x) @ weights + mean_y).argmax(-1)
    return float((said == test_labels).double().mean())


def recovered(
    states: Float[Tensor, "images features"],
    inputs: Float[Tensor, "images T"],
    test_states: Float[Tensor, "tests features"],
    test_inputs: Float[Tensor, "tests T"],
    ridge: float = 1e-3,
) -> Float[Tensor, " T"]:
    """How much of each input a linear map recovers from the last state: R² on other images.

    Args:
        states: last states, one row per image.
        inputs: what each step showed.
        test_states, test_inputs: of other images.
        ridge: penalty, as in `ridge_accuracy`.

    Returns:
        R² per step; 1 is exact recovery, values below 0 are worse than the mean. nan for steps that show the same in all test
        images.

    Raises:
        ValueError: if the shapes do not fit or the penalty is not positive.
    """
    _check(states, inputs, "inputs", ridge)
    _check(test_states, test_inputs, "inputs", ridge)
    shape_is("test_inputs", test_inputs, (len(test_states), inputs.shape[1]))
    weights, mean_x, mean_y = _ridge(states, inputs, ridge)
    truth = test_inputs.double()
    residual = (truth - ((test_states.double() - mean_x) @ weights + mean_y)).square().sum(0)
    total = (truth - truth.mean(0)).square().sum(0)
    return torch.where(total > 0, 1 - residual / total.clamp_min(1e-300), torch.nan)
