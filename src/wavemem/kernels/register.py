r"""A register: n neurons per channel through which the input travels at velocity v, and which C reads.

With one neuron written to and every neuron handing on a share v of its content at every step,

    h_0 ← (1-v) h_0 + v x(t),     h_j ← (1-v) h_j + v h_{j-1}  (the old h_{j-1}),     y(t) = Σ_j C_j h_j + bias,

which is the one-way wave equation stepped by first-order upwind differences: at v = 1 the content moves on exactly and the
register is the shift-SSM, whose outputs are an ordinary causal convolution, h_j(t) = x(t-j); at v < 1 it moves more slowly
and spreads. v belongs to a channel (K, E), or to a channel at a step (K, B, L, E): the latter is ours.

The impulse response has a closed form. An impulse that enters neuron 0 moves one neuron on with probability v at every later
step, as it were: after τ steps the share of it that has moved exactly j times is the binomial

    b_j(τ) = binom(τ, j) v^j (1-v)^(τ-j),

neuron j holds v b_j(τ) (the first v is the input's), and the register read by C is the convolution with

    K(τ) = v Σ_j C_j b_j(τ).

At v = 1 only τ = j is left, and K(τ) = C_τ. Logarithms of b_j are taken in double precision, with 0 log 0 = 0, so that v = 1,
v = 0 and τ in the tens of thousands need no special case. The derivative

    dK/dv (τ) = Σ_j C_j b_j(τ) + v τ Σ_j (C_{j+1} - C_j) b_j(τ-1),     C_n = 0,

is a sum of binomials too, and therefore finite and right at v = 1, where differentiating the powers would give 0 · ∞.

Ways to compute the outputs, all differentiable once with respect to everything given:

- *compiled*: the recurrence in C, float32 on the CPU; a direct sum where every velocity is 1.
- *shift*: the direct sum over the last n inputs; for callers who know that every velocity is 1.
- *fft*: convolution with the closed form; velocities per channel only.
- *parallel*: neuron by neuron, each in about log₂ L rounds; for velocities that change from step to step.
- *reference*: the loop over time, in any dtype on any device.

Sources: shift-SSM of Fu et al. (2023); the convolution of Gu & Dao (2024) with SiLU; variable velocity after Keller's v-Wave SSM
abstract (2024), which gives no equation: the discretisation and the closed form are our reading.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import one_of, positive_int, require, shape_is
from wavemem.kernels.arguments import alike, dense, first_derivatives
from wavemem.kernels.compiled import CompiledKernel

Method = Literal["auto", "compiled", "fft", "shift", "parallel", "reference"]

COMPILED = CompiledKernel("_register")
_WORTH_A_THREAD = 2_000_000  # multiplications; starting one costs as much as about half of these
_DIRECT = 8  # lags summed one by one where there is no compiled kernel
_DIRECT_COMPILED = 512  # lags up to which the compiled sum was faster than the transform, at every size tried
_BLOCK = 2**22  # binomials held at once


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


class _Compiled(torch.autograd.Function):
    """Outputs and the last state by the compiled kernel; arguments laid out for it, channels a multiple of a vector.

    A task is one run, one batch entry and up to two vectors of channels; a position of the register comes before the channel.
    """

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
        (K, B, L, E), n = x.shape, C.shape[1]
        blocks = -(-E // (2 * COMPILED.library.register_lanes()))
        ctx.sizes, ctx.tasks = (B, L, E, n, silu, v.dim() == 4, blocks), K * B * blocks
        ctx.alone = ctx.tasks * L * n * 32 < _WORTH_A_THREAD
        ctx.ones = ones and not ctx.needs_input_grad[2]
        y, last = torch.empty_like(x), x.new_empty(K, B, n, E) if ends else None
        name = "register_shift_forward" if ones else "register_forward"
        COMPILED.run(name, ctx.sizes, ctx.tasks, x, C, v, bias, h0, y, last, alone=ctx.alone)
        ctx.save_for_backward(x, C, v, bias, h0)
        ctx.set_materialize_grads(False)
        return y, last

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gy: Tensor | None, glast: Tensor | None) -> tuple[Tensor | None, ...]:
        x, C, v, bias, h0 = ctx.saved_tensors
        if gy is None and glast is None:
            return (None,) * 8
        gy, glast = torch.zeros_like(x) if gy is None else dense(gy), dense(glast)
        K, B, _, E = x.shape
        dx, dC, d_bias = torch.empty_like(x), x.new_empty(K, B, *C.shape[1:]), x.new_empty(K, B, E)
        dv = torch.empty_like(v) if v.dim() == 4 else x.new_empty(K, B, E)
        dh0 = None if h0 is None else torch.empty_like(h0)
        name = "register_shift_backward" if ctx.ones and glast is None else "register_backward"
        tensors = x, C, v, bias, h0, gy, glast, dx, dC, dv, d_bias, dh0
        COMPILED.run(name, ctx.sizes, ctx.tasks, *tensors, alone=ctx.alone)
        wanted = ctx.needs_input_grad
        d_v = (dv if v.dim() == 4 else dv.sum(1)) if wanted[2] else None
        return dx, dC.sum(1), d_v, d_bias.sum(1) if wanted[3] else None, dh0, None, None, None


def _compiled_scan(
    x: Tensor, C: Tensor, v: Tensor, bias: Tensor | None, h0: Tensor | None, silu: bool, ones: bool, ends: bool
) -> tuple[Tensor, Tensor | None]:
    """Outputs and, if asked, the last state by the compiled kernel; `ones` takes v = 1 for granted and sums directly."""
    E = x.shape[-1]
    spare = -E % COMPILED.library.register_lanes()

    def filled(tensor: Tensor) -> Tensor:
        return dense(torch.nn.functional.pad(tensor, (0, spare)) if spare else tensor)

    start, added = None if h0 is None else filled(h0.transpose(2, 3)), None if bias is None else filled(bias)
    y, last = _Compiled.apply(filled(x), filled(C.transpose(1, 2)), filled(v), added, start, silu, ones, ends)
    return y[..., :E], None if last is None else last[..., :E].transpose(2, 3)


def _transformed(x: Tensor, kernel: Tensor) -> Tensor:
    length = x.shape[2]
    size = _good_size(length + kernel.shape[2] - 1)
    product = torch.fft.rfft(x, n=size, dim=2) * torch.fft.rfft(kernel, n=size, dim=2).mT[:, None]
    return torch.fft.irfft(product, n=size, dim=2)[:, :, :length]


def _good_size(least: int) -> int:
    """Smallest power of two, or three quarters of it, that is at least this."""
    power = 1 << max(least - 1, 0).bit_length()
    return power * 3 // 4 if power >= 4 and power * 3 // 4 >= least else power


def _summed(x: Tensor, kernel: Tensor) -> Tensor:
    y = kernel[:, None, None, :, 0] * x
    for lag in range(1, kernel.shape[2]):
        late = kernel[:, None, None, :, lag] * x[:, :, : x.shape[2] - lag]
        y = y + torch.nn.functional.pad(late, (0, 0, lag, 0))
    return y


def causal_convolution(x: Float[Tensor, "K B L E"], kernel: Float[Tensor, "K E M"]) -> Float[Tensor, "K B L E"]:
    """Convolve every channel with its own causal kernel, y(t) = Σ_τ K(τ) x(t-τ).

    Short kernels are summed directly, by the compiled kernel or lag by lag. Long ones go through a Fourier transform over time
    of at least L + M - 1 points, so that nothing wraps.

    Args:
        x: Sequences, time on the third axis; zero before the first step.
        kernel: K(0) … K(M - 1) per run and channel; lags beyond the sequence's length are without effect.

    Returns:
        y of the same shape as x, differentiable.

    Raises:
        ValueError: If the shapes do not fit or one of them is empty.
    """
    shape_is("x", x, ("K", "B", "L", "E"))
    shape_is("kernel", kernel, (x.shape[0], x.shape[3], "M"))
    require(
        x.shape[2] >= 1 and kernel.shape[2] >= 1,
        f"{x.shape[2]} steps and {kernel.shape[2]} lags",
        "at least one of each",
        "Pass a sequence and a kernel that are not empty.",
    )
    alike(x=x, kernel=kernel)
    kernel = kernel[..., : x.shape[2]]
    lags = kernel.shape[2]
    if lags <= _DIRECT_COMPILED and x.numel() and COMPILED.serves(x, kernel):
        ones = x.new_ones(x.shape[0], x.shape[3])
        return _compiled_scan(x, kernel, ones, None, None, silu=False, ones=True, ends=False)[0]
    return _summed(x, kernel) if lags <= _DIRECT else _transformed(x, kernel)


def check_velocity(v: Tensor) -> bool:
    """Refuse velocities outside of [0, 1], on the CPU; return whether all are exactly 1.

    NaN passes, so that one diverged run of an ensemble does not stop the others. On other devices the values are looked
    at only for the answer.
    """
    if v.device.type != "cpu":
        return bool((v == 1).all())
    low, high = (float(value) for value in v.detach().aminmax()) if v.numel() else (1.0, 1.0)
    require(
        not (low < 0 or high > 1),
        f"velocities v from {low:g} to {high:g}",
        "0 to 1 neurons per step",
        "Take v = sigmoid(θ) for a free parameter θ.",
    )
    return low == 1.0


def _log_choose(first: int, last: int, length: int, device: torch.device) -> Tensor:
    """log binom(τ, j) for j = first … last - 1 and τ = 0 … length - 1, -inf where τ < j; (j, τ)."""
    tau = torch.arange(length, dtype=torch.float64, device=device)
    j = torch.arange(first, last, dtype=torch.float64, device=device)[:, None]
    inside = tau >= j
    left = torch.where(inside, tau - j, 0.0)
    value = torch.lgamma(tau + 1) - torch.lgamma(j + 1) - torch.lgamma(left + 1)
    return torch.where(inside, value, -torch.inf)


def _shares(v: Tensor, first: int, last: int, length: int) -> Tensor:
    """b_j(τ) for j = first … last - 1, (K, E, j, τ) in double precision."""
    tau = torch.arange(length, dtype=torch.float64, device=v.device)
    j = torch.arange(first, last, dtype=torch.float64, device=v.device)[:, None]
    stayed = (tau - j).clamp_min(0.0)
    v = v.double()
    # log 0 as a number so large that a whole multiple of it gives 0 exactly, and none of it nothing.
    moves, stays = (part.clamp_min(-1e300)[..., None, None] for part in (torch.log(v), torch.log1p(-v)))
    return torch.addcmul(_log_choose(first, last, length, v.device) + j * moves, stayed, stays).exp_()


def _blocks(v: Tensor, n: int, length: int) -> list[tuple[int, int]]:
    size = max(1, _BLOCK // max(1, v.numel() * length))
    return [(first, min(first + size, n)) for first in range(0, n, size)]


class _Kernel(torch.autograd.Function):
    """K(τ) from C and v, binomials computed block by block and never kept."""

    @staticmethod
    def forward(ctx: Any, C: Tensor, v: Tensor, length: int) -> Tensor:
        ctx.save_for_backward(C, v)
        ctx.length = length
        total = torch.zeros(*v.shape, length, dtype=torch.float64, device=v.device)
        for first, last in _blocks(v, C.shape[-1], length):
            total += torch.einsum("kej,kejt->ket", C[..., first:last].double(), _shares(v, first, last, length))
        return (v.double()[..., None] * total).to(C.dtype)

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        C, v = ctx.saved_tensors
        length, n = ctx.length, C.shape[-1]
        gradient, weights, speed = gradient.double(), C.double(), v.double()
        tau = torch.arange(1, length, dtype=torch.float64, device=v.device)
        later = gradient[..., 1:] * tau
        # Neuron j + 1 has in it what neuron j gave away; the last neuron gives it away for good.
        steps = torch.cat([weights[..., 1:], torch.zeros_like(weights[..., :1])], dim=-1) - weights
        d_C = torch.empty_like(weights)
        d_v = torch.zeros_like(speed)
        for first, last in _blocks(v, n, length):
            shares = _shares(v, first, last, length)
            per_share = torch.einsum("ket,kejt->kej", gradient, shares)
            d_C[..., first:last] = speed[..., None] * per_share
            d_v += (weights[..., first:last] * per_share).sum(-1)
            moved = torch.einsum("ket,kejt->kej", later, shares[..., :-1])
            d_v += speed * (steps[..., first:last] * moved).sum(-1)
        return d_C.to(C.dtype), d_v.to(v.dtype), None


class _Shares(torch.autograd.Function):
    """b_j(τ) themselves, for what an initial state contributes."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, n: int, length: int) -> Tensor:
        shares = _shares(v, 0, n, length)
        ctx.save_for_backward(v, shares)
        return shares.to(v.dtype)

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        v, shares = ctx.saved_tensors
        tau = torch.arange(1, shares.shape[-1], dtype=torch.float64, device=v.device)
        before = shares[..., :-1]
        gained = torch.cat([torch.zeros_like(before[..., :1, :]), before[..., :-1, :]], dim=-2)
        return (gradient[..., 1:].double() * tau * (gained - before)).sum((-2, -1)).to(v.dtype), None, None


