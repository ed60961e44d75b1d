"""Signed selections: linear systems whose every output copies one history entry with a sign, and their numbering.

The four tasks T1 to T4 of the travelling-wave paper (top of Table 1) are of this kind. The paper's public code numbers
all of them by three integers:

- id1: its binary digits choose d of the s·d history entries (lowest bit = entry 0), taken in increasing order;
- id2: its base-d digits permute the choice; digit g at position p, counted from the lowest and applied in this order,
  swaps choices p and p + g, so it must be below d - p;
- id3: its binary digits are the signs of outputs 0, ..., d-1 (1 = minus).

Source: Karuvally et al., ICML 2024, section 4 and Table 1; the tables themselves come from the public code.

What a signed selection does with its history in the long run: what it forgets, and when it repeats itself.

A signed selection moves entries of the history and never mixes them. Read backwards it is a map g of the s·d entries
into themselves: after one step entry k of the history is ± what entry g(k) was before. Every walk k, g(k), g(g(k)), ...
ends in a cycle; the cycles are what lasts, their lengths and signs say when the whole history returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

import torch

from wavemem.checks import one_of, positive_int, require
from wavemem.theory.hds import LinearHDS, repeat_copy

PAPER_IDS: dict[str, tuple[int, int, int]] = {
    "T1": (255, 0, 0),
    "T2": (9241421688590303745, 0, 0),
    "T3": (9241421688590303745, 262676, 189),
    "T4": (9241421688590303745, 38637, 145),
}
"""The numbers (id1, id2, id3) of the paper's tasks at s = d = 8."""

PAPER_TABLES: dict[str, tuple[tuple[int, int], ...]] = {
    "T1": ((0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1)),
    "T2": ((0, 1), (9, 1), (18, 1), (27, 1), (36, 1), (45, 1), (54, 1), (63, 1)),
    "T3": ((36, -1), (27, 1), (18, -1), (0, -1), (9, -1), (45, -1), (63, 1), (54, -1)),
    "T4": ((45, -1), (54, 1), (0, 1), (9, 1), (18, -1), (27, 1), (36, 1), (63, -1)),
}
"""(source entry, sign) of outputs 0 to 7 of the paper's tasks at s = d = 8."""


def signed_selection(
    source: Sequence[int], sign: Sequence[int], s: int, d: int, name: str = "signed selection"
) -> LinearHDS:
    """The linear HDS whose output j is ``sign[j]`` times entry ``source[j]`` of the flattened history.

    Args:
        source: for each of the d outputs the entry k = i·d + j' it copies (vector i, oldest first; dimension j').
        sign: +1 or -1 for each output.
        s: length of the history.
        d: dimension of the vectors.
        name: what to call the system.

    Returns:
        The system. On histories with entries in {-1, +1} it stays there.

    Raises:
        ValueError: if there are not d sources and signs, or one of them is out of range.
    """
    s, d = positive_int("s", s), positive_int("d", d)
    require(
        len(source) == d and len(sign) == d,
        f"{len(source)} sources and {len(sign)} signs",
        f"d = {d} of each",
        "Give one source entry and one sign per output dimension.",
    )
    for j, (k, eps) in enumerate(zip(source, sign, strict=True)):
        require(
            0 <= k < s * d,
            f"source[{j}] = {k}",
            f"0 to {s * d - 1}",
            "Entries are counted from the oldest vector's first.",
        )
        require(eps in (-1, 1), f"sign[{j}] = {eps}", "-1 or +1", "Signs are the only factors a selection may use.")
    F = torch.zeros(d, s * d, dtype=torch.float64)
    F[torch.arange(d), torch.tensor(list(source))] = torch.tensor(list(sign), dtype=torch.float64)
    return LinearHDS(F, name=name)


def table_of(system: LinearHDS) -> tuple[list[int], list[int]]:
    """Read (source, sign) back from a system made by :func:`signed_selection`.

    Raises:
        ValueError: if some output of the system is not one entry times ±1.
    """
    one_each = ((system.F != 0).sum(dim=1) == 1).all() and (system.F.abs().sum(dim=1) == 1).all()
    require(bool(one_each), f"{system!r}", "systems whose every output is one entry times ±1", "Use signed_selection.")
    source = system.F.abs().argmax(dim=1)
    sign = system.F[torch.arange(system.d), source]
    return [int(k) for k in source], [int(eps) for eps in sign]


