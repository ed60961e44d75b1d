r"""A register: n neurons per channel through which the input travels at velocity v, and which C reads.

With one neuron written to and every neuron handing on a share v of its content at every step,

    h_0 ← (1-v) h_0 + v x(t),     h_j ← (1-v) h_j + v h_{j-1}  (the old h_{j-1}),     y(t) = Σ_j C_j h_j + bias,

which is the one-way wave equation stepped by first-order upwind differences: at v = 1 the content moves on exactly and the
register is the shift-SSM, whose outputs are an ordinary causal convolution, h_j(t) = x(t-j); at v < 1 it moves more slowly
and spreads. v belongs to a channel (K, E), or to a channel at a step (K, B, L, E): the latter is ours.

The recurrence is the convolution with `register_kernel` (see `register_closed_form`). Ways to compute it, all differentiable
once with respect to everything given:

- *compiled*: the recurrence in C, float32 on the CPU; a direct sum where every velocity is 1.
- *shift*: the direct sum over the last n inputs; for callers who know that every velocity is 1.
- *fft*: convolution with the closed form; velocities per channel only.
- *parallel*: neuron by neuron, each in about log₂ L rounds; for velocities that change from step to step.
- *reference*: the loop over time, in any dtype on any device.

Sources: shift-SSM of Fu et al. (2023); the convolution of Gu & Dao (2024) with SiLU; variable velocity after Keller's v-Wave SSM
abstract (2024), which gives no equation: the discretisation is our reading.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import one_of, positive_int, require, shape_is
from wavemem.kernels import register_cpu
from wavemem.kernels.arguments import alike
from wavemem.kernels.convolution import causal_convolution
from wavemem.kernels.first_order import first_order_scan
from wavemem.kernels.register_closed_form import binomial_shares, check_velocity, register_kernel

Method = Literal["auto", "compiled", "fft", "shift", "parallel", "reference"]


def _check(x: Tensor, C: Tensor, v: Tensor, bias: Tensor | None, h0: Tensor | None) -> None:
    shape_is("x", x, ("K", "B", "L", "E"))
    K, B, L, E = x.shape
    require(B >= 1 and L >= 1, f"x has {B} sequences of {L} steps", "at least one of each", "Pass something to scan.")
    shape_is("C", C, (K, E, "n"))
    require(C.shape[2] >= 1, "C reads no neuron", "n >= 1", "Give at least one neuron.")
    shape_is("v", v, (K, E) if v.dim() == 2 else (K, B, L, E))
    alike(x=x, C=C, v=v, bias=bias, h0=h0)
    if bias is not None:
        shape_is("bias", bias, (K, E))
    if h0 is not None:
        shape_is("h0", h0, (K, B, E, C.shape[2]))


def _advance(h: Tensor, x: Tensor, v: Tensor) -> Tensor:
    """One step of (…, E, n) neurons."""
    v = v.unsqueeze(-1)
    return (1 - v) * h + v * torch.cat([x.unsqueeze(-1), h[..., :-1]], dim=-1)


def _read(h: Tensor, C: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
    """Outputs of the neurons (K, …, E, n)."""
    K, E, n = C.shape
    ones = (1,) * (h.dim() - 3)
    y = (h * C.view(K, *ones, E, n)).sum(-1)
    if bias is not None:
        y = y + bias.view(K, *ones, E)
    return torch.nn.functional.silu(y) if silu else y


def register_scan_reference(
    x: Float[Tensor, "K B L E"],
    C: Float[Tensor, "K E n"],
    v: Float[Tensor, "K E"] | Float[Tensor, "K B L E"],
    bias: Float[Tensor, "K E"] | None = None,
    *,
    h0: Float[Tensor, "K B E n"] | None = None,
    silu: bool = False,
) -> tuple[Float[Tensor, "K B L E"], Float[Tensor, "L K B E n"]]:
    """Step the register through time in a plain loop, in any dtype: what the fast ways are compared with.

    Arguments are those of `register_scan`.

    Returns:
        y, and the neurons after every step, time first.

    Raises:
        ValueError: As `register_scan`.
    """
    _check(x, C, v, bias, h0)
    check_velocity(v)
    K, B, L, E = x.shape
    h = x.new_zeros(K, B, E, C.shape[2]) if h0 is None else h0
    states = []
    for t in range(L):
        h = _advance(h, x[:, :, t], v[:, None] if v.dim() == 2 else v[:, :, t])
        states.append(h)
    stacked = torch.stack(states)
    return _read(stacked.movedim(0, 2), C, bias, silu), stacked


def _by_convolution(
    x: Tensor, C: Tensor, v: Tensor, bias: Tensor | None, h0: Tensor | None, silu: bool, ones: bool, ends: bool
) -> tuple[Tensor, Tensor | None]:
    """Outputs by convolution with the closed form (or, at v = 1, with C), what was in the register at the start apart."""
    K, B, L, E = x.shape
    n = C.shape[2]
    last = None
    if ones:
        start = x.new_zeros(K, B, n, E) if h0 is None else h0.transpose(2, 3).flip(2)  # oldest input first
        line = torch.cat([start, x], dim=2) if h0 is not None or ends else x
        y = causal_convolution(line, C)[:, :, line.shape[2] - L :]
        last = line[:, :, -n:].flip(2).transpose(2, 3) if ends else None
    else:
        y = causal_convolution(x, register_kernel(C, v, L))
        shares = binomial_shares(v, n, L + 1) if h0 is not None or ends else None
        if h0 is not None and shares is not None:
            # What was in neuron i is in neuron j after t steps with weight b_{j-i}(t).
            for i in range(n):
                response = torch.einsum("kej,kejt->ket", C[..., i:], shares[:, :, : n - i, 1:])
                y = y + torch.einsum("kbe,ket->kbte", h0[..., i], response)
        if ends and shares is not None:
            last = torch.einsum("kble,kejl->kbej", x.flip(2), v[..., None, None] * shares[..., :L])
            if h0 is not None:
                final = torch.nn.functional.pad(shares[..., L], (n - 1, 0)).unfold(-1, n, 1).flip(-1)  # (K, E, j, i)
                last = last + torch.einsum("kbei,keji->kbej", h0, final)
    if bias is not None:
        y = y + bias[:, None, None]
    return torch.nn.functional.silu(y) if silu else y, last


def _neuron_by_neuron(
    x: Tensor, C: Tensor, v: Tensor, bias: Tensor | None, h0: Tensor | None, silu: bool
) -> tuple[Tensor, Tensor]:
    """Outputs and the last state; what neuron j - 1 held before a step is what neuron j is driven by."""
    v = v if v.dim() == 4 else v[:, None, None].expand_as(x)
    stay, before, ends = 1 - v, x, []
    y = x.new_zeros(()) if bias is None else bias[:, None, None]
    for j in range(C.shape[2]):
        start = None if h0 is None else h0[..., j]
        h = first_order_scan(stay, v * before, start)
        y = y + C[:, None, None, :, j] * h
        ends.append(h[:, :, -1])
        first = torch.zeros_like(h[:, :, 0]) if start is None else start
        before = torch.cat([first[:, :, None], h[:, :, :-1]], dim=2)
    return torch.nn.functional.silu(y) if silu else y, torch.stack(ends, dim=-1)


def _scan(
    x: Tensor,
    C: Tensor,
    v: Tensor,
    bias: Tensor | None,
    h0: Tensor | None,
    silu: bool,
    method: str,
    ends: bool,
) -> tuple[Tensor, Tensor | None]:
    _check(x, C, v, bias, h0)
    one_of("method", method, get_args(Method))
    compiled = register_cpu.available(x, C, v, bias, h0)
    require(
        method != "compiled" or compiled,
        f"method = 'compiled' for {x.dtype} on {x.device.type}",
        "float32 tensors on the CPU of a machine with a C compiler",
        "Take method='auto'.",
    )
    require(
        method != "fft" or v.dim() == 2,
        "method = 'fft' for a velocity that changes from step to step",
        "a velocity per channel, (K, E)",
        "Take method='auto'.",
    )
    ones = True if method == "shift" else check_velocity(v)
    if method == "compiled" or (compiled and method in ("auto", "shift")):
        return register_cpu.compiled_scan(x, C, v, bias, h0, silu=silu, ones=ones, ends=ends)
    if method == "reference":
        y, states = register_scan_reference(x, C, v, bias, h0=h0, silu=silu)
        return y, states[-1] if ends else None
    # The direct sum has no gradient with respect to v.
    direct = method == "shift" or (ones and method == "auto" and not (v.requires_grad and torch.is_grad_enabled()))
    if method == "parallel" or (v.dim() == 4 and not direct):
        return _neuron_by_neuron(x, C, v, bias, h0, silu)
    return _by_convolution(x, C, v, bias, h0, silu, direct, ends)


def register_scan(
    x: Float[Tensor, "K B L E"],
    C: Float[Tensor, "K E n"],
    v: Float[Tensor, "K E"] | Float[Tensor, "K B L E"],
    bias: Float[Tensor, "K E"] | None = None,
    *,
    h0: Float[Tensor, "K B E n"] | None = None,
    silu: bool = False,
    method: Method = "auto",
) -> Float[Tensor, "K B L E"]:
    """Outputs of a register per run and channel, y(t) = Σ_j C_j h_j(t) + bias.

    Args:
        x: Inputs, one number per channel and step, into neuron 0.
        C: Readout of every neuron, j = 0 the newest. `torch.nn.functional.conv1d` has its weights in the opposite order.
        v: Velocity in [0, 1], neurons per step: per channel, or per channel and step.
        bias: Added to every output; None for none.
        h0: The neurons before the first step; zero unless given.
        silu: Whether y sigmoid(y) is returned in the place of y, as Mamba does.
        method: How it is computed (see the module); "auto" takes the fastest that serves. "shift" takes it for granted that
            v is 1 everywhere, and gives no gradient for it.

    Returns:
        y in the dtype of x.

    Raises:
        ValueError: If the shapes do not fit, the method is unknown or cannot compute this, or (on the CPU, where looking is
            cheap) v leaves [0, 1].
    """
    return _scan(x, C, v, bias, h0, silu, method, False)[0]


def register_scan_with_state(
    x: Float[Tensor, "K B L E"],
    C: Float[Tensor, "K E n"],
    v: Float[Tensor, "K E"] | Float[Tensor, "K B L E"],
    bias: Float[Tensor, "K E"] | None = None,
    *,
    h0: Float[Tensor, "K B E n"] | None = None,
    silu: bool = False,
    method: Method = "auto",
) -> tuple[Float[Tensor, "K B L E"], Float[Tensor, "K B E n"]]:
    """`register_scan`, and the neurons after the last step: what `register_step` or the next part of a sequence goes on from.

    Arguments and errors are those of `register_scan`.
    """
    y, last = _scan(x, C, v, bias, h0, silu, method, True)
    assert last is not None
    return y, last


def register_step(
    x: Float[Tensor, "K B E"],
    C: Float[Tensor, "K E n"],
    v: Float[Tensor, "K E"] | Float[Tensor, "K B E"],
    bias: Float[Tensor, "K E"] | None,
    h: Float[Tensor, "K B E n"],
    *,
    silu: bool = False,
) -> tuple[Float[Tensor, "K B E"], Float[Tensor, "K B E n"]]:
    """One step of a register, for generation: n numbers per channel are all that is kept.

    Args:
        x: Inputs of this step.
        C, v, bias, silu: As in `register_scan`; v per channel, or per channel and batch entry.
        h: The neurons before the step.

    Returns:
        y, and the neurons after the step.

    Raises:
        ValueError: If the shapes do not fit.
    """
    shape_is("x", x, ("K", "B", "E"))
    K, B, E = x.shape
    shape_is("C", C, (K, E, "n"))
    shape_is("v", v, (K, E) if v.dim() == 2 else (K, B, E))
    shape_is("h", h, (K, B, E, C.shape[2]))
    if bias is not None:
        shape_is("bias", bias, (K, E))
    h = _advance(h, x, v[:, None] if v.dim() == 2 else v)
    return _read(h, C, bias, silu), h


def register_states(
    x: Float[Tensor, "K B L E"],
    v: Float[Tensor, "K E"] | Float[Tensor, "K B L E"],
    n: int,
    h0: Float[Tensor, "K B E n"] | None = None,
) -> Float[Tensor, "L K B E n"]:
    """The neurons after every step, as activity (time, …, channel, position): what Fig. 1 of the abstract draws.

    Args:
        x: Inputs.
        v: Velocities in [0, 1], as in `register_scan`. Content moves towards larger positions, away from the input.
        n: Number of neurons.
        h0: The neurons before the first step; zero unless given.

    Returns:
        h(1) … h(L).

    Raises:
        ValueError: As `register_scan`.
    """
    shape_is("x", x, ("K", "B", "L", "E"))
    C = x.new_zeros(x.shape[0], x.shape[3], positive_int("n", n))
    return register_scan_reference(x, C, v, h0=h0)[1]
