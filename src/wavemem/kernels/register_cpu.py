"""The compiled CPU kernel of the register: laying arrays out for it, sharing its tasks between cores, calling it.

The kernel (`_register.c`) works on tasks: one run, one batch entry and up to two vectors of channels. Channels are filled
up with zeros to a multiple of a vector; a position of the register comes before the channel in everything it reads.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from wavemem.kernels.arguments import address, dense, first_derivatives
from wavemem.kernels.compiled import load_library
from wavemem.kernels.threads import share

_WORTH_A_THREAD = 2_000_000  # multiplications; starting one costs as much as about half of these


def available(*tensors: Tensor | None) -> bool:
    """Whether the kernel can be used: all tensors float32 on the CPU, and compiled for this machine."""
    given = [tensor for tensor in tensors if tensor is not None]
    fits = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in given)
    return fits and load_library("_register") is not None


def _library() -> ctypes.CDLL:
    library = load_library("_register")
    assert library is not None  # the caller asked `available`
    return library


def _call(name: str, sizes: tuple[int, ...], tasks: int, tensors: tuple[Tensor | None, ...]) -> None:
    """Call a function of the library for all tasks, by several threads where there is work for them."""
    function = getattr(_library(), name)
    packed = (ctypes.c_int64 * len(sizes))(*sizes)
    addresses = [address(tensor) for tensor in tensors]
    _, L, _, n = sizes[:4]
    work = tasks * L * n * 32

    def part(low: int, high: int) -> int:
        return int(function(packed, ctypes.c_int64(low), ctypes.c_int64(high), *addresses))

    if work < _WORTH_A_THREAD:
        if part(0, tasks):
            raise MemoryError("the register's kernel got no memory for one task")
    else:
        share(part, tasks)


class _Scan(torch.autograd.Function):
    """Outputs and the last state of a register; arguments laid out for the kernel, channels a multiple of a vector."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        C: Tensor,
        v: Tensor,
        bias: Tensor | None,
        h0: Tensor | None,
        silu: bool,
        ones: bool,
        ends: bool,
    ) -> tuple[Tensor, Tensor | None]:
        K, B, L, E = x.shape
        n = C.shape[1]
        blocks = -(-E // (2 * _library().register_lanes()))
        sizes = (B, L, E, n, int(silu), int(v.dim() == 4), blocks)
        y = torch.empty_like(x)
        last = x.new_empty(K, B, n, E) if ends else None
        ctx.ones = ones and not ctx.needs_input_grad[2]
        name = "register_shift_forward" if ones else "register_forward"
        _call(name, sizes, K * B * blocks, (x, C, v, bias, h0, y, last))
        ctx.sizes, ctx.tasks = sizes, K * B * blocks
        ctx.save_for_backward(x, C, v, bias, h0)
        ctx.set_materialize_grads(False)
        return y, last

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gy: Tensor | None, glast: Tensor | None) -> tuple[Tensor | None, ...]:
        x, C, v, bias, h0 = ctx.saved_tensors
        if gy is None and glast is None:
            return (None,) * 8
        gy = torch.zeros_like(x) if gy is None else dense(gy)
        glast = dense(glast)
        K, B, _, E = x.shape
        dx = torch.empty_like(x)
        dC, d_bias = x.new_empty(K, B, *C.shape[1:]), x.new_empty(K, B, E)
        dv = torch.empty_like(v) if v.dim() == 4 else x.new_empty(K, B, E)
        dh0 = None if h0 is None else torch.empty_like(h0)
        name = "register_shift_backward" if ctx.ones and glast is None else "register_backward"
        _call(name, ctx.sizes, ctx.tasks, (x, C, v, bias, h0, gy, glast, dx, dC, dv, d_bias, dh0))
        wanted = ctx.needs_input_grad
        d_v = (dv if v.dim() == 4 else dv.sum(1)) if wanted[2] else None
        return dx, dC.sum(1), d_v, d_bias.sum(1) if wanted[3] else None, dh0, None, None, None


def compiled_scan(
    x: Tensor, C: Tensor, v: Tensor, bias: Tensor | None, h0: Tensor | None, *, silu: bool, ones: bool, ends: bool
) -> tuple[Tensor, Tensor | None]:
    """Outputs of a register and, if asked, its last state, by the compiled kernel.

    Args:
        x, C, v, bias, h0: As in `wavemem.kernels.register.register_scan`, float32 on the CPU, shapes checked.
        silu: Whether SiLU is applied to the outputs.
        ones: Whether v is 1 everywhere: then the sum over the last n inputs is taken directly.
        ends: Whether the last state is wanted.

    Returns:
        y (K, B, L, E) and h_L (K, B, E, n) or None; differentiable.
    """
    E = x.shape[-1]
    spare = -E % _library().register_lanes()
    C = C.transpose(1, 2)
    h0 = None if h0 is None else h0.transpose(2, 3)
    if spare:
        x, C, v = (torch.nn.functional.pad(tensor, (0, spare)) for tensor in (x, C, v))
        bias = None if bias is None else torch.nn.functional.pad(bias, (0, spare))
        h0 = None if h0 is None else torch.nn.functional.pad(h0, (0, spare))
    y, last = _Scan.apply(dense(x), dense(C), dense(v), dense(bias), dense(h0), silu, ones, ends)
    if spare:
        y = y[..., :E]
        last = None if last is None else last[..., :E]
    return y, None if last is None else last.transpose(2, 3)
