"""What a reader writes for a chapter's exercise, tried where it stands: ``check("4.2", dual)``.

Each check computes what it asks for in its own slow way, from nothing of the library: that would be the answer itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
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
    seen, wanted = (np.array2string(value.numpy(), formatter={"float": "{:.4g}".format}) for value in (found, expected))
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
        E = torch.as_tensor(encoder(W, row, H)).to(H)
        for t in range(T):
            row = row @ W
            _agree(f"response at step {t + 1} with T = {T} and s = {s}", (row @ E)[0], H[t])


@_exercise("4.1")
def _condition(noise_of: Any) -> None:
    for epsilon in (1.0, 0.1, 1e-3):
        covectors = torch.linalg.inv(torch.tensor([[1.0, 1.0], [0.0, epsilon]], dtype=torch.float64))
        where = f"noise on the two components at ε = {epsilon} and η = 0.2"
        _agree(where, noise_of(epsilon, 0.2), 0.2 * covectors.norm(dim=1))


@_exercise("5.3")
def _heads(heads_of: Any) -> None:
    for s, d in ((4, 3), (1, 2), (6, 2)):
        F, h, written = torch.randn(s, d, d), 3 * torch.randn(s, d).double(), torch.zeros(d).double()
        for head in heads_of(F):
            W_K, W_Q, W_V, bias = (torch.as_tensor(part, dtype=torch.float64) for part in head)
            scores = (h @ W_K.T) @ (W_Q @ h[-1]) / len(W_K) ** 0.5
            written += W_V @ (torch.softmax(scores + bias, 0) @ h)
        expected = torch.einsum("nij,nj->i", F.double(), h)
        _agree(f"what the heads write with s = {s} and d = {d}", written, expected)


@_exercise("6.2")
def _unseen(unseen: Any) -> None:
    for N, d, s in ((5, 3, 4), (4, 1, 2), (6, 5, 1)):
        W_hh, W_uh = torch.randn(N, N) / N**0.5, torch.randn(N, d)
        row = torch.as_tensor(unseen(W_hh, W_uh, s)).to(W_hh).reshape(N)
        assert row.norm() > 0, "a row of zeros shows nothing"
        row = row / row.norm()
        for _ in range(s):
            row = row @ W_hh
        what = f"N = {N}, d = {d}, s = {s}: for your row, at length 1, the gradient at x(1) is"
        assert (row @ W_uh).norm() < 1e-4, f"{what} of length {(row @ W_uh).norm():.4f}, not 0"


@_exercise("6.3")
def _gain(boundary_gain: Any) -> None:
    for r, s in ((0.9, 8), (0.5, 3), (0.7, 1)):
        Phi = r * torch.diag(torch.ones(s - 1), 1)
        Phi[-1, 0] = boundary_gain(r, s)
        _agree(f"moduli of the eigenvalues at r = {r}", torch.linalg.eigvals(Phi).abs(), torch.ones(s))


@_exercise("7.3")
def _gated(gated: Any) -> None:
    for s, d in ((3, 2), (4, 1), (1, 2)):
        F, u, h = torch.randn(d, s * d), torch.randn(s, d), torch.zeros(s * d)
        W_in, W_hh, W_uh, W_r = (torch.as_tensor(W).to(F) for W in gated(F))
        for x in u:
            h = W_in @ h + W_uh @ x
        past = u.flatten()
        for m in range(1, 2 * s + 1):
            h, past = W_hh @ h, torch.cat([past[d:], F @ past])
            _agree(f"output at step s + {m} with s = {s} and d = {d}", W_r @ h, past[-d:])


@_exercise("8.2")
def _census(census: Any) -> None:
    for cycles in ([(1, 1)], [(2, -1)], [(2, 1), (2, 1)], [(1, 1), (2, -1), (3, 1), (4, 1)]):
        before: list[int] = []
        signs: list[int] = []
        for length, sign in cycles:
            before += [len(signs) + (i - 1) % length for i in range(length)]
            signs += [sign] + [1] * (length - 1)
        contents = torch.tensor([*product((-1, 0, 1), repeat=len(signs))])
        fixed = contents[(contents[:, before] * torch.tensor(signs) == contents).all(1)]
        counts = torch.bincount((fixed == 0).sum(1), minlength=len(signs) + 1)
        _agree(f"fixed points of {cycles} by their unstable directions", census(cycles), counts)


@_exercise("9.5")
def _shadow(shadowed: Any) -> None:
    for share in (0.99, 0.5, 0.1):
        values, vectors = torch.linalg.eig(torch.as_tensor(shadowed(share), dtype=torch.float64))
        order = values.real.argsort()
        _agree("eigenvalues", values.real[order], [0.5, 1.0])
        fading, lasting = vectors.real.T[order]
        _agree("removed share of the squared length", (fading @ lasting) ** 2, share)


@_exercise("10.1")
def _one_number(step: Any) -> None:
    for u in ([1], [-1], [1, -1, -1, -1], [-1, 1, 1], 12 * [-1, 1]):
        n, found = len(u), []
        x = torch.tensor(sum((1 + u[k]) / 2 ** (k + 2) for k in range(n)), dtype=torch.float32)
        for _ in range(3 * n):
            y, x = step(x, n)
            found.append(int(y))
        assert found == 3 * u, f"from u = {u} three cycles return {found}"


@_exercise("10.2")
def _least_error(least_error: Any) -> None:
    root = torch.randn(5, 5).tril()
    for m in (0, 2, 5):
        left_out = torch.linalg.svdvals(root)[m:]
        _agree(f"error at n = 5 and m = {m}", least_error(root @ root.T, m), left_out.square().sum() / 5)


@_exercise("11.1")
def _pollution(mixture_of: Any) -> None:
    for F in (torch.ones(5, 1, 1), torch.randn(1, 2, 2), torch.randn(4, 2, 2)):
        s, d = F.shape[:2]
        Phi = torch.diag(torch.ones(s * d - d), d)
        Phi[-d:] = torch.cat([*F], 1)
        found = mixture_of(F)
        assert len(found) == s + 1, f"for s = {s} there are P_0 to P_{s}, {s + 1} blocks, not {len(found)}"
        for k, P in enumerate(found):  # what column s holds if it began with the unit matrix
            _agree(f"P_{k} for s = {s} and d = {d}", P, torch.linalg.matrix_power(Phi, k)[-d:, -d:])


@_exercise("12.1")
def _told_apart(told_apart: Any) -> None:
    for n in range(1, 20):
        for speed in range(6):
            places = {-speed * age % n for age in range(n)}
            _agree(f"steps told apart at n = {n} and ν = {speed}", told_apart(n, speed), len(places))


@_exercise("13.3")
def _rotations(symbols: Any) -> None:
    for angles in ([0.4, 1.1, 2.0], [1.0, 1.0], [1.0, -1.0], [0.7, 0.7 - 2 * math.pi], [0.0, 2.0, math.pi]):
        turns = [torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]).double() for a in angles]
        U, v = torch.block_diag(*turns), torch.randn(2 * len(angles), dtype=torch.float64)
        held = torch.stack([torch.linalg.matrix_power(U, age) @ v for age in range(len(v))])
        what = f"symbols with the angles {[round(a, 2) for a in angles]}"
        _agree(what, symbols(angles), torch.linalg.matrix_rank(held, rtol=1e-5))


@_exercise("14.2")
def _leaky_ring(readout: Any) -> None:
    for rho, n, T in ((0.9, 12, 12), (0.8, 8, 5), (1.0, 6, 6)):
        numbers, h, W = torch.rand(T), torch.zeros(n), torch.as_tensor(readout(rho, n))
        assert W.shape == (n,), f"a ring of {n} units has {n} weights, not shape {tuple(W.shape)}"
        for number in numbers:
            h = rho * h.roll(-1) + number * torch.eye(n)[0]
        _agree(f"sum of {T} numbers, read from {n} units with ρ = {rho}", W.to(h) @ h, numbers.sum())


@_exercise("15.1")
def _columns(kept_apart: Any) -> None:
    for m in (4, 8):
        for n in range(1, m * m + 3):
            expected = len({row * m % n for row in range(m)}) == m
            what = "no two pixels" if expected else "pixels"
            said = f"on a ring of {n}, {what} of one column of an image of {m} × {m} share a unit"
            assert bool(kept_apart(n, m)) == expected, said


@_exercise("16.1")
def _half(kernel: Any) -> None:
    u, start = torch.as_tensor(kernel()).double(), torch.randn(2, 9).double()
    assert u.shape == (2, 2, 3), f"the kernel has the shape (2, 2, 3), not {tuple(u.shape)}"
    twice = start
    for _ in range(2):
        twice = u[:, :, 0] @ twice.roll(1, 1) + u[:, :, 1] @ twice + u[:, :, 2] @ twice.roll(-1, 1)
    assert not torch.allclose(twice, start.roll(1, 1)), "the pattern moves to larger positions, not to smaller ones"
    same = torch.allclose(twice, start.roll(-1, 1), atol=1e-4)
    assert same, "after two steps the patterns of both channels do not stand one unit lower, unchanged"


@_exercise("17.1")
def _transfer(transfer: Any) -> None:
    C = torch.randn(3, dtype=torch.float64)
    for a, z in (([0.0, 0.0, 0.0], 2.0), ([0.0, 0.0, 1.0], -1.5), ([0.5, -0.3, 0.1], 1.2)):
        boundary, h, total = C.new_tensor(a), torch.eye(3)[0].to(C), C.new_zeros(())
        for age in range(200):  # one pulse, step by step
            total += C @ h / z**age
            h = torch.cat([(boundary @ h)[None], h[:-1]])
        _agree(f"the transfer function at z = {z} with a = {a}", transfer(z, boundary, C), total)


@_exercise("17.2")
def _spread(spread_input: Any) -> None:
    for n in (3, 4, 7, 16):
        B = torch.as_tensor(spread_input(n)).double()
        assert B.shape == (n,), f"on a ring of {n} the shape is ({n},), not {tuple(B.shape)}"
        products = torch.stack([B.roll(j) @ B for j in range(n)]) / (B @ B)
        assert products[1:].abs().max() < 1e-3, f"at n = {n} the shifted copies of B are not orthogonal"
        assert B.square().max() < 0.99 * (B @ B), f"at n = {n} the copies are orthogonal, but B is a pulse"


@_exercise("18.1")
def _best_velocity(best_velocity: Any) -> None:
    def recalled(v: float, tau: int) -> float:
        held = [v * (1 - v) ** age for age in range(4000)]
        return held[tau] ** 2 / sum(share**2 for share in held)

    for tau in (0, 1, 10, 60):
        v = float(best_velocity(tau))
        assert 0 < v <= 1, f"at age {tau} the velocity is {v:.4g}; it has to be above 0 and not above 1"
        better = max((0.99 * v, min(1.01 * v, 1.0)), key=lambda other: recalled(other, tau))
        told = f"at age {tau} the velocity {better:.4g} has R² = {recalled(better, tau):.6f}"
        assert recalled(v, tau) >= recalled(better, tau), f"{told}, and {v:.4g} has {recalled(v, tau):.6f}"


@_exercise("19.1")
def _letters(letters: Any) -> None:
    for L, V, share in ((300, 26, 0.01), (300, 2, 0.01), (30, 2, 0.5), (8, 2, 1e-6), (10, 26, 0.01)):
        n = 1
        while sum(V**-n for i in range(L - n + 1) for _ in range(i)) > share:  # all pairs of places
            n += 1
        _agree(f"letters for L = {L}, V = {V} and at most {share:g} wrong", letters(L, V, share), n)


@_exercise("20.1")
def _age(age: Any) -> None:
    for length, gram, place in ((10, 3, 0), (10, 3, 4), (7, 1, 5), (12, 4, 7)):
        string = "abcdefghijkl"[:length]
        text = f"${string}|{string[place : place + gram]}"  # all letters differ
        expected = len(text) - 1 - text.index(string[place + gram])
        _agree(f"age of {string[place + gram]!r} after {text!r}", age(length, gram, place), expected)


@_exercise("20.2")
def _covered(covered: Any) -> None:
    for n, shortest, longest in ((4, 2, 10), (11, 2, 10), (2, 2, 10), (1, 5, 6), (30, 4, 10), (6, 5, 5)):
        held = [age in range(n) for age in range(shortest, longest + 1)]
        what = f"coverage at n = {n} of {shortest} to {longest} letters"
        _agree(what, covered(n, shortest, longest), sum(held) / len(held))


@_exercise("1")  # chapter 21 has no number, and so prints none with its exercises
def _linear_from(linear_from: Any) -> None:
    for a, b, c in ((8.0, 0.1, 2e-3), (5.0, 3.0, 0.1), (2.0, 0.0, 1.0)):
        N = float(linear_from(a, b, c))
        around = [0.999 * N, N, 1.001 * N]
        below, at, above = (math.log2((a + 2 * b * N + 4 * c * N**2) / (a + b * N + c * N**2)) for N in around)
        assert below < 1 < above, f"for a = {a:g}, b = {b:g}, c = {c:g} the exponent is {at:.3f} at N = {N:.4g}, not 1"
