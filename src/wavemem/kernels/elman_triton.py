"""The Elman recurrence on a CUDA device (TWM Eq. 9): the whole loop over time in one launch, forward and back.

PyTorch launches several kernels per time step, each of which takes a few microseconds whatever the size of the networks,
and reads the recurrent matrix anew every time. Here a program takes a few rows of one run's batch through all of the run's
steps, with the run's matrix in registers, and stops at the run's own horizon; only drives, states and deltas pass through
the device's memory. Weight gradients are not summed in the loop: each is one product over all steps and the batch, which
cuBLAS does better. Nothing here waits for the device.

A product with the matrix is a sum over the slow axis of the matrix, multiplied element by element: each thread then holds
its part of the matrix in registers for all steps, adds within itself, and only the last additions go through shared memory.
Triton's own product has no tensor core for float32 and needs more registers than there are (compiled for compute capability
9.0 at 128 units it spills, this one does not).

How far it has been checked: outputs and gradients equal the float64 reference in Triton's interpreter, which carries out
the kernels on the CPU, and the kernels compile without spilled registers for compute capabilities 8.0 and 9.0. They have
not been run on a GPU.

Importing this module needs Triton; `wavemem.kernels.elman` does so where a call is on a CUDA device.
"""

# No postponed annotations: Triton reads `tl.constexpr` from the signature.
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.kernels.elman import loss_and_gradients_reference
from wavemem.kernels.triton_shared import full_precision


@triton.jit
def tanh(z):  # type: ignore[no-untyped-def]
    """tanh z by exp of a negative number, which cannot overflow; its series near 0, where the quotient cancels."""
    size = tl.abs(z)
    square = z * z
    e = tl.exp(-2.0 * size)
    far = (1.0 - e) / (1.0 + e)
    near = size * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0 - square * (17.0 / 315.0))))
    # A comparison with NaN is false: NaN takes the branch that hands it on.
    result = tl.where(size < 0.2, near, far)
    return tl.where(z < 0.0, -result, result)


@triton.jit
def scan_forward(  # type: ignore[no-untyped-def]
    right,  # (K, N, N): the transposed recurrent matrices; contiguous, as all tensors here
    drive,  # (K, S, B, N): W_uh u(1) … W_uh u(S)
    states,  # (K, T + 1, B, N): h(0) is read, h(1) … h(T) are written
    lengths,  # (K,) int32: steps of each run, at most T
    B,
    S,
    T,
    N: tl.constexpr,
    WIDTH: tl.constexpr,  # a power of two, at least N
    ROWS: tl.constexpr,  # batch rows of a program
    TANH: tl.constexpr,
):
    """h(t) = σ(W h(t-1) + drive(t)) for the steps of each run; zeros after them."""
    run = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    units = tl.arange(0, WIDTH)
    tile = rows[:, None] * N + units[None, :]
    inside = (rows[:, None] < B) & (units[None, :] < N)
    known = (units[:, None] < N) & (units[None, :] < N)
    matrix = tl.load(right + run * N * N + units[:, None] * N + units[None, :], mask=known, other=0.0)
    length = tl.load(lengths + run)
    step = B * N
    state = states + run * (T + 1) * step + tile
    driven = drive + run * S * step + tile
    h = tl.load(state, mask=inside, other=0.0)
    for t in range(length):
        z = tl.load(driven, mask=inside & (t < S), other=0.0)
        z += tl.sum(h[:, :, None] * matrix[None, :, :], axis=1)
        h = tanh(z) if TANH else z
        driven += step
        state += step
        tl.store(state, h, mask=inside)
    for _ in range(length, T):
        state += step
        tl.store(state, tl.zeros_like(h), mask=inside)


@triton.jit
def scan_back(  # type: ignore[no-untyped-def]
    right,  # (K, N, N): the recurrent matrices
    states,  # (K, T + 1, B, N)
    deltas,  # (K, T, B, N): ∂loss/∂h(1) … ∂loss/∂h(T) is read; δ(1) … δ(T), of σ's argument, is written over it
    lengths,  # (K,) int32
    B,
    QUIET,  # steps at the start that the loss does not see: their entries of `deltas` are not read
    T,
    N: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    TANH: tl.constexpr,
):
    """δ(t) = σ'(t) ∘ (g(t) + Wᵀ δ(t+1)) back from the last step of each run; zeros after it."""
    run = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    units = tl.arange(0, WIDTH)
    tile = rows[:, None] * N + units[None, :]
    inside = (rows[:, None] < B) & (units[None, :] < N)
    known = (units[:, None] < N) & (units[None, :] < N)
    matrix = tl.load(right + run * N * N + units[:, None] * N + units[None, :], mask=known, other=0.0)
    length = tl.load(lengths + run)
    step = B * N
    carried = tl.zeros((ROWS, WIDTH), dtype=tl.float32)
    entry = deltas + (run + 1) * T * step + tile
    state = states + run * (T + 1) * step + (length + 1) * step + tile
    for _ in range(length, T):
        entry -= step
        tl.store(entry, carried, mask=inside)
    for back in range(length):
        entry -= step
        state -= step
        sent = tl.load(entry, mask=inside & (back < length - QUIET), other=0.0)
        carried = sent + tl.sum(carried[:, :, None] * matrix[None, :, :], axis=1)
        if TANH:
            h = tl.load(state, mask=inside, other=0.0)
            carried *= 1.0 - h * h
        tl.store(entry, carried, mask=inside)


