"""How many full sets of phases a spectrum has: a count of eigenvalues, as repeat copy has them. For waves, `substrate.waves`."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import positive_int
from wavemem.substrate.spectrum import eigenvalues

__all__ = ["complete_waves"]


def complete_waves(W_hh: Float[Tensor, "*runs N N"], s: int, modulus: float = 0.9) -> Int[Tensor, "*runs"]:
    """How many full sets of the s phases 2πk/s the lasting eigenvalues have: d for repeat copy of d-dimensional vectors.

    The count at the phase that has fewest. It does not say that anything travels.

    Args:
        W_hh: recurrent weights.
        s: columns of the substrate.
        modulus: eigenvalues above it persist; each counts for the nearest phase if it is closer than a quarter of
            the distance between phases.

    Returns:
        One number per run, on the CPU.

    Raises:
        ValueError: if s is not a positive integer or the matrices are not square and finite.
    """
    s = positive_int("s", s)
    values = eigenvalues(W_hh)
    turns = values.angle() * s / (2 * torch.pi)
    near = (turns - turns.round()).abs() < 0.25
    phase = turns.round().long() % s
    counts = torch.stack([((phase == k) & near & (values.abs() > modulus)).sum(-1) for k in range(s)], dim=-1)
    return counts.amin(-1)
