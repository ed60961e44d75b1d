"""Elman training: the library against a loop over `torch.nn.RNN` and against the bare matrix products; and what TF32 changes.

An iteration draws histories and targets, runs the input phase and the horizon, compares, differentiates, clips, and
updates with Adam, for K runs.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.measure import Case, Contest, cases, repeat, vary
from wavemem.elman.network import ElmanEnsemble
from wavemem.elman.training import evaluate, train
from wavemem.streams import stream
from wavemem.theory.hds import LinearHDS, accuracy, elman_inputs, random_histories, repeat_copy
from wavemem.theory.selection import paper_task
from wavemem.theory.spectrum import angle_error, eigenvalues, theoretical_eigenvalues
from wavemem.training.curriculum import LadderCurriculum, fixed_horizon
from wavemem.training.fit import FitConfig, fit

LOOPED = 8  # runs of the loop at most: its time is proportional to their number


def counts(N: int, batch: int, s: int, d: int, horizon: int) -> tuple[int, int]:
    """Operations of an iteration's products (a multiplication and an addition are two) and bytes of its tensors, one run.

    The recurrence takes T products of W_hh forward, T - 1 back and T for the weight gradient, T = s + horizon; the drive is
    a product per input, the readout one per output forward and one back, and both have a weight gradient. Every tensor is
    moved once by each product that it takes part in, the states stay inside the loop over time, and Adam moves seven
    numbers per weight.
    """
    T, states, ends = s + horizon, batch * N, batch * d
    operations = 2 * states * N * (3 * T - 1) + 2 * ends * N * (2 * s + 3 * horizon)
    scans = states * (s + 3 * T + horizon) + 2 * N * N
    outside = states * (2 * s + 3 * horizon + 2 * T) + ends * (2 * s + 4 * horizon) + 5 * N * d + N * N
    return operations, 4 * (scans + outside + 7 * (N * N + 2 * N * d))


def near_critical(N: int, K: int, d: int) -> ElmanEnsemble:
    """Networks whose W_hh is orthogonal: the activity neither saturates nor dies out, as after training.

    With freshly drawn weights it decays to denormal numbers, and their slow arithmetic would be measured.
    """
    ensemble = ElmanEnsemble.initialise(range(K), N, d)
    with torch.no_grad():
        for k in range(K):
            ensemble.W_hh[k] = torch.linalg.qr(torch.randn(N, N, generator=stream(k, "orthogonal")))[0]
    return ensemble


def training(device: torch.device, N: int, K: int, batch: int, s: int, d: int, horizon: int) -> Contest:
    """The library, a loop over `torch.nn.RNN`, and the matrix products alone, the runs shared between the cores."""
    task, threads, T = repeat_copy(s, d), torch.get_num_threads(), s + horizon
    ensemble = near_critical(N, K, d).to(device)
    weights = {name: value.clone() for name, value in ensemble.state_dict().items()}

    def library(count: int) -> float:
        ensemble.load_state_dict(weights)
        logged: list[float] = []

        def note(_: object) -> None:
            logged.append(time.perf_counter())

        config, fixed = FitConfig(count + 1, log_every=count + 1), fixed_horizon(horizon)
        train(ensemble, task, config, range(K), fixed, batch, progress=False, on_log=note)
        return (logged[-1] - logged[0]) / count

    def loop(count: int) -> float:
        singles = []
        for k in range(min(K, LOOPED)):
            rnn, readout = nn.RNN(d, N, bias=False).to(device), nn.Linear(N, d, bias=False).to(device)
            rnn.load_state_dict({"weight_hh_l0": weights["W_hh"][k], "weight_ih_l0": weights["W_uh"][k]})
            readout.load_state_dict({"weight": weights["W_r"][k]})
            parameters = [*rnn.parameters(), *readout.parameters()]
            singles.append((rnn, readout, parameters, torch.optim.Adam(parameters), stream(k, "data")))

        def iterate() -> None:
            for rnn, readout, parameters, optimiser, generator in singles:
                u = random_histories(batch, s, d, generator).to(device)
                target = task.targets(u, horizon).transpose(0, 1)
                y = readout(rnn(elman_inputs(u, horizon))[0][s:])
                loss = (y - target).square().mean()
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 1.0)
                optimiser.step()
                accuracy(y.detach(), target)

        return repeat(iterate)(count) * K / len(singles)

    def products(count: int) -> float:
        groups = []
        for runs in map(len, np.array_split(range(K), min(K, threads))):
            W, states = torch.randn(runs, N, N, device=device) / N**0.5, torch.randn(runs, T * batch, N, device=device)
            groups.append((W, states, torch.randn_like(states), torch.randn(runs, T * batch, d, device=device)))

        def multiply(group: tuple[Tensor, ...]) -> None:
            W, states, deltas, errors = group
            step, readout, transposed = torch.empty_like(states[:, :batch]), W[:, :d], W.mT.contiguous()
            for t in range(T):
                torch.bmm(states[:, t * batch : (t + 1) * batch], transposed, out=step)
            torch.bmm(states, readout.mT)
            torch.bmm(errors.mT, states)
            torch.bmm(errors, readout)
            for t in range(T - 1):
                torch.bmm(deltas[:, t * batch : (t + 1) * batch], W, out=step)
            torch.bmm(deltas.mT, states)

        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                return repeat(lambda: list(pool.map(multiply, groups)))(count)
            finally:
                torch.set_num_threads(threads)

    operations, moved = counts(N, batch, s, d, horizon)
    contestants = {"nn.RNN loop": loop, "library": library, "bare products": products}
    return Contest(contestants, K, [("floor", "operations", operations), ("floor", "bytes", moved)])


def rounded(x: Tensor) -> Tensor:
    """The nearest numbers with the ten bits of mantissa of TensorFloat-32, for float32."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & -0x2000).view(torch.float32)


