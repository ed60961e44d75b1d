"""How long Mamba, v-Wave Mamba and transformers take to train and to generate, as their sequences grow.

A training step is forward, loss, backward and an update by AdamW on tokens that are already there. All models have the same
width, layers and vocabulary, and take turns within one process. For the models with compiled kernels these have the threads
to themselves, as in the book's trainings; the transformer has PyTorch's.

While it generates, a model keeps something of every sequence, and a symbol takes some time; both are measured after contexts
of growing length. What would not fit into the memory is left out, and the record says so.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wavemem.benchmarks.counts import Ceilings
from wavemem.benchmarks.elman_gpu import measure_ceilings
from wavemem.benchmarks.machine import cores, describe
from wavemem.benchmarks.strings_kernels import GPU_SCANS, REGISTERS, SCANS, measure_register, measure_scan
from wavemem.benchmarks.turns import compare
from wavemem.checks import one_of, positive_int
from wavemem.kernels.wave_cpu import own_threads
from wavemem.models.mamba import Mamba
from wavemem.models.positions import Position
from wavemem.models.token_model import State, TokenModel
from wavemem.models.transformer import Transformer
from wavemem.models.wave_mamba import WaveMamba
from wavemem.streams import stream
from wavemem.tasks.strings import masked_loss
from wavemem.training.optimiser import EnsembleAdam

__all__ = [
    "GENERATING",
    "MODELS",
    "TRAINING",
    "Generating",
    "StringCase",
    "attention_bytes",
    "free_bytes",
    "make",
    "measure_generation",
    "measure_training",
    "reader",
    "run_strings",
    "trainer",
]

MODELS = ("Mamba", "v-Wave", "ALiBi", "RoPE")
"""The competitors: two kinds of state-space model, and transformers with two kinds of positions."""


@dataclass(frozen=True)
class StringCase:
    """One size of a training step.

    Args:
        length: Tokens of a sequence.
        batch: Sequences per run.
        K: Runs.
        width: Width of the residual stream.
        layers: Blocks.
        n: Neurons of the register.
        states: Numbers of the selective state per channel.
        heads: Heads of the transformer.
        threads: Cores to use.
    """

    length: int = 45
    batch: int = 32
    K: int = 3
    width: int = 32
    layers: int = 2
    n: int = 4
    states: int = 16
    heads: int = 2
    threads: int = 2


@dataclass(frozen=True)
class Generating:
    """One context to generate after.

    Args:
        context: Tokens read before.
        batch: Sequences.
        steps: Symbols written per call.
        width: As in `StringCase`, as all that follow.
        layers: See there.
        n: See there.
        states: See there.
        heads: See there.
        threads: See there.
    """

    context: int = 64
    batch: int = 8
    steps: int = 16
    width: int = 32
    layers: int = 2
    n: int = 4
    states: int = 16
    heads: int = 2
    threads: int = 1


TRAINING = (
    StringCase(),
    StringCase(n=16),
    StringCase(n=64),
    *(StringCase(length, 16_384 // length, 1) for length in (64, 256, 1024, 4096, 16_384)),
)
"""The size of the book's trainings, with registers of three lengths; and steps of equally many tokens, in ever longer
sequences."""

GENERATING = tuple(Generating(context) for context in (64, 256, 1024, 4096, 16_384))
"""Contexts that grow as the sequences do."""

_VOCABULARY = 30  # letters and symbols of the string tasks


def make(name: str, case: StringCase | Generating, K: int = 1, device: torch.device | str = "cpu") -> TokenModel:
    """Return one of `MODELS`.

    Raises:
        ValueError: If there is no such model, or a size is not positive.
    """
    one_of("model", name, MODELS)
    if name in ("ALiBi", "RoPE"):
        position: Position = "alibi" if name == "ALiBi" else "rope"
        return Transformer.initialise(
            range(K), _VOCABULARY, case.width, case.layers, case.heads, position, device=device
        )
    if name == "Mamba":
        return Mamba.initialise(range(K), _VOCABULARY, case.width, case.layers, case.n, case.states, device=device)
    return WaveMamba.initialise(range(K), _VOCABULARY, case.width, case.layers, case.n, case.states, device=device)


def attention_bytes(case: StringCase, name: str) -> int:
    """Return what a training step of a model keeps of arrays that grow with the square of the length.

    ALiBi's bias is one number per head, query and key: one array per layer, and three while the last is made, beside the
    ages as whole numbers and the mask. The others have none.
    """
    if name != "ALiBi":
        return 0
    return case.length**2 * (4 * case.heads * (case.layers + 3) + 9)


def free_bytes(device: torch.device | str = "cpu") -> int | None:
    """Return the memory that can be had; None where the system does not tell."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (OSError, AttributeError, ValueError):
        return None


