"""What a signed selection does with its history in the long run: what it forgets, and when it repeats itself.

A signed selection moves entries of the history and never mixes them. Read backwards it is a map g of the s·d entries
into themselves: after one step entry k of the history is ± what entry g(k) was before. Every walk k, g(k), g(g(k)), ...
ends in a cycle; the cycles are what lasts, their lengths and signs say when the whole history returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

from wavemem.tasks.hds import LinearHDS
from wavemem.tasks.selection import table_of

__all__ = ["Cycle", "Recurrence", "recurrence"]


@dataclass(frozen=True)
class Cycle:
    """A loop of history entries.

    Attributes:
        entries: the entries k, g(k), g(g(k)), ... of the loop, starting with its smallest.
        sign: product of the signs around the loop; with -1 the loop returns negated and needs two rounds.
    """

    entries: tuple[int, ...]
    sign: int

    @property
    def period(self) -> int:
        """Steps until the loop's content is back."""
        return len(self.entries) * (1 if self.sign == 1 else 2)


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
        return sum(len(cycle.entries) for cycle in self.cycles)


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
