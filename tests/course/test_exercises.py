"""The chapters' exercises: what can be checked, and the code in the solutions."""

from __future__ import annotations

import ast
import contextlib
import io
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from wavemem.building.chapters import code_cells, executed_cells
from wavemem.course.exercises import _CHECKS, check

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("[0-9]*.md"))
_EXERCISE = re.compile(r"^`{3,}\{exercise\}.*\n:label: (\S+)", re.MULTILINE)
_SOLUTION = re.compile(r"^(`{3,})\{solution\} (\S+)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STUB = re.compile(r"^```\{code-cell\} ipython3\n:tags: \[skip-execution\]\n\n?(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


def chapter_of(path: Path) -> str:
    """A chapter's number as the pages print it: none in the reference."""
    parts = yaml.safe_load((NOTEBOOKS.parent / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    numbered = [chapter["file"] for part in parts if part.get("numbered") for chapter in part["chapters"]]
    return str(int(path.stem[:2])) if f"chapters/{path.stem}" in numbered else ""


def numbers(path: Path) -> dict[str, str]:
    """Label of an exercise → its number on the page."""
    labels = _EXERCISE.findall(path.read_text(encoding="utf-8"))
    return {label: f"{chapter_of(path)}.{k}".lstrip(".") for k, label in enumerate(labels, 1)}


def imported(text: str) -> dict[str, Any]:
    """What a chapter's imports bring, the short names beside them, and its parameters."""
    names: dict[str, Any] = {"profile": "quick", "device": "cpu", "seed": 0}
    for cell in executed_cells(code_cells(text)):
        nodes = ast.parse(cell.source).body
        if isinstance(nodes[0], ast.Import | ast.ImportFrom):
            for node in nodes:
                short = isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute)
                line = ast.unparse(node)
                if short or isinstance(node, ast.Import | ast.ImportFrom) or "set_default_dtype" in line:
                    exec(line, names)
    return names


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_an_exercise_to_check_with_its_stub_below_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = numbers(path)
    found = set()
    for stub in _STUB.finditer(text):
        label = _EXERCISE.findall(text[: stub.start()])[-1]
        assert f'check("{known[label]}", ' in stub[1], f"{label} is Exercise {known[label]}"
        names: dict[str, Any] = {}
        exec(stub[1].rpartition("\ncheck(")[0], names)
        answer = names[re.search(r"^check\(\S+ (\w+)\)$", stub[1], re.MULTILINE)[1]]  # type: ignore[index]
        assert repr(check(known[label], answer)).endswith("not written yet")
        found.add(known[label])
    chapter = chapter_of(path)
    assert found or not chapter, f"{path.stem}: no exercise has a stub"
    assert found == {number for number in _CHECKS if number.rpartition(".")[0] == chapter and known}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_code_in_solutions_runs_and_answers_the_exercise(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known, names = numbers(path), imported(text)
    stubs = {match[1]: match[2] for match in re.finditer(r'^check\("([\d.]+)", (\w+)\)$', text, re.MULTILINE)}
    for _, label, body in _SOLUTION.findall(text):
        names_here = dict(names)
        for code in _CODE.findall(body):
            with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng():
                exec(code, names_here)
        if known[label] in stubs:
            verdict = check(known[label], names_here.get(stubs[known[label]]))
            assert verdict.right, verdict


def test_a_wrong_answer_is_told_apart_from_an_error() -> None:
    assert "not right" in repr(check("4.1", lambda epsilon, eta: torch.tensor([eta, eta / epsilon])))
    assert "stops with" in repr(check("4.1", lambda epsilon: 0))
    assert not check("4.1", None).right


def test_an_exercise_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"'4\.99' cannot be checked; allowed: .*4\.1"):
        check("4.99", None)


def powers(row: Tensor, W: Tensor, count: int, first: int) -> Tensor:
    """Rows R W^t for t = first, first + 1, …"""
    return torch.cat([row @ torch.linalg.matrix_power(W, t) for t in range(first, first + count)])


def column_heads(F: Tensor, biases: Tensor) -> list[tuple[Tensor, ...]]:
    """A head without keys for each column, W_V from F, with a row of biases."""
    zero = torch.zeros(1, F.shape[-1])
    return [(zero, zero, block, bias) for block, bias in zip(F, biases, strict=True)]


def polluted(F: Tensor, first: bool = False) -> tuple[Tensor, ...]:
    """Without a gate; or with one, but read where the wave leaves."""
    d, N = F.shape
    shift = torch.diag(torch.ones(N - d), d)
    Phi = torch.cat([shift[:-d], F])
    return shift if first else Phi, Phi, torch.eye(N)[:, -d:], torch.eye(N)[:d] if first else torch.eye(N)[-d:]


def polynomial(factors: list[list[int]]) -> Tensor:
    """The product's coefficients."""
    product = [1]
    for factor in factors:
        product = np.convolve(product, factor).tolist()
    return torch.tensor(product)


def oblique(share: float) -> Tensor:
    """Eigenvalues 1/2 and 1, the second's eigenvector at the cosine ``share`` to the first's."""
    P = torch.tensor([[1.0, share], [0.0, (1 - share**2) ** 0.5]])
    return P @ torch.diag(torch.tensor([0.5, 1.0])) @ torch.linalg.inv(P)


def mixed(product: Any) -> Any:
    """Chapter 11's recursion, with another product in it."""

    def mixture_of(F: Tensor) -> list[Tensor]:
        P = [torch.eye(F.shape[1])]
        for k in range(1, len(F) + 1):
            P.append(sum(product(F, m, P[k - m]) for m in range(1, k + 1)))  # type: ignore[arg-type]
        return P

    return mixture_of


def half(u: float, v: float, tap: Any) -> Any:
    """Chapter 16's kernel: u within a channel, v to the other."""
    kernel = torch.zeros(2, 2, 3)
    kernel[0, 0, tap] = kernel[1, 1, tap] = u
    kernel[1, 0, 1] = kernel[0, 1, tap] = v
    return lambda: kernel


def register(z: float, weights: Tensor) -> Tensor:
    """What an open register answers to z."""
    return (weights / z ** torch.arange(len(weights))).sum()


WRONG: list[tuple[str, Callable[..., Any], str]] = [
    ("1.3", lambda s, d: ([*range(d)], [-1] * d), r"s = 8, d = 8.* after \[16, 32"),  # many loops
    ("1.3", lambda s, d: ([d - 1, *range(d - 1)], [-1] * d), r"s = 8.* \[64, 128\]"),  # right for odd d
    ("2.4", lambda A, b, age: (torch.linalg.matrix_power(A, age) @ b).square().sum(), "age 0 for a random A"),  # no C
    ("2.4", lambda A, b, age: 1.0, "age 4 for the shift"),  # nothing ever leaves
    ("3.3", lambda W, R, H: torch.linalg.pinv(powers(R, W, len(H), 0)) @ H, "response at step 1"),
    ("3.3", lambda W, R, H: torch.linalg.solve(powers(R, W, len(W), 1), H), "stops with"),  # for T = s alone
    ("5.3", lambda F: column_heads(F, 60 * torch.eye(len(F)).flip(0)), "what the heads write with s = 4"),
    ("5.3", lambda F: column_heads(F, torch.eye(len(F))), "what the heads write with s = 4"),  # far from hard
    ("6.2", lambda W_hh, W_uh, s: torch.linalg.svd(W_uh.mT).Vh[-1], r"gradient at x\(1\) is of length"),  # s = 0
    ("6.2", lambda W_hh, W_uh, s: torch.zeros(len(W_hh)), "zeros shows nothing"),
    ("6.3", lambda r, s: 1 / r, "moduli of the eigenvalues at r = 0.9"),
    ("6.3", lambda r, s: r**-s, "moduli of the eigenvalues at r = 0.9"),
    ("7.3", lambda F: polluted(F), r"output at step s \+ 1 with s = 3"),
    ("7.3", lambda F: polluted(F, first=True), r"output at step s \+ 1"),
    (
        "8.2",
        lambda cycles: polynomial([[2] + [0] * (L - 1) + [1] for L, _ in cycles]),
        r"fixed points of \[\(2, -1\)\]",
    ),
    (
        "8.2",
        lambda cycles: polynomial([[2 * (sign > 0), 1] for _, sign in cycles]),
        r"\[\(2, -1\)\].*shape \(2,\), not \(3,\)",
    ),
    ("9.5", lambda share: torch.diag(torch.tensor([1.0, 0.5])), "removed share"),
    ("9.5", lambda share: oblique(share), "removed share"),  # of the length, not of its square
    ("10.1", lambda x, n: (2 * float(x > 0.5) - 1, 2 * x % 1 + float(x > 0.5) * 2.0**-n), r"from u = \[1\]"),
    ("10.1", lambda x, n: (2 * float(x >= 0.5) - 1, 2 * x % 1), r"u = \[1\] three cycles return \[1, -1, -1\]"),
    ("10.2", lambda C, m: torch.linalg.eigvalsh(C)[m:].sum() / len(C), "error at n = 5 and m = 2"),  # the wrong end
    ("10.2", lambda C, m: 1 - m / len(C), "error at n = 5 and m = 0"),
    ("11.1", mixed(lambda F, m, P: F[m - 1] @ P), "P_1 for s = 4 and d = 2"),
    ("11.1", mixed(lambda F, m, P: -F[-m] @ P), r"P_1 for s = 5 and d = 1: \[\[-1\]\], not \[\[1\]\]"),
    ("11.1", lambda F: [1, *(torch.ones(1, 1) * 2**k for k in range(len(F) - 1))], "P_0 to P_5, 6 blocks, not 5"),
    ("12.1", lambda n, nu: n, "at n = 2 and ν = 0: 2, not 1"),
    ("12.1", lambda n, nu: n // max(nu, 1) if nu else 1, "at n = 1 and ν = 2: 0, not 1"),
    ("12.1", lambda n, nu: n // 2 if n % 2 == 0 and nu % 2 == 0 else n, "at n = 3 and ν = 0: 3, not 1"),
    ("13.3", lambda angles: 2 * len(angles), r"the angles \[1.0, 1.0\]: 4, not 2"),
    ("13.3", lambda angles: 2 * len({*angles}), r"the angles \[1.0, -1.0\]: 4, not 2"),
    ("13.3", lambda angles: 2 * len({abs(a) for a in angles}), r"the angles \[0.7, -5.58\]: 4, not 2"),
    ("14.2", lambda rho, n: torch.ones(n), "sum of 12 numbers, read from 12 units with ρ = 0.9"),
    ("14.2", lambda rho, n: rho ** -torch.arange(n), "sum of 12 numbers, read from 12 units with ρ = 0.9"),
    ("15.1", lambda n, m: n > m and n % m != 0, "on a ring of 6, pixels of one column of an image of 4 × 4 share"),
    ("15.1", lambda n, m: n > m and math.gcd(n, m) == 1, "on a ring of 10, no two pixels of one column"),
    ("16.1", half(0.5, 0.0, slice(1, 3)), "do not stand one unit lower"),
    ("16.1", half(0.0, 1.0, 0), "to larger positions"),
    ("16.1", half(1.0, 0.0, 2), "do not stand one unit lower"),
    ("17.1", lambda z, a, C: register(z, C) / (1 + register(z, a) / z), r"at z = -1.5 with a = \[0.0, 0.0, 1.0\]"),
    ("17.1", lambda z, a, C: register(z, C) / (1 - register(z, a)), r"at z = -1.5 with a = \[0.0, 0.0, 1.0\]"),
    ("17.2", lambda n: torch.eye(n)[1], "at n = 3 the copies are orthogonal, but B is a pulse"),
    ("17.2", lambda n: torch.ones(n), "at n = 3 the shifted copies of B are not orthogonal"),
    ("18.1", lambda tau: 1 / (2 * tau + 1), "at age 1 the velocity 0.33"),
    ("18.1", lambda tau: 1 - tau / (tau + 1), "at age 1 the velocity 0.495"),
    ("18.1", lambda tau: min(1.0, 1 / (2 * max(tau, 0.5))), "at age 1 the velocity 0.495"),
    ("19.1", lambda L, V, p: math.ceil(math.log(L**2 / 2 / p, V)), "L = 300, V = 2 and at most 0.01 wrong: 23"),
    ("19.1", lambda L, V, p: math.ceil(math.log(L, V)), "L = 300, V = 26 and at most 0.01 wrong: 2, not 5"),
    ("20.1", lambda length, gram, place: length - place - 1, r"after '\$abcdefghij\|abc': 9, not 10"),
    ("20.1", lambda length, gram, place: length, r"after '\$abcdefghij\|efg': 10, not 6"),
    (
        "20.2",
        lambda n, shortest, longest: (n - shortest) / (longest - shortest + 1),
        "at n = 1 of 5 to 6 letters: -2, not 0",
    ),
    (
        "20.2",
        lambda n, shortest, longest: min(n / (longest - shortest + 1), 1),
        "at n = 4 of 2 to 10 letters: 0.4444, not 0.2222",
    ),
    ("1", lambda a, b, c: (a / c) ** 0.5, "the exponent is 1.238 at N = 63.25"),
    ("1", lambda a, b, c: (b + (b**2 + 4 * a * c) ** 0.5) / (2 * c), "the exponent is 1.469"),
]


@pytest.mark.parametrize(("number", "answer", "says"), WRONG)
def test_a_wrong_answer_is_told_what_is_off(number: str, answer: Callable[..., Any], says: str) -> None:
    verdict = check(number, answer)
    assert not verdict.right
    assert re.search(says, verdict.what), verdict
