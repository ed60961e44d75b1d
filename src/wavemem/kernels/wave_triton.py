"""The Wave-RNN's recurrence on a CUDA device (Keller et al. 2024, Eq. 3): all time steps in one launch, forward and back.

PyTorch launches a padding, a convolution, an addition and an activation per time step, each of which takes some
microseconds whatever the size of the network. Here a program takes a few batch rows of one run through all time steps. Its
rings lie side by side on one axis of *places* (row 0's units, row 1's units, …), which is worked through in blocks, with the
output channels on the other axis. A step writes the new state where it has to be kept for the way back anyway, and the next
step reads it there, shifted by the taps: between the two stands a barrier of the program's threads, after which each of them
sees what the others have written. A program's state is small (c n numbers per row) and was written a moment before, so that
these reads are served by the chip's caches. No program needs another's rows, so that nothing has to wait across the device.
The weight gradients are not summed in that loop: they are one product over all steps, the batch and the ring, in a third
launch.

With few channels, the sum over a tap's input channels is taken element by element, each thread within itself; with more
it is Triton's product of small matrices. Rows, places and channels beyond the tensors' own are masked. Arithmetic is float32
throughout, never TF32.

How far it has been checked: outputs and gradients equal the float64 reference in Triton's interpreter, which carries out
the kernels on the CPU, and the kernels compile without spilled registers for compute capabilities 8.0 and 9.0. They have
not been run on a GPU; in particular, the interpreter does not test what the barrier between two steps is there for.

Importing this module needs Triton; `wavemem.kernels.wave` does so where a call is on a CUDA device.
"""

# No postponed annotations: Triton reads `tl.constexpr` from the signature.
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from wavemem.kernels.arguments import first_derivatives
from wavemem.kernels.elman_triton import tanh
from wavemem.kernels.triton_choice import agrees, full_precision
from wavemem.kernels.wave import wave_scan_reference

_PROGRAMS = 1024
"""Programs of the weight gradient, all together: several for each of a large device's multiprocessors."""


