"""The Wave-RNN's recurrence on a CUDA device (Keller et al. 2024, Eq. 3): all time steps in one launch, forward and back.

PyTorch launches a padding, a convolution, an addition and an activation per time step, each of which takes some
microseconds whatever the size of the network. Here a program takes a few batch rows of one run through all steps; the next
step finds the state where the step before has written it, in the chip's caches. The weight gradients are not summed in
that loop: they are one product over all steps, the batch and the ring, in a third launch.

Arithmetic is float32 throughout, never TF32. Triton is imported at the first use; `import wavemem` does not need it. Which
program serves a call is decided by `use_triton`; the environment variable WAVEMEM_WAVE_KERNEL says "torch" (never this
one), "triton" (this one, or an error that says why not) or "auto", the default (this one on a CUDA device, for float32 and
at most 128 channels, once it has been seen to give the right numbers on that device).

How far it has been checked: outputs and gradients equal the float64 reference in Triton's interpreter, which carries out
the kernels on the CPU, and the kernels compile without spilled registers for compute capabilities 8.0 and 9.0. They have
not been run on a GPU; in particular, the interpreter does not test what the barrier between two steps is there for.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import one_of, positive_int, require, shape_is
from wavemem.kernels.triton_choice import full_precision

VARIABLE = "WAVEMEM_WAVE_KERNEL"
"""Environment variable that chooses the program."""

LARGEST = 128
"""Channels at most."""

Activation = Literal["relu", "tanh", "linear"]

_PROGRAMS = 1024
"""Programs of the weight gradient, all together: several for each of a large device's multiprocessors."""


@dataclass(frozen=True)
class Tile:
    """How the kernels are cut up.

    Args:
        out: Output channels of a block, a power of two; all there are.
        inputs: Input channels that are summed over at once, a power of two.
        places: Units of the rings, side by side, that a block holds; a power of two.
        rows: Batch rows of a program.
        warps: Groups of 32 threads of a program.
        dot: Whether products are Triton's, rather than sums element by element.
    """

    out: int
    inputs: int
    places: int
    rows: int
    warps: int
    dot: bool


