"""The Elman recurrence on a CUDA device (TWM Eq. 9): the whole loop over time in one launch, forward and back.

PyTorch launches several kernels per time step, each of which takes a few microseconds whatever the size of the networks,
and reads the recurrent matrix anew every time. Here a program takes a few rows of one run's batch through all steps with
the run's matrix in registers, and stops at the run's own horizon. Weight gradients are not summed in the loop: each is one
product over all steps and the batch, which cuBLAS does better.

Nothing here waits for the device. Triton is imported at the first use; `import wavemem` does not need it. Which program
serves a call is decided by `use_triton`; the environment variable WAVEMEM_ELMAN_KERNEL says "torch" (never this one),
"triton" (this one, or an error that says why not) or "auto", the default (this one on a CUDA device, for float32 and at
most 128 hidden units, once it has been seen to give the right numbers on that device).

How far it has been checked: outputs and gradients equal the float64 reference in Triton's interpreter, which carries out
the kernels on the CPU, and the kernels compile without spilled registers for compute capabilities 8.0 and 9.0. They have
not been run on a GPU.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import one_of, require, shape_is

__all__ = [
    "LARGEST",
    "VARIABLE",
    "Precision",
    "Tile",
    "choose_tile",
    "current_precision",
    "full_precision",
    "kernel_choice",
    "recurrence_precision",
    "scan_deltas",
    "scan_states",
    "use_triton",
]

VARIABLE = "WAVEMEM_ELMAN_KERNEL"
"""Environment variable that chooses the program."""

LARGEST = 128
"""Hidden units at most: the registers of one multiprocessor hold no larger matrix beside everything else."""

Precision = Literal["ieee", "tf32", "tf32x3"]
"""Arithmetic of the recurrent product: float32, TensorFloat-32 (10 bits of mantissa), or three products of the latter."""

_precision: Precision = "ieee"


@dataclass(frozen=True)
class Tile:
    """How a kernel is cut up.

    Args:
        width: Units of a program, a power of two.
        rows: Batch rows of a program.
        warps: Groups of 32 threads of a program.
    """

    width: int
    rows: int
    warps: int


def choose_tile(N: int, precision: Precision = "ieee") -> Tile:
    """Return the tile for N hidden units.

    With these numbers the kernels need no more registers than there are (compiled for compute capabilities 8.0 and 9.0);
    the tensor cores of TF32 want 16 rows at least.

    Raises:
        ValueError: If N is not between 1 and `LARGEST`, or the precision is unknown.
    """
    one_of("precision", precision, get_args(Precision))
    require(
        1 <= N <= LARGEST, f"{N} hidden units", f"1 to {LARGEST}", f"Set {VARIABLE}=torch for other numbers of units."
    )
    width = max(16, 1 << (N - 1).bit_length())
    return Tile(width, 4 if precision == "ieee" else 16, 4 if width <= 64 else 8)


@contextmanager
def recurrence_precision(precision: Precision) -> Iterator[None]:
    """Let trainings use another arithmetic inside a `with` block; for measurements of what it does to the results.

    Where PyTorch's products serve, `wavemem.kernels.elman_training` rounds their factors as the tensor cores would get them.

    Args:
        precision: Arithmetic of the recurrent product, forward and back. Products outside the loop stay float32.

    Raises:
        ValueError: If the precision is unknown.
    """
    global _precision
    one_of("precision", precision, get_args(Precision))
    before, _precision = _precision, precision
    try:
        yield
    finally:
        _precision = before


def current_precision() -> Precision:
    """Return the arithmetic of the recurrent product, "ieee" outside of `recurrence_precision`."""
    return _precision


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep PyTorch's own products in float32 inside a `with` block, whatever the program around it allows."""
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:
        # Set by PyTorch's newer interface, which does not bear to be mixed with the older one.
        products: Any = torch.backends.cuda.matmul
        newer = products.fp32_precision
        products.fp32_precision = "ieee"
        try:
            yield
        finally:
            products.fp32_precision = newer
        return
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def kernel_choice() -> str:
    """Return what WAVEMEM_ELMAN_KERNEL asks for.

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
        from wavemem.kernels import _elman_triton_kernels
    except ImportError:
        return None
    return _elman_triton_kernels


def _interpreted() -> bool:
    """Whether the kernels are carried out by Triton's interpreter, which takes tensors on the CPU."""
    return type(_kernels().scan_forward).__name__ == "InterpretedFunction"


