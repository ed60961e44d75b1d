"""Elman training on a CUDA device: against a loop over cuDNN's `torch.nn.RNN`, against its floor, and what TF32 changes.

The competitors take turns within one process. Ceilings — operations per second of large products in float32 and bytes per
second of a copy — are measured on the same device in the same run; `wavemem.benchmarks.counts` says how many of each an
iteration needs.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor, nn

from wavemem.benchmarks.counts import Ceilings, floor_seconds, iteration_counts, scan_counts
from wavemem.benchmarks.elman import Case, Timing, near_critical
from wavemem.checks import positive_int
from wavemem.kernels.elman_triton import (
    Precision,
    full_precision,
    recurrence_precision,
    scan_deltas,
    scan_states,
    use_triton,
)
from wavemem.models.elman import ElmanEnsemble
from wavemem.streams import stream
from wavemem.substrate.spectrum import angle_error, eigenvalues, theoretical_eigenvalues
from wavemem.tasks.episodes import elman_inputs, random_histories
from wavemem.tasks.hds import LinearHDS, repeat_copy
from wavemem.tasks.selection import paper_task
from wavemem.training.curriculum import FixedHorizon, LadderCurriculum
from wavemem.training.device_curriculum import on_device
from wavemem.training.ensemble import TrainingConfig, evaluate, train
from wavemem.training.optimiser import EnsembleAdam
from wavemem.training.unattended import UnattendedLoop

__all__ = ["SCALING", "TARGETS", "AngleSettings", "angles_by_precision", "measure_ceilings", "measure_on", "waits_of"]

TARGETS = tuple(Case(N=N, K=K, threads=1) for N in (128, 64) for K in (8, 120))
"""The cases named first: those of the processor's benchmark, and one task's share of Table 1."""

_BASE = Case(N=64, K=120, threads=1)
SCALING = (
    *(replace(_BASE, N=N) for N in (16, 32, 128)),
    *(replace(_BASE, K=K) for K in (1, 8, 32, 480, 960)),
    *(replace(_BASE, s=s) for s in (2, 4, 16)),
    *(replace(_BASE, horizon=horizon) for horizon in (10, 40, 200)),
)
"""One size at a time is changed, from 64 units and 120 runs."""

_LOOPED = 8
"""Runs of the loop over nn.RNN at most: its time is proportional to their number."""


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _seconds(function: Callable[[], object], count: int, device: torch.device) -> float:
    """Return the mean duration of a call: `count` calls are queued, and the device is waited for once."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(count):
        function()
    _wait(device)
    return (time.perf_counter() - start) / count


def measure_ceilings(device: torch.device, size: int = 8192, rounds: int = 5) -> dict[str, float]:
    """Measure what the device can do at most.

    Args:
        device: Where.
        size: Side of the square matrices that are multiplied and copied.
        rounds: Repetitions, of which the best counts.

    Returns:
        operations_per_second and tf32_operations_per_second of a large product, bytes_per_second of a copy (read and
        written).

    Raises:
        ValueError: If a number is not positive.
    """
    size, rounds = positive_int("size", size), positive_int("rounds", rounds)
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    out = torch.empty_like(a)
    found = {}
    before = torch.get_float32_matmul_precision()
    for name, precision in (("operations_per_second", "highest"), ("tf32_operations_per_second", "high")):
        torch.set_float32_matmul_precision(precision)
        try:
            torch.mm(a, b, out=out)
            best = min(_seconds(lambda: torch.mm(a, b, out=out), 3, device) for _ in range(rounds))
        finally:
            torch.set_float32_matmul_precision(before)
        found[name] = 2.0 * size**3 / best
    best = min(_seconds(lambda: out.copy_(a), 3, device) for _ in range(rounds))
    found["bytes_per_second"] = 2.0 * a.nbytes / best
    return found


