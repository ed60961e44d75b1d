r"""What a memory with fewer dimensions than numbers can and cannot return (TWM section 4.1, "bottleneck superposition").

s·d independent numbers of variance 1 are written into a state and asked for again. If everything on the way is linear and only m
directions of the state last, the answer is M u with a matrix M of rank at most m, and

$$ \frac{1}{sd}\,\mathbb E\lVert Mu-u\rVert^2 \;\ge\; 1-\frac{m}{sd}, $$

with equality for the projectors of rank m. The *signs* of such an answer are another matter: they can be right far more often,
which is what `spread_accuracy` and `whole_wave_accuracy` are about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import finite, positive_int, require, shape_is


def _sizes(m: int, n: int) -> tuple[int, int]:
    n = positive_int("n", n)
    m = positive_int("m", m, minimum=0)
    return min(m, n), n


def least_error(m: int, n: int) -> float:
    """1 − m/n: the smallest mean squared error of a linear memory of m dimensions for n numbers of variance 1.

    Args:
        m: dimensions that last; more than n are no better than n.
        n: independent numbers to be returned.

    Raises:
        ValueError: if n is not positive or m negative.
    """
    m, n = _sizes(m, n)
    return 1.0 - m / n


def spread_accuracy(m: int, n: int) -> float:
    r"""Share of right signs if every number loses equally: Φ(√(p/(1−p))), p = m/n, with the normal distribution function Φ.

    The answer to entry k is $(Pu)_k = p\,u_k + \text{rest}$; the rest is a sum of the other ±1 numbers of variance
    p(1 − p), taken as normal. `sign_accuracy` computes the same without that approximation.

    Args:
        m: dimensions that last.
        n: independent ±1 numbers.

    Raises:
        ValueError: if n is not positive or m negative.
    """
    m, n = _sizes(m, n)
    if m == n:
        return 1.0
    return 0.5 * (1.0 + math.erf(math.sqrt(m / (n - m) / 2.0)))


def whole_wave_accuracy(m: int, n: int) -> float:
    """Share of right signs if m of n numbers are returned whole and the others guessed: (1 + m/n)/2.

    Raises:
        ValueError: if n is not positive or m negative.
    """
    m, n = _sizes(m, n)
    return 0.5 * (1.0 + m / n)


def invariant_projector(
    dropped: Sequence[int], d: int, generator: torch.Generator | None = None
) -> Float[Tensor, "sd sd"]:
    r"""An orthogonal projector that commutes with repeat copy's Φ and lacks given numbers of dimensions at each phase.

    Φ of repeat copy is a cyclic shift of s columns, times the identity in d dimensions. A subspace is left in itself
    by Φ exactly if it is a sum over the phases k of (Fourier mode k) ⊗ (a subspace of the d dimensions), and it is real if phases
    k and −k have complex conjugate subspaces.

    Args:
        dropped: for each of the s phases, how many of its d dimensions are given up; the same at k and s − k.
        d: number of waves.
        generator: draws the directions that are given up; without one they are the first coordinates.

    Returns:
        The projector, float64.

    Raises:
        ValueError: if a number is not between 0 and d or the numbers are not symmetric.
    """
    s, d = positive_int("s", len(dropped)), positive_int("d", d)
    require(
        all(0 <= n <= d for n in dropped) and all(dropped[k] == dropped[-k % s] for k in range(s)),
        f"dropped = {tuple(dropped)}",
        f"numbers from 0 to d = {d}, the same at phases k and s - k",
        "Conjugate phases share their subspace.",
    )
    steps = torch.arange(s, dtype=torch.float64)
    P = torch.zeros(s * d, s * d, dtype=torch.complex128)
    spaces: dict[int, Tensor] = {}
    for k in range(s):
        if -k % s in spaces:
            lost = spaces[-k % s].conj()
        else:
            directions = torch.eye(d, dtype=torch.complex128)
            if generator is not None:
                directions = torch.randn(d, d, generator=generator, dtype=torch.float64).to(torch.complex128)
                if k != -k % s:
                    directions = directions + 1j * torch.randn(d, d, generator=generator, dtype=torch.float64)
                directions = torch.linalg.qr(directions).Q
            lost = directions[:, : dropped[k]] @ directions[:, : dropped[k]].mH
        spaces[k] = lost
        mode = torch.exp(2j * torch.pi * k * steps / s) / math.sqrt(s)
        P += torch.kron(torch.outer(mode, mode.conj()), torch.eye(d, dtype=torch.complex128) - lost)
    return P.real.contiguous()


def sign_accuracy(M: Float[Tensor, "n n"], histories: Float[Tensor, "batch n"]) -> float:
    """Share of entries of M u that have the sign of u's, over histories u of ±1 entries. An answer of exactly 0 is wrong.

    Raises:
        ValueError: if M is not square or the histories do not fit it.
    """
    shape_is("M", M, ("n", M.shape[0]))
    shape_is("histories", histories, ("batch", M.shape[0]))
    return float((histories @ M.mT * histories > 1e-9).double().mean())


@dataclass(frozen=True)
class Recall:
    """What a memory returns, split into what is linear in what was stored and what is not.

    Attributes:
        map: (n, n), the linear map from stored numbers to answers that fits best.
        error: mean squared error of the answers.
        nonlinear: share of the answers' variance that the map does not explain.
    """

    map: Float[Tensor, "n n"]
    error: float
    nonlinear: float

    @property
    def singular_values(self) -> Float[Tensor, " n"]:
        """Of the map, largest first: ones and zeros if it is a projector."""
        return torch.linalg.svdvals(self.map)


def linear_recall(stored: Float[Tensor, "batch n"], answers: Float[Tensor, "batch n"]) -> Recall:
    """Fit answers ≈ M · stored by least squares and say how good and how complete that is.

    Args:
        stored: numbers of mean 0 and variance 1, one row per trial; more trials than numbers.
        answers: what the memory returned when each of them was due.

    Raises:
        ValueError: if the shapes differ or there are too few trials.
    """
    shape_is("stored", stored, ("batch", "n"))
    shape_is("answers", answers, (stored.shape[0], stored.shape[1]))
    finite("stored", stored)
    finite("answers", answers)
    trials, n = (int(size) for size in stored.shape)
    require(trials > n, f"{trials} trials of {n} numbers", "more trials than numbers", "Draw more histories.")
    x, y = stored.detach().double().cpu(), answers.detach().double().cpu()
    M = torch.linalg.solve(x.mT @ x, x.mT @ y).mT
    fitted = x @ M.mT
    variance = float((y**2).mean())
    return Recall(
        map=M,
        error=float(((y - x) ** 2).mean()),
        nonlinear=float(((y - fitted) ** 2).mean()) / variance if variance > 0 else 0.0,
    )