class Tile(NamedTuple):
    """How a kernel is cut up: units of a program (a power of two), its batch rows, its groups of 32 threads."""

    width: int
    rows: int
    warps: int


def choose_tile(N: int) -> Tile:
    """Return the tile for N hidden units: one that needs no more registers than there are, for up to 128 of them."""
    width = max(16, 1 << (N - 1).bit_length())
    return Tile(width, 4, 4 if width <= 64 else 8)


def scan_states(
    W_hh: Float[Tensor, "K N N"],
    drive: Float[Tensor, "K S B N"],
    sequence: Float[Tensor, "K T1 B N"],
    lengths: Int[Tensor, " K"],
    activation: str = "tanh",
) -> None:
    r"""Fill in $h(t) = \sigma(W_{hh} h(t-1) + \mathrm{drive}(t))$, t = 1 … T, in one launch.

    Args:
        W_hh: Recurrent weights, float32.
        drive: W_uh u(1) … W_uh u(S), S ≤ T; there is none after step S.
        sequence: Memory for h(0) … h(T), contiguous. h(0) is read, the others are written.
        lengths: Steps of each run, at most T, int32 on the device. States after them are set to 0.
        activation: σ, "tanh" or "linear".
    """
    K, after, B, N = sequence.shape
    tile = choose_tile(N)
    with torch.cuda.device_of(W_hh):
        scan_forward[K, triton.cdiv(B, tile.rows)](
            W_hh.mT.contiguous(),
            drive.contiguous(),
            sequence,
            lengths,
            B,
            drive.shape[1],
            after - 1,
            N=N,
            WIDTH=tile.width,
            ROWS=tile.rows,
            TANH=activation == "tanh",
            num_warps=tile.warps,
            num_stages=1,
        )


def scan_deltas(
    W_hh: Float[Tensor, "K N N"],
    sequence: Float[Tensor, "K T1 B N"],
    delta: Float[Tensor, "K T B N"],
    lengths: Int[Tensor, " K"],
    activation: str = "tanh",
    quiet: int = 0,
) -> None:
    r"""Turn $g(t) = \partial L / \partial h(t)$ into $\delta(t) = \sigma'(t) \circ (g(t) + W_{hh}^T \delta(t+1))$, in place.

    Args:
        W_hh: Recurrent weights, float32.
        sequence: What `scan_states` left.
        delta: g(1) … g(T), without what later steps send back, contiguous; holds δ(1) … δ(T) afterwards.
        lengths: Steps of each run, int32 on the device; δ is 0 after them.
        activation: σ, "tanh" or "linear".
        quiet: Number of steps at the start for which g = 0; `delta` is not read there.
    """
    K, T, B, N = delta.shape
    tile = choose_tile(N)
    with torch.cuda.device_of(W_hh):
        scan_back[K, triton.cdiv(B, tile.rows)](
            W_hh.contiguous(),
            sequence,
            delta,
            lengths,
            B,
            quiet,
            T,
            N=N,
            WIDTH=tile.width,
            ROWS=tile.rows,
            TANH=activation == "tanh",
            num_warps=tile.warps,
            num_stages=1,
        )


def forward(
    W_hh: Float[Tensor, "K N N"],
    W_uh: Float[Tensor, "K N d"],
    u: Float[Tensor, "K B S d"],
    h0: Float[Tensor, "K B N"] | None,
    steps: int,
    activation: str,
) -> Float[Tensor, "K T1 B N"]:
    """h(0) … h(T)."""
    (K, B, S, d), N = u.shape, W_hh.shape[1]
    with full_precision():
        driven = torch.bmm(u.transpose(1, 2).reshape(K, S * B, d), W_uh.mT).view(K, S, B, N)
    sequence = W_hh.new_empty(K, steps + 1, B, N)
    sequence[:, 0] = 0.0 if h0 is None else h0
    scan_states(W_hh, driven, sequence, _all_steps(sequence), activation)
    return sequence