@contextmanager
def _cudnn_tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _loop(ensemble: ElmanEnsemble, case: Case, task: LinearHDS, device: torch.device) -> Callable[[], None]:
    """One iteration of separate nn.RNN, of at most `_LOOPED` runs; nothing in it waits for the device."""
    singles = []
    for k in range(min(case.K, _LOOPED)):
        rnn = nn.RNN(case.d, case.N, nonlinearity="tanh", bias=False)
        readout = nn.Linear(case.N, case.d, bias=False)
        rnn.load_state_dict({"weight_hh_l0": ensemble.W_hh[k].cpu(), "weight_ih_l0": ensemble.W_uh[k].cpu()})
        readout.load_state_dict({"weight": ensemble.W_r[k].cpu()})
        rnn, readout = rnn.to(device), readout.to(device)
        parameters = [*rnn.parameters(), *readout.parameters()]
        singles.append((rnn, readout, parameters, torch.optim.Adam(parameters, lr=1e-3), stream(k, "data")))

    def iterate() -> None:
        for rnn, readout, parameters, optimiser, generator in singles:
            u = random_histories(case.batch, case.s, case.d, generator)
            u = (u.pin_memory() if device.type == "cuda" else u).to(device, non_blocking=True)
            target = task.targets(u, case.horizon).transpose(0, 1)
            states, _ = rnn(elman_inputs(u, case.horizon))
            loss = (readout(states[case.s :]) - target).square().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()

    return iterate


def _unattended(ensemble: ElmanEnsemble, case: Case, task: LinearHDS, iterations: int) -> UnattendedLoop:
    curriculum = FixedHorizon(case.horizon)
    state = on_device(curriculum.start(case.K), ensemble.W_hh.device)
    assert state is not None
    optimiser = EnsembleAdam([ensemble.W_hh, ensemble.W_uh, ensemble.W_r])
    generators = [stream(k, "data") for k in range(case.K)]
    return UnattendedLoop(ensemble, task, optimiser, state, curriculum.largest, generators, case.batch, iterations)


def _scans(ensemble: ElmanEnsemble, case: Case) -> Callable[[], None]:
    """The two launches of an iteration and nothing else."""
    W_hh, T = ensemble.W_hh.detach(), case.s + case.horizon
    sequence = W_hh.new_zeros(case.K, T + 1, case.batch, case.N)
    drive = torch.randn_like(sequence[:, : case.s]).contiguous()
    delta = torch.randn_like(sequence[:, 1:]).contiguous() / case.N
    lengths = torch.full((case.K,), T, dtype=torch.int32, device=W_hh.device)

    def launch() -> None:
        scan_states(W_hh, drive, sequence, lengths)
        scan_deltas(W_hh, sequence, delta, lengths, quiet=case.s)

    return launch