@cache
def _gives_the_right_numbers(device: torch.device, width: int) -> bool:
    """Run a small problem on a device and compare it with float64; once per device and width."""
    generator = torch.Generator().manual_seed(0)
    K, B, S, T = 2, 5, 2, 4
    W, drive, h0, gradient = (
        torch.randn(shape, generator=generator, dtype=torch.float64) / width**0.5
        for shape in ((K, width, width), (K, S, B, width), (K, B, width), (K, T, B, width))
    )
    lengths = torch.tensor([T, T - 1], dtype=torch.int32)
    states, deltas = [h0], [torch.zeros_like(h0)]
    for t in range(T):
        z = states[-1] @ W.mT + (drive[:, t] if t < S else 0.0)
        states.append(torch.where(lengths[:, None, None] > t, z.tanh(), 0.0))
    for t in reversed(range(T)):
        sent = gradient[:, t] + deltas[0] @ W
        deltas.insert(0, torch.where(lengths[:, None, None] > t, sent * (1 - states[t + 1] ** 2), 0.0))
    expected = torch.stack(states, 1), torch.stack(deltas[:-1], 1)
    try:
        W_, drive_, h0_, delta = (x.float().to(device) for x in (W, drive, h0, gradient))
        sequence = torch.zeros(K, T + 1, B, width, device=device)
        sequence[:, 0] = h0_
        scan_states(W_, drive_, sequence, lengths.to(device))
        scan_deltas(W_, sequence, delta, lengths.to(device))
        right = all(
            torch.allclose(mine.double().cpu(), theirs, rtol=1e-4, atol=1e-5)
            for mine, theirs in zip((sequence, delta), expected, strict=True)
        )
        reason = "its numbers differ from the reference"
    except Exception as error:  # whatever a compiler or a driver may raise
        right, reason = False, f"it failed with {type(error).__name__}: {error}"
    if not right:
        warnings.warn(
            f"the Triton kernel is not used on {device}: {reason}. PyTorch's products serve instead; "
            f"{VARIABLE}=torch silences this warning.",
            RuntimeWarning,
            stacklevel=2,
        )
    return right


def use_triton(W_hh: Float[Tensor, "K N N"]) -> bool:
    """Whether the kernels of this module serve networks with these recurrent weights.

    Raises:
        ValueError: If WAVEMEM_ELMAN_KERNEL has an unknown value, or asks for Triton where that cannot be.
    """
    choice = kernel_choice()
    if choice == "torch" or (choice == "auto" and W_hh.device.type != "cuda"):
        return False
    N = W_hh.shape[1]
    fits = W_hh.dtype == torch.float32 and N <= LARGEST
    if choice == "triton":
        advice = f"Set {VARIABLE}=auto to use it where it can be."
        require(_kernels() is not None, f"{VARIABLE}=triton", "that where Triton is installed", advice)
        where = W_hh.device.type == "cuda" or _interpreted()
        require(where, f"{VARIABLE}=triton for tensors on {W_hh.device}", "that on a CUDA device", advice)
        require(
            fits,
            f"{VARIABLE}=triton for {W_hh.dtype} and {N} hidden units",
            f"float32 and at most {LARGEST}",
            advice,
        )
        return True
    return fits and _kernels() is not None and _gives_the_right_numbers(W_hh.device, choose_tile(N).width)