def binomial_shares(v: Float[Tensor, "K E"], n: int, length: int) -> Float[Tensor, "K E n length"]:
    """Share of a neuron's content that is j neurons further on after τ steps, binom(τ, j) v^j (1-v)^(τ-j).

    Args:
        v: Velocities in [0, 1], neurons per step.
        n: Number of neurons, j = 0 … n - 1.
        length: Number of lags, τ = 0 … length - 1.

    Returns:
        b_j(τ) in the dtype of v, differentiable.

    Raises:
        ValueError: If v is not (K, E) or leaves [0, 1], or n or length is not positive.
    """
    shape_is("v", v, ("K", "E"))
    check_velocity(v)
    shares: Tensor = _Shares.apply(v, positive_int("n", n), positive_int("length", length))
    return shares


def register_kernel(C: Float[Tensor, "K E n"], v: Float[Tensor, "K E"], length: int) -> Float[Tensor, "K E length"]:
    """Impulse response of a register, K(τ) = v Σ_j C_j binom(τ, j) v^j (1-v)^(τ-j).

    Exact at v = 1, where it is C followed by zeros, and at v = 0, where it is zero; computed in double precision
    whatever the dtype. Gradients with respect to C and v are exact in the same sense.

    Args:
        C: Readout of every neuron, per run and channel.
        v: Velocities in [0, 1], neurons per step.
        length: Number of lags, τ = 0 … length - 1.

    Returns:
        K(τ), in the dtype of C.

    Raises:
        ValueError: If the shapes do not fit, v leaves [0, 1], or the length is not positive.
    """
    shape_is("C", C, ("K", "E", "n"))
    shape_is("v", v, C.shape[:2])
    require(C.shape[2] >= 1, "C reads no neuron", "n >= 1", "Give at least one neuron.")
    alike(C=C, v=v)
    check_velocity(v)
    kernel: Tensor = _Kernel.apply(C, v, positive_int("length", length))
    return kernel


