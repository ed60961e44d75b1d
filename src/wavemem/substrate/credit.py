"""What a recurrent network's state owes to its earlier states and inputs, at initialisation above all.

For h(t) = σ(U h(t−1) + V x(t) + b), with D(t) = diag σ'(·) the slopes of step t,

    ∂h(T)/∂h(t) = D(T) U D(T−1) U ⋯ D(t+1) U,        ∂h(T)/∂x(t) = ∂h(T)/∂h(t) · D(t) V.

The first says whether a gradient survives: its singular values. The second, all t side by side, says whether the state can
tell *when* something came: two inputs whose columns are parallel push the state in one direction, and neither a readout nor a
gradient can tell them apart. Identity and shift initialisations agree on the first and differ on the second.

Source: Keller et al., ICLR 2024, Sections 1 and 2 (initialisation); the comparison is the book's.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import finite, require

__all__ = ["input_jacobians", "state_jacobians", "times_told_apart"]


def _check(U: Tensor, slopes: Tensor) -> None:
    require(
        U.ndim == 2 and U.shape[0] == U.shape[1] and slopes.ndim == 2 and slopes.shape[1] == U.shape[0],
        f"U of shape {tuple(U.shape)} and slopes of shape {tuple(slopes.shape)}",
        "U (N, N) and slopes (time, N)",
        "Flatten a Wave-RNN's state and use ring_matrix(u, n) as its U.",
    )


def state_jacobians(U: Float[Tensor, "N N"], slopes: Float[Tensor, "time N"]) -> Float[Tensor, "time+1 N N"]:
    """∂h(T)/∂h(t) for t = T, T − 1, …, 0 (entry k is k steps back), as products of Jacobians, latest step first.

    Args:
        U: Recurrent weights; of a Wave-RNN `wavemem.substrate.ring.ring_matrix`.
        slopes: σ' at steps 1, …, T: for ReLU 1 where the state is positive and 0 elsewhere, for a linear network 1.

    Returns:
        T + 1 matrices, the first the identity.

    Raises:
        ValueError: If the shapes do not fit.
    """
    _check(U, slopes)
    product = torch.eye(len(U), dtype=U.dtype, device=U.device)
    products = [product]
    for slope in slopes.flip(0).to(U.dtype):
        product = (product * slope) @ U
        products.append(product)
    return torch.stack(products)


def input_jacobians(
    U: Float[Tensor, "N N"], V: Float[Tensor, "N d"], slopes: Float[Tensor, "time N"]
) -> Float[Tensor, "time N d"]:
    """∂h(T)/∂x(t) for ages a = 0, …, T − 1 (entry a is the input of step T − a).

    Args:
        U: Recurrent weights (N, N).
        V: Input weights (N, d).
        slopes: σ' at steps 1, …, T.

    Returns:
        One (N, d) matrix per age.

    Raises:
        ValueError: If the shapes do not fit.
    """
    _check(U, slopes)
    require(
        V.ndim == 2 and V.shape[0] == U.shape[0],
        f"V of shape {tuple(V.shape)} for {U.shape[0]} units",
        f"({U.shape[0]}, d)",
        "Give one row of input weights per unit.",
    )
    through = state_jacobians(U, slopes)[:-1]  # ∂h(T)/∂h(T − a), a = 0, …, T − 1
    return (through * slopes.flip(0).to(U.dtype)[:, None, :]) @ V


def times_told_apart(jacobians: Float[Tensor, "time N d"], tolerance: float = 1e-6) -> int:
    """How many input directions (step × dimension) the state tells apart: the rank of [∂h(T)/∂x(T) ⋯ ∂h(T)/∂x(1)].

    Args:
        jacobians: From `input_jacobians`.
        tolerance: Singular values below this share of the largest count as zero.

    Returns:
        The rank, at most min(N, time · d).

    Raises:
        ValueError: If the Jacobians are not (time, N, d).
    """
    require(
        jacobians.ndim == 3,
        f"Jacobians of shape {tuple(jacobians.shape)}",
        "(time, N, d)",
        "Pass what input_jacobians returns.",
    )
    finite("jacobians", jacobians)
    side_by_side = jacobians.movedim(0, 1).flatten(1)
    values = torch.linalg.svdvals(side_by_side)
    largest = float(values.max())
    return int((values > tolerance * largest).sum()) if largest > 0 else 0