@triton.jit
def _add_product(total, left, right, DOT: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return total + left right, in float32 without the tensor cores' rounding."""
    if DOT:
        return tl.dot(left, right, total, input_precision="ieee")
    else:
        return total + tl.sum(left[:, :, None] * right[None, :, :], axis=1)


@triton.jit
def _add_ring_sum(  # type: ignore[no-untyped-def]
    total,  # (OUT, PLACES): what is added to
    weights,  # the run's (TAPS, C, C): tap, output channel, input channel
    source,  # one step of one run: (B, C, UNITS)
    rows,  # (PLACES,): offset of a place's batch row in `source`
    units,  # (PLACES,): unit of a place
    known,  # (PLACES,): whether a place exists
    C: tl.constexpr,
    UNITS: tl.constexpr,
    TAPS: tl.constexpr,
    OUT: tl.constexpr,
    IN: tl.constexpr,
    DOT: tl.constexpr,
):
    """Return total(o, p) + Σ over input channels i and taps τ of weights(τ, o, i) source(i, p + τ - TAPS // 2), on the ring."""
    out = tl.arange(0, OUT)
    # A loop at run time: unrolled, the compiler keeps every tap's weights in registers, of which there are not enough.
    for term in range(TAPS * ((C + IN - 1) // IN)):
        tap = term % TAPS
        channels = term // TAPS * IN + tl.arange(0, IN)
        matrix = tl.load(
            weights + tap * C * C + out[:, None] * C + channels[None, :],
            mask=(out[:, None] < C) & (channels[None, :] < C),
            other=0.0,
        )
        shifted = (units + (tap - TAPS // 2 + UNITS)) % UNITS
        state = tl.load(
            source + channels[:, None] * UNITS + (rows + shifted)[None, :],
            mask=(channels[:, None] < C) & known[None, :],
            other=0.0,
        )
        total = _add_product(total, matrix, state, DOT)
    return total


@triton.jit
def scan_forward(  # type: ignore[no-untyped-def]
    weights,  # (K, TAPS, C, C): tap, output channel, input channel; contiguous, as all tensors here
    drive,  # (K, T, B, C, UNITS): V x(t) + b
    states,  # (K, T + 1, B, C, UNITS): h(0) is read, h(1) … h(T) are written
    B,
    T,
    C: tl.constexpr,
    UNITS: tl.constexpr,
    TAPS: tl.constexpr,
    ROWS: tl.constexpr,  # batch rows of a program
    PLACES: tl.constexpr,  # places worked on at once, a power of two
    OUT: tl.constexpr,  # a power of two, at least C
    IN: tl.constexpr,  # input channels summed over at once, a power of two
    ACTIVATION: tl.constexpr,
    DOT: tl.constexpr,
):
    """h(t) = σ(u ⋆ h(t-1) + drive(t))."""
    run = tl.program_id(0).to(tl.int64)
    start = tl.program_id(1) * ROWS
    out = tl.arange(0, OUT)
    step = B * C * UNITS
    weights += run * TAPS * C * C
    before = states + run * (T + 1) * step
    driven = drive + run * T * step
    for _ in range(T):
        after = before + step
        for block in range((ROWS * UNITS + PLACES - 1) // PLACES):
            place = block * PLACES + tl.arange(0, PLACES)
            row = place // UNITS
            unit = place % UNITS
            known = (row < ROWS) & (start + row < B)
            rows = (start + row) * C * UNITS
            entry = out[:, None] * UNITS + (rows + unit)[None, :]
            inside = (out[:, None] < C) & known[None, :]
            z = tl.load(driven + entry, mask=inside, other=0.0)
            z = _add_ring_sum(z, weights, before, rows, unit, known, C, UNITS, TAPS, OUT, IN, DOT)
            if ACTIVATION == "relu":
                # A comparison with NaN is false: NaN is handed on.
                z = tl.where(z < 0.0, 0.0, z)
            elif ACTIVATION == "tanh":
                z = tanh(z)
            tl.store(after + entry, z, mask=inside)
        tl.debug_barrier()
        before = after
        driven += step


@triton.jit
def scan_back(  # type: ignore[no-untyped-def]
    weights,  # (K, TAPS, C, C): tap in reverse order, input channel, output channel
    states,  # (K, T + 1, B, C, UNITS)
    deltas,  # (K, T, B, C, UNITS): ∂loss/∂h(1) … ∂loss/∂h(T) is read; δ(1) … δ(T), of σ's argument, is written over it
    B,
    T,
    C: tl.constexpr,
    UNITS: tl.constexpr,
    TAPS: tl.constexpr,
    ROWS: tl.constexpr,
    PLACES: tl.constexpr,
    OUT: tl.constexpr,
    IN: tl.constexpr,
    ACTIVATION: tl.constexpr,
    DOT: tl.constexpr,
):
    """δ(t) = σ'(t) ∘ (g(t) + what u ⋆ sends back from δ(t+1)), from the last step to the first."""
    run = tl.program_id(0).to(tl.int64)
    start = tl.program_id(1) * ROWS
    out = tl.arange(0, OUT)
    step = B * C * UNITS
    weights += run * TAPS * C * C
    state = states + (run * (T + 1) + T) * step
    delta = deltas + (run * T + T - 1) * step
    for back in range(T):
        for block in range((ROWS * UNITS + PLACES - 1) // PLACES):
            place = block * PLACES + tl.arange(0, PLACES)
            row = place // UNITS
            unit = place % UNITS
            known = (row < ROWS) & (start + row < B)
            rows = (start + row) * C * UNITS
            entry = out[:, None] * UNITS + (rows + unit)[None, :]
            inside = (out[:, None] < C) & known[None, :]
            d = tl.load(delta + entry, mask=inside, other=0.0)
            if back > 0:
                d = _add_ring_sum(d, weights, delta + step, rows, unit, known, C, UNITS, TAPS, OUT, IN, DOT)
            if ACTIVATION != "linear":
                h = tl.load(state + entry, mask=inside, other=0.0)
                if ACTIVATION == "relu":
                    d = tl.where(h <= 0.0, 0.0, d)
                else:
                    d *= 1.0 - h * h
            tl.store(delta + entry, d, mask=inside)
        tl.debug_barrier()
        state -= step
        delta -= step


@triton.jit
def sum_products(  # type: ignore[no-untyped-def]
    deltas,  # (K, T, B, C, UNITS)
    states,  # (K, T + 1, B, C, UNITS)
    partial,  # (K, PROGRAMS, C, TAPS * C): what each program has summed; output channel, then tap and input channel
    B,
    T,
    PROGRAMS,
    C: tl.constexpr,
    UNITS: tl.constexpr,
    TAPS: tl.constexpr,
    PLACES: tl.constexpr,
    OUT: tl.constexpr,
    PAIRS: tl.constexpr,  # pairs of tap and input channel of a program, a power of two
):
    """Σ over steps, rows and units of δ(t; o, p) h(t-1; i, p + τ - TAPS // 2); each program has its share of steps and rows."""
    run = tl.program_id(0).to(tl.int64)
    program = tl.program_id(1)
    out = tl.arange(0, OUT)
    pair = tl.program_id(2) * PAIRS + tl.arange(0, PAIRS)
    channel = pair % C
    offset = pair // C - TAPS // 2 + UNITS
    size = C * UNITS
    total = tl.zeros((OUT, PAIRS), dtype=tl.float32)
    for item in range(program, T * B, PROGRAMS):
        # Step t's deltas meet the states of the step before, which stand at the same index.
        delta = deltas + (run * T * B + item) * size
        state = states + (run * (T + 1) * B + item) * size
        for first in range(0, UNITS, PLACES):
            unit = first + tl.arange(0, PLACES)
            d = tl.load(
                delta + out[:, None] * UNITS + unit[None, :],
                mask=(out[:, None] < C) & (unit[None, :] < UNITS),
                other=0.0,
            )
            shifted = (unit[:, None] + offset[None, :]) % UNITS
            h = tl.load(
                state + channel[None, :] * UNITS + shifted,
                mask=(unit[:, None] < UNITS) & (pair[None, :] < TAPS * C),
                other=0.0,
            )
            total = _add_product(total, d, h, True)
    tl.store(
        partial + ((run * PROGRAMS + program) * C + out[:, None]) * (TAPS * C) + pair[None, :],
        total,
        mask=(out[:, None] < C) & (pair[None, :] < TAPS * C),
    )


class Tile(NamedTuple):
    """How the kernels are cut up."""

    out: int  # output channels of a block, a power of two; all there are
    inputs: int  # input channels that are summed over at once, a power of two
    places: int  # units of the rings, side by side, that a block holds; a power of two
    rows: int  # batch rows of a program
    warps: int  # groups of 32 threads of a program
    dot: bool  # whether products are Triton's, rather than sums element by element


def choose_tile(channels: int, units: int) -> Tile:
    """Return the tile of the two scans.

    With these numbers the kernels need no more registers than there are (compiled for compute capabilities 8.0 and 9.0).
    A program has several rows where the rings are so short that one would leave most of a block empty.
    """
    power = 1 << (channels - 1).bit_length()
    if channels <= 8:
        out, inputs, places, warps = max(4, power), max(4, power), 128, 4
    else:
        out, inputs, places, warps = power, 16, 4096 // power, 8
    return Tile(out, inputs, places, max(1, places // units), warps, channels > 8)


def _launch(kernel: Any, weights: Tensor, first: Tensor, second: Tensor, taps: int, activation: str) -> None:
    """Launch one of the two scans; `second` is what it writes, of (K, …, B, c, n)."""
    K, B, channels, units = second.shape[0], *second.shape[2:]
    tile = choose_tile(channels, units)
    with torch.cuda.device_of(second):
        kernel[K, triton.cdiv(B, tile.rows)](
            weights.contiguous(),
            first.contiguous(),
            second,
            B,
            min(first.shape[1], second.shape[1]),
            C=channels,
            UNITS=units,
            TAPS=taps,
            ROWS=tile.rows,
            PLACES=tile.places,
            OUT=tile.out,
            IN=tile.inputs,
            ACTIVATION=activation,
            DOT=tile.dot,
            num_warps=tile.warps,
            num_stages=1,
        )


def scan_states(
    u: Float[Tensor, "K c c k"], drive: Float[Tensor, "K T B c n"], h0: Float[Tensor, "K B c n"], activation: str
) -> Float[Tensor, "K T1 B c n"]:
    r"""Return $h(t) = \sigma(u \star h(t-1) + \mathrm{drive}(t))$, t = 0 … T, of K independent runs, in one launch.

    $(u \star h)_{o,p} = \sum_{i,\tau} u_{o,i,\tau} h_{i,(p+\tau-(k-1)/2) \bmod n}$, as `torch.nn.Conv1d` has it; the drive is
    V x(t) + b, with all biases in it.
    """
    states = torch.cat([h0[:, None], torch.empty_like(drive)], 1)
    _launch(scan_forward, u.permute(0, 3, 1, 2), drive, states, u.shape[3], activation)
    return states


def scan_deltas(u: Tensor, states: Tensor, gradient: Tensor, activation: str) -> Float[Tensor, "K T B c n"]:
    r"""Return $\delta(t) = \sigma'(t) \circ (g(t) + u^\top \star \delta(t+1))$, t = 1 … T, in one launch.

    δ(t) is the gradient with respect to the argument of σ, which is also that of the drive; g(t) = ∂L/∂h(t) is given without
    what later steps send back.
    """
    delta = gradient.clone(memory_format=torch.contiguous_format)
    _launch(scan_back, u.flip(3).permute(0, 3, 2, 1), states, delta, u.shape[3], activation)
    return delta


def kernel_gradient(
    delta: Float[Tensor, "K T B c n"], states: Float[Tensor, "K T1 B c n"], taps: int
) -> Float[Tensor, "K c c k"]:
    r"""Return $\partial L/\partial u_{o,i,\tau} = \sum_{t,b,p} \delta_{o,p}(t) h_{i,(p+\tau-(k-1)/2) \bmod n}(t-1)$.

    Programs sum over their own steps and rows; their sums are added up afterwards, always in the same order.
    """
    K, T, B, channels, units = delta.shape
    out = choose_tile(channels, units).out
    pairs = min(1 << (taps * channels - 1).bit_length(), 2048 // out)
    blocks = -(-taps * channels // pairs)
    programs = max(1, min(T * B, _PROGRAMS // (K * blocks)))
    partial = delta.new_empty(K, programs, channels, taps * channels)
    with torch.cuda.device_of(delta):
        sum_products[K, programs, blocks](
            delta.contiguous(),
            states.contiguous(),
            partial,
            B,
            T,
            programs,
            C=channels,
            UNITS=units,
            TAPS=taps,
            PLACES=16,
            OUT=out,
            PAIRS=pairs,
            num_warps=4,
            num_stages=1,
        )
    return partial.sum(1).view(K, channels, taps, channels).transpose(2, 3).contiguous()


def _ring_sum(u: Tensor, h: Tensor) -> Tensor:
    """u ⋆ h for (K, c, c, k) and (K, B, c, n), one tap after the other, in plain PyTorch."""
    k = u.shape[3]
    with full_precision():
        taps = [torch.einsum("koi,kbin->kbon", u[..., tap], h.roll(k // 2 - tap, -1)) for tap in range(k)]
    return torch.stack(taps).sum(0)


class _Scan(torch.autograd.Function):
    """States from the drive; (K, T, B, c, n)."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, drive: Tensor, h0: Tensor, activation: str) -> Tensor:
        states = scan_states(u, drive, h0, activation)
        ctx.save_for_backward(u, states)
        ctx.activation = activation
        return states[:, 1:]

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        u, states = ctx.saved_tensors
        delta = scan_deltas(u, states, gradient, ctx.activation)
        du = kernel_gradient(delta, states, u.shape[3]) if ctx.needs_input_grad[0] else None
        # One more step back, without a slope: what the first step sends to h(0).
        dh0 = _ring_sum(u.flip(3).transpose(1, 2), delta[:, 0]) if ctx.needs_input_grad[2] else None
        return du, delta, dh0, None


def scan(u: Tensor, V: Tensor, b: Tensor, inputs: Tensor, h0: Tensor | None, activation: str) -> Tensor:
    """All states: see `wavemem.kernels.wave.wave_scan`."""
    T, K, B, _ = inputs.shape
    c, n = u.shape[1], V.shape[1] // u.shape[1]
    with full_precision():
        drive = inputs.transpose(0, 1).flatten(1, 2) @ V.mT + b[:, None]
    h0 = inputs.new_zeros(K, B, c, n) if h0 is None else h0
    states: Tensor = _Scan.apply(u, drive.view(K, T, B, c, n), h0, activation)
    return states.transpose(0, 1)


def right_numbers(device: torch.device, channels: int, taps: int) -> bool:
    """Whether states and gradients of small problems are those of float64 on a device."""
    K, B, T, d, generator = 2, 3, 4, 2, torch.Generator().manual_seed(0)

    def right(units: int) -> bool:
        n, size = channels * units, (channels * taps) ** 0.5
        shapes = (K, channels, channels, taps), (K, n, d), (K, n), (T, K, B, d), (K, B, channels, units)
        u, *others = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
        return agrees(
            lambda u, V, b, x, h0: [scan(u, V, b, x, h0, "tanh")],
            lambda u, V, b, x, h0: [wave_scan_reference(u, V, b, x, h0, activation="tanh")],
            [u / size, *others],
            device,
        )

    return all(right(units) for units in (taps + 8, 200 + taps))