def trainer(name: str, case: StringCase, device: torch.device | str = "cpu") -> Callable[[], Tensor]:
    """Return a training step of a model, which returns the losses of its runs.

    Raises:
        ValueError: If there is no such model, or a size is not positive.
    """
    for size in ("length", "batch", "K"):
        positive_int(size, getattr(case, size))
    model = make(name, case, case.K, device)
    g = stream(0, f"strings {case.length}")
    tokens = torch.randint(_VOCABULARY, (case.K, case.batch, case.length + 1), generator=g).to(device)
    mask = torch.ones(tokens.shape[0], case.batch, case.length, dtype=torch.bool, device=device)
    mask[..., : case.length // 2] = False
    parameters = list(model.parameters())
    optimiser = EnsembleAdam(parameters, 1e-3, 0.1, 1.0, decoupled=True)

    def step() -> Tensor:
        with contextlib.nullcontext() if isinstance(model, Transformer) else own_threads():
            losses = masked_loss(model(tokens[..., :-1]), tokens[..., 1:], mask)
            gradients = torch.autograd.grad(losses.sum(), parameters)
            optimiser.step([gradient.clone() for gradient in gradients], losses.detach())
        return losses.detach()

    return step


@contextlib.contextmanager
def _threads(count: int) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(positive_int("threads", count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _wait(device: torch.device | str) -> Callable[[], object] | None:
    return torch.cuda.synchronize if torch.device(device).type == "cuda" else None


def measure_training(
    case: StringCase,
    rounds: int = 7,
    per_round: int = 1,
    patience: float = 10.0,
    device: torch.device | str = "cpu",
    free: int | None = None,
) -> dict[str, Any]:
    """Measure a training step of all models, in turn.

    Args:
        case: The sizes.
        rounds: How often they take turns.
        per_round: Steps of each per turn (after one to warm up). A model whose first step takes more than two seconds has
            no more.
        patience: Seconds for which a turn is repeated while other programs take processor time; 0 for never.
        device: Where.
        free: Bytes that may be used; by default what the system says.

    Returns:
        The case; "times" (milliseconds per step and run) and "others" as in `compare`; "left_out": model → the bytes it
        would have needed, where that is more than three quarters of what is free; "parameters" per model and run; "ratio" =
        v-Wave / Mamba.

    Raises:
        ValueError: If a number is not positive.
    """
    free = free_bytes(device) if free is None else free
    left_out, competitors, parameters = {}, {}, {}
    for name in MODELS:
        needed = attention_bytes(case, name)
        if free is not None and needed > 0.75 * free:
            left_out[name] = needed
            continue
        competitors[name] = trainer(name, case, device)
        parameters[name] = make(name, case).parameter_count()
    with _threads(case.threads):
        result = compare(competitors, rounds, per_round, patience, wait=_wait(device), K=case.K)
    times = result["times"]
    return {
        "case": asdict(case),
        **result,
        "left_out": left_out,
        "parameters": parameters,
        "ratio": times["v-Wave"]["median"] / times["Mamba"]["median"],
    }


_PIECE = 256  # tokens that are read at once: a transformer's bias then grows with the context, not with its square


@torch.no_grad()
def reader(name: str, case: Generating, device: torch.device | str = "cpu") -> tuple[TokenModel, list[State]]:
    """Return a model and what it keeps after it has read the context.

    Raises:
        ValueError: If there is no such model, or a size is not positive.
    """
    positive_int("context", case.context)
    model = make(name, case, device=device)
    states = [block.start(positive_int("batch", case.batch)) for block in model.layers]
    tokens = torch.randint(_VOCABULARY, (1, case.batch, case.context), generator=stream(0, "context")).to(device)
    for first in range(0, case.context, _PIECE):
        x = model.embedding(tokens[..., first : first + _PIECE])
        for i, block in enumerate(model.layers):
            x, states[i] = block.prefill(x, states[i])
    return model, states


def measure_generation(
    case: Generating, rounds: int = 5, patience: float = 10.0, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Measure what writing a symbol takes, and what is kept, after a context.

    Args:
        case: The sizes.
        rounds: How often the models take turns.
        patience: Seconds for which a turn is repeated while other programs take processor time; 0 for never.
        device: Where.

    Returns:
        The case; "times" (milliseconds per symbol of the whole batch) and "others" as in `compare`; "bytes": model → bytes
        kept per sequence; "numbers": model → what the model says it keeps.

    Raises:
        ValueError: If a number is not positive.
    """
    positive_int("steps", case.steps)
    competitors, held, numbers = {}, {}, {}
    with _threads(case.threads):
        for name in MODELS:
            model, states = reader(name, case, device)
            competitors[name] = _writer(model, states, case)
            arrays = [tensor for state in states for tensor in state.values() if tensor.ndim]
            held[name] = sum(tensor.numel() * tensor.element_size() for tensor in arrays) // case.batch
            numbers[name] = model.state_count(case.context)
        result = compare(competitors, rounds, 1, patience, slow=20.0, wait=_wait(device), K=case.steps)
    return {"case": asdict(case), **result, "bytes": held, "numbers": numbers}


def _writer(model: TokenModel, states: list[State], case: Generating) -> Callable[[], Tensor]:
    """A call that writes some symbols from the same states every time."""
    start = torch.zeros(1, case.batch, dtype=torch.int64, device=model.embedding.weight.device)

    @torch.no_grad()
    def write() -> Tensor:
        token, kept = start, states
        for _ in range(case.steps):
            logits, kept = model.step(token, kept)
            token = logits.argmax(-1)
        return token

    return write


def _medians(result: dict[str, Any]) -> str:
    return ", ".join(f"{name} {timing['median']:.3g}" for name, timing in result["times"].items())


def run_strings(
    rounds: int, per_round: int, scaling: bool, patience: float, device: str = "cpu", free: int | None = None
) -> dict[str, Any]:
    """Measure training, the two kernels and generation; print as they come.

    Args:
        rounds: How often the competitors take turns at the book's sizes; a third as often elsewhere.
        per_round: Calls of each per turn; one elsewhere.
        scaling: Whether to measure the kernels alone and the longer sequences too; else the book's size alone.
        patience: Seconds for which a disturbed turn is repeated.
        device: "cpu" or "cuda". On a GPU the scan is measured at the size of its authors' benchmark as well.
        free: See `measure_training`.

    Raises:
        ValueError: If a number is not positive, or PyTorch finds no such device.
    """
    from wavemem.training.device import choose_device

    where = choose_device(device)
    processor = where.type == "cpu"
    threads = min(2, cores()) if processor else 1

    def at(case: Any) -> Any:
        return replace(case, threads=min(case.threads, threads))

    def rates() -> dict[str, float]:
        with _threads(threads):
            return measure_ceilings(where, 2048 if processor else 8192, 3)

    few, early = max(2, rounds // 3), rates()

    print("milliseconds (medians)")
    training: list[dict[str, Any]] = []
    for case in TRAINING if scaling else TRAINING[:1]:
        often = (rounds, per_round) if case.length * case.batch * case.K < 2**13 else (few, 1)
        training.append(measure_training(at(case), *often, patience, where, free))
        skipped = "".join(f", {name} left out" for name in training[-1]["left_out"])
        head = f"training, {case.length} tokens x {case.batch} x {case.K}, n = {case.n}"
        print(f"{head}: {_medians(training[-1])}{skipped}; v-Wave/Mamba {training[-1]['ratio']:.2f}", flush=True)
    generation: list[dict[str, Any]] = []
    for context in GENERATING if scaling else GENERATING[:1]:
        generation.append(measure_generation(context, few, patience, where))
        print(f"a symbol after {context.context}: {_medians(generation[-1])}", flush=True)
    found = {name: max(rate, early[name]) for name, rate in rates().items()}
    ceilings = Ceilings(found["operations_per_second"], found["bytes_per_second"])
    scans: list[dict[str, Any]] = []
    registers: list[dict[str, Any]] = []
    if scaling:
        for scan in (*SCANS, *(() if processor else GPU_SCANS)):
            scans.append(measure_scan(at(scan), ceilings, few, 1, patience, where))
            print(f"scan, {scan.length} x {scan.batch}, N = {scan.states}: {_medians(scans[-1])}", flush=True)
        for register in REGISTERS:
            registers.append(measure_register(at(register), few, 1, patience, where))
            print(f"register, {register.length} steps, n = {register.n}: {_medians(registers[-1])}", flush=True)
    return {
        "machine": describe() if processor else {**describe(), "gpu": torch.cuda.get_device_name(where)},
        "measured": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "unit": "milliseconds",
        "ceilings": found,
        "training": training,
        "generation": generation,
        "scan": scans,
        "register": registers,
    }