def choose_tile(channels: int, units: int) -> Tile:
    """Return the tile of the two scans.

    With these numbers the kernels need no more registers than there are (compiled for compute capabilities 8.0 and 9.0).
    A program has several rows where the rings are so short that one would leave most of a block empty.

    Raises:
        ValueError: If there are fewer than 1 or more than `LARGEST` channels, or fewer than 1 unit.
    """
    channels, units = positive_int("channels", channels), positive_int("units", units)
    advice = f"Set {VARIABLE}=torch for other numbers of channels."
    require(channels <= LARGEST, f"{channels} channels", f"1 to {LARGEST}", advice)
    power = 1 << (channels - 1).bit_length()
    if channels <= 8:
        out, inputs, places, warps = max(4, power), max(4, power), 128, 4
    else:
        out, inputs, places, warps = power, 16, 4096 // power, 8
    return Tile(out, inputs, places, max(1, places // units), warps, channels > 8)


def kernel_choice() -> str:
    """Return what WAVEMEM_WAVE_KERNEL asks for.

    Raises:
        ValueError: If it is none of "auto", "torch" and "triton".
    """
    choice = os.environ.get(VARIABLE, "auto")
    one_of(VARIABLE, choice, ("auto", "torch", "triton"))
    return choice


@cache
def _kernels() -> Any:
    """Import the kernels; None where there is no Triton."""
    try:
        from wavemem.kernels import _wave_triton_kernels
    except ImportError:
        return None
    return _wave_triton_kernels


def _interpreted() -> bool:
    """Whether the kernels are carried out by Triton's interpreter, which takes tensors on the CPU."""
    return type(_kernels().scan_forward).__name__ == "InterpretedFunction"


def _ring_sum(u: Tensor, h: Tensor) -> Tensor:
    """u ⋆ h for (K, c, c, k) and (K, B, c, n), one tap after the other, in plain PyTorch."""
    k = u.shape[3]
    taps = [torch.einsum("koi,kbin->kbon", u[..., tap], h.roll(k // 2 - tap, -1)) for tap in range(k)]
    return torch.stack(taps).sum(0)


@cache
def _gives_the_right_numbers(device: torch.device, channels: int, taps: int) -> bool:
    """Run small problems on a device and compare them with float64; once per device, channels and taps."""
    generator = torch.Generator().manual_seed(0)
    try:
        right = all(_right_numbers(generator, device, channels, taps, units) for units in (taps + 8, 200 + taps))
        reason = "its numbers differ from the reference"
    except Exception as error:  # whatever a compiler or a driver may raise
        right, reason = False, f"it failed with {type(error).__name__}: {error}"
    if not right:
        warnings.warn(
            f"the Triton kernel is not used on {device}: {reason}. PyTorch's own operations serve instead; "
            f"{VARIABLE}=torch silences this warning.",
            RuntimeWarning,
            stacklevel=3,
        )
    return right


def _right_numbers(
    generator: torch.Generator, device: torch.device, channels: int, taps: int, units: int, T: int = 4
) -> bool:
    """Compare states, deltas and the weights' gradient of one problem with float64."""
    K, B = 2, 3
    u = torch.randn(K, channels, channels, taps, generator=generator, dtype=torch.float64) / (channels * taps) ** 0.5
    drive, gradient = torch.randn(2, K, T, B, channels, units, generator=generator, dtype=torch.float64).unbind(0)
    states, deltas = [torch.zeros_like(drive[:, 0])], [torch.zeros_like(drive[:, 0])]
    for t in range(T):
        states.append(torch.tanh(_ring_sum(u, states[-1]) + drive[:, t]))
    back = u.flip(3).transpose(1, 2)
    for t in reversed(range(T)):
        deltas.insert(0, (gradient[:, t] + _ring_sum(back, deltas[0])) * (1 - states[t + 1] ** 2))
    sequence, delta = torch.stack(states, 1), torch.stack(deltas[:-1], 1)
    shifted = [sequence[:, :-1].roll(taps // 2 - tap, -1) for tap in range(taps)]
    weights = torch.stack([torch.einsum("ktbon,ktbin->koi", delta, h) for h in shifted], -1)
    u_, drive_, h0_, gradient_ = (x.float().to(device) for x in (u, drive, states[0], gradient))
    mine = [scan_states(u_, drive_, h0_, "tanh")]
    mine.append(scan_deltas(u_, mine[0], gradient_, "tanh"))
    mine.append(kernel_gradient(mine[1], mine[0], taps))
    return all(
        torch.allclose(x.double().cpu(), y, rtol=1e-4, atol=1e-4 * float(y.abs().max()))
        for x, y in zip(mine, (sequence, delta, weights), strict=True)
    )


def use_triton(u: Float[Tensor, "K c c k"]) -> bool:
    """Whether the kernels of this module serve networks with these recurrent weights.

    Raises:
        ValueError: If WAVEMEM_WAVE_KERNEL has an unknown value, or asks for Triton where that cannot be.
    """
    choice = kernel_choice()
    if choice == "torch" or (choice == "auto" and u.device.type != "cuda"):
        return False
    channels, taps = u.shape[1], u.shape[3]
    fits = u.dtype == torch.float32 and channels <= LARGEST
    if choice == "triton":
        advice = f"Set {VARIABLE}=auto to use it where it can be."
        require(_kernels() is not None, f"{VARIABLE}=triton", "that where Triton is installed", advice)
        where = u.device.type == "cuda" or _interpreted()
        require(where, f"{VARIABLE}=triton for tensors on {u.device}", "that on a CUDA device", advice)
        got = f"{VARIABLE}=triton for {u.dtype} and {channels} channels"
        require(fits, got, f"float32 and at most {LARGEST}", advice)
        return True
    return fits and _kernels() is not None and _gives_the_right_numbers(u.device, channels, taps)


def _all_float32(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        require(tensor.dtype == torch.float32, f"{name} of {tensor.dtype}", "float32", f"Convert {name} with .float().")


def _taps(u: Tensor, units: int) -> int:
    """Check the recurrent weights; return their number of taps."""
    shape_is("u", u, ("K", "c", "c", "k"))
    K, channels, _, taps = u.shape
    shape_is("u", u, (K, channels, channels, taps))
    odd = taps % 2 == 1 and taps // 2 <= units
    require(odd, f"{taps} taps on {units} units", "an odd number, at most 2 n + 1", "Choose another kernel size.")
    return taps


def _launch(kernel: Any, weights: Tensor, first: Tensor, second: Tensor, taps: int, activation: Activation) -> None:
    """Launch one of the two scans; `second` is what it writes, of (K, …, B, c, n)."""
    K, B, channels, units = second.shape[0], *second.shape[2:]
    T = min(first.shape[1], second.shape[1])
    tile = choose_tile(channels, units)
    with torch.cuda.device_of(second):
        kernel[(K, -(-B // tile.rows))](
            weights,
            first,
            second,
            B,
            T,
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


@torch.no_grad()
def scan_states(
    u: Float[Tensor, "K c c k"],
    drive: Float[Tensor, "K T B c n"],
    h0: Float[Tensor, "K B c n"],
    activation: Activation,
) -> Float[Tensor, "K T1 B c n"]:
    r"""Return $h(t) = \sigma(u \star h(t-1) + \mathrm{drive}(t))$, t = 0 … T, of K independent runs, in one launch.

    $(u \star h)_{o,p} = \sum_{i,\tau} u_{o,i,\tau} h_{i,(p+\tau-(k-1)/2) \bmod n}$, as `torch.nn.Conv1d` has it.

    Args:
        u: Recurrent weights (output channel, input channel, tap), float32, an odd number of taps.
        drive: V x(t) + b, with all biases in it.
        h0: h(0).
        activation: σ, "relu", "tanh" or "linear".

    Returns:
        h(0) … h(T), shape (K, T + 1, B, c, n), contiguous.

    Raises:
        ValueError: If shapes or types do not fit together, or there are more than `LARGEST` channels.
    """
    one_of("activation", activation, get_args(Activation))
    shape_is("drive", drive, ("K", "T", "B", "c", "n"))
    K, T, B, channels, units = drive.shape
    taps = _taps(u, units)
    shape_is("u", u, (K, channels, channels, taps))
    shape_is("h0", h0, (K, B, channels, units))
    _all_float32(u=u, drive=drive, h0=h0)
    states = drive.new_empty(K, T + 1, B, channels, units)
    states[:, 0] = h0
    if states[:, 1:].numel():
        weights = u.permute(0, 3, 1, 2).contiguous()
        _launch(_kernels().scan_forward, weights, drive.contiguous(), states, taps, activation)
    return states


@torch.no_grad()
def scan_deltas(
    u: Float[Tensor, "K c c k"],
    states: Float[Tensor, "K T1 B c n"],
    gradient: Float[Tensor, "K T B c n"],
    activation: Activation,
) -> Float[Tensor, "K T B c n"]:
    r"""Return $\delta(t) = \sigma'(t) \circ (g(t) + u^\top \star \delta(t+1))$, t = 1 … T, in one launch.

    δ(t) is the gradient with respect to the argument of σ, which is also that of the drive.

    Args:
        u: Recurrent weights.
        states: What `scan_states` returned.
        gradient: g(t) = ∂L/∂h(t), t = 1 … T, without what later steps send back.
        activation: σ.

    Raises:
        ValueError: If shapes or types do not fit together, or there are more than `LARGEST` channels.
    """
    one_of("activation", activation, get_args(Activation))
    shape_is("gradient", gradient, ("K", "T", "B", "c", "n"))
    K, T, B, channels, units = gradient.shape
    taps = _taps(u, units)
    shape_is("u", u, (K, channels, channels, taps))
    shape_is("states", states, (K, T + 1, B, channels, units))
    _all_float32(u=u, states=states, gradient=gradient)
    delta = gradient.clone(memory_format=torch.contiguous_format)
    if delta.numel():
        weights = u.flip(3).permute(0, 3, 2, 1).contiguous()
        _launch(_kernels().scan_back, weights, states.contiguous(), delta, taps, activation)
    return delta


@torch.no_grad()
def kernel_gradient(
    delta: Float[Tensor, "K T B c n"], states: Float[Tensor, "K T1 B c n"], taps: int
) -> Float[Tensor, "K c c k"]:
    r"""Return $\partial L/\partial u_{o,i,\tau} = \sum_{t,b,p} \delta_{o,p}(t) h_{i,(p+\tau-(k-1)/2) \bmod n}(t-1)$.

    Programs sum over their own steps and rows; their sums are added up afterwards, always in the same order.

    Args:
        delta: What `scan_deltas` returned.
        states: What `scan_states` returned.
        taps: k, odd.

    Raises:
        ValueError: If shapes or types do not fit together, or there are more than `LARGEST` channels.
    """
    shape_is("delta", delta, ("K", "T", "B", "c", "n"))
    K, T, B, channels, units = delta.shape
    shape_is("states", states, (K, T + 1, B, channels, units))
    _all_float32(delta=delta, states=states)
    taps = _taps(delta.new_empty(K, channels, channels, positive_int("taps", taps)), units)
    if not delta.numel():
        return delta.new_zeros(K, channels, channels, taps)
    if taps == 1:
        # Nothing is shifted: a plain product, also of rings of one unit, on which the kernel would waste itself.
        rows, before = (x.transpose(3, 4).reshape(K, T * B * units, channels) for x in (delta, states[:, :-1]))
        with full_precision():
            return (rows.mT @ before)[..., None]
    out = choose_tile(channels, units).out
    pairs = min(1 << (taps * channels - 1).bit_length(), 2048 // out)
    blocks = -(-taps * channels // pairs)
    programs = max(1, min(T * B, _PROGRAMS // (K * blocks)))
    partial = delta.new_empty(K, programs, channels, taps * channels)
    with torch.cuda.device_of(delta):
        _kernels().sum_products[(K, programs, blocks)](
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
