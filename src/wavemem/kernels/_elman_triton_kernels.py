"""The two Triton kernels behind `wavemem.kernels.elman_triton`; importing this module needs Triton.

A program takes a few rows of one run's batch through all of the run's steps. It loads the run's recurrent matrix once,
before the loop over time, and carries the state of its rows from step to step; only drives, states and deltas pass through
the device's memory. Rows and units beyond the tensors' own are masked: they stay 0.

In IEEE arithmetic a product is a sum over the slow axis of the matrix, multiplied element by element: each thread then
holds its part of the matrix in registers for all steps, adds within itself, and only the last additions go through shared
memory. Triton's own product has no tensor core for this arithmetic and needs more registers than there are (compiled for
compute capability 9.0 at 128 units it spills, this one does not). In TF32 the tensor cores' product is used.
"""

# No postponed annotations: Triton reads `tl.constexpr` from the signature.
import triton
import triton.language as tl

__all__ = ["scan_back", "scan_forward"]


@triton.jit
def _tanh(z):  # type: ignore[no-untyped-def]
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
def _rounded(x):  # type: ignore[no-untyped-def]
    """x to the nearest number with TF32's 10 bits of mantissa; the tensor cores would cut the others off."""
    bits = x.to(tl.int32, bitcast=True)
    return ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)


@triton.jit
def _add_product(total, x, right, PRECISION: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return total + x right, for rows x."""
    if PRECISION == "ieee":
        return total + tl.sum(x[:, :, None] * right[None, :, :], axis=1)
    elif PRECISION == "tf32":
        return tl.dot(_rounded(x), right, total, input_precision="tf32")
    else:
        return tl.dot(x, right, total, input_precision=PRECISION)


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
    PRECISION: tl.constexpr,
):
    """h(t) = σ(W h(t-1) + drive(t)) for the steps of each run; zeros after them."""
    run = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    units = tl.arange(0, WIDTH)
    tile = rows[:, None] * N + units[None, :]
    inside = (rows[:, None] < B) & (units[None, :] < N)
    known = (units[:, None] < N) & (units[None, :] < N)
    matrix = tl.load(right + run * N * N + units[:, None] * N + units[None, :], mask=known, other=0.0)
    if PRECISION == "tf32":
        matrix = _rounded(matrix)
    length = tl.load(lengths + run)
    step = B * N
    state = states + run * (T + 1) * step + tile
    driven = drive + run * S * step + tile
    h = tl.load(state, mask=inside, other=0.0)
    for t in range(length):
        z = tl.load(driven, mask=inside & (t < S), other=0.0)
        z = _add_product(z, h, matrix, PRECISION)
        h = _tanh(z) if TANH else z
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
    PRECISION: tl.constexpr,
):
    """δ(t) = σ'(t) ∘ (g(t) + Wᵀ δ(t+1)) back from the last step of each run; zeros after it."""
    run = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    units = tl.arange(0, WIDTH)
    tile = rows[:, None] * N + units[None, :]
    inside = (rows[:, None] < B) & (units[None, :] < N)
    known = (units[:, None] < N) & (units[None, :] < N)
    matrix = tl.load(right + run * N * N + units[:, None] * N + units[None, :], mask=known, other=0.0)
    if PRECISION == "tf32":
        matrix = _rounded(matrix)
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
        carried = _add_product(sent, carried, matrix, PRECISION)
        if TANH:
            h = tl.load(state, mask=inside, other=0.0)
            carried *= 1.0 - h * h
        tl.store(entry, carried, mask=inside)