def selection_from_ids(id1: int, id2: int, id3: int, s: int, d: int, name: str | None = None) -> LinearHDS:
    """The signed selection with the authors' number (id1, id2, id3).

    Args:
        id1: which d of the s·d entries are used, as binary digits.
        id2: how they are permuted, as base-d digits of swaps.
        id3: signs, as binary digits.
        s: length of the history.
        d: dimension of the vectors.
        name: what to call the system; by default its number.

    Returns:
        The system.

    Raises:
        ValueError: if id1 does not choose exactly d of s·d entries, a digit of id2 is too large for its position,
            or id3 has more than d binary digits.
    """
    s, d = positive_int("s", s), positive_int("d", d)
    id1, id2, id3 = (positive_int(label, value, 0) for label, value in (("id1", id1), ("id2", id2), ("id3", id3)))
    require(
        id1.bit_count() == d and id1.bit_length() <= s * d,
        f"id1 = {id1} with {id1.bit_count()} of {id1.bit_length()} binary digits set",
        f"exactly d = {d} set among the lowest s*d = {s * d}",
        "Each set bit chooses one history entry, one per output.",
    )
    require(
        id3 < 1 << d, f"id3 = {id3}", f"0 to {(1 << d) - 1}", f"It holds one sign bit for each of the d = {d} outputs."
    )
    source = [k for k in range(s * d) if id1 >> k & 1]
    rest = id2
    for p in range(d):
        g = rest % d if d > 1 else 0
        rest = rest // d if d > 1 else rest
        require(
            g < d - p,
            f"id2 = {id2} with digit {g} at position {p}",
            f"digits below d - position = {d - p}",
            "A digit g at position p swaps choices p and p + g, which must exist.",
        )
        source[p], source[p + g] = source[p + g], source[p]
    require(rest == 0, f"id2 = {id2}", f"at most d = {d} digits in base d", "Its digits are swaps of the d choices.")
    sign = [-1 if id3 >> j & 1 else 1 for j in range(d)]
    return signed_selection(source, sign, s, d, name=name or f"selection ({id1}, {id2}, {id3})")


def paper_task(name: str, s: int = 8, d: int = 8) -> LinearHDS:
    """One of the paper's tasks T1 to T4: exactly its table at s = d = 8, a documented relative at other sizes.

    T1 is repeat copy at any size. In T2 output j copies dimension j of vector j mod s. T3 and T4 are T2 with its outputs
    permuted and signed; at other sizes the paper's permutation of eight dimensions is applied to each block of eight
    (dimensions 0-7, 8-15, ...), leaving out the members that do not exist, each with its sign.

    Args:
        name: "T1", "T2", "T3" or "T4".
        s: length of the history.
        d: dimension of the vectors.

    Returns:
        The system.

    Raises:
        ValueError: if the name is unknown, or s or d is not a positive whole number.
    """
    one_of("name", name, PAPER_TABLES)
    s, d = positive_int("s", s), positive_int("d", d)
    if name == "T1":
        task = repeat_copy(s, d)
        task.name = "T1"
        return task
    table = PAPER_TABLES[name]
    source, sign = [], []
    for start in range(0, d, 8):
        for entry, eps in table:
            dimension = start + entry // 9  # T2's entries are 9·j: dimension j of vector j
            if dimension < d:
                source.append((dimension % s) * d + dimension)
                sign.append(eps)
    return signed_selection(source, sign, s, d, name=name)


@dataclass(frozen=True)
class Cycle:
    """A loop of history entries: a closed path through the substrate.

    Attributes:
        entries: the entries k, g(k), g(g(k)), ... of the loop, starting with its smallest; contents visit them backwards.
        sign: product of the signs around the loop; with -1 the loop returns negated and needs two rounds.
    """

    entries: tuple[int, ...]
    sign: int

    @property
    def length(self) -> int:
        """Number of entries, L."""
        return len(self.entries)

    @property
    def period(self) -> int:
        """Steps until the loop's content is back: L, or 2L if the sign is -1."""
        return self.length * (1 if self.sign == 1 else 2)


@dataclass(frozen=True)
class Recurrence:
    """The long run of a signed selection.

    Attributes:
        cycles: the loops that lasting entries move in.
        transient: steps until all other entries are gone.
        used: the entries of the initial history on which any later output depends, increasing.
    """

    cycles: tuple[Cycle, ...]
    transient: int
    used: tuple[int, ...]

    @property
    def period(self) -> int:
        """Smallest p with history(t + p) = history(t) for every initial history and every t >= transient."""
        return lcm(*(cycle.period for cycle in self.cycles))

    @property
    def lasting(self) -> int:
        """Entries that take part in a loop: the number of eigenvalues of modulus 1 of Φ; its others are 0."""
        return sum(cycle.length for cycle in self.cycles)


def recurrence(system: LinearHDS) -> Recurrence:
    """Analyse a signed selection exactly, without running it.

    Args:
        system: a system whose every output is one history entry times ±1.

    Returns:
        Its loops, transient and used entries.

    Raises:
        ValueError: if some output of the system is not one entry times ±1.
    """
    source, sign = table_of(system)
    n, d = system.s * system.d, system.d
    before = [*range(d, n), *source]
    factor = [1] * (n - d) + sign
    looping: set[int] = set()
    cycles = []
    transient = 0
    for start in range(n):
        walk: list[int] = []
        k = start
        while k not in looping and k not in walk:
            walk.append(k)
            k = before[k]
        if k in looping:
            transient = max(transient, len(walk))
            continue
        loop = walk[walk.index(k) :]
        transient = max(transient, len(walk) - len(loop))
        looping.update(loop)
        product = 1
        for entry in loop:
            product *= factor[entry]
        turn = loop.index(min(loop))
        cycles.append(Cycle(tuple(loop[turn:] + loop[:turn]), product))
    used: set[int] = set()
    for k in source:
        while k not in used:
            used.add(k)
            k = before[k]
    return Recurrence(tuple(cycles), transient, tuple(sorted(used)))
