"""Memories that are signed permutations: their cycles, and the fixed points that a squashing network should have.

A selection task (every output copies one stored entry, with a sign) moves its contents round closed paths through the
substrate. On the part of the substrate that its lasting dynamics need, Φ is a permutation with signs. A path of L sites with
sign ε contributes the L roots of λᴸ = ε to the spectrum, and keeping one entry per site it returns after L steps with sign ε.

If a network squashes every site on its own, so that a site holds -1, 0 or +1, then Fᵖ leaves alone exactly the contents
that Φᵖ leaves alone. Which of them there are, and in how many directions each is unstable, is a matter of counting.

Source: this book; the tasks are those of Karuvally et al., ICML 2024, Table 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, require, shape_is
from wavemem.substrate.spectrum import eigenvalues, reduced_basis

__all__ = ["SignedCycle", "expected_fixed_points", "recurrence_time", "signed_cycles"]


@dataclass(frozen=True)
class SignedCycle:
    """A closed path through the substrate.

    Attributes:
        sites: flattened entries in the order in which a content visits them.
        sign: +1 if it returns as it left, -1 if it returns inverted.
    """

    sites: tuple[int, ...]
    sign: int

    @property
    def length(self) -> int:
        """Number of sites, L."""
        return len(self.sites)

    @property
    def period(self) -> int:
        """Steps until every content is back: L, or 2L if the sign is -1."""
        return self.length if self.sign > 0 else 2 * self.length


def signed_cycles(Phi: Float[Tensor, "n n"]) -> list[SignedCycle]:
    """The closed paths of a signed selection's operator, shortest first.

    Args:
        Phi: the operator in the standard basis; sites from which nothing returns are dropped first.

    Returns:
        The cycles; their sites are numbered as in ``Phi``.

    Raises:
        ValueError: if Phi is not a square matrix, or what is left of it is not a permutation with signs.
    """
    full = torch.as_tensor(Phi).detach().double().cpu()
    shape_is("Phi", full, ("n", int(full.shape[0])))
    reduced = reduced_basis(full)
    matrix, keep = reduced.Phi, reduced.keep.tolist()
    pattern = matrix.abs()
    moduli = eigenvalues(full).abs()
    lasting = moduli[moduli > 0.8]
    signed_permutation = (
        len(keep) == len(lasting)
        and bool(((lasting - 1).abs() < 1e-3).all())
        and bool(((pattern == 0) | (pattern == 1)).all())
        and bool((pattern.sum(0) == 1).all() and (pattern.sum(1) == 1).all())
    )
    require(
        signed_permutation,
        "a Phi whose lasting part is not a permutation with signs",
        "signed selections whose outputs copy different entries, such as T1 to T4",
        "Use the eigenvalues of Phi instead.",
    )
    successor = pattern.argmax(dim=0).tolist()  # column k of Φ says where the content of site k goes
    left, cycles = set(range(len(keep))), []
    while left:
        first = min(left)
        sites, sign, site = [], 1, first
        while site in left:
            left.remove(site)
            sites.append(keep[site])
            following = successor[site]
            sign *= int(matrix[following, site])
            site = following
        cycles.append(SignedCycle(tuple(sites), sign))
    return sorted(cycles, key=lambda cycle: (cycle.length, -cycle.sign, cycle.sites))


def recurrence_time(cycles: Sequence[SignedCycle]) -> int:
    """Steps after which every content of the memory is back: the least common multiple of the cycles' periods.

    Raises:
        ValueError: if there is no cycle.
    """
    require(len(cycles) > 0, "no cycles", "at least one", "A memory without lasting sites has no content.")
    return math.lcm(*(cycle.period for cycle in cycles))


def expected_fixed_points(cycles: Sequence[SignedCycle], period: int = 1) -> dict[int, int]:
    """How many fixed points Fᵖ should have, by their number of unstable directions, if sites are squashed independently.

    Within p steps a cycle of L sites falls apart into g = gcd(L, p) cycles of L/g sites and sign ε^(p/g). One of sign +1 holds
    -1, 0 or +1; one of sign -1 must be empty. An empty one is unstable in its L/g directions, since the gain at small
    activity exceeds one; a full one is stable.

    Args:
        cycles: from :func:`signed_cycles`.
        period: p; 1 asks for fixed points of the network itself.

    Returns:
        Number of unstable directions → number of fixed points, in increasing order. The entry of 0, if there is one, counts
        the stable ones.

    Raises:
        ValueError: if ``period`` is not a positive whole number.
    """
    period = positive_int("period", period)
    counts: Counter[int] = Counter({0: 1})
    for cycle in cycles:
        pieces = math.gcd(cycle.length, period)
        size = cycle.length // pieces
        for _ in range(pieces):
            following: Counter[int] = Counter()
            for unstable, number in counts.items():
                following[unstable + size] += number
                if cycle.sign ** (period // pieces) > 0:
                    following[unstable] += 2 * number
            counts = following
    return dict(sorted(counts.items()))
