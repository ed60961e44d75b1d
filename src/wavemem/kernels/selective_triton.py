"""The selective scan on a CUDA device (Gu & Dao 2024, Algorithm 2): one launch forward, one back.

    Δ(t) = softplus(δ(t) + b),    h(t) = exp(Δ(t) A) h(t-1) + Δ(t) B(t) u(t),    y(t) = (Σ_n C_n(t) h_n(t) + D u(t)) silu(z(t))

A state has N numbers per channel: a tensor of all of them would be N times as large as the input. They stay in registers.
For the way back only every sixteenth state is kept, and the others are computed again. Softplus, bias, D and gate are
part of the launch. The sums over sequences (A, D) and over blocks of channels (B, C) are added up afterwards, always in the
same order.

Arithmetic is float32. Triton is imported at the first use; `import wavemem` does not need it. Which program serves a call is
decided by `use_triton`; the environment variable WAVEMEM_SELECTIVE_KERNEL says "torch" (never this one), "triton" (this one,
or an error that says why not) or "auto", the default (this one on a CUDA device, for float32 and at most 256 numbers per
channel, once it has been seen to give the right numbers on that device).

How far it has been checked: outputs and gradients equal the float64 reference in Triton's interpreter, which carries out
the kernels on the CPU, and the kernels compile without spilled registers for compute capabilities 8.0 and 9.0. They have
not been run on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, require, shape_is
from wavemem.kernels.triton_choice import Choice

__all__ = [
    "LARGEST",
    "REGISTERS",
    "STEPS",
    "VARIABLE",
    "Gradients",
    "Tile",
    "choose_tile",
    "require_triton",
    "scan",
    "scan_backward",
    "use_triton",
]

VARIABLE = "WAVEMEM_SELECTIVE_KERNEL"
"""Environment variable that chooses the program."""

LARGEST = 256
"""Numbers of a channel's state at most."""

STEPS = 16
"""Time steps from one kept state to the next."""

REGISTERS = 168
"""Registers of a thread on the way back; the compiler by itself takes 128 for some sizes, and spills."""

_CHOICE = Choice(VARIABLE, "wavemem.kernels._selective_triton_kernels", "scan_forward")


@dataclass(frozen=True)
class Tile:
    """How the kernels are cut up.

    Args:
        states: Numbers of a channel's state, rounded up to a power of two.
        channels: Channels of a program, a power of two.
        warps: Groups of 32 threads of a program.
    """

    states: int
    channels: int
    warps: int


