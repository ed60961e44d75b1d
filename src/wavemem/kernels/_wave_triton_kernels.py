"""The three Triton kernels behind `wavemem.kernels.wave_triton`; importing this module needs Triton.

A program takes a few batch rows of one run through all time steps. Its rings lie side by side on one axis of *places*
(row 0's units, row 1's units, …), which is worked through in blocks, with the output channels on the other axis. A step
writes the new state where it has to be kept for the way back anyway, and the next step reads it there, shifted by the taps:
between the two stands a barrier of the program's threads, after which each of them sees what the others have written. A
program's state is small (c n numbers per row) and was written a moment before, so that these reads are served by the
chip's caches. No program needs another's rows, so that nothing has to wait across the device.

With few channels, the sum over a tap's input channels is taken element by element, each thread within itself; with more
it is Triton's product of small matrices. Rows, places and channels beyond the tensors' own are masked.
"""

# No postponed annotations: Triton reads `tl.constexpr` from the signature.
import triton
import triton.language as tl

from wavemem.kernels.elman_triton import _tanh


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
                z = _tanh(z)
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
