"""The compiled CPU kernel of the selective scan: preparing its arrays, sharing its tasks between cores, calling it.

The kernel (`_selective.c`) works on tasks, one sequence of one run and some of its channels. It reads its arguments where
they lie, as long as the channels of one step lie next to each other: halves of a projection need not be copied. What
tasks sum over (batch, groups of channels) is added up here, in a fixed order.
"""

from __future__ import annotations

import ctypes
import math

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.kernels.arguments import address, dense
from wavemem.kernels.compiled import load_library
from wavemem.kernels.selective_chunked import Given
from wavemem.kernels.threads import share


def available(tensor: Tensor) -> bool:
    """Whether the kernel can be used: float32 on the CPU, and compiled for this machine."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and load_library("_selective") is not None


def _library() -> ctypes.CDLL:
    library = load_library("_selective")
    assert library is not None  # the caller asked `available`
    return library


def _rows(tensor: Tensor) -> Tensor:
    """The tensor itself where the numbers of one step are adjacent, else a copy for which that holds."""
    tensor = tensor.resolve_neg()
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _sizes(softplus: bool, A: Tensor, *sequences: Tensor | None) -> ctypes.Array[ctypes.c_int64]:
    """The numbers that the kernel reads first; the sequences are u, delta, B, C, z and the gradient of y."""
    u = sequences[0]
    assert u is not None
    K, batch, length, E = u.shape
    strides = [(0, 0, 0) if sequence is None else sequence.stride()[:3] for sequence in sequences]
    values = [K * batch, batch, length, E, A.shape[2], int(softplus), *(v for three in strides for v in three)]
    return (ctypes.c_int64 * len(values))(*values)


def _base_two(A: Tensor) -> Tensor:
    """A in units of ln 2, channels innermost."""
    return dense((A * math.log2(math.e)).mT)


def scan(given: Given, *, softplus: bool, keep: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Outputs, last state, and (where `keep` asks for them) the states that the backward pass starts from."""
    u, delta, A, B, C, D, z, delta_bias, h0 = given
    library = _library()
    K, batch, length, E = u.shape
    N, lanes = A.shape[2], library.selective_lanes()
    u, delta, B, C = _rows(u), _rows(delta), _rows(B), _rows(C)
    z = None if z is None else _rows(z)
    sizes, A = _sizes(softplus, A, u, delta, B, C, z, None), _base_two(A)
    D, delta_bias, h0 = dense(D), dense(delta_bias), dense(h0)
    y, last = u.new_empty(K, batch, length, E), u.new_empty(K, batch, E, N)
    between = (length - 1) // library.selective_chunk()
    kept = u.new_empty(K * batch, between, -(-E // lanes), N, lanes) if keep else None
    tensors = [address(t) for t in (u, delta, A, B, C, D, z, delta_bias, h0, y, last, kept)]
    share(
        lambda low, high: library.selective_forward(sizes, ctypes.c_int64(low), ctypes.c_int64(high), *tensors),
        K * batch * -(-E // library.selective_group()),
    )
    return y, last, kept


def scan_backward(
    given: Given,
    kept: Float[Tensor, "rows chunks blocks N lanes"],
    gy: Float[Tensor, "K B L E"],
    gh: Float[Tensor, "K B E N"] | None,
    *,
    softplus: bool,
) -> tuple[Tensor | None, ...]:
    """Gradients of everything given, in its order; None for what was not given."""
    u, delta, A, B, C, D, z, delta_bias, h0 = given
    library = _library()
    K, batch, length, E = u.shape
    N, groups = A.shape[2], -(-E // library.selective_group())
    u, delta, B, C, gy = _rows(u), _rows(delta), _rows(B), _rows(C), _rows(gy)
    z = None if z is None else _rows(z)
    sizes, A = _sizes(softplus, A, u, delta, B, C, z, gy), _base_two(A)
    D, delta_bias, h0, gh = dense(D), dense(delta_bias), dense(h0), dense(gh)
    du, ddelta = u.new_empty(K, batch, length, E), u.new_empty(K, batch, length, E)
    dz = None if z is None else u.new_empty(K, batch, length, E)
    dB, dC = u.new_empty(groups, K, batch, length, N), u.new_empty(groups, K, batch, length, N)
    dA = u.new_empty(K, batch, N, E)
    dD = None if D is None else u.new_empty(K, batch, E)
    dbias = None if delta_bias is None else u.new_empty(K, batch, E)
    dh0 = None if h0 is None else u.new_empty(K, batch, E, N)
    before = [address(t) for t in (u, delta, A, B, C, D, z, delta_bias, h0, kept, gy, gh)]
    after = [address(t) for t in (du, ddelta, dA, dB, dC, dD, dz, dbias, dh0)]
    share(
        lambda low, high: library.selective_backward(sizes, ctypes.c_int64(low), ctypes.c_int64(high), *before, *after),
        K * batch * groups,
    )

    def over_batch(parts: Tensor | None) -> Tensor | None:
        return None if parts is None else parts.sum(1)

    def over_groups(parts: Tensor) -> Tensor:
        return parts[0] if groups == 1 else parts.sum(0)

    to_A = dA.sum(1).mT.contiguous()
    return du, ddelta, to_A, over_groups(dB), over_groups(dC), over_batch(dD), dz, over_batch(dbias), dh0
