"""Loss and weight gradients of Elman runs in one sweep forward and one back (TWM Eq. 9, mean squared error).

The same numbers as autograd through `elman_scan`, a readout and the loss, at less cost: nothing but the states is kept,
the output phase is read out in blocks of a few steps while their states are in the cache, and a block's share of the
weight gradients is added at once. On a CUDA device the loop over time is one launch in each direction, and everything
else one product over all steps; nothing waits for the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import shape_is
from wavemem.kernels.elman import Activation
from wavemem.kernels.elman_triton import current_precision, full_precision, scan_deltas, scan_states, use_triton
from wavemem.kernels.products import (
    DenseProduct,
    GroupedProduct,
    Product,
    RoundedProduct,
    as_image,
    grouped_pays,
    sum_of_outer_products,
    tanh_backward_,
    tanh_steps,
)

__all__ = ["SweepResult", "Workspace", "loss_and_gradients"]

_BLOCK_BYTES = 2**21
"""Size of the states of one block of steps: the order of a core's private cache."""


class Workspace:
    """Named memory, kept from one iteration to the next so that it is not mapped anew every time.

    A thread needs its own.
    """

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return an uninitialised tensor of a shape; the memory last taken under the name is used again."""
        size = math.prod(shape)
        memory = self._memory.get(name)
        if memory is None or memory.numel() < size or memory.dtype != like.dtype or memory.device != like.device:
            memory = self._memory[name] = torch.empty(size, dtype=like.dtype, device=like.device)
        return memory[:size].view(shape)


@dataclass(frozen=True)
class SweepResult:
    """What a sweep measures.

    Args:
        loss_by_step: Mean squared error of every step of the output phase, shape (horizon, K).
        accuracy_by_step: Share of outputs with the target's sign, shape (horizon, K).
        gradients: ∂(mean of loss_by_step over the run's steps) with respect to W_hh, W_uh and W_r.
    """

    loss_by_step: Float[Tensor, "horizon K"]
    accuracy_by_step: Float[Tensor, "horizon K"]
    gradients: tuple[Tensor, Tensor, Tensor]


def _rows(block: Tensor, grouped: bool, workspace: Workspace, name: str) -> Float[Tensor, "K rows n"]:
    """Bring a block of steps, in either layout, into one list of contiguous rows per run."""
    if not grouped:
        return block.flatten(1, 2)
    C, B, K, n = block.shape
    rows = workspace.take(name, (K, C * B, n), block)
    rows.copy_(block.reshape(C * B, K, n).transpose(0, 1))
    return rows


def _weights(horizons: Tensor | None, H: int, like: Tensor, K: int) -> Float[Tensor, "horizon K"]:
    """Return 1 where a step counts for a run, else 0."""
    if horizons is None:
        return like.new_ones(H, K)
    steps = torch.arange(H, device=like.device)
    return (steps[:, None] < horizons.to(like.device)[None, :]).to(like.dtype)


def _sweep_on_device(
    weights: tuple[Tensor, Tensor, Tensor],
    u: Tensor,
    targets: Tensor,
    activation: Activation,
    horizons: Tensor | None,
    workspace: Workspace,
) -> SweepResult:
    """Do what `loss_and_gradients` does with one launch for the loop over time in each direction."""
    W_hh, W_uh, W_r = weights
    K, B, s, d = u.shape
    N, H = W_hh.shape[1], targets.shape[2]
    T = s + H
    if horizons is None:
        lengths = torch.full((K,), T, dtype=torch.int32, device=W_hh.device)
    else:
        lengths = (horizons.to(W_hh.device, non_blocking=True) + s).clamp(max=T).to(torch.int32)
    inputs = u.transpose(1, 2).reshape(K, s * B, d)
    goal = targets.transpose(1, 2).reshape(K, H * B, d)
    drive = torch.bmm(inputs, W_uh.mT).view(K, s, B, N)
    sequence = workspace.take("states", (K, T + 1, B, N), W_hh)
    sequence[:, 0].zero_()
    scan_states(W_hh, drive, sequence, lengths, activation)
    # States and deltas after a run's own steps are zeros, so that one product over all steps serves all runs.
    after = sequence[:, s + 1 :].flatten(1, 2)
    y = torch.bmm(after, W_r.mT)
    error = y - goal
    counts = _weights(lengths - s, H, W_hh, K)
    loss_by_step = error.square().view(K, H, B * d).mean(2).t()
    accuracy_by_step = (y * goal > 0).view(K, H, B * d).to(W_hh.dtype).mean(2).t()
    scale = counts * (2.0 / (counts.sum(0) * B * d))
    error.view(K, H, B * d).mul_(scale.t().unsqueeze(2))
    delta = workspace.take("delta", (K, T, B, N), W_hh)
    torch.bmm(error, W_r, out=delta[:, s:].flatten(1, 2))
    scan_deltas(W_hh, sequence, delta, lengths, activation, quiet=s)
    gradients = (
        torch.bmm(delta.flatten(1, 2).mT, sequence[:, :-1].flatten(1, 2)),
        torch.bmm(delta[:, :s].flatten(1, 2).mT, inputs),
        torch.bmm(error.mT, after),
    )
    return SweepResult(loss_by_step * counts, accuracy_by_step * counts, gradients)


@torch.no_grad()
def loss_and_gradients(
    W_hh: Float[Tensor, "K N N"],
    W_uh: Float[Tensor, "K N d"],
    W_r: Float[Tensor, "K d N"],
    u: Float[Tensor, "K B s d"],
    targets: Float[Tensor, "K B horizon d"],
    activation: Activation = "tanh",
    horizons: Float[Tensor, " K"] | None = None,
    workspace: Workspace | None = None,
    grouped: bool | None = None,
) -> SweepResult:
    """Run K networks through an input phase and an output phase and differentiate the mean squared error of the latter.

    Args:
        W_hh: Recurrent weights, shape (K, N, N).
        W_uh: Input weights, shape (K, N, d).
        W_r: Readout, shape (K, d, N).
        u: Histories, oldest vector first, shape (K, B, s, d).
        targets: Outputs asked for, shape (K, B, horizon, d).
        activation: σ, "tanh" or "linear".
        horizons: Steps that count for each run, at most horizon; all by default. Later targets are not looked at.
        workspace: Memory to reuse between calls of one thread.
        grouped: Whether to use `GroupedProduct`; by default where it is faster.

    Returns:
        Losses, accuracies and gradients.

    Raises:
        ValueError: If the shapes do not fit together.
    """
    shape_is("W_hh", W_hh, ("K", "N", "N"))
    K, N, _ = W_hh.shape
    shape_is("W_uh", W_uh, (K, N, "d"))
    d = W_uh.shape[2]
    shape_is("W_r", W_r, (K, d, N))
    shape_is("u", u, (K, "B", "s", d))
    _, B, s, _ = u.shape
    shape_is("targets", targets, (K, B, "horizon", d))
    H = targets.shape[2]
    T = s + H
    workspace = Workspace() if workspace is None else workspace
    if use_triton(W_hh):
        with full_precision():
            return _sweep_on_device((W_hh, W_uh, W_r), u, targets, activation, horizons, workspace)
    precision = current_precision()
    grouped = (grouped_pays(W_hh) if grouped is None else grouped) and precision == "ieee"
    axis = 0 if grouped else 1  # of time in a stored sequence

    def product(weights: Tensor) -> Product:
        if precision != "ieee":
            return RoundedProduct(weights, 1 if precision == "tf32" else 3)
        return GroupedProduct(weights, B) if grouped else DenseProduct(weights)

    def stored(n: int, length: int) -> tuple[int, ...]:
        return (length, B, K, n) if grouped else (K, length, B, n)

    # Forward: the states, h(0) = 0 first.
    inputs = u.transpose(1, 2).reshape(K, s * B, d)
    driven = torch.bmm(inputs, W_uh.mT).view(K, s, B, N)
    if grouped:
        driven = driven.permute(1, 2, 0, 3).contiguous()
    recurrent = product(W_hh)
    sequence = workspace.take("states", stored(N, T + 1), W_hh)
    sequence.select(axis, 0).zero_()
    view = recurrent.view(sequence)
    states, drive = view.unbind(0), recurrent.view(driven).unbind(0)
    write_tanh = tanh_steps(view)
    for t in range(T):
        z = drive[0] if t == 0 else recurrent.apply(states[t])
        if 0 < t < s:
            z += drive[t]
        if activation == "tanh":
            write_tanh(z, t + 1)
        else:
            states[t + 1].copy_(z)

    # Backward, block by block from the last step. Rows are (step, batch); outputs are kept as columns, (K, d, rows),
    # because a product with few columns is slow.
    asked = targets.permute(0, 3, 2, 1).reshape(K, d, H * B)
    weights = _weights(horizons, H, W_hh, K)
    scale = weights * (2.0 / (weights.sum(0) * B * d))
    transposed, sender = product(W_hh.mT), product(W_r.mT)
    gradients = (torch.zeros_like(W_hh), torch.zeros_like(W_uh), torch.zeros_like(W_r))
    loss_by_step, accuracy_by_step = W_hh.new_empty(H, K), W_hh.new_empty(H, K)
    length = max(1, _BLOCK_BYTES // (K * B * N * W_hh.element_size()))
    later: Tensor | None = None
    turn, stop = "odd", T
    while stop > 0:
        # Blocks do not straddle the two phases: only the output phase is read out.
        start = max(stop - length, s if stop > s else 0)
        C = stop - start
        visited = _rows(sequence.narrow(axis, start, C + 1), grouped, workspace, "visited")
        # Two memories in turn: the first step back of a block needs the last one of the block before.
        turn = "even" if turn == "odd" else "odd"
        delta = workspace.take(f"delta {turn}", stored(N, C), W_hh)
        before, after = visited[:, : C * B], visited[:, B:]
        if stop > s:
            block = slice(start - s, stop - s)
            goal = asked[:, :, block.start * B : block.stop * B]
            y = torch.bmm(W_r, after.mT)
            error = y - goal
            by_row = torch.mul(error, error).view(K, d, C, B).sum(3).sum(1)
            loss_by_step[block] = by_row.t() / (B * d)
            right = y.mul_(goal).gt_(0).view(K, d, C, B).sum(3).sum(1)
            accuracy_by_step[block] = right.t() / (B * d)
            error.view(K, d, C, B).mul_(scale[block].t().view(K, 1, C, 1))
            gradients[2].baddbmm_(error, after)
            if grouped:
                delta.zero_()
                columns = error.view(K, d, C, B).permute(2, 3, 0, 1).contiguous()
                sender.accumulate(as_image(delta), as_image(columns))
            else:
                torch.bmm(error.mT, W_r, out=delta.view(K, C * B, N))
        else:
            delta.zero_()
        deltas = transposed.view(delta).unbind(0)
        for t in reversed(range(C)):
            if later is not None:
                transposed.accumulate(deltas[t], later)
            if activation == "tanh":
                tanh_backward_(deltas[t], states[start + t + 1])
            later = deltas[t]
        rows = _rows(delta, grouped, workspace, "rows")
        sum_of_outer_products(gradients[0], rows, before)
        if start < s:
            gradients[1].baddbmm_(rows.mT, inputs[:, start * B : stop * B])
        stop = start
    return SweepResult(loss_by_step * weights, accuracy_by_step * weights, gradients)
