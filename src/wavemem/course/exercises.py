"""What a reader writes for a chapter's exercise, tried where it stands: ``check("4.2", dual)``.

Each check computes what it asks for in its own slow way, from nothing of the library: that would be the answer itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
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


def _agree(what: str, found: Any, expected: Any) -> None:
    found, expected = (torch.as_tensor(value, dtype=torch.float64).detach() for value in (found, expected))
    assert found.shape == expected.shape, f"{what}: shape {tuple(found.shape)}, not {tuple(expected.shape)}"
    seen, wanted = (np.array2string(value.numpy(), precision=4) for value in (found, expected))
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5), f"{what}: {seen}, not {wanted}"


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


@_exercise("1.3")
def _one_loop(one_loop: Any) -> None:
    for s, d in ((8, 8), (3, 2), (2, 3), (5, 1)):
        sources, signs = (torch.as_tensor(row) for row in one_loop(s, d))
        start = h = torch.arange(1.0, s * d + 1, dtype=torch.float64)
        back = []
        for n in range(1, 2 * s * d + 1):
            h = torch.cat([h[d:], h[sources] * signs])
            back += [n] * h.equal(start)
        assert back == [n], f"s = {s}, d = {d}: up to {n} steps the history is back after {back}, not after {[n]} only"


@_exercise("2.4")
def _decoded(r_squared: Any) -> None:
    M, b = torch.randn(4, 4), torch.eye(4)[3]
    for name, A in (("the shift", torch.diag(torch.ones(3), 1)), ("a random A", 0.8 * M / torch.linalg.norm(M, 2))):
        held = torch.stack([torch.linalg.matrix_power(A, age) @ b for age in range(100)])  # of each age's input
        for age in (0, 3, 4):
            wanted = torch.eye(100)[age]
            missed = wanted - held @ torch.linalg.lstsq(held, wanted[:, None]).solution[:, 0]
            _agree(f"R² at age {age} for {name} of 4 columns", r_squared(A, b, age), 1 - missed @ missed)


@_exercise("3.3")
def _encoder(encoder: Any) -> None:
    for T, s in ((4, 4), (2, 4), (1, 1)):
        W, row, H = torch.eye(s) + torch.randn(s, s) / 2, torch.randn(1, s), torch.randn(T, s)
        E = encoder(W, row, H)
        for t in range(T):
            row = row @ W
            _agree(f"response at step {t + 1} with T = {T} and s = {s}", (row @ E)[0], H[t])


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