def _product(x: Tensor, W: Tensor, arithmetic: str) -> Tensor:
    if arithmetic == "ieee":
        return x @ W
    coarse, weights = rounded(x), rounded(W)
    total = coarse @ weights
    return total if arithmetic == "tf32" else total + rounded(x - coarse) @ weights + coarse @ rounded(W - weights)


class _Recurrent(torch.autograd.Function):
    """W_hh h, forward and back with the factors that tensor cores would get; the weight gradient is not rounded."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, W: Tensor, arithmetic: str) -> Tensor:
        ctx.save_for_backward(h, W)
        ctx.arithmetic = arithmetic
        return _product(h, W.mT, arithmetic)

    @staticmethod
    def backward(ctx: Any, sent: Tensor) -> tuple[Tensor, Tensor, None]:
        h, W = ctx.saved_tensors
        return _product(sent, W, ctx.arithmetic), sent.mT @ h, None


def _trained(
    start: ElmanEnsemble, task: LinearHDS, iterations: int, rungs: tuple[int, ...], name: str
) -> ElmanEnsemble:
    """The training of chapter 4, with the recurrent product in an arithmetic."""
    K, N = start.K, start.N
    generators, ladder = [stream(k, "data") for k in range(K)], LadderCurriculum(rungs).start(K)

    def loss(now: dict[str, Tensor], _: int) -> Tensor:
        horizons = torch.from_numpy(ladder.horizons)
        u = torch.stack([random_histories(64, task.s, task.d, generator) for generator in generators])
        target = task.targets(u, int(horizons.max())).permute(2, 0, 1, 3)
        h, outputs = u.new_zeros(K, 64, N), []
        for x in elman_inputs(u, len(target)):
            h = torch.tanh(_Recurrent.apply(h, now["W_hh"], name) + x @ now["W_uh"].mT)
            outputs.append(h @ now["W_r"].mT)
        y = torch.stack(outputs[task.s :])
        due = (torch.arange(len(target))[:, None] < horizons) / horizons
        ladder.update((((y.detach() * target > 0).double().mean((2, 3)) * due).sum(0)).numpy(), [])
        return ((y - target).square().mean((2, 3)) * due).sum(0)

    found = fit(start.state_dict(), loss, FitConfig(iterations), progress=False).parameters
    return ElmanEnsemble(found["W_hh"], found["W_uh"], found["W_r"])


def arithmetic(_: torch.device, task: str, s: int, d: int, N: int, runs: int, iterations: int, longest: int) -> Contest:
    """The same networks trained on the same data with the recurrent product in float32, in TF32, and in three TF32 products."""
    system, start = paper_task(task, s, d), ElmanEnsemble.initialise(range(runs), N, d)
    rungs = tuple(rung for rung in LadderCurriculum().horizons if rung <= longest)
    networks = {name: _trained(start, system, iterations, rungs, name) for name in ("ieee", "tf32", "tf32x3")}
    theory = theoretical_eigenvalues(system)
    found: list[tuple[str, str, float | None]] = []
    for name, trained in networks.items():
        found += [(name, "accuracy", float(share)) for share in evaluate(trained, system, 2 * longest)]
        for W, before in zip(trained.W_hh.detach(), networks["ieee"].W_hh.detach(), strict=True):
            error = angle_error(theory, eigenvalues(W)).error  # NaN where the numbers of eigenvalues differ
            found.append((name, "angle error", None if math.isnan(error) else error))
            found.append((name, "largest change", float((W - before).abs().max())))
    return Contest({}, also=found)


_BASE = {"N": 64, "K": 8, "batch": 64, "s": 8, "d": 8, "horizon": 100, "threads": 2}
_MANY = _BASE | {"K": 120, "threads": 1}
_TF32: dict[str, int | str] = {
    "task": "T1",
    "s": 4,
    "d": 4,
    "N": 64,
    "runs": 4,
    "iterations": 3000,
    "longest": 60,
    "threads": 2,
}
_RATIOS = {
    "speed-up": ("nn.RNN loop", "library"),
    "over products": ("library", "bare products"),
    "over floor": ("library", "floor"),
}
_SHORTER = {"s": (2, 4, 16), "horizon": (10, 40, 200)}

CASES = [
    *cases("elman", "headline", training, vary(_BASE, N=(128, 64)), _RATIOS, ("cpu",)),
    *cases("elman", "headline", training, vary(_BASE | {"threads": 1}, N=(128, 64)), _RATIOS, ("cpu",)),
    *cases(
        "elman", "scaling", training, vary(_BASE, N=(32, 64, 128, 256), K=(1, 2, 4, 16), **_SHORTER), _RATIOS, ("cpu",)
    ),
    *cases("elman", "headline", training, vary(_MANY | {"N": 128}, K=(8, 120)), _RATIOS, ("cuda",)),
    *cases("elman", "headline", training, vary(_MANY, K=(8, 120)), _RATIOS, ("cuda",)),
    *cases("elman", "scaling", training, vary(_MANY, N=(16, 32), K=(1, 32, 480, 960), **_SHORTER), _RATIOS, ("cuda",)),
    Case("elman-tf32", "arithmetic", arithmetic, _TF32, devices=("cpu",)),
]
