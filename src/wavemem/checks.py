"""Checks of arguments that say what is wrong and what to do about it.

Every public function of the library checks what it is given with the helpers below, so that all complaints read the same:
what was received, what is allowed, how to put it right.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch


class Unusable(ValueError):
    """Something outside the program, a file, a folder or a network, is not as it has to be; the message says what to do."""


class HasShape(Protocol):
    """Anything with a shape: a PyTorch tensor or a NumPy array."""

    @property
    def shape(self) -> Sequence[int]: ...


def nearest(name: str, names: Iterable[str]) -> str:
    """A sentence that lists the ``names`` most like ``name``; empty if there are none."""
    options = list(names)
    close = difflib.get_close_matches(name, options, n=4, cutoff=0.0)
    return f"Nearest: {', '.join(repr(c) for c in close)}." if close else ""


def require(condition: bool, got: str, allowed: str, fix: str) -> None:
    """Raise a readable error unless a condition holds.

    Args:
        condition: what must be true.
        got: what was received, with the argument's name.
        allowed: what would have been accepted.
        fix: what the caller can do, as a sentence.

    Raises:
        ValueError: if ``condition`` is false; the message holds all three parts.
    """
    if not condition:
        raise ValueError(f"{got}; allowed: {allowed}. {fix}")


def positive_int(name: str, value: Any, minimum: int = 1) -> int:
    """Return ``value`` as an int after checking that it is a whole number of at least ``minimum``.

    Args:
        name: the argument's name, for the message.
        value: what was received. Booleans are refused: ``True`` is rarely meant as 1.
        minimum: the smallest allowed value.

    Returns:
        The value as a plain ``int``.

    Raises:
        ValueError: if the value is not a whole number or is below ``minimum``.
    """
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    allowed = f"a whole number, {minimum} or larger"
    require(whole and value >= minimum, f"{name} = {value!r}", allowed, f"Pass an int for {name}.")
    return operator.index(value)


def number_in(name: str, value: Any, low: float, high: float) -> float:
    """Return ``value`` as a float after checking that it is finite and within [``low``, ``high``].

    Raises:
        ValueError: if the value is not a number, is NaN, or lies outside the interval.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    inside = low <= number <= high  # false for NaN
    require(inside, f"{name} = {value!r}", f"a number from {low:g} to {high:g}", f"Choose {name} within this interval.")
    return number


def one_of(name: str, value: Any, options: Iterable[Any]) -> Any:
    """Return ``value`` after checking that it is one of ``options``.

    Raises:
        ValueError: if it is not; the message lists every option.
    """
    known = list(options)
    require(value in known, f"{name} = {value!r}", ", ".join(map(repr, known)), f"Choose one of these for {name}.")
    return value


def finite(name: str, values: Any, fix: str = "Did the training diverge?") -> None:
    """Check that a tensor, array or sequence of numbers holds no NaN and no infinity; LAPACK crashes on them.

    Raises:
        ValueError: if it does.
    """
    tensor = torch.as_tensor(values)
    require(bool(torch.isfinite(tensor).all()), f"{name} with NaN or infinite entries", "finite numbers", fix)


def shape_is(name: str, tensor: HasShape, shape: Sequence[int | str]) -> None:
    """Check a tensor's shape.

    Args:
        name: the argument's name, for the message.
        tensor: anything with a ``shape``.
        shape: the expected sizes; a string (a name for the reader) matches any size, and ``"..."`` any number of axes.

    Raises:
        ValueError: if the shape differs.
    """
    actual, wanted = tuple(int(size) for size in tensor.shape), list(shape)
    if "..." in wanted:
        at = wanted.index("...")
        wanted[at : at + 1] = ["any"] * (len(actual) - len(wanted) + 1)
    fits = len(actual) == len(wanted) and all(
        isinstance(want, str) or want == have for want, have in zip(wanted, actual, strict=True)
    )
    described = f"({', '.join(map(str, shape))})"
    require(fits, f"{name} has shape {actual}", described, f"Reshape {name} or check the order of its axes.")


DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device that a name stands for.

    Args:
        name: "auto" (a CUDA device where PyTorch finds one, else the CPU), "cpu" or "cuda".

    Returns:
        The device.

    Raises:
        ValueError: If the name is unknown, or "cuda" is asked for and PyTorch finds no CUDA device.
    """
    one_of("device", name, DEVICES)
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device is 'cuda'; allowed here: auto, cpu. PyTorch finds no CUDA device on this machine.")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def activity_is(activity: torch.Tensor, least_time: int, least_position: int) -> None:
    """Refuse what is not a finite activity array (time, ..., channel, position) of at least the given extents.

    Raises:
        ValueError: With the shape found and what is needed.
    """
    require(
        activity.ndim >= 2 and activity.shape[0] >= least_time and activity.shape[-1] >= least_position,
        f"an activity of shape {tuple(activity.shape)}",
        f"(time, ..., channel, position) with time >= {least_time} and position >= {least_position}",
        "Put time first and position last (readings.substrate_activity does so for flattened states).",
    )
    finite("an activity", activity)