def measure_on(
    device: torch.device, case: Case, ceilings: Ceilings, rounds: int = 7, per_round: int = 10
) -> dict[str, Any]:
    """Measure one case on a device, the competitors in turn.

    Args:
        device: Where.
        case: The sizes; `threads` is not looked at.
        ceilings: What the device can do at most.
        rounds: How often the competitors take turns.
        per_round: Iterations of each per turn, queued together.

    Returns:
        The case; timings in milliseconds per iteration and run of the loop over nn.RNN (in float32 and with the TF32 that
        PyTorch lets cuDNN use by default), of the ensemble, and of the two scans alone (None where PyTorch's products
        serve); speed_up = loop / ensemble in float32; over_floor and scans_over_floor, times over the floor of their counts;
        peak_bytes, the memory of an ensemble's iteration (None off CUDA).

    Raises:
        ValueError: If a number is not positive.
    """
    rounds, per_round = positive_int("rounds", rounds), positive_int("per_round", per_round)
    task = repeat_copy(case.s, case.d)
    start = near_critical(case).to(device)
    loop = _loop(start, case, task, device)
    looped = min(case.K, _LOOPED)
    peak = None
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    ours = _unattended(near_critical(case).to(device), case, task, 2 + rounds * per_round)
    scans = _scans(start, case) if use_triton(start.W_hh) else None
    seconds: dict[str, list[float]] = {"loop": [], "loop_tf32": [], "ensemble": [], "scans": []}
    try:
        # Compilation, and memory that is asked for once.
        for _ in range(2):
            ours.step()
        if device.type == "cuda":
            _wait(device)
            peak = torch.cuda.max_memory_allocated(device)
        for allowed in (False, True):
            with _cudnn_tf32(allowed):
                loop()
        if scans is not None:
            scans()
        for _ in range(rounds):
            for name, allowed in (("loop", False), ("loop_tf32", True)):
                with _cudnn_tf32(allowed), full_precision():
                    seconds[name].append(_seconds(loop, max(1, per_round // 4), device) / looped * case.K)
            seconds["ensemble"].append(_seconds(ours.step, per_round, device))
            if scans is not None:
                seconds["scans"].append(_seconds(scans, per_round, device))
    finally:
        ours.close()
    timings = {name: Timing.of(values, case.K) if values else None for name, values in seconds.items()}
    floor = floor_seconds(iteration_counts(case), ceilings) * 1e3 / case.K
    scan_floor = floor_seconds(scan_counts(case), ceilings) * 1e3 / case.K
    ensemble, scan = timings["ensemble"], timings["scans"]
    loops = timings["loop"]
    assert ensemble is not None
    assert loops is not None
    return {
        "case": asdict(case),
        **{name: None if timing is None else asdict(timing) for name, timing in timings.items()},
        "speed_up": loops.median / ensemble.median,
        "floor": floor,
        "over_floor": ensemble.median / floor,
        "scans_over_floor": None if scan is None else scan.median / scan_floor,
        "peak_bytes": peak,
    }


def waits_of(device: torch.device, case: Case, iterations: int = 5) -> int | None:
    """Count how often PyTorch waits for the device within iterations of the training; None off CUDA."""
    if device.type != "cuda":
        return None
    import warnings

    loop = _unattended(near_critical(case).to(device), case, repeat_copy(case.s, case.d), iterations + 1)
    before = torch.cuda.get_sync_debug_mode()
    try:
        loop.step()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            for _ in range(iterations):
                loop.step()
    finally:
        torch.cuda.set_sync_debug_mode(before)
        loop.close()
    return sum("synchroniz" in str(warning.message) for warning in caught)


@dataclass(frozen=True)
class AngleSettings:
    """A training whose eigenvalue angles are compared between arithmetics; the defaults are the book's quick size."""

    task: str = "T1"
    s: int = 4
    d: int = 4
    N: int = 64
    runs: int = 4
    iterations: int = 3000
    horizons: tuple[int, ...] = (10, 20, 40, 60)
    modulus: float = 0.9


def angles_by_precision(
    device: torch.device,
    settings: AngleSettings | None = None,
    precisions: Sequence[Precision] = get_args(Precision),
) -> dict[str, Any]:
    """Train the same networks on the same data in each arithmetic and measure the angles of their eigenvalues.

    Off CUDA the tensor cores' arithmetic is imitated: the factors of the recurrent product are rounded.

    Returns:
        The device's type, the settings, and for each arithmetic the runs' angle errors against Φ (None where a run's
        numbers of eigenvalues disagree), their accuracies at twice the longest horizon, and the runs' largest change of
        an entry of W_hh against the first arithmetic.

    Raises:
        ValueError: If a setting is not allowed.
    """
    settings = AngleSettings() if settings is None else settings
    task = paper_task(settings.task, settings.s, settings.d)
    theory = theoretical_eigenvalues(task)
    seeds = range(positive_int("runs", settings.runs))
    config = TrainingConfig(settings.iterations, curriculum=LadderCurriculum(settings.horizons))
    found: dict[str, Any] = {}
    first: Tensor | None = None
    for precision in precisions:
        ensemble = ElmanEnsemble.initialise(seeds, settings.N, settings.d, device=device)
        with recurrence_precision(precision):
            train(ensemble, task, config, seeds, progress=False)
        right = evaluate(ensemble, task, 2 * settings.horizons[-1], seeds=seeds)
        W_hh = ensemble.W_hh.detach().cpu()
        first = W_hh if first is None else first
        errors = [angle_error(theory, eigenvalues(W), modulus=settings.modulus).error for W in W_hh]
        found[precision] = {
            "angle_errors": [None if error != error else float(error) for error in errors],
            "accuracies": [float(value) for value in right],
            "changes": (W_hh - first).abs().flatten(1).amax(1).tolist(),
        }
    return {"device": device.type, "settings": dataclasses.asdict(settings), "precisions": found}
