"""Checks of arguments that say what is wrong and what to do about it.

Every public function of the library checks what it is given with the helpers below, so that all complaints read the same:
what was received, what is allowed, how to put it right.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch


class Unusable(ValueError):
    """Something outside the program, a file, a folder or a network, is not as it has to be; the message says what to do."""


class HasShape(Protocol):
    """Anything with a shape: a PyTorch tensor or a NumPy array."""

    @property
    def shape(self) -> Sequence[int]: ...


def nearest(name: str, names: Iterable[str], n: int = 4) -> str:
    """A sentence that lists the ``names`` most like ``name``; empty if there are none."""
    options = list(names)
    close = difflib.get_close_matches(name, options, n=n, cutoff=0.0)
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
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole and hasattr(value, "__index__") and not isinstance(value, bool):
        value, whole = value.__index__(), True
    require(
        whole and value >= minimum,
        f"{name} = {value!r}",
        f"a whole number, {minimum} or larger",
        f"Pass an int for {name}.",
    )
    return int(value)


def number_in(name: str, value: Any, low: float, high: float) -> float:
    """Return ``value`` as a float after checking that it is finite and within [``low``, ``high``].

    Raises:
        ValueError: if the value is not a number, is NaN, or lies outside the interval.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    require(
        low <= number <= high,  # false for NaN
        f"{name} = {value!r}",
        f"a number from {low:g} to {high:g}",
        f"Choose {name} within this interval.",
    )
    return number


def one_of(name: str, value: Any, options: Iterable[Any]) -> Any:
    """Return ``value`` after checking that it is one of ``options``.

    Raises:
        ValueError: if it is not; the message lists every option.
    """
    known = list(options)
    require(
        value in known,
        f"{name} = {value!r}",
        ", ".join(repr(option) for option in known),
        f"Choose one of these for {name}.",
    )
    return value


def finite(name: str, values: Any, fix: str = "Did the training diverge?") -> None:
    """Check that a tensor, array or sequence of numbers holds no NaN and no infinity; LAPACK crashes on them.

    Raises:
        ValueError: if it does.
    """
    tensor = torch.as_tensor(values)
    require(bool(torch.isfinite(tensor).all()), f"{name} with NaN or infinite entries", "finite numbers", fix)


def shape_is(name: str, tensor: HasShape, shape: Sequence[int | str | None]) -> None:
    """Check a tensor's shape.

    Args:
        name: the argument's name, for the message.
        tensor: anything with a ``shape``.
        shape: the expected sizes; ``None`` or a string (a name for the reader) matches any size, and a leading
            ``"..."`` allows any number of leading axes.

    Raises:
        ValueError: if the shape differs.
    """
    actual = tuple(int(size) for size in tensor.shape)
    wanted = list(shape)
    tail = actual
    if wanted and wanted[0] == "...":
        wanted = wanted[1:]
        tail = actual[len(actual) - len(wanted) :] if len(actual) >= len(wanted) else ()
    fits = len(tail) == len(wanted) and all(
        want is None or isinstance(want, str) or want == have for want, have in zip(wanted, tail, strict=True)
    )
    described = "(" + ", ".join("any" if want is None else str(want) for want in shape) + ")"
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
    if name not in DEVICES:
        raise ValueError(f"device is {name!r}; allowed: {', '.join(DEVICES)}. Choose one of these.")
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
    require(
        bool(torch.isfinite(activity).all()),
        "an activity with infinite or missing values",
        "finite values",
        "Look at the run that made it: the states have diverged.",
    )
