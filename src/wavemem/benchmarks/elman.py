"""How long an iteration of Elman training takes: an ensemble against a loop over `torch.nn.RNN`, and the bare products.

All three do, for K runs: draw histories and targets, run the recurrence over s + horizon steps, compare with the targets,
differentiate, clip, and update with Adam — the products only the matrix products in it. They take turns within one
process, so that a machine's changing mood meets all of them; medians are compared.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wavemem.benchmarks.turns import Timing, durations, take_turns
from wavemem.checks import positive_int
from wavemem.models.elman import ElmanEnsemble
from wavemem.streams import stream
from wavemem.tasks.episodes import accuracy, elman_inputs, random_histories
from wavemem.tasks.hds import LinearHDS, repeat_copy
from wavemem.training.curriculum import FixedHorizon
from wavemem.training.ensemble import TrainingConfig, train
from wavemem.training.workers import Workers, plan_groups

__all__ = ["Case", "Timing", "bare_products", "ensemble_iterations", "loop_iterations", "measure", "near_critical"]


@dataclass(frozen=True)
class Case:
    """One size to measure.

    Args:
        N: Hidden units.
        K: Runs.
        batch: Histories per run and iteration.
        s: Length of the history.
        d: Dimensions.
        horizon: Steps of the output phase.
        threads: Cores to use.
    """

    N: int = 128
    K: int = 8
    batch: int = 64
    s: int = 8
    d: int = 8
    horizon: int = 100
    threads: int = 2


def near_critical(case: Case) -> ElmanEnsemble:
    """Return networks whose W_hh is orthogonal: states neither die out nor saturate over the horizon, as after training.

    With freshly drawn weights the activity decays to denormal numbers, whose arithmetic is slow, and the comparison
    would measure that.
    """
    ensemble = ElmanEnsemble.initialise(range(case.K), case.N, case.d)
    with torch.no_grad():
        for k in range(case.K):
            drawn = torch.randn(case.N, case.N, generator=stream(k, "orthogonal"))
            ensemble.W_hh[k] = torch.linalg.qr(drawn)[0]
    return ensemble


def ensemble_iterations(ensemble: ElmanEnsemble, case: Case, task: LinearHDS, count: int) -> list[float]:
    """Train the ensemble for one iteration more than `count` and return the durations of all but the first, in s."""
    marks: list[float] = []
    config = TrainingConfig(count + 1, batch=case.batch, curriculum=FixedHorizon(case.horizon), log_every=1)
    train(
        ensemble,
        task,
        config,
        range(case.K),
        progress=False,
        on_log=lambda _n, _rows: marks.append(time.perf_counter()),
    )
    return [after - before for before, after in itertools.pairwise(marks)]


@dataclass
class _Single:
    """One run as one would write it with PyTorch alone."""

    rnn: nn.RNN
    readout: nn.Linear
    optimiser: torch.optim.Adam
    generator: torch.Generator


def _singles(ensemble: ElmanEnsemble) -> list[_Single]:
    singles = []
    for k in range(ensemble.K):
        rnn = nn.RNN(ensemble.d, ensemble.N, nonlinearity="tanh", bias=False)
        readout = nn.Linear(ensemble.N, ensemble.d, bias=False)
        rnn.load_state_dict({"weight_hh_l0": ensemble.W_hh[k], "weight_ih_l0": ensemble.W_uh[k]})
        readout.load_state_dict({"weight": ensemble.W_r[k]})
        optimiser = torch.optim.Adam([*rnn.parameters(), *readout.parameters()], lr=1e-3)
        singles.append(_Single(rnn, readout, optimiser, stream(k, "data")))
    return singles


def loop_iterations(ensemble: ElmanEnsemble, case: Case, task: LinearHDS, count: int) -> list[float]:
    """Train K separate `torch.nn.RNN`, one after the other, and return the durations of `count` iterations, in s."""
    singles = _singles(ensemble)

    def iterate() -> None:
        for one in singles:
            u = random_histories(case.batch, case.s, case.d, one.generator)
            target = task.targets(u, case.horizon).transpose(0, 1)
            states, _ = one.rnn(elman_inputs(u, case.horizon))
            y = one.readout(states[case.s :])
            loss = (y - target).square().mean()
            one.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([p for group in one.optimiser.param_groups for p in group["params"]], 1.0)
            one.optimiser.step()
            float(loss.detach()), float(accuracy(y.detach(), target))

    return durations(iterate, count)


def bare_products(ensemble: ElmanEnsemble, case: Case, count: int) -> list[float]:
    """Return the durations of only the matrix products of an iteration, with PyTorch's batched product, in s.

    T products of W_hh forward and T - 1 back, each weight gradient as one product, and the readout there and back; the
    runs are shared between the cores as in the training.
    """
    K, N, B, d, T = case.K, case.N, case.batch, case.d, case.s + case.horizon
    groups = plan_groups(np.full(K, case.horizon), case.s, case.threads, together=False, product=B * N * N)
    generator = torch.Generator().manual_seed(0)
    states: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
    for index, group in enumerate(groups):
        size = len(group)
        states[index] = (
            torch.randn(size, N, N, generator=generator) / N**0.5,
            torch.randn(size, T, B, N, generator=generator) / N**0.5,
            torch.randn(size, T, B, N, generator=generator) / N**0.5,
            torch.randn(size, d, T * B, generator=generator) / N**0.5,
        )

    def multiply(index: int) -> None:
        weights, forward, back, error = states[index]
        out = torch.empty(len(weights), B, N)
        right, readout = weights.mT.contiguous(), weights[:, :d]
        for t in range(T):
            torch.bmm(forward[:, t], right, out=out)
        rows, deltas = forward.flatten(1, 2), back.flatten(1, 2)
        torch.bmm(readout, rows.mT)
        torch.bmm(error, rows)
        torch.bmm(error.mT, readout, out=deltas)
        for t in range(T - 1):
            torch.bmm(back[:, t], weights, out=out)
        torch.bmm(deltas.mT, rows)

    with Workers() as workers:
        return durations(lambda: workers.map(multiply, list(states)), count)


def measure(case: Case, rounds: int = 7, per_round: int = 3, patience: float = 10.0) -> dict[str, Any]:
    """Measure one case, the three in turn.

    Args:
        case: The sizes.
        rounds: How often the three take turns.
        per_round: Iterations of each per turn (after one to warm up).
        patience: Seconds for which a turn is repeated while other programs take processor time; 0 for never.

    Returns:
        The case, a `Timing` of each (milliseconds per iteration and run), the ratios of the medians
        ("speed_up" = loop / ensemble, "over_products" = ensemble / bare products), and "others", the largest mean
        number of cores that other programs took during one of the turns (None where the system does not tell).

    Raises:
        ValueError: If a number is not positive.
    """
    positive_int("rounds", rounds)
    positive_int("per_round", per_round)
    positive_int("threads", case.threads)
    task = repeat_copy(case.s, case.d)
    before = torch.get_num_threads()
    torch.set_num_threads(case.threads)
    ensemble = near_critical(case)
    weights = {name: value.clone() for name, value in ensemble.state_dict().items()}

    def turn(competitor: Callable[[], list[float]]) -> Callable[[], list[float]]:
        def start_again() -> list[float]:
            ensemble.load_state_dict(weights)
            return competitor()

        return start_again

    turns = {
        "loop": turn(lambda: loop_iterations(ensemble, case, task, per_round)),
        "ensemble": turn(lambda: ensemble_iterations(ensemble, case, task, per_round)),
        "products": turn(lambda: bare_products(ensemble, case, per_round)),
    }
    try:
        seconds, others = take_turns(turns, rounds, patience)
    finally:
        torch.set_num_threads(before)
    timings = {name: Timing.of(values, case.K) for name, values in seconds.items()}
    return {
        "case": asdict(case),
        **{name: asdict(timing) for name, timing in timings.items()},
        "speed_up": timings["loop"].median / timings["ensemble"].median,
        "over_products": timings["ensemble"].median / timings["products"].median,
        "others": others,
    }