def _grid(K: int, B: int, tile: Tile) -> tuple[int, int]:
    return K, -(-B // tile.rows)


def _common(W_hh: Tensor, sequence: Tensor, lengths: Tensor) -> tuple[int, int, int, int]:
    """Check what both scans are given; return K, T, B and N."""
    shape_is("sequence", sequence, ("K", "T + 1", "B", "N"))
    K, after, B, N = sequence.shape
    shape_is("W_hh", W_hh, (K, N, N))
    shape_is("lengths", lengths, (K,))
    require(
        sequence.is_contiguous() and sequence.dtype == torch.float32,
        f"a sequence of {sequence.dtype} with strides {sequence.stride()}",
        "float32 and contiguous",
        "Copy it.",
    )
    return K, after - 1, B, N


@torch.no_grad()
def scan_states(
    W_hh: Float[Tensor, "K N N"],
    drive: Float[Tensor, "K S B N"],
    sequence: Float[Tensor, "K T1 B N"],
    lengths: Int[Tensor, " K"],
    activation: Literal["tanh", "linear"] = "tanh",
) -> None:
    r"""Fill in $h(t) = \sigma(W_{hh} h(t-1) + \mathrm{drive}(t))$, t = 1 … T, in one launch.

    Args:
        W_hh: Recurrent weights, float32.
        drive: W_uh u(1) … W_uh u(S), S ≤ T; there is none after step S.
        sequence: Memory for h(0) … h(T), shape (K, T + 1, B, N). h(0) is read, the others are written.
        lengths: Steps of each run, at most T, int32 on the device. States after them are set to 0.
        activation: σ, "tanh" or "linear".

    Raises:
        ValueError: If the shapes do not fit together, or do not fit on the chip.
    """
    K, T, B, N = _common(W_hh, sequence, lengths)
    shape_is("drive", drive, (K, "S", B, N))
    tile = choose_tile(N, _precision)
    with torch.cuda.device_of(W_hh):
        _kernels().scan_forward[_grid(K, B, tile)](
            W_hh.mT.contiguous(),
            drive.contiguous(),
            sequence,
            lengths,
            B,
            drive.shape[1],
            T,
            N=N,
            WIDTH=tile.width,
            ROWS=tile.rows,
            TANH=activation == "tanh",
            PRECISION=_precision,
            num_warps=tile.warps,
            num_stages=1,
        )


@torch.no_grad()
def scan_deltas(
    W_hh: Float[Tensor, "K N N"],
    sequence: Float[Tensor, "K T1 B N"],
    delta: Float[Tensor, "K T B N"],
    lengths: Int[Tensor, " K"],
    activation: Literal["tanh", "linear"] = "tanh",
    quiet: int = 0,
) -> None:
    r"""Turn $g(t) = \partial L / \partial h(t)$ into $\delta(t) = \sigma'(t) \circ (g(t) + W_{hh}^T \delta(t+1))$, in place.

    Args:
        W_hh: Recurrent weights, float32.
        sequence: What `scan_states` left.
        delta: g(1) … g(T), without what later steps send back; holds δ(1) … δ(T) afterwards.
        lengths: Steps of each run, int32 on the device; δ is 0 after them.
        activation: σ, "tanh" or "linear".
        quiet: Number of steps at the start for which g = 0; `delta` is not read there.

    Raises:
        ValueError: If the shapes do not fit together, or do not fit on the chip.
    """
    K, T, B, N = _common(W_hh, sequence, lengths)
    shape_is("delta", delta, (K, T, B, N))
    require(
        delta.is_contiguous() and delta.dtype == torch.float32,
        f"a delta of {delta.dtype} with strides {delta.stride()}",
        "float32 and contiguous",
        "Copy it.",
    )
    tile = choose_tile(N, _precision)
    with torch.cuda.device_of(W_hh):
        _kernels().scan_back[_grid(K, B, tile)](
            W_hh.contiguous(),
            sequence,
            delta,
            lengths,
            B,
            quiet,
            T,
            N=N,
            WIDTH=tile.width,
            ROWS=tile.rows,
            TANH=activation == "tanh",
            PRECISION=_precision,
            num_warps=tile.warps,
            num_stages=1,
        )
