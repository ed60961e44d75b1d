"""Ways to compute a step of the Wave-RNN with PyTorch's own operations, for K runs at once.

All compute h(t) = relu(u ⋆ h(t-1) + V x(t) + b) from h(0) = 0 and leave differentiation to autograd. What the inputs add is
one product for all steps in each of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor

__all__ = ["STEPS", "by_convolution", "by_matrix", "by_windows"]


def _drive(V: Tensor, b: Tensor, inputs: Tensor, c: int) -> Tensor:
    """V x(t) + b for all steps, (T, K, B, c, n)."""
    return (inputs @ V.mT + b[:, None]).unflatten(3, (c, -1))


def by_convolution(
    u: Float[Tensor, "K c c k"], V: Float[Tensor, "K cn d"], b: Float[Tensor, "K cn"], inputs: Float[Tensor, "T K B d"]
) -> Float[Tensor, "T K B c n"]:
    """One `conv1d` per step, the runs as its groups; the ring is laid out with its ends repeated."""
    K, c, _, k = u.shape
    p = k // 2
    drive = _drive(V, b, inputs, c).transpose(1, 2).flatten(2, 3)
    h = torch.zeros_like(drive[0])
    kernel, states = u.flatten(0, 1), []
    for driven in drive:
        ring = torch.cat([h[..., h.shape[2] - p :], h, h[..., :p]], -1) if p else h
        h = torch.relu(nnf.conv1d(ring, kernel, groups=K) + driven)
        states.append(h)
    return torch.stack(states).unflatten(2, (K, c)).transpose(1, 2)


def by_windows(
    u: Float[Tensor, "K c c k"], V: Float[Tensor, "K cn d"], b: Float[Tensor, "K cn"], inputs: Float[Tensor, "T K B d"]
) -> Float[Tensor, "T K B c n"]:
    """One batched product per step: every unit's window of k neighbours and c channels is a row."""
    K, c, _, k = u.shape
    p = k // 2
    drive = _drive(V, b, inputs, c).transpose(3, 4).contiguous()
    h = torch.zeros_like(drive[0])
    B, n = h.shape[1:3]
    weights, states = u.permute(0, 3, 2, 1).reshape(K, k * c, c), []
    for driven in drive:
        ring = torch.cat([h[:, :, n - p :], h, h[:, :, :p]], 2) if p else h
        windows = ring.unfold(2, k, 1).transpose(3, 4).reshape(K, B * n, k * c)
        h = torch.relu(torch.baddbmm(driven.flatten(1, 2), windows, weights)).view(K, B, n, c)
        states.append(h)
    return torch.stack(states).transpose(3, 4)


def by_matrix(
    u: Float[Tensor, "K c c k"], V: Float[Tensor, "K cn d"], b: Float[Tensor, "K cn"], inputs: Float[Tensor, "T K B d"]
) -> Float[Tensor, "T K B c n"]:
    """One batched product per step with the whole matrix of c n rows, of which a share of k / n is not zero."""
    K, c, _, k = u.shape
    drive = _drive(V, b, inputs, c).flatten(3)
    n = drive.shape[3] // c
    units = torch.arange(n, device=u.device)
    near = torch.stack([nnf.one_hot((units + tap - k // 2) % n, n) for tap in range(k)]).to(u)
    matrix = torch.einsum("koit,tpq->kiqop", u, near).reshape(K, c * n, c * n)
    h = torch.zeros_like(drive[0])
    states = []
    for driven in drive:
        h = torch.relu(torch.baddbmm(driven, h, matrix))
        states.append(h)
    return torch.stack(states).unflatten(3, (c, n))


STEPS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "convolution": by_convolution,
    "windows": by_windows,
    "matrix": by_matrix,
}
"""Name → states h(1) … h(T), (T, K, B, c, n), from u, V, b and the inputs."""
