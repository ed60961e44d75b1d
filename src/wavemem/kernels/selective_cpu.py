"""The compiled CPU kernel of the selective scan: preparing its arrays, sharing its tasks between cores, calling it.

The kernel (`_selective.c`) works on tasks, one sequence of one run and some of its channels. It reads its arguments where
they lie, as long as the channels of one step lie next to each other: halves of a projection need not be copied. What
tasks sum over (batch, groups of channels) is added up here, in a fixed order.
"""

from __future__ import annotations

import math

from torch import Tensor

from wavemem.kernels.arguments import dense
from wavemem.kernels.compiled import CompiledKernel
from wavemem.kernels.selective_chunked import Given

COMPILED = CompiledKernel("_selective")


def _rows(tensor: Tensor | None) -> Tensor | None:
    """The tensor itself where the numbers of one step are adjacent, else a copy for which that holds."""
    if tensor is None:
        return None
    tensor = tensor.resolve_neg()
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _sizes(softplus: bool, u: Tensor, N: int, *sequences: Tensor | None) -> list[int]:
    """The numbers that the kernel reads first; the sequences are u, delta, B, C, z and the gradient of y."""
    K, batch, length, E = u.shape
    strides = [(0, 0, 0) if sequence is None else sequence.stride()[:3] for sequence in sequences]
    return [K * batch, batch, length, E, N, softplus, *(stride for three in strides for stride in three)]


def _base_two(A: Tensor) -> Tensor:
    """A in units of ln 2, channels innermost."""
    return dense((A * math.log2(math.e)).mT)


def scan(given: Given, *, softplus: bool, keep: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Outputs, last state, and (where `keep` asks for them) the states that the backward pass starts from."""
    (K, batch, length, E), N = given.u.shape, given.A.shape[2]
    library, new = COMPILED.library, given.u.new_empty
    lanes, groups = library.selective_lanes(), -(-E // library.selective_group())
    u, delta, B, C, z = map(_rows, (given.u, given.delta, given.B, given.C, given.z))
    D, delta_bias, h0 = dense(given.D), dense(given.delta_bias), dense(given.h0)
    y, last = new(K, batch, length, E), new(K, batch, E, N)
    between = (length - 1) // library.selective_chunk()
    kept = new(K * batch, between, -(-E // lanes), N, lanes) if keep else None
    sizes = _sizes(softplus, given.u, N, u, delta, B, C, z, None)
    tensors = u, delta, _base_two(given.A), B, C, D, z, delta_bias, h0, y, last, kept
    COMPILED.run("selective_forward", sizes, K * batch * groups, *tensors)
    return y, last, kept


def scan_backward(
    given: Given, kept: Tensor, gy: Tensor, gh: Tensor | None, *, softplus: bool
) -> tuple[Tensor | None, ...]:
    """Gradients of everything given, in its order; None for what was not given; gy, gh: those of y and the last state."""
    (K, batch, length, E), N = given.u.shape, given.A.shape[2]
    groups, new = -(-E // COMPILED.library.selective_group()), given.u.new_empty
    u, delta, B, C, z, sent = map(_rows, (given.u, given.delta, given.B, given.C, given.z, gy))
    D, delta_bias, h0 = dense(given.D), dense(given.delta_bias), dense(given.h0)
    du, ddelta = new(K, batch, length, E), new(K, batch, length, E)
    dz = None if z is None else new(K, batch, length, E)
    dB, dC = new(groups, K, batch, length, N), new(groups, K, batch, length, N)
    dA = new(K, batch, N, E)
    dD = None if D is None else new(K, batch, E)
    dbias = None if delta_bias is None else new(K, batch, E)
    dh0 = None if h0 is None else new(K, batch, E, N)
    sizes = _sizes(softplus, given.u, N, u, delta, B, C, z, sent)
    before = u, delta, _base_two(given.A), B, C, D, z, delta_bias, h0, kept, sent, dense(gh)
    after = du, ddelta, dA, dB, dC, dD, dz, dbias, dh0
    COMPILED.run("selective_backward", sizes, K * batch * groups, *before, *after)

    def over_batch(parts: Tensor | None) -> Tensor | None:
        return None if parts is None else parts.sum(1)

    def over_groups(parts: Tensor) -> Tensor:
        return parts[0] if groups == 1 else parts.sum(0)

    to_A = dA.sum(1).mT.contiguous()
    return du, ddelta, to_A, over_groups(dB), over_groups(dC), over_batch(dD), dz, over_batch(dbias), dh0
