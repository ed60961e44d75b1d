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

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.kernels.arguments import dense
from wavemem.kernels.selective_chunked import Given
from wavemem.kernels.triton_choice import Choice

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


def choose_tile(channels: int, states: int) -> Tile:
    """Return the tile of the two scans, for at most `LARGEST` states.

    A thread holds eight numbers at most of each array of states: enough to work on while others wait for memory, and few
    enough for the registers there are (compiled for compute capabilities 8.0 and 9.0). Programs are small, one group of threads
    wherever that suffices, so that even short batches occupy the device and the sums within a program need no memory.
    """
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
    from wavemem.kernels.selective import selective_scan_reference

    K, B, L, E = 2, 2, STEPS + 2, 5
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    series, numbers, state = (K, B, L, E), (K, B, L, states), (K, B, E, states)
    problem = Given(
        drawn(*series),
        drawn(*series),
        -drawn(K, E, states).exp(),
        drawn(*numbers),
        drawn(*numbers),
        drawn(K, E),
        drawn(*series),
        drawn(K, E),
        drawn(*state),
    )
    gradient, sent = drawn(*series), drawn(*state)
    wanted = [x.clone().requires_grad_() for x in problem if x is not None]
    with torch.enable_grad():
        y, hs = selective_scan_reference(*wanted[:8], softplus=True, h0=wanted[8])
        expected = torch.autograd.grad((y * gradient).sum() + (hs[-1] * sent).sum(), wanted)
    given = Given._make(x.float().to(device) for x in problem if x is not None)
    mine, last, kept = scan(given, softplus=True, keep=True)
    assert kept is not None
    found = scan_backward(given, kept, gradient.float().to(device), sent.float().to(device), softplus=True)
    pairs = [(mine, y.detach()), (last, hs[-1].detach()), *zip(found, expected, strict=True)]
    return all(
        x is not None and torch.allclose(x.double().cpu(), e, rtol=1e-3, atol=1e-4 * float(e.abs().max()))
        for x, e in pairs
    )


@torch.no_grad()
def scan(given: Given, *, softplus: bool, keep: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Outputs, last state, and (where `keep` asks for them) the states before every `STEPS` steps, (K, B, chunks, E, N)."""
    given = Given._make(dense(x) for x in given)
    u = given.u
    K, batch, L, E = u.shape
    N, tile, chunks = given.A.shape[2], choose_tile(E, given.A.shape[2]), -(-L // STEPS)
    y, last = torch.empty_like(u), u.new_zeros(K, batch, E, N)
    starts = u.new_empty((K, batch, chunks, E, N)) if keep else None
    with torch.cuda.device_of(u):
        _CHOICE.kernels().scan_forward[(K * batch, -(-E // tile.channels))](
            *(u if x is None else x for x in given),
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
            HAS_D=given.D is not None,
            HAS_Z=given.z is not None,
            HAS_BIAS=given.delta_bias is not None,
            HAS_H0=given.h0 is not None,
            SOFTPLUS=softplus,
            KEEP=keep,
            num_warps=tile.warps,
            num_stages=1,
        )
    return y, last, starts


@torch.no_grad()
def scan_backward(
    given: Given,
    kept: Float[Tensor, "K B chunks E N"],
    gy: Float[Tensor, "K B L E"],
    gh: Float[Tensor, "K B E N"] | None,
    *,
    softplus: bool,
) -> tuple[Tensor | None, ...]:
    """Gradients of everything given, in its order; None for what was not given."""
    given = Given._make(dense(x) for x in given)
    u, D, z, bias, h0 = given.u, given.D, given.z, given.delta_bias, given.h0
    K, batch, L, E = u.shape
    N = given.A.shape[2]
    tile, chunks = choose_tile(E, N), -(-L // STEPS)
    blocks = -(-E // tile.channels)
    du, ddelta, dz = torch.zeros_like(u), torch.zeros_like(u), torch.zeros_like(u) if z is not None else u.new_zeros(1)
    dB, dC = u.new_zeros((K, batch, blocks, L, N)), u.new_zeros((K, batch, blocks, L, N))
    dA, dD, dh0 = u.new_zeros((K, batch, E, N)), u.new_zeros((K, batch, E)), u.new_zeros((K, batch, E, N))
    scratch = u.new_empty((K * batch * blocks, STEPS, tile.channels, tile.states))
    with torch.cuda.device_of(u):
        _CHOICE.kernels().scan_back[(K * batch, blocks)](
            *(u if x is None else x for x in (dense(gy), dense(gh), dense(kept), *given[:8])),
            *(du, ddelta, dz, dB, dC, dA, dD, dh0),
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
            HAS_BIAS=bias is not None,
            HAS_LAST=gh is not None,
            SOFTPLUS=softplus,
            num_warps=tile.warps,
            num_stages=1,
            maxnreg=REGISTERS,
        )
    return (
        du,
        ddelta,
        dA.sum(1),
        dB.sum(2),
        dC.sum(2),
        None if D is None else dD.sum(1),
        None if z is None else dz,
        None if bias is None else ddelta.sum((1, 2)),
        None if h0 is None else dh0,
    )
