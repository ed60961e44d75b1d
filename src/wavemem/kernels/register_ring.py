r"""A register closed to a ring, moved by any velocity exactly: no content is lost at an end, and none spreads.

At every step the content of the n neurons moves on by v neurons, v any real number, and the input enters neuron 0:

    h ← d R_v h + e_0 x(t),     y(t) = Σ_j C_j h_j + bias.

R_v multiplies space's Fourier mode m by exp(-2πi m v/n). That is the one-way wave equation solved, not approximated: every
mode travels at the same velocity, and keeps its size. Between the neurons the content is the trigonometric polynomial through
them. For a whole v, R_v is a permutation. For even n there is one mode, m = n/2, of which n real numbers hold only the cosine;
its phase is lost, and the state stays real only if that mode is multiplied by the real part, cos(πv): it shrinks unless v is
whole. Everything else (all of it, for odd n) keeps its norm. d in [0, 1] is a damping, without which the ring never forgets.

Sequences are computed by the convolution with K(τ) = d^τ Σ_j C_j (R_v^τ e_0)_j. The input enters with weight 1, where the
open register takes v x: at v = 0 the ring adds its inputs up in neuron 0, where the open register stays empty.

Source: ours; the open register of `wavemem.kernels.register` is its first-order approximation without the closing.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from wavemem.checks import positive_int, require, shape_is
from wavemem.kernels.register import causal_convolution


def _check(C: Tensor, v: Tensor, bias: Tensor | None, damping: Tensor | None) -> int:
    shape_is("C", C, ("K", "E", "n"))
    require(C.shape[2] >= 1, "C reads no neuron", "n >= 1", "Give at least one neuron.")
    shape_is("v", v, C.shape[:2])
    if bias is not None:
        shape_is("bias", bias, C.shape[:2])
    if damping is not None:
        shape_is("damping", damping, C.shape[:2])
        if damping.device.type == "cpu" and damping.numel():
            low, high = (float(value) for value in damping.detach().aminmax())
            require(
                not (low < 0 or high > 1),
                f"damping from {low:g} to {high:g}",
                "0 to 1 per step",
                "Take a sigmoid of a free parameter.",
            )
    return C.shape[2]


def _factors(v: Tensor, n: int, steps: Tensor, damping: Tensor | None) -> Complex[Tensor, "K E f T"]:
    """What modes 0 … ⌊n/2⌋ are multiplied by in so many steps, in complex double precision."""
    m = torch.arange(n // 2 + 1, dtype=torch.float64, device=v.device)[:, None]
    phase = -2 * math.pi * (v.double()[..., None, None] * steps * m / n).remainder(1.0)
    factor = torch.polar(torch.ones_like(phase), phase)
    if n % 2 == 0:
        last = torch.cos(math.pi * v.double())[..., None] ** steps
        factor = torch.cat([factor[..., :-1, :], last[..., None, :].to(factor.dtype)], dim=-2)
    return factor if damping is None else factor * (damping.double()[..., None] ** steps)[..., None, :]


def _read(C: Tensor) -> Complex[Tensor, "K E f"]:
    """C̃ with Σ_j C_j h_j = Re Σ_m C̃(m) ĥ(m) over the modes 0 … ⌊n/2⌋ (Parseval; the others are their conjugates)."""
    n = C.shape[-1]
    weight = torch.full((n // 2 + 1,), 2.0 / n, dtype=torch.float64, device=C.device)
    weight[0] = 1.0 / n
    if n % 2 == 0:
        weight[-1] = 1.0 / n
    return torch.fft.rfft(C.double(), dim=-1).conj() * weight


def ring_kernel(
    C: Float[Tensor, "K E n"], v: Float[Tensor, "K E"], length: int, damping: Float[Tensor, "K E"] | None = None
) -> Float[Tensor, "K E length"]:
    """Impulse response of a ring, K(τ) = d^τ Σ_j C_j (R_v^τ e_0)_j; for a whole v, d^τ times C at vτ modulo n.

    Args:
        C: Readout of every neuron, per run and channel.
        v: Velocities, neurons per step; any real number, positive towards larger positions.
        length: Number of lags, τ = 0 … length - 1.
        damping: d in [0, 1] per channel; 1 unless given.

    Returns:
        K(τ) in the dtype of C, differentiable; phases are computed in double precision whatever that is.

    Raises:
        ValueError: If the shapes do not fit, the damping leaves [0, 1], or the length is not positive.
    """
    n = _check(C, v, None, damping)
    steps = torch.arange(positive_int("length", length), dtype=torch.float64, device=C.device)
    return torch.einsum("kef,keft->ket", _read(C), _factors(v, n, steps, damping)).real.to(C.dtype)


def _check_inputs(x: Tensor, C: Tensor, h0: Tensor | None) -> None:
    shape_is("x", x, (C.shape[0], "B", "L", C.shape[1]))
    require(
        x.shape[1] >= 1 and x.shape[2] >= 1,
        f"x has {x.shape[1]} sequences of {x.shape[2]} steps",
        "at least one of each",
        "Pass something to scan.",
    )
    if h0 is not None:
        shape_is("h0", h0, (C.shape[0], x.shape[1], C.shape[1], C.shape[2]))


def _scan(
    x: Tensor,
    C: Tensor,
    v: Tensor,
    bias: Tensor | None,
    damping: Tensor | None,
    h0: Tensor | None,
    silu: bool,
    ends: bool,
) -> tuple[Tensor, Tensor | None]:
    n = _check(C, v, bias, damping)
    _check_inputs(x, C, h0)
    length = x.shape[2]
    y, last = causal_convolution(x, ring_kernel(C, v, length, damping)), None
    steps = torch.arange(length + 1, dtype=torch.float64, device=x.device)
    if ends:
        impulse = torch.fft.irfft(_factors(v, n, steps[:-1], damping), n=n, dim=-2).to(x.dtype)  # (K, E, n, τ)
        last = torch.einsum("kble,kejl->kbej", x.flip(2), impulse)
    if h0 is not None:
        factors, modes = _factors(v, n, steps[1:], damping), torch.fft.rfft(h0.double(), dim=-1)
        y = y + torch.einsum("kef,keft,kbef->kbte", _read(C), factors, modes).real.to(C.dtype)
        rest = torch.fft.irfft(factors[..., -1][:, None] * modes, n=n, dim=-1).to(C.dtype)
        last = None if last is None else last + rest
    if bias is not None:
        y = y + bias[:, None, None]
    return torch.nn.functional.silu(y) if silu else y, last


def ring_scan(
    x: Float[Tensor, "K B L E"],
    C: Float[Tensor, "K E n"],
    v: Float[Tensor, "K E"],
    bias: Float[Tensor, "K E"] | None = None,
    *,
    damping: Float[Tensor, "K E"] | None = None,
    h0: Float[Tensor, "K B E n"] | None = None,
    silu: bool = False,
) -> Float[Tensor, "K B L E"]:
    """Outputs of a ring per run and channel: h ← d R_v h + e_0 x, y = Σ_j C_j h_j + bias.

    Args:
        x: Inputs, one number per channel and step, into neuron 0.
        C: Readout of every neuron.
        v: Velocities, neurons per step; any real number.
        bias: Added to every output; None for none.
        damping: d in [0, 1] per channel; 1 unless given.
        h0: The neurons before the first step; zero unless given.
        silu: Whether y sigmoid(y) is returned in the place of y.

    Returns:
        y in the dtype of x, differentiable.

    Raises:
        ValueError: If the shapes do not fit or the damping leaves [0, 1].
    """
    return _scan(x, C, v, bias, damping, h0, silu, False)[0]


def ring_scan_with_state(
    x: Float[Tensor, "K B L E"],
    C: Float[Tensor, "K E n"],
    v: Float[Tensor, "K E"],
    bias: Float[Tensor, "K E"] | None = None,
    *,
    damping: Float[Tensor, "K E"] | None = None,
    h0: Float[Tensor, "K B E n"] | None = None,
    silu: bool = False,
) -> tuple[Float[Tensor, "K B L E"], Float[Tensor, "K B E n"]]:
    """`ring_scan`, and the neurons after the last step. Arguments and errors are those of `ring_scan`."""
    y, last = _scan(x, C, v, bias, damping, h0, silu, True)
    assert last is not None
    return y, last


def _advance(h: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    moved = torch.fft.irfft(factor * torch.fft.rfft(h, dim=-1), n=h.shape[-1], dim=-1)
    return torch.cat([moved[..., :1] + x.unsqueeze(-1), moved[..., 1:]], dim=-1)


def _factor(v: Tensor, n: int, damping: Tensor | None, dtype: torch.dtype) -> Complex[Tensor, "K 1 E f"]:
    one = torch.ones(1, dtype=torch.float64, device=v.device)
    factor = _factors(v, n, one, damping)[..., 0][:, None]
    return factor if dtype == torch.float64 else factor.to(torch.complex64)


def ring_step(
    x: Float[Tensor, "K B E"],
    C: Float[Tensor, "K E n"],
    v: Float[Tensor, "K E"],
    bias: Float[Tensor, "K E"] | None,
    h: Float[Tensor, "K B E n"],
    *,
    damping: Float[Tensor, "K E"] | None = None,
    silu: bool = False,
) -> tuple[Float[Tensor, "K B E"], Float[Tensor, "K B E n"]]:
    """One step of a ring, for generation: its n numbers per channel are all that is kept.

    Args:
        x: Inputs of this step.
        C, v, bias, damping, silu: As in `ring_scan`.
        h: The neurons before the step.

    Returns:
        y, and the neurons after the step.

    Raises:
        ValueError: If the shapes do not fit or the damping leaves [0, 1].
    """
    n = _check(C, v, bias, damping)
    shape_is("x", x, (C.shape[0], "B", C.shape[1]))
    shape_is("h", h, (*x.shape, n))
    h = _advance(h, x, _factor(v, n, damping, h.dtype))
    y = (h * C[:, None]).sum(-1)
    if bias is not None:
        y = y + bias[:, None]
    return torch.nn.functional.silu(y) if silu else y, h


def ring_states(
    x: Float[Tensor, "K B L E"],
    v: Float[Tensor, "K E"],
    n: int,
    h0: Float[Tensor, "K B E n"] | None = None,
    *,
    damping: Float[Tensor, "K E"] | None = None,
) -> Float[Tensor, "L K B E n"]:
    """The neurons after every step, as activity (time, …, channel, position), by a plain loop.

    Args:
        x: Inputs.
        v: Velocities, neurons per step.
        n: Number of neurons.
        h0: The neurons before the first step; zero unless given.
        damping: d in [0, 1] per channel; 1 unless given.

    Returns:
        h(1) … h(L).

    Raises:
        ValueError: As `ring_scan`.
    """
    shape_is("x", x, ("K", "B", "L", "E"))
    K, B, _, E = x.shape
    C = x.new_zeros(K, E, positive_int("n", n))
    _check(C, v, None, damping)
    _check_inputs(x, C, h0)
    factor = _factor(v, n, damping, x.dtype)
    h = x.new_zeros(K, B, E, n) if h0 is None else h0
    states = []
    for t in range(x.shape[2]):
        h = _advance(h, x[:, :, t], factor)
        states.append(h)
    return torch.stack(states)