class Gradients(NamedTuple):
    """What `scan_backward` finds; None for what the scan was not given."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    h0: Tensor | None


def choose_tile(channels: int, states: int) -> Tile:
    """Return the tile of the two scans.

    A thread holds eight numbers at most of each array of states: enough to work on while others wait for memory, and few
    enough for the registers there are (compiled for compute capabilities 8.0 and 9.0). Programs are small, one group of threads
    wherever that suffices, so that even short batches occupy the device and the sums within a program need no memory.

    Raises:
        ValueError: If there is not a positive number of channels, or the states are fewer than 1 or more than `LARGEST`.
    """
    channels, states = positive_int("channels", channels), positive_int("states", states)
    advice = f"Set {VARIABLE}=torch for larger states."
    require(states <= LARGEST, f"states of {states} numbers per channel", f"1 to {LARGEST}", advice)
    width = 1 << (states - 1).bit_length()
    rows = min(max(4, min(64, 256 // width)), 1 << (channels - 1).bit_length())
    return Tile(width, rows, max(1, rows * width // 256))


def _fits(u: Tensor, states: int) -> tuple[bool, str, str]:
    fits = u.dtype == torch.float32 and 1 <= states <= LARGEST
    return fits, f"{u.dtype} and states of {states} numbers", f"float32 and 1 to {LARGEST}"


def use_triton(u: Float[Tensor, "K B L E"], states: int) -> bool:
    """Whether the kernels of this module serve a scan of this input with states of so many numbers per channel.

    Raises:
        ValueError: If WAVEMEM_SELECTIVE_KERNEL has an unknown value, or asks for Triton where that cannot be.
    """
    return _CHOICE.serves(u, *_fits(u, states), lambda device: _right_numbers(device, states), states)


def require_triton(u: Float[Tensor, "K B L E"], states: int) -> None:
    """Check that the kernels can serve a scan, for a caller who asks for them by name.

    Raises:
        ValueError: If they cannot.
    """
    _CHOICE.demand(u, *_fits(u, states))


def _right_numbers(device: torch.device, states: int) -> bool:
    """Compare outputs and all gradients of a small problem with float64."""
    K, B, L, E = 2, 2, STEPS + 2, 5
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    u, delta, z, gradient = (drawn(K, B, L, E) for _ in range(4))
    A, D, bias = -drawn(K, E, states).exp(), drawn(K, E), drawn(K, E)
    into, out = drawn(K, B, L, states), drawn(K, B, L, states)
    h0, sent = drawn(K, B, E, states), drawn(K, B, E, states)
    given = (u, delta, A, into, out, D, z, bias, h0)
    wanted = [x.clone().requires_grad_() for x in given]
    y, h = _in_float64(*wanted)
    with torch.enable_grad():
        expected = torch.autograd.grad((y * gradient).sum() + (h * sent).sum(), wanted)
    u, delta, A, into, out, D, z, bias, h0 = (x.float().to(device) for x in given)
    mine, last, kept = scan(u, delta, A, into, out, D, z, bias, h0, softplus=True, keep=True)
    gy, gh = gradient.float().to(device), sent.float().to(device)
    found = scan_backward(u, delta, A, into, out, D, z, bias, h0, kept, gy, gh, softplus=True)
    pairs = [(mine, y.detach()), (last, h.detach()), *zip(found, expected, strict=True)]
    return all(
        x is not None and torch.allclose(x.double().cpu(), e, rtol=1e-3, atol=1e-4 * float(e.abs().max()))
        for x, e in pairs
    )


@torch.enable_grad()
def _in_float64(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    into: Tensor,
    out: Tensor,
    D: Tensor,
    z: Tensor,
    bias: Tensor,
    h: Tensor,
) -> tuple[Tensor, Tensor]:
    """The equations at the head of this module, step by step; outputs and last state."""
    outputs = []
    for t in range(u.shape[2]):
        step = torch.nn.functional.softplus(delta[:, :, t] + bias[:, None])[..., None]
        h = torch.exp(step * A[:, None]) * h + step * into[:, :, t, None] * u[:, :, t, :, None]
        y = (h * out[:, :, t, None]).sum(-1) + D[:, None] * u[:, :, t]
        outputs.append(y * torch.nn.functional.silu(z[:, :, t]))
    return torch.stack(outputs, 2), h


def _contiguous(first: Tensor, **tensors: tuple[Tensor | None, tuple[int, ...]]) -> list[Tensor | None]:
    """Check shapes and types; return the tensors, contiguous."""
    found: list[Tensor | None] = []
    for name, (tensor, shape) in tensors.items():
        if tensor is None:
            found.append(None)
            continue
        shape_is(name, tensor, shape)
        alike = tensor.dtype == torch.float32 and tensor.device == first.device
        got = f"{name} of {tensor.dtype} on {tensor.device}"
        require(alike, got, f"float32 on {first.device}", f"Convert {name} with .float() and .to(device).")
        found.append(tensor.contiguous())
    return found


def _sizes(u: Tensor, A: Tensor) -> tuple[int, int, int, int, int]:
    """Return K, B, L, E and N."""
    shape_is("u", u, ("K", "B", "L", "E"))
    K, B, L, E = u.shape
    shape_is("A", A, (K, E, "N"))
    return K, B, L, E, A.shape[2]


@torch.no_grad()
def scan(
    u: Float[Tensor, "K B L E"],
    delta: Float[Tensor, "K B L E"],
    A: Float[Tensor, "K E N"],
    B: Float[Tensor, "K B L N"],
    C: Float[Tensor, "K B L N"],
    D: Float[Tensor, "K E"] | None,
    z: Float[Tensor, "K B L E"] | None,
    delta_bias: Float[Tensor, "K E"] | None,
    h0: Float[Tensor, "K B E N"] | None,
    *,
    softplus: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    r"""Carry out the scan.

    Args:
        u: Inputs, float32, as everything here.
        delta: $\delta$, the step sizes before bias and softplus.
        A: Rates of the states.
        B: What the input adds to the state.
        C: What the output reads from the state.
        D: What the output takes from the input directly; nothing if None.
        z: Gate; none if None.
        delta_bias: b; 0 if None.
        h0: The state before the first step; 0 if None.
        softplus: Whether $\Delta = \mathrm{softplus}(\delta + b)$; else $\Delta = \delta + b$.
        keep: Whether to keep what `scan_backward` needs.

    Returns:
        y (K, B, L, E); the last state (K, B, E, N); and the state before every `STEPS` steps, (K, B, chunks, E, N), or None
        where it is not to be kept.

    Raises:
        ValueError: If shapes or types do not fit together, or a state has more than `LARGEST` numbers.
    """
    K, batch, L, E, N = _sizes(u, A)
    series, rows, numbers, state = (K, batch, L, E), (K, E), (K, batch, L, N), (K, batch, E, N)
    u_, *others = _contiguous(
        u,
        u=(u, series),
        delta=(delta, series),
        A=(A, (K, E, N)),
        B=(B, numbers),
        C=(C, numbers),
        D=(D, rows),
        z=(z, series),
        delta_bias=(delta_bias, rows),
        h0=(h0, state),
    )
    tile = choose_tile(max(1, E), N)
    chunks = -(-L // STEPS)
    y, last = torch.empty_like(u, memory_format=torch.contiguous_format), u.new_zeros(state)
    starts = u.new_empty((K, batch, chunks, E, N)) if keep else None
    if not y.numel():
        return y, last if h0 is None else h0.clone(), starts
    with torch.cuda.device_of(u):
        _CHOICE.kernels().scan_forward[(K * batch, -(-E // tile.channels))](
            u_,
            *(u_ if x is None else x for x in others),
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
            HAS_D=D is not None,
            HAS_Z=z is not None,
            HAS_BIAS=delta_bias is not None,
            HAS_H0=h0 is not None,
            SOFTPLUS=softplus,
            KEEP=keep,
            num_warps=tile.warps,
            num_stages=1,
        )
    return y, last, starts


@torch.no_grad()
def scan_backward(
    u: Float[Tensor, "K B L E"],
    delta: Float[Tensor, "K B L E"],
    A: Float[Tensor, "K E N"],
    B: Float[Tensor, "K B L N"],
    C: Float[Tensor, "K B L N"],
    D: Float[Tensor, "K E"] | None,
    z: Float[Tensor, "K B L E"] | None,
    delta_bias: Float[Tensor, "K E"] | None,
    h0: Float[Tensor, "K B E N"] | None,
    kept: Float[Tensor, "K B chunks E N"] | None,
    gy: Float[Tensor, "K B L E"],
    gh: Float[Tensor, "K B E N"] | None,
    *,
    softplus: bool,
) -> Gradients:
    r"""Return the gradients of a loss with respect to everything that the scan was given.

    Args:
        u: As in `scan`, as all down to h0.
        delta: See there.
        A: See there.
        B: See there.
        C: See there.
        D: See there.
        z: See there.
        delta_bias: See there.
        h0: See there; its values are not needed.
        kept: What `scan` kept.
        gy: $\partial L/\partial y$.
        gh: $\partial L/\partial h(L)$ of the last state; 0 if None.
        softplus: See there.

    Raises:
        ValueError: If shapes or types do not fit together, the states were not kept, or have more than `LARGEST` numbers.
    """
    K, batch, L, E, N = _sizes(u, A)
    series, rows, numbers, state = (K, batch, L, E), (K, E), (K, batch, L, N), (K, batch, E, N)
    chunks = -(-L // STEPS)
    require(kept is not None, "kept = None", "what `scan` kept", "Call scan with keep=True.")
    given = _contiguous(
        u,
        gy=(gy, series),
        gh=(gh, state),
        kept=(kept, (K, batch, chunks, E, N)),
        u=(u, series),
        delta=(delta, series),
        A=(A, (K, E, N)),
        B=(B, numbers),
        C=(C, numbers),
        D=(D, rows),
        z=(z, series),
        delta_bias=(delta_bias, rows),
    )
    tile = choose_tile(max(1, E), N)
    blocks = -(-E // tile.channels)
    found: dict[str, Tensor] = {
        "u": u.new_zeros(series),
        "delta": u.new_zeros(series),
        "z": u.new_zeros(series if z is not None else (1,)),
        "B": u.new_zeros((K, batch, blocks, L, N)),
        "C": u.new_zeros((K, batch, blocks, L, N)),
        "A": u.new_zeros(state),
        "D": u.new_zeros((K, batch, E)),
        "h0": u.new_zeros(state),
    }
    if u.numel():
        scratch = u.new_empty((K * batch * blocks, STEPS, tile.channels, tile.states))
        with torch.cuda.device_of(u):
            _CHOICE.kernels().scan_back[(K * batch, blocks)](
                *(given[3] if x is None else x for x in given),
                *found.values(),
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
                HAS_BIAS=delta_bias is not None,
                HAS_LAST=gh is not None,
                SOFTPLUS=softplus,
                num_warps=tile.warps,
                num_stages=1,
                maxnreg=REGISTERS,
            )
    elif gh is not None:
        found["h0"].copy_(gh)
    return Gradients(
        found["u"],
        found["delta"],
        found["A"].sum(1),
        found["B"].sum(2),
        found["C"].sum(2),
        None if D is None else found["D"].sum(1),
        None if z is None else found["z"],
        None if delta_bias is None else found["delta"].sum((1, 2)),
        None if h0 is None else found["h0"],
    )
