"""The selective scan on a CUDA device (Gu & Dao 2024, Algorithm 2): one launch forward, one back.

    Δ(t) = softplus(δ(t) + b),    h(t) = exp(Δ(t) A) h(t-1) + Δ(t) B(t) u(t),    y(t) = (Σ_n C_n(t) h_n(t) + D u(t)) silu(z(t))

A state has N numbers per channel: a tensor of all of them would be N times as large as the input. A program takes a block of
channels of one sequence through all time steps, with their states (channels × numbers per channel) in registers: forward,
only inputs and outputs pass through the device's memory, and the state every `STEPS` steps. Back, a program goes through
these chunks of steps from the last to the first: it starts a chunk from its stored state, computes the states again, lays
them down in memory of its own, which is small and served by the chip's caches, and reads them in reverse order. No program
needs another's numbers. What several blocks of channels contribute to one gradient (of B and C), and several sequences to
another (of A and D), is written apart and added afterwards, always in the same order.

Channels, numbers of a state and steps beyond the tensors' own are masked: a masked state stays 0. Arithmetic is float32.

How far it has been checked: outputs and gradients equal the float64 reference in Triton's interpreter, which carries out
the kernels on the CPU, and the kernels compile without spilled registers for compute capabilities 8.0 and 9.0. They have
not been run on a GPU.

Importing this module needs Triton; `wavemem.kernels.selective` does so where a call is on a CUDA device.
"""

# No postponed annotations: Triton reads `tl.constexpr` from the signature.
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from wavemem.kernels.arguments import dense
from wavemem.kernels.selective import selective_scan, selective_scan_reference
from wavemem.kernels.selective_chunked import Given
from wavemem.kernels.triton_choice import agrees

STEPS = 16
"""Time steps from one kept state to the next."""

REGISTERS = 168
"""Registers of a thread on the way back; the compiler by itself takes 128 for some sizes, and spills."""


@triton.jit
def _sigmoid(x):  # type: ignore[no-untyped-def]
    """1 / (1 + exp(-x)) by exp of a negative number, which cannot overflow."""
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0.0, e, 1.0) / (1.0 + e)


@triton.jit
def _softplus(x):  # type: ignore[no-untyped-def]
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)); the logarithm's series where adding 1 would cost digits."""
    e = tl.exp(-tl.abs(x))
    near = e * (1.0 - e * (1.0 / 2.0 - e * (1.0 / 3.0 - e * (1.0 / 4.0 - e * (1.0 / 5.0)))))
    # A comparison with NaN is false: NaN is handed on.
    return tl.where(x < 0.0, 0.0, x) + tl.where(e < 0.03, near, tl.log(1.0 + e))


