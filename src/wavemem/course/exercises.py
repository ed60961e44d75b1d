"""What a reader writes for a chapter's exercise, tried where it stands: ``check("4.2", dual)``.

Each check computes what it asks for in its own slow way, from nothing of the library: that would be the answer itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

_CHECKS: dict[str, Callable[[Any], None]] = {}


@dataclass(frozen=True)
class Verdict:
    """What came of an answer.

    Attributes:
        number: the exercise's, as the page prints it.
        right: whether it passed.
        what: in words.
    """

    number: str
    right: bool
    what: str

    def __repr__(self) -> str:
        return f"Exercise {self.number}: {self.what}"


def _exercise(number: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    def note(test: Callable[[Any], None]) -> Callable[[Any], None]:
        _CHECKS[number] = test
        return test

    return note


def check(number: str, answer: Any) -> Verdict:
    """Try an answer to an exercise.

    Args:
        number: the exercise's, e.g. "4.2".
        answer: what the exercise asks for, mostly a function.

    Returns:
        A verdict, which a notebook shows; a wrong answer raises nothing.

    Raises:
        ValueError: No exercise of that number can be checked.
    """
    if number not in _CHECKS:
        allowed = ", ".join(sorted(_CHECKS, key=lambda known: [*map(int, known.split("."))]))
        raise ValueError(
            f"exercise {number!r} cannot be checked; allowed: {allowed}. Write the number as the page prints it."
        )
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            _CHECKS[number](answer)
    except NotImplementedError:
        return Verdict(number, False, "not written yet")
    except AssertionError as error:
        return Verdict(number, False, f"not right: {error}")
    except Exception as error:  # whatever a reader's code does
        return Verdict(number, False, f"stops with {type(error).__name__}: {error}")
    return Verdict(number, True, "right")


@_exercise("4.1")
def _condition(noise_of: Any) -> None:
    for epsilon in (1.0, 0.1, 1e-3):
        found = torch.as_tensor(noise_of(epsilon, 0.2))
        covectors = torch.linalg.inv(torch.tensor([[1.0, 1.0], [0.0, epsilon]], dtype=torch.float64))
        expected = 0.2 * covectors.norm(dim=1)
        assert found.shape == (2,), f"one size of noise for each component, not shape {tuple(found.shape)}"
        assert torch.allclose(found.double(), expected, rtol=1e-4), (
            f"at ε = {epsilon} and η = 0.2 the components are read with {found.tolist()}, not {expected.tolist()}"
        )
