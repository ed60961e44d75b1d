"""The Elman recurrence on a CUDA device (TWM Eq. 9): the whole loop over time in one launch, forward and back.

PyTorch launches several kernels per time step, each of which takes a few microseconds whatever the size of the networks,
and reads the recurrent matrix anew every time. Here a program takes a few rows of one run's batch through all steps, with the
run's matrix in registers; only drives, states and deltas pass through the device's memory. Weight gradients are not summed in
the loop: each is one product over all steps and the batch, which cuBLAS does better. Nothing here waits for the device.

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
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from wavemem.kernels.arguments import first_derivatives
from wavemem.kernels.elman import elman_scan_reference
from wavemem.kernels.triton_choice import agrees, full_precision


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
    B,
    S,
    T,
    N: tl.constexpr,
    WIDTH: tl.constexpr,  # a power of two, at least N
    ROWS: tl.constexpr,  # batch rows of a program
    TANH: tl.constexpr,
):
    """h(t) = σ(W h(t-1) + drive(t))."""
    run = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    units = tl.arange(0, WIDTH)
    tile = rows[:, None] * N + units[None, :]
    inside = (rows[:, None] < B) & (units[None, :] < N)
    known = (units[:, None] < N) & (units[None, :] < N)
    matrix = tl.load(right + run * N * N + units[:, None] * N + units[None, :], mask=known, other=0.0)
    step = B * N
    state = states + run * (T + 1) * step + tile
    driven = drive + run * S * step + tile
    h = tl.load(state, mask=inside, other=0.0)
    for t in range(T):
        z = tl.load(driven, mask=inside & (t < S), other=0.0)
        z += tl.sum(h[:, :, None] * matrix[None, :, :], axis=1)
        h = tanh(z) if TANH else z
        driven += step
        state += step
        tl.store(state, h, mask=inside)


@triton.jit
def scan_back(  # type: ignore[no-untyped-def]
    right,  # (K, N, N): the recurrent matrices
    states,  # (K, T + 1, B, N)
    deltas,  # (K, T, B, N): ∂loss/∂h(1) … ∂loss/∂h(T) is read; δ(1) … δ(T), of σ's argument, is written over it
    B,
    T,
    N: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    TANH: tl.constexpr,
):
    """δ(t) = σ'(t) ∘ (g(t) + Wᵀ δ(t+1)) back from the last step."""
    run = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    units = tl.arange(0, WIDTH)
    tile = rows[:, None] * N + units[None, :]
    inside = (rows[:, None] < B) & (units[None, :] < N)
    known = (units[:, None] < N) & (units[None, :] < N)
    matrix = tl.load(right + run * N * N + units[:, None] * N + units[None, :], mask=known, other=0.0)
    step = B * N
    carried = tl.zeros((ROWS, WIDTH), dtype=tl.float32)
    entry = deltas + (run + 1) * T * step + tile
    state = states + (run + 1) * (T + 1) * step + tile
    for _ in range(T):
        entry -= step
        state -= step
        sent = tl.load(entry, mask=inside, other=0.0)
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


def _launch(kernel: Any, right: Tensor, first: Tensor, second: Tensor, activation: str, *steps: int) -> None:
    """Launch one of the two scans with its numbers of steps; `second` is what it writes, of (K, …, B, N)."""
    (K, _, B, N), tile = second.shape, choose_tile(second.shape[3])
    with torch.cuda.device_of(second):
        kernel[K, triton.cdiv(B, tile.rows)](
            right.contiguous(),
            first.contiguous(),
            second,
            B,
            *steps,
            N=N,
            WIDTH=tile.width,
            ROWS=tile.rows,
            TANH=activation == "tanh",
            num_warps=tile.warps,
            num_stages=1,
        )


def scan_states(
    W_hh: Float[Tensor, "K N N"], drive: Float[Tensor, "K S B N"], h0: Float[Tensor, "K B N"], T: int, activation: str
) -> Float[Tensor, "K T1 B N"]:
    r"""Return $h(t) = \sigma(W_{hh} h(t-1) + \mathrm{drive}(t))$, t = 0 … T, in one launch; there is no drive after step S."""
    K, B, N = h0.shape
    states = torch.cat([h0[:, None], h0.new_empty(K, T, B, N)], 1)
    _launch(scan_forward, W_hh.mT, drive, states, activation, drive.shape[1], T)
    return states


def scan_deltas(
    W_hh: Float[Tensor, "K N N"], states: Float[Tensor, "K T1 B N"], gradient: Float[Tensor, "K T B N"], activation: str
) -> Float[Tensor, "K T B N"]:
    r"""Return $\delta(t) = \sigma'(t) \circ (g(t) + W_{hh}^T \delta(t+1))$, t = 1 … T, in one launch.

    g(t) = ∂L/∂h(t) is given without what later steps send back.
    """
    delta = gradient.clone(memory_format=torch.contiguous_format)
    _launch(scan_back, W_hh, states, delta, activation, delta.shape[1])
    return delta


class _Scan(torch.autograd.Function):
    """States from the drive; (K, T, B, N)."""

    @staticmethod
    def forward(ctx: Any, W_hh: Tensor, drive: Tensor, h0: Tensor, T: int, activation: str) -> Tensor:
        states = scan_states(W_hh, drive, h0, T, activation)
        ctx.save_for_backward(W_hh, states)
        ctx.S, ctx.activation = drive.shape[1], activation
        return states[:, 1:]

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        W_hh, states = ctx.saved_tensors
        delta = scan_deltas(W_hh, states, gradient, ctx.activation)
        with full_precision():
            d_hh = delta.flatten(1, 2).mT @ states[:, :-1].flatten(1, 2)
            # One more step back, without a slope: what the first step sends to h(0).
            return d_hh, delta[:, : ctx.S], delta[:, 0] @ W_hh, None, None


def scan(W_hh: Tensor, W_uh: Tensor, inputs: Tensor, h0: Tensor | None, T: int, activation: str) -> Tensor:
    """All states: see `wavemem.kernels.elman.elman_scan`."""
    (S, K, B, _), N = inputs.shape, W_hh.shape[1]
    with full_precision():
        drive = inputs.transpose(0, 1).flatten(1, 2) @ W_uh.mT
    h0 = inputs.new_zeros(K, B, N) if h0 is None else h0
    states: Tensor = _Scan.apply(W_hh, drive.view(K, S, B, N), h0, T, activation)
    return states.transpose(0, 1)


def right_numbers(device: torch.device, N: int) -> bool:
    """Whether states and gradients of a small problem with N units are those of float64 on a device."""
    K, B, S, T, d, generator = 2, 5, 2, 4, 3, torch.Generator().manual_seed(0)
    shapes = (K, N, N), (K, N, d), (S, K, B, d), (K, B, N)
    return agrees(
        lambda W_hh, W_uh, inputs, h0: [scan(W_hh, W_uh, inputs, h0, T, "tanh")],
        lambda W_hh, W_uh, inputs, h0: [elman_scan_reference(W_hh, W_uh, inputs, h0, steps=T)],
        [torch.randn(shape, generator=generator, dtype=torch.float64) / N**0.5 for shape in shapes],
        device,
    )
