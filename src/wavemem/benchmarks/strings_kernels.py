"""How long the two kernels of a Mamba block take by themselves: the selective scan, and the register in front of it.

All ways to compute the same take turns within one process, forward and backward. The scan stands beside its floor, the time
that its operations or its bytes need at the machine's best rates (`wavemem.benchmarks.counts`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor

from wavemem.benchmarks.counts import Ceilings, floor_seconds, selective_scan_counts
from wavemem.benchmarks.turns import compare
from wavemem.checks import positive_int
from wavemem.kernels.compiled import load_library
from wavemem.kernels.register import register_scan
from wavemem.kernels.selective import selective_scan
from wavemem.streams import stream

__all__ = [
    "GPU_SCANS",
    "REGISTERS",
    "SCANS",
    "RegisterCase",
    "ScanCase",
    "measure_register",
    "measure_scan",
    "register_competitors",
    "scan_competitors",
]

_MANY = 2**24
"""Numbers of all states beyond which plain loops over time are left out: autograd keeps several arrays of that size."""

_LONG = 2048
"""Steps beyond which they are left out: every step's gradient fills an array of the whole length, so that time grows with
its square."""


@dataclass(frozen=True)
class ScanCase:
    """One size of the selective scan.

    Args:
        length: Steps L.
        batch: Sequences.
        channels: E.
        states: N.
        threads: Cores to use.
    """

    length: int = 1024
    batch: int = 16
    channels: int = 64
    states: int = 16
    threads: int = 2


@dataclass(frozen=True)
class RegisterCase:
    """One size of the register.

    Args:
        length: Steps L.
        batch: Sequences.
        channels: E.
        n: Neurons.
        threads: Cores to use.
    """

    length: int = 1024
    batch: int = 4
    channels: int = 64
    n: int = 4
    threads: int = 2


SCANS = (
    *(replace(ScanCase(), length=length, batch=16_384 // length) for length in (64, 1024, 16_384)),
    *(replace(ScanCase(), states=states) for states in (4, 64)),
)
"""Equally many tokens in sequences of three lengths, and other numbers of states."""

GPU_SCANS = tuple(ScanCase(length, 1, 1024, 16, 1) for length in (512, 2048, 8192, 32_768))
"""One sequence of 1024 channels with 16 states each, as in the benchmark of Gu & Dao (2024, Section 4.5)."""

REGISTERS = (
    *(replace(RegisterCase(), n=n) for n in (4, 16, 64, 256)),
    *(replace(RegisterCase(), length=length, batch=4096 // length) for length in (64, 4096)),
    *(replace(RegisterCase(), length=length, batch=max(1, 4096 // length), n=64) for length in (64, 4096, 16_384)),
)
"""Registers of four lengths, and sequences of several, at n = 4 (Mamba's) and n = 64."""


def _differentiated(function: Callable[..., Tensor], wanted: dict[str, Tensor], **others: Any) -> Callable[[], Tensor]:
    """A call that computes the outputs and the gradients of everything wanted; it returns the outputs."""
    leaves = {name: tensor.requires_grad_() for name, tensor in wanted.items()}
    generator = torch.Generator().manual_seed(1)
    weight: Tensor | None = None

    def call() -> Tensor:
        nonlocal weight
        y = function(**leaves, **others)
        if weight is None:
            weight = torch.randn(y.shape, generator=generator).to(y.device)
        torch.autograd.grad(y, list(leaves.values()), weight)
        return y.detach()

    return call


def _loops(numbers: int, length: int) -> bool:
    return numbers <= _MANY and length <= _LONG


def scan_competitors(case: ScanCase, device: torch.device | str = "cpu") -> dict[str, Callable[[], Tensor]]:
    """Return the ways to compute a selective scan with softplus, bias, D and gate, on the same numbers.

    The plain loop is left out where it would take too long.

    Raises:
        ValueError: If a size is not positive.
    """
    sizes = (case.length, case.batch, case.channels, case.states)
    L, B, E, N = (
        positive_int(name, value) for name, value in zip(("length", "batch", "channels", "states"), sizes, strict=True)
    )
    g = stream(0, f"selective scan {sizes}")

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    wanted = {
        "u": drawn(1, B, L, E),
        "delta": drawn(1, B, L, E),
        "A": -torch.arange(1.0, N + 1).expand(1, E, N).clone(),
        "B": drawn(1, B, L, N),
        "C": drawn(1, B, L, N),
        "D": torch.ones(1, E),
        "z": drawn(1, B, L, E),
        "delta_bias": drawn(1, E) - 3,
    }
    on_cpu = torch.device(device).type == "cpu"
    methods = ["reference"] if _loops(B * L * E * N, L) else []
    methods += ["chunked"]
    methods += ["compiled"] if on_cpu and load_library("_selective") is not None else []
    methods += [] if on_cpu else ["triton"]
    placed = {name: tensor.to(device) for name, tensor in wanted.items()}
    return {
        method: _differentiated(
            selective_scan, {name: x.clone() for name, x in placed.items()}, softplus=True, method=method
        )
        for method in methods
    }


def measure_scan(
    case: ScanCase,
    ceilings: Ceilings,
    rounds: int = 5,
    per_round: int = 1,
    patience: float = 10.0,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Measure one size of the scan by every method.

    Args:
        case: The sizes.
        ceilings: What the device can do at most, on as many threads.
        rounds: How often the methods take turns.
        per_round: Calls of each per turn.
        patience: Seconds for which a turn is repeated while other programs take processor time; 0 for never.
        device: Where.

    Returns:
        The case; "times" and "others" as in `compare`; "floor" in milliseconds; "over_floor" of the fastest method.

    Raises:
        ValueError: If a number is not positive.
    """
    result = _on_threads(case.threads, scan_competitors(case, device), rounds, per_round, patience, device)
    counts = selective_scan_counts(1, case.batch, case.length, case.channels, case.states)
    floor = floor_seconds(counts, ceilings) * 1e3
    best = min(timing["median"] for timing in result["times"].values())
    return {"case": asdict(case), **result, "floor": floor, "over_floor": best / floor}


def _convolution(x: Tensor, C: Tensor, bias: Tensor) -> Tensor:
    """PyTorch's own depthwise convolution, as the public implementation of Mamba falls back to: v = 1."""
    E, n = C.shape[1:]
    y = nnf.conv1d(nnf.pad(x[0].mT, (n - 1, 0)), C[0].flip(-1)[:, None], bias[0], groups=E)
    return nnf.silu(y).mT[None]


def register_competitors(case: RegisterCase, device: torch.device | str = "cpu") -> dict[str, Callable[[], Tensor]]:
    """Return the ways to compute a register with bias and SiLU, on the same numbers.

    "conv1d" and "shift" move at v = 1, which is Mamba's convolution; the others at velocities between 0 and 1, which are
    differentiated too. The loop is left out where autograd would keep too much.

    Raises:
        ValueError: If a size is not positive.
    """
    sizes = (case.length, case.batch, case.channels, case.n)
    L, B, E, n = (
        positive_int(name, value) for name, value in zip(("length", "batch", "channels", "n"), sizes, strict=True)
    )
    g = stream(0, f"register {sizes}")
    x = torch.randn(1, B, L, E, generator=g).to(device)
    C, bias = (torch.randn(1, E, n, generator=g) / n**0.5).to(device), torch.zeros(1, E, device=device)
    v = (0.1 + 0.8 * torch.rand(1, E, generator=g)).to(device)

    def fresh(*more: tuple[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in (("x", x), ("C", C), ("bias", bias), *more)}

    found = {
        "conv1d": _differentiated(_convolution, fresh()),
        "shift": _differentiated(register_scan, fresh(), v=torch.ones_like(v), silu=True, method="shift"),
    }
    methods = ["compiled"] if torch.device(device).type == "cpu" and load_library("_register") is not None else []
    methods += ["fft"]
    methods += ["reference"] if _loops(B * L * E * n, L) else []
    for method in methods:
        found[method] = _differentiated(register_scan, fresh(("v", v)), silu=True, method=method)
    return found


def measure_register(
    case: RegisterCase,
    rounds: int = 5,
    per_round: int = 1,
    patience: float = 10.0,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Measure one size of the register by every method.

    Args:
        case: The sizes.
        rounds: How often the methods take turns.
        per_round: Calls of each per turn.
        patience: Seconds for which a turn is repeated while other programs take processor time; 0 for never.
        device: Where.

    Returns:
        The case; "times" and "others" as in `compare`.

    Raises:
        ValueError: If a number is not positive.
    """
    found = register_competitors(case, device)
    return {"case": asdict(case), **_on_threads(case.threads, found, rounds, per_round, patience, device)}


def _on_threads(
    threads: int,
    competitors: dict[str, Callable[[], Tensor]],
    rounds: int,
    per_round: int,
    patience: float,
    device: torch.device | str,
) -> dict[str, Any]:
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else None
    before = torch.get_num_threads()
    torch.set_num_threads(positive_int("threads", threads))
    try:
        return compare(competitors, rounds, per_round, patience, wait=wait)
    finally:
        torch.set_num_threads(before)