@triton.jit
def _step_size(delta, bias, entry, known, SOFTPLUS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return Δ of one step, and the argument of the softplus."""
    raw = tl.load(delta + entry, mask=known, other=0.0) + bias
    if SOFTPLUS:
        return _softplus(raw), raw
    else:
        return raw, raw


@triton.jit
def scan_forward(  # type: ignore[no-untyped-def]
    u,  # (K, B, L, E); contiguous, as all tensors here
    delta,  # (K, B, L, E)
    A,  # (K, E, N)
    into,  # (K, B, L, N): B of the equations
    out,  # (K, B, L, N): C of the equations
    D,  # (K, E); not read where HAS_D is false, and so on
    z,  # (K, B, L, E)
    bias,  # (K, E)
    h0,  # (K, B, E, N)
    y,  # (K, B, L, E): written
    last,  # (K, B, E, N): h(L), written
    starts,  # (K, B, CHUNKS, E, N): the state before every chunk, written where KEEP is true
    B,
    L,
    E,
    N,
    CHUNKS,
    CHANNELS: tl.constexpr,  # channels of a program, a power of two
    STATES: tl.constexpr,  # a power of two, at least N
    STEPS: tl.constexpr,  # of a chunk
    HAS_D: tl.constexpr,
    HAS_Z: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_H0: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    KEEP: tl.constexpr,
):
    """h(t) = exp(Δ(t) A) h(t-1) + Δ(t) B(t) u(t);  y(t) = (Σ C(t) h(t) + D u(t)) silu(z(t))."""
    sequence = tl.program_id(0).to(tl.int64)
    run = sequence // B
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    state = tl.arange(0, STATES)
    known = channel < E
    inside = known[:, None] & (state[None, :] < N)
    place = channel[:, None] * N + state[None, :]
    decay = tl.load(A + run * E * N + place, mask=inside, other=0.0)
    through = tl.zeros((CHANNELS,), dtype=tl.float32)
    shift = tl.zeros((CHANNELS,), dtype=tl.float32)
    if HAS_D:
        through = tl.load(D + run * E + channel, mask=known, other=0.0)
    if HAS_BIAS:
        shift = tl.load(bias + run * E + channel, mask=known, other=0.0)
    h = tl.zeros((CHANNELS, STATES), dtype=tl.float32)
    if HAS_H0:
        h = tl.load(h0 + sequence * E * N + place, mask=inside, other=0.0)
    u += sequence * L * E
    delta += sequence * L * E
    z += sequence * L * E
    y += sequence * L * E
    into += sequence * L * N
    out += sequence * L * N
    starts += sequence * CHUNKS * E * N
    for chunk in range(CHUNKS):
        if KEEP:
            tl.store(starts + chunk * E * N + place, h, mask=inside)
        for t in range(chunk * STEPS, tl.minimum(chunk * STEPS + STEPS, L)):
            entry = t * E + channel
            number = t * N + state
            x = tl.load(u + entry, mask=known, other=0.0)
            b = tl.load(into + number, mask=state < N, other=0.0)
            c = tl.load(out + number, mask=state < N, other=0.0)
            step, _ = _step_size(delta, shift, entry, known, SOFTPLUS)
            h = tl.exp(step[:, None] * decay) * h + (step * x)[:, None] * b[None, :]
            result = tl.sum(h * c[None, :], axis=1) + through * x
            if HAS_Z:
                gate = tl.load(z + entry, mask=known, other=0.0)
                result *= gate * _sigmoid(gate)
            tl.store(y + entry, result, mask=known)
    tl.store(last + sequence * E * N + place, h, mask=inside)


@triton.jit
def scan_back(  # type: ignore[no-untyped-def]
    sent,  # (K, B, L, E): ∂loss/∂y
    sent_last,  # (K, B, E, N): ∂loss/∂h(L); not read where HAS_LAST is false
    starts,  # (K, B, CHUNKS, E, N)
    u,
    delta,
    A,
    into,
    out,
    D,
    z,
    bias,
    to_u,  # (K, B, L, E): written, as all that follow
    to_delta,  # (K, B, L, E)
    to_z,  # (K, B, L, E)
    to_into,  # (K, B, BLOCKS, L, N): one block's share
    to_out,  # (K, B, BLOCKS, L, N)
    to_A,  # (K, B, E, N): one sequence's share
    to_D,  # (K, B, E)
    to_h0,  # (K, B, E, N)
    scratch,  # (K, B, BLOCKS, STEPS, CHANNELS, STATES)
    B,
    L,
    E,
    N,
    CHUNKS,
    BLOCKS,
    CHANNELS: tl.constexpr,
    STATES: tl.constexpr,
    STEPS: tl.constexpr,
    HAS_D: tl.constexpr,
    HAS_Z: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_LAST: tl.constexpr,
    SOFTPLUS: tl.constexpr,
):
    """All gradients; g, what later steps send to h(t-1), is carried from the last step to the first."""
    sequence = tl.program_id(0).to(tl.int64)
    run = sequence // B
    block = tl.program_id(1)
    channel = block * CHANNELS + tl.arange(0, CHANNELS)
    state = tl.arange(0, STATES)
    known = channel < E
    inside = known[:, None] & (state[None, :] < N)
    place = channel[:, None] * N + state[None, :]
    decay = tl.load(A + run * E * N + place, mask=inside, other=0.0)
    through = tl.zeros((CHANNELS,), dtype=tl.float32)
    shift = tl.zeros((CHANNELS,), dtype=tl.float32)
    if HAS_D:
        through = tl.load(D + run * E + channel, mask=known, other=0.0)
    if HAS_BIAS:
        shift = tl.load(bias + run * E + channel, mask=known, other=0.0)
    g = tl.zeros((CHANNELS, STATES), dtype=tl.float32)
    if HAS_LAST:
        g = tl.load(sent_last + sequence * E * N + place, mask=inside, other=0.0)
    sum_A = tl.zeros((CHANNELS, STATES), dtype=tl.float32)
    sum_D = tl.zeros((CHANNELS,), dtype=tl.float32)
    sent += sequence * L * E
    u += sequence * L * E
    delta += sequence * L * E
    z += sequence * L * E
    to_u += sequence * L * E
    to_delta += sequence * L * E
    to_z += sequence * L * E
    into += sequence * L * N
    out += sequence * L * N
    to_into += (sequence * BLOCKS + block) * L * N
    to_out += (sequence * BLOCKS + block) * L * N
    starts += sequence * CHUNKS * E * N
    own = scratch + (sequence * BLOCKS + block) * STEPS * CHANNELS * STATES
    own = own + tl.arange(0, CHANNELS)[:, None] * STATES + state[None, :]
    for passed in range(CHUNKS):
        chunk = CHUNKS - 1 - passed
        first = chunk * STEPS
        end = tl.minimum(first + STEPS, L)
        h = tl.load(starts + chunk * E * N + place, mask=inside, other=0.0)
        for t in range(first, end):
            tl.store(own + (t - first) * CHANNELS * STATES, h)
            x = tl.load(u + t * E + channel, mask=known, other=0.0)
            b = tl.load(into + t * N + state, mask=state < N, other=0.0)
            step, _ = _step_size(delta, shift, t * E + channel, known, SOFTPLUS)
            h = tl.exp(step[:, None] * decay) * h + (step * x)[:, None] * b[None, :]
        tl.debug_barrier()
        for back in range(end - first):
            t = end - 1 - back
            entry = t * E + channel
            number = t * N + state
            before = tl.load(own + (t - first) * CHANNELS * STATES)
            x = tl.load(u + entry, mask=known, other=0.0)
            b = tl.load(into + number, mask=state < N, other=0.0)
            c = tl.load(out + number, mask=state < N, other=0.0)
            d = tl.load(sent + entry, mask=known, other=0.0)
            step, raw = _step_size(delta, shift, entry, known, SOFTPLUS)
            kept = tl.exp(step[:, None] * decay)
            h = kept * before + (step * x)[:, None] * b[None, :]
            if HAS_Z:
                gate = tl.load(z + entry, mask=known, other=0.0)
                share = _sigmoid(gate)
                ungated = tl.sum(h * c[None, :], axis=1) + through * x
                tl.store(to_z + entry, d * ungated * share * (1.0 + gate * (1.0 - share)), mask=known)
                d *= gate * share
            g += d[:, None] * c[None, :]
            tl.store(to_out + number, tl.sum(d[:, None] * h, axis=0), mask=state < N)
            tl.store(to_into + number, tl.sum(g * (step * x)[:, None], axis=0), mask=state < N)
            entered = tl.sum(g * b[None, :], axis=1)
            tl.store(to_u + entry, step * entered + through * d, mask=known)
            sum_D += d * x
            # From here on, g is what reaches h(t-1).
            g *= kept
            moved = g * before
            to_step = tl.sum(moved * decay, axis=1) + x * entered
            if SOFTPLUS:
                to_step *= _sigmoid(raw)
            tl.store(to_delta + entry, to_step, mask=known)
            sum_A += moved * step[:, None]
        tl.debug_barrier()
    tl.store(to_A + sequence * E * N + place, sum_A, mask=inside)
    tl.store(to_h0 + sequence * E * N + place, g, mask=inside)
    if HAS_D:
        tl.store(to_D + sequence * E + channel, sum_D, mask=known)


class Tile(NamedTuple):
    """How the kernels are cut up."""

    states: int  # numbers of a channel's state, rounded up to a power of two
    channels: int  # channels of a program, a power of two
    warps: int  # groups of 32 threads of a program


def choose_tile(channels: int, states: int) -> Tile:
    """Return the tile of the two scans.

    A thread holds eight numbers at most of each array of states: enough to work on while others wait for memory, and few
    enough for the registers there are (compiled for compute capabilities 8.0 and 9.0). Programs are small, one group of threads
    wherever that suffices, so that even short batches occupy the device and the sums within a program need no memory.
    """
    width = 1 << (states - 1).bit_length()
    rows = min(max(4, min(64, 256 // width)), 1 << (channels - 1).bit_length())
    return Tile(width, rows, max(1, rows * width // 256))


def scan(given: Given, *, softplus: bool, keep: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Outputs, last state, and (where `keep` asks for them) the states before every `STEPS` steps, (K, B, chunks, E, N)."""
    given = Given._make(dense(x) for x in given)
    u = given.u
    K, batch, L, E = u.shape
    N, tile, chunks = given.A.shape[2], choose_tile(E, given.A.shape[2]), -(-L // STEPS)
    y, last = torch.empty_like(u), u.new_zeros(K, batch, E, N)
    starts = u.new_empty((K, batch, chunks, E, N)) if keep else None
    with torch.cuda.device_of(u):
        scan_forward[(K * batch, -(-E // tile.channels))](
            *(u if x is None else x for x in given),
            y,
            last,
            last if starts is None else starts,
            batch,
            L,
            E,
            N,
            chunks,
            CHANNELS=tile.channels,
            STATES=tile.states,
            STEPS=STEPS,
            HAS_D=given.D is not None,
            HAS_Z=given.z is not None,
            HAS_BIAS=given.delta_bias is not None,
            HAS_H0=given.h0 is not None,
            SOFTPLUS=softplus,
            KEEP=keep,
            num_warps=tile.warps,
            num_stages=1,
        )
    return y, last, starts


def scan_backward(
    given: Given, kept: Tensor, gy: Tensor, gh: Tensor | None, *, softplus: bool
) -> tuple[Tensor | None, ...]:
    """Gradients of everything given, in its order; None for what was not given; gy, gh: those of y and the last state."""
    given = Given._make(dense(x) for x in given)
    u, D, z, bias, h0 = given.u, given.D, given.z, given.delta_bias, given.h0
    K, batch, L, E = u.shape
    N = given.A.shape[2]
    tile, chunks = choose_tile(E, N), -(-L // STEPS)
    blocks = -(-E // tile.channels)
    du, ddelta, dz = torch.zeros_like(u), torch.zeros_like(u), torch.zeros_like(u) if z is not None else u.new_zeros(1)
    dB, dC = u.new_zeros((K, batch, blocks, L, N)), u.new_zeros((K, batch, blocks, L, N))
    dA, dD, dh0 = u.new_zeros((K, batch, E, N)), u.new_zeros((K, batch, E)), u.new_zeros((K, batch, E, N))
    scratch = u.new_empty((K * batch * blocks, STEPS, tile.channels, tile.states))
    with torch.cuda.device_of(u):
        scan_back[(K * batch, blocks)](
            *(u if x is None else x for x in (dense(gy), dense(gh), dense(kept), *given[:8])),
            *(du, ddelta, dz, dB, dC, dA, dD, dh0),
            scratch,
            batch,
            L,
            E,
            N,
            chunks,
            blocks,
            CHANNELS=tile.channels,
            STATES=tile.states,
            STEPS=STEPS,
            HAS_D=D is not None,
            HAS_Z=z is not None,
            HAS_BIAS=bias is not None,
            HAS_LAST=gh is not None,
            SOFTPLUS=softplus,
            num_warps=tile.warps,
            num_stages=1,
            maxnreg=REGISTERS,
        )
    return (
        du,
        ddelta,
        dA.sum(1),
        dB.sum(2),
        dC.sum(2),
        None if D is None else dD.sum(1),
        None if z is None else dz,
        None if bias is None else ddelta.sum((1, 2)),
        None if h0 is None else dh0,
    )


def right_numbers(device: torch.device, states: int) -> bool:
    """Whether outputs, last state and all gradients of a small problem are those of float64 on a device."""
    K, B, L, E = 2, 2, STEPS + 2, 5
    series, numbers, state = (K, B, L, E), (K, B, L, states), (K, B, E, states)
    shapes = series, series, (K, E, states), numbers, numbers, (K, E), series, (K, E), state
    generator = torch.Generator().manual_seed(0)
    u, delta, A, *others = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)

    def reference(*given: Tensor) -> tuple[Tensor, Tensor]:
        y, hs = selective_scan_reference(*given[:8], softplus=True, h0=given[8])
        return y, hs[-1]

    def mine(*given: Tensor) -> tuple[Tensor, Tensor]:
        return selective_scan(*given[:8], softplus=True, h0=given[8], method="triton")

    return agrees(mine, reference, (u, delta, -A.exp(), *others), device)
