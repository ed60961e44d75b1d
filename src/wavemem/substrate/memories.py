"""Vectors in hidden space that stand for the entries of a substrate, and what can be read and drawn with them.

How such vectors are found is the business of `wavemem.substrate.variable_memories`.

Source: Karuvally, Sejnowski and Siegelmann, ICML 2024, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import positive_int, require, shape_is

__all__ = ["Keep", "VariableMemories", "kept_entries"]

Keep = Sequence[int] | Int[Tensor, " m"] | None
"""Entries of the flattened substrate, increasing; None for all of them."""


@dataclass(frozen=True, eq=False)
class VariableMemories:
    """Vectors in hidden space, one for each kept entry of the substrate.

    Attributes:
        Psi: (N, m), one column per kept entry.
        keep: (m,), which entries of the flattened substrate they stand for, increasing.
        s: columns of the substrate.
        d: dimensions of the substrate.
        complement: (N, c) orthonormal directions outside the span of Psi, or None.
        transient: (N, q) directions that an input moves for a few steps and that reading ignores, or None, see
            `with_transients`.

    Raises:
        ValueError: if the shapes do not fit together or an entry is named that the substrate does not have.
    """

    Psi: Float[Tensor, "N m"]
    keep: Int[Tensor, " m"]
    s: int
    d: int
    complement: Float[Tensor, "N c"] | None = None
    transient: Float[Tensor, "N q"] | None = None

    def __post_init__(self) -> None:
        """Check the shapes and entries; refuse vectors that are not finite."""
        positive_int("s", self.s)
        positive_int("d", self.d)
        shape_is("Psi", self.Psi, ("N", len(self.keep)))
        require(
            bool(torch.isfinite(self.Psi).all()),
            "Psi with NaN or infinite entries",
            "finite numbers",
            "Did the training diverge, or do powers of W_hh overflow?",
        )
        kept_entries(self.keep, self.s, self.d)
        for name in ("complement", "transient"):
            others = getattr(self, name)
            if others is not None:
                shape_is(name, others, (self.Psi.shape[0], "c"))

    @property
    def N(self) -> int:
        """Neurons."""
        return int(self.Psi.shape[0])

    @property
    def m(self) -> int:
        """Kept entries."""
        return int(self.Psi.shape[1])

    @cached_property
    def dual(self) -> Float[Tensor, "m N"]:
        """The covectors Ψ†: what reads the entries out of a state by least squares.

        Moore-Penrose; with `transient` directions B, the first m rows of [Ψ B]†, which B does not reach: Ψ†Ψ = 1, Ψ†B = 0.
        """
        if self.transient is None:
            return torch.linalg.pinv(self.Psi)
        return torch.linalg.pinv(torch.cat([self.Psi, self.transient], dim=1))[: self.m]

    def coordinates(self, h: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch m"]:
        """Ψ†h: the content of the kept entries.

        Raises:
            ValueError: if the last axis of h is not N.
        """
        shape_is("h", h, ("...", self.N))
        return h.to(self.Psi.dtype) @ self.dual.mT

    def substrate(self, h: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch s d"]:
        """Ψ†h laid out as a substrate, oldest column first; NaN where an entry was dropped.

        Raises:
            ValueError: if the last axis of h is not N.
        """
        content = self.coordinates(h)
        full = content.new_full((*content.shape[:-1], self.s * self.d), float("nan"))
        full[..., self.keep] = content
        return full.unflatten(-1, (self.s, self.d))

    def project(self, h: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch N"]:
        """ΨΨ†h: the part of a state that the waves explain, one number per neuron.

        Raises:
            ValueError: if the last axis of h is not N.
        """
        return self.coordinates(h) @ self.Psi.mT

    def operator(self, W: Float[Tensor, "N N"]) -> Float[Tensor, "m m"]:
        """Ψ†WΨ: a matrix among neurons, seen among the entries of the substrate.

        Raises:
            ValueError: if W is not (N, N).
        """
        shape_is("W", W, (self.N, self.N))
        return self.dual @ W.to(self.Psi.dtype) @ self.Psi

    def full_operator(self, W: Float[Tensor, "N N"]) -> Float[Tensor, "n n"]:
        """[Ψ Ψ⊥]† W [Ψ Ψ⊥]: the same with the complement's directions behind the substrate's; `operator` if there is none.

        Raises:
            ValueError: if W is not (N, N).
        """
        shape_is("W", W, (self.N, self.N))
        if self.complement is None:
            return self.operator(W)
        vectors = torch.cat([self.Psi, self.complement], dim=1)
        return torch.linalg.pinv(vectors) @ W.to(self.Psi.dtype) @ vectors

    def theory(self, Phi: Float[Tensor, "sd sd"]) -> Float[Tensor, "m m"]:
        """Φ restricted to the kept entries: what `operator` should be.

        Raises:
            ValueError: if Phi is not (s·d, s·d).
        """
        shape_is("Phi", Phi, (self.s * self.d, self.s * self.d))
        return Phi.to(self.Psi.dtype)[self.keep][:, self.keep]

    def scaled(self, gains: Float[Tensor, " m"]) -> VariableMemories:
        """The same directions with every vector multiplied by a number; the content read is divided by it.

        Raises:
            ValueError: if there is not one number per vector, or one of them is 0 or not finite.
        """
        shape_is("gains", gains, (self.m,))
        good = bool((torch.isfinite(gains) & (gains != 0)).all())
        require(
            good, "gains with 0, NaN or infinity", "finite numbers other than 0", "Check what they were divided by."
        )
        return replace(self, Psi=self.Psi * gains)


def kept_entries(keep: Keep, s: int, d: int) -> Int[Tensor, " m"]:
    """The kept entries as increasing indices; all of them for None.

    Raises:
        ValueError: if they are not increasing or not entries of an s × d substrate.
    """
    if keep is None:
        return torch.arange(s * d)
    kept = torch.as_tensor(keep, dtype=torch.long).flatten().cpu()
    good = len(kept) > 0 and bool((kept[1:] > kept[:-1]).all()) and int(kept[0]) >= 0 and int(kept[-1]) < s * d
    require(
        good,
        f"keep = {kept.tolist()}",
        f"increasing entries from 0 to s*d - 1 = {s * d - 1}, at least one",
        "Use reduced_basis(Phi).keep, or None for all entries.",
    )
    return kept