def backward(
    W_hh: Float[Tensor, "K N N"],
    W_uh: Float[Tensor, "K N d"],
    u: Float[Tensor, "K B S d"],
    sequence: Float[Tensor, "K T1 B N"],
    gradient: Float[Tensor, "K T B N"],
    activation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of W_hh, W_uh, u and h(0) from what the loss sends to h(1) … h(T)."""
    (K, B, S, d), N = u.shape, W_hh.shape[1]
    delta = gradient.clone(memory_format=torch.contiguous_format)
    scan_deltas(W_hh, sequence, delta, _all_steps(sequence), activation)
    rows, driven = delta.flatten(1, 2), delta[:, :S].reshape(K, S * B, N)
    with full_precision():
        return (
            rows.mT @ sequence[:, :-1].reshape(rows.shape),
            driven.mT @ u.transpose(1, 2).reshape(K, S * B, d),
            (driven @ W_uh).view(K, S, B, d).transpose(1, 2),
            delta[:, 0] @ W_hh,
        )


def loss_and_gradients(
    W_hh: Float[Tensor, "K N N"],
    W_uh: Float[Tensor, "K N d"],
    W_r: Float[Tensor, "K d N"],
    u: Float[Tensor, "K B s d"],
    targets: Float[Tensor, "K B horizon d"],
    activation: str,
    horizons: Int[Tensor, " K"] | None,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Losses and accuracies by step, gradients: see `wavemem.kernels.elman.loss_and_gradients`."""
    (K, B, s, d), N, H = u.shape, W_hh.shape[1], targets.shape[2]
    T = s + H
    steps = torch.full((K,), H) if horizons is None else horizons
    lengths = (steps.to(W_hh.device, non_blocking=True) + s).clamp(max=T).to(torch.int32)
    inputs = u.transpose(1, 2).reshape(K, s * B, d)
    goal = targets.transpose(1, 2).reshape(K, H * B, d)
    sequence = W_hh.new_empty(K, T + 1, B, N)
    sequence[:, 0].zero_()
    with full_precision():
        scan_states(W_hh, torch.bmm(inputs, W_uh.mT).view(K, s, B, N), sequence, lengths, activation)
        # States and deltas after a run's own steps are zeros, so that one product over all steps serves all runs.
        after = sequence[:, s + 1 :].flatten(1, 2)
        y = torch.bmm(after, W_r.mT)
        error = y - goal
        counts = (torch.arange(H, device=W_hh.device)[:, None] < lengths - s).to(W_hh.dtype)
        loss_by_step = error.square().view(K, H, B * d).mean(2).t()
        accuracy_by_step = (y * goal > 0).view(K, H, B * d).to(W_hh.dtype).mean(2).t()
        scale = counts * (2.0 / (counts.sum(0) * B * d))
        error.view(K, H, B * d).mul_(scale.t().unsqueeze(2))
        delta = W_hh.new_empty(K, T, B, N)
        torch.bmm(error, W_r, out=delta[:, s:].flatten(1, 2))
        scan_deltas(W_hh, sequence, delta, lengths, activation, quiet=s)
        gradients = (
            torch.bmm(delta.flatten(1, 2).mT, sequence[:, :-1].flatten(1, 2)),
            torch.bmm(delta[:, :s].flatten(1, 2).mT, inputs),
            torch.bmm(error.mT, after),
        )
    return loss_by_step * counts, accuracy_by_step * counts, gradients


def _all_steps(sequence: Tensor) -> Tensor:
    return torch.full((len(sequence),), sequence.shape[1] - 1, dtype=torch.int32, device=sequence.device)


def right_numbers(device: torch.device, N: int) -> bool:
    """Whether the loss and the gradients of a small problem with N units are those of float64 on a device."""
    K, B, s, d, horizons = 2, 5, 2, 3, torch.tensor([3, 2])
    shapes = (K, N, N), (K, N, d), (K, d, N), (K, B, s, d), (K, B, 3, d)
    generator = torch.Generator().manual_seed(0)
    problem = [torch.randn(shape, generator=generator, dtype=torch.float64) / N**0.5 for shape in shapes]

    def results(call: Callable[..., Any], arguments: list[Tensor]) -> list[Tensor]:
        loss, _, gradients = call(*arguments, activation="tanh", horizons=horizons)
        return [loss, *gradients]

    with torch.inference_mode(False):
        exact = results(loss_and_gradients_reference, problem)
        mine = results(loss_and_gradients, [value.float().to(device) for value in problem])
    return all(
        torch.allclose(x.double().cpu(), y, rtol=1e-4, atol=1e-4 * float(y.abs().max()))
        for x, y in zip(mine, exact, strict=True)
    )
