"""Estimates of the variable memories compared on trained networks: Algorithm 1 of the paper, and better ones (TWM App. A.6).

Every network of a Table 1 run is simulated on random histories. The estimates that need data are fitted on one half of the
histories; all of them are judged on the other half, with the quantities of `wavemem.elman.estimates`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pandas as pd
import torch
from torch import Tensor

from wavemem.checks import one_of, positive_int
from wavemem.elman import table1
from wavemem.elman.estimates import (
    calibrated,
    corrected_power_iteration,
    decoded_past,
    describing_gains,
    explained_variance,
    intertwined_memories,
    operator_error,
    regressed_memories,
    with_transients,
)
from wavemem.elman.variable_memories import VariableMemories, algorithm_1, true_histories
from wavemem.records.experiment import PROFILES, Configuration, Result, Source
from wavemem.records.fields import OneOf, Steps, Within
from wavemem.records.runs import shared_run
from wavemem.streams import stream
from wavemem.theory.hds import elman_inputs, random_histories
from wavemem.theory.spectrum import reduced_basis

ESTIMATES = {
    "algorithm 1": "Algorithm 1",
    "algorithm 1, units": "Algorithm 1, own units",
    "algorithm 1, alpha": "Algorithm 1, α = 1",
    "corrected": "boundary taken out (A.6)",
    "powers": "right column s",
    "powers, gains": "right column s, gains",
    "intertwined": "future outputs, gains",
    "regressed": "regression",
    "ours": "regression + transient",
}
"""Name of every estimate, and how figures call it."""

QUANTITIES = {
    "operator": "‖Ψ†WΨ − Φ‖ / ‖Φ‖",
    "operator, one gain": "the same after one free gain",
    "operator, gains": "the same after one free gain per column",
    "operator, linearised": "‖Ψ†GWΨ − Φ‖ / ‖Φ‖, G the gains of tanh",
    "explained, output": "share of the hidden state's mean square in the waves' span, output phase",
    "explained, input": "the same, input phase",
    "explained, input + transient": "the same with the transient's directions counted in",
    "signs, output": "share of right signs of the decoded past, output phase",
    "signs, input": "the same, input phase",
    "error, output": "mean squared error of the decoded past, output phase",
    "error, input": "the same, input phase",
    "error, first": "the same at the first step of the output phase",
}
"""What is measured on each estimate."""


@dataclass(frozen=True)
class Config(Configuration):
    """How the estimates are judged; "quick" and "paper" differ in the networks and in the number of histories.

    Attributes:
        networks: profile of the Table 1 run whose networks are used.
        histories: number of histories of which one half is fitted to and the other half judged on.
        horizon: steps of the output phase.
        ages: how many steps an input's transient is followed.
    """

    PARTS: ClassVar = ("ages",)
    UNSTATED: ClassVar = "an experiment of ours"
    PAPER: ClassVar = {"networks": "paper", "histories": 1024, "horizon": 80}

    networks: Annotated[str, OneOf(PROFILES)] = "quick"
    histories: Annotated[int, Within(2, 1_000_000)] = 256
    horizon: Annotated[int, Within(2, 100_000)] = 40
    ages: Steps = 1


@dataclass(frozen=True)
class Runs:
    """An ensemble simulated on random histories.

    Attributes:
        states: (T, K, B, N) hidden states h(1) … h(T), float64.
        inputs: (T, B, d).
        histories: (T, B, s, d), what the substrate should hold.
    """

    states: Tensor
    inputs: Tensor
    histories: Tensor


def simulate(nets: table1.Networks, histories: int, horizon: int, generator: torch.Generator) -> Runs:
    """Run trained networks on random histories, with what their substrates should hold.

    Args:
        nets: trained networks of one task.
        histories: how many.
        horizon: steps of the output phase.
        generator: source of the histories.

    Returns:
        States, inputs and histories.

    Raises:
        ValueError: if a number is not positive.
    """
    task, ensemble = nets.task, nets.ensemble
    u = random_histories(histories, task.s, task.d, generator, dtype=torch.float64)
    inputs = elman_inputs(u, horizon)
    with torch.no_grad():
        states = type(ensemble)(
            ensemble.W_hh.double(), ensemble.W_uh.double(), ensemble.W_r.double(), ensemble.activation
        ).states(inputs[:, None].expand(-1, ensemble.K, -1, -1))
    return Runs(states, inputs, true_histories(task, u, len(inputs)))


def estimates_of(
    nets: table1.Networks, k: int, fit: Runs, keep: Tensor, ages: int = 1
) -> dict[str, Callable[[], VariableMemories]]:
    """Every estimate of one network's variable memories, to be called; calibrated by one number so that they decode ±1.

    Algorithm 1 is there a second time with a number of its own for every vector, since it normalises every vector.

    Args:
        nets: trained networks.
        k: which of them.
        fit: a simulation of theirs, to fit on.
        keep: entries of the substrate that the task needs.
        ages: steps for which an input's transient is followed.

    Returns:
        Name (see `ESTIMATES`) → a function without arguments that makes it.
    """
    task, s = nets.task, nets.task.s
    W, W_r = nets.ensemble.W_hh[k].detach().double(), nets.ensemble.W_r[k].detach().double()
    states, free, past = fit.states[:, k], fit.states[s:, k], fit.histories[s:]
    G = describing_gains(W, fit.states[s - 1 :, k])

    def scaled(memories: VariableMemories) -> VariableMemories:
        return calibrated(memories, free, past)

    def regressed() -> VariableMemories:
        return regressed_memories(free, past, keep)

    def powers(operator: Tensor) -> VariableMemories:
        right = regressed()
        newest = right.Psi[:, right.keep >= (s - 1) * task.d]
        return corrected_power_iteration(operator, W_r, task.F, keep, newest=newest)

    return {
        "algorithm 1": lambda: scaled(algorithm_1(W, W_r, s, keep)),
        "algorithm 1, units": lambda: calibrated(algorithm_1(W, W_r, s, keep), free, past, by_vector=True),
        "algorithm 1, alpha": lambda: scaled(algorithm_1(W, W_r, s, keep, alpha=1.0)),
        "corrected": lambda: scaled(corrected_power_iteration(W, W_r, task.F, keep)),
        "powers": lambda: scaled(powers(W)),
        "powers, gains": lambda: scaled(powers(G[:, None] * W)),
        "intertwined": lambda: scaled(intertwined_memories(G[:, None] * W, W_r, task.Phi(), keep)),
        "regressed": regressed,
        "ours": lambda: with_transients(regressed(), states, fit.histories, fit.inputs, ages),
    }


def _quality(nets: table1.Networks, k: int, memories: VariableMemories, test: Runs) -> dict[str, float]:
    """All of `QUANTITIES` for one estimate on histories it has not seen."""
    s, W = nets.task.s, nets.ensemble.W_hh[k].detach().double()
    theory = memories.theory(nets.task.Phi())
    G = describing_gains(W, test.states[s - 1 :, k])
    states, seen = test.states[:, k], memories.operator(W)
    out, into = (
        decoded_past(memories, states[steps], test.histories[steps]) for steps in (slice(s, None), slice(0, s))
    )
    return {
        "operator": operator_error(seen, theory),
        "operator, one gain": operator_error(seen, theory, "global"),
        "operator, gains": operator_error(seen, theory, "columns"),
        "operator, linearised": operator_error(memories.operator(G[:, None] * W), theory),
        "explained, output": explained_variance(memories, states[s:]),
        "explained, input": explained_variance(memories, states[:s]),
        "explained, input + transient": explained_variance(memories, states[:s], transient=True),
        "signs, output": out.signs,
        "signs, input": into.signs,
        "error, output": out.error,
        "error, input": into.error,
        "error, first": float(out.error_by_step[0]),
    }


def compare(source: Source, config: Config, seed: int = 0, at_most: int | None = None) -> pd.DataFrame:
    """Judge every estimate on every network that a Table 1 result or record keeps.

    Args:
        source: the result or record.
        config: histories and steps.
        seed: of the histories.
        at_most: networks per cell, the first ones; None for all.

    Returns:
        Rows (task, hidden_size, weight_decay, threshold, seed, estimate, quantity, value); NaN where an estimate cannot be made,
        e.g. because training shrank a network's weights to nothing.

    Raises:
        ValueError: if the source holds no networks.
    """
    if at_most is not None:
        positive_int("at_most", at_most)
    trained = source.rows[source.rows["quantity"] == "test_accuracy"]
    rows: list[dict[str, object]] = []
    for name, size in trained[["task", "hidden_size"]].drop_duplicates().itertuples(index=False, name=None):
        nets = table1.networks(source, name, int(size))
        keep = reduced_basis(nets.task.Phi()).keep
        fit, test = (
            simulate(nets, config.histories // 2, config.horizon, stream(seed, f"bases, {name}, {half}"))
            for half in ("fit", "test")
        )
        met: dict[tuple[float, float], int] = {}
        for k in range(nets.ensemble.K):
            cell = (nets.weight_decays[k], nets.thresholds[k])
            met[cell] = met.get(cell, 0) + 1
            if at_most is not None and met[cell] > at_most:
                continue
            about = {
                "task": name,
                "hidden_size": int(size),
                "weight_decay": nets.weight_decays[k],
                "threshold": nets.thresholds[k],
                "seed": nets.seeds[k],
            }
            for estimate, make in estimates_of(nets, k, fit, keep, config.ages).items():
                try:
                    measured = _quality(nets, k, make(), test)
                except ValueError:
                    measured = dict.fromkeys(QUANTITIES, float("nan"))
                rows += [
                    {**about, "estimate": estimate, "quantity": quantity, "value": value}
                    for quantity, value in measured.items()
                ]
    return pd.DataFrame(rows)


def run(config: Config, seed: int, device: torch.device | str = "cpu") -> Result:
    """Compare the estimates on the networks of a Table 1 run, training them if no chapter of this build has yet.

    Args:
        config: what to compare on.
        seed: of the first network of each cell, and of the histories.
        device: where to train; the comparison runs on the CPU.

    Returns:
        The rows of `compare`, no weights.

    Raises:
        ValueError: if the configuration is not usable.
    """
    source = shared_run("table1", table1.Config.profile(config.networks), seed, device)
    return Result(compare(source, config, seed), {})


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over all networks of a task and L2, one line per estimate and quantity, one column per (task, L2).

    Raises:
        ValueError: if the rows lack the columns of `run`.
    """
    for column in ("task", "weight_decay", "estimate", "quantity", "value"):
        one_of("column", column, rows.columns)
    return rows.pivot_table(
        index=["quantity", "estimate"], columns=["task", "weight_decay"], values="value", sort=False
    )