def _joined(a: Tensor, u: Tensor) -> Tensor:
    """All states of h(t) = a(t) h(t-1) + u(t) from zero, time on the third axis, in about log₂ L rounds.

    Two steps in a row are one step of the same kind, (a, u) then (a', u') being (a a', a' u + u'); joining every step with the
    one 1, 2, 4, … before it gives all states (Hillis & Steele, 1986). With 0 ≤ a ≤ 1 nothing grows on the way.
    """
    length, reach = u.shape[2], 1
    while reach < length:
        u = torch.cat([u[:, :, :reach], torch.addcmul(u[:, :, reach:], a[:, :, reach:], u[:, :, :-reach])], dim=2)
        if 2 * reach < length:
            a = torch.cat([a[:, :, :reach], a[:, :, reach:] * a[:, :, :-reach]], dim=2)
        reach *= 2
    return u


class _FirstOrder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, u: Tensor) -> Tensor:
        h = _joined(a, u)
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        a, h = ctx.saved_tensors
        later = torch.cat([a[:, :, 1:], torch.zeros_like(a[:, :, :1])], dim=2)
        sent = _joined(later.flip(2), gradient.flip(2)).flip(2)
        before = torch.cat([torch.zeros_like(h[:, :, :1]), h[:, :, :-1]], dim=2)
        return sent * before, sent


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
        first = torch.zeros_like(x[:, :, 0]) if h0 is None else h0[..., j]
        u = v * before
        u = torch.cat([(u[:, :, 0] + stay[:, :, 0] * first)[:, :, None], u[:, :, 1:]], dim=2)
        h = _FirstOrder.apply(stay, u)
        y = y + C[:, None, None, :, j] * h
        ends.append(h[:, :, -1])
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
    compiled = COMPILED.serves(x, C, v, bias, h0)
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
        return _compiled_scan(x, C, v, bias, h0, silu, ones, ends)
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
