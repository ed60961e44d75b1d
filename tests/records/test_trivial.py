"""Criteria against the trivial predictor: chance, a constant, an untrained network, an identity.

Every quantity that is measured on trained networks names a predictor that has learned nothing and what it scores; that value
must fail the criterion (also checked whenever the registry is read). What can be computed is computed here, from the
predictor and the task or from untrained weights, and compared with the registry. Where the paper reports a failure, a network
that has learned nothing scores like it: there the trivial predictor is the success that the criterion must tell apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch

from wavemem.elman import gradient_propagation
from wavemem.elman import variable_memories as travel
from wavemem.elman.network import ElmanEnsemble
from wavemem.elman.training import evaluate
from wavemem.elman.variable_memories import algorithm_1, true_histories
from wavemem.records.entries import Entry, Quantity, load_registry
from wavemem.streams import stream
from wavemem.theory.hds import random_histories
from wavemem.theory.selection import paper_task
from wavemem.theory.spectrum import angle_error, eigenvalues, reduced_basis, theoretical_eigenvalues
from wavemem.wave_rnn.adding import TABLE_6
from wavemem.wave_rnn.adding_task import SOLVED_MSE, AddingTask
from wavemem.wave_rnn.copy_task import CopyTask
from wavemem.wave_rnn.copying import PAPER_TEST_BATCH, TABLE_5

ALL = [(entry, quantity) for entry in load_registry().entries for quantity in entry.quantities if not quantity.exact]


def _between_equals(quantity: Quantity) -> float:
    """What a comparison of a network with its equal gives: a ratio of 1, a difference of 0."""
    ratio = re.search(r" over ", quantity.name) and quantity.unit not in ("decades", "e-foldings", "points", "share")
    return 1.0 if ratio else 0.0


def _always_1(entry: Entry, quantity: Quantity) -> float:
    if re.search("share of runs|solved within", quantity.name):
        return 0.0
    if "as soon as" in quantity.name:
        return 1.0
    if "MSE" not in quantity.name and "iterations" not in quantity.name:
        return _between_equals(quantity)
    drawn = AddingTask(40).batch(100_000, stream(0, "the constant 1"))
    error = float((drawn.targets.double() - 1).square().mean())
    assert error > 2 * SOLVED_MSE
    return error if "MSE" in quantity.name else math.nan


def _when_not_which(entry: Entry, quantity: Quantity) -> float:
    if quantity.name.startswith("short training"):
        return _between_equals(quantity)
    return CopyTask(int(quantity.name.rpartition("T = ")[2])).chance_loss / PAPER_TEST_BATCH


@cache
def _untrained(name: str = "T1", s: int = 4, d: int = 4, N: int = 64, init: str = "uniform") -> dict[str, float]:
    """What is measured on networks with random weights, the mean of four."""
    task, seeds = paper_task(name, s, d), [0, 1, 2, 3]
    nets = ElmanEnsemble.initialise(seeds, N, d, init=init)
    theory = theoretical_eigenvalues(task)
    found: dict[str, list[float]] = {
        key: [] for key in ("angle", "agree", "share", "free", "content", "radius", "above")
    }
    accuracy = evaluate(nets, task, 120, batches=2, seeds=seeds)
    nets.double()
    u = random_histories(64, s, d, stream(0, "untrained"), torch.float64)
    steps = 5 * s
    with torch.no_grad():
        states = nets.states(u.movedim(-2, 0)[:, None].expand(-1, 4, -1, -1), steps=steps)
    want = true_histories(task, u, steps)[s:].flatten(-2)
    keep = reduced_basis(task.Phi()).keep
    for k in range(4):
        W = nets.W_hh[k].detach()
        moduli = eigenvalues(W).abs()
        spectrum = angle_error(theory, W)
        found["angle"].append(spectrum.error)
        found["agree"].append(float(spectrum.n_learned == spectrum.n_theory))
        found["share"].append(spectrum.n_learned / spectrum.n_theory)
        found["above"].append(float((moduli > 1).sum()) / spectrum.n_theory)
        found["radius"].append(float(moduli.max()))
        memories = algorithm_1(W, nets.W_r[k].detach(), s, keep)
        found["free"].append(travel.operator_share(memories, W, task.Phi()).free)
        content = memories.coordinates(states[s:, k])
        found["content"].append(float(travel.agreement(content, want[..., keep]).mean()))
    return {"accuracy": float(np.mean(accuracy))} | {key: float(np.mean(values)) for key, values in found.items()}


@cache
def _gradient_at_the_start() -> dict[str, float]:
    """Gradient of the oldest input in the untrained networks of Fig. 5, over the newest's and as a gain."""
    config = gradient_propagation.Config(iterations=1, snapshots=(0, 1), runs=2)
    rows = gradient_propagation.run(config, 0, "cpu").rows
    oldest = rows[(rows["input"] == 1) & (rows["iteration"] == 0)]
    of = {cost: own.mean(numeric_only=True) for cost, own in oldest.groupby("cost")}
    return {"relative": float(of["cycle"]["relative"]), "gain": float(of["gain"]["norm"])}


def _without_training(entry: Entry, quantity: Quantity) -> float:
    """An untrained network of the TWM paper's experiments, by what the quantity's name asks for."""
    name = quantity.name
    if name.startswith("gradient norm at the oldest"):
        return _gradient_at_the_start()["relative"]
    if name.startswith("gain at the oldest"):
        return _gradient_at_the_start()["gain"]
    task = next((t for t in ("T1", "T2", "T3", "T4") if name.startswith(t)), "T3" if entry.id == "twm:fig11" else "T1")
    measured = _untrained(task)
    for words, key in (
        ("accuracy|right signs", "accuracy"),
        ("angle error|error of the angles|modulus of lasting", "angle"),
        ("counts agree|agreement in number|directions with", "agree"),
        ("squared weight", "free"),
        ("correlation", "content"),
        ("eigenvalues", "share"),
    ):
        if re.search(words, name):
            return measured[key]
    raise AssertionError(f"{entry.id}, {name}: no rule")


def _same_rate(entry: Entry, quantity: Quantity) -> float:
    rates = [best.lr for best in (TABLE_5 if entry.id == "wrnn:table5" else TABLE_6)]
    return max(rates.count(lr) for lr in set(rates)) / len(rates)


PREDICTORS: dict[tuple[str, str], Callable[[Entry, Quantity], float]] = {
    ("twm", "an untrained network"): _without_training,
    ("twm", "the Gaussian start"): lambda *_: _untrained(s=8, N=128, init="gaussian")["radius"],
    ("twm", "the uniform start"): lambda *_: _untrained(s=8, N=128)["radius"],
    ("twm", "an untrained network, Gaussian start"): lambda _, q: (
        _untrained(s=8, N=128, init="gaussian")["above"] * (1 if "share" in q.name else 32)
    ),
    ("wrnn", "always saying 1"): _always_1,
    ("wrnn", "two equal networks, or one that always says 1"): _always_1,
    ("wrnn", "two equal networks"): lambda _, q: _between_equals(q),
    ("wrnn", "knowing when symbols are due, not which; of comparisons, two equal networks"): _when_not_which,
    ("wrnn", "guessing five symbols of four kinds"): lambda *_: 4.0**-5,
    ("wrnn", "guessing among ten classes"): lambda *_: 10.0,
    ("wrnn", "the same learning rate in every row"): _same_rate,
}
"""Paper and what its ``trivial_by`` names, computed. Other names say what follows from the definition, or was measured."""


@pytest.mark.parametrize(("entry", "quantity"), ALL, ids=lambda x: x.id if isinstance(x, Entry) else x.name)
def test_every_measured_quantity_has_a_trivial_predictor_that_fails(entry: Entry, quantity: Quantity) -> None:
    assert quantity.trivial is not None, "what does the trivial predictor score?"
    assert quantity.trivial_by, "which trivial predictor is it?"
    assert quantity.fixed, "when was the criterion fixed?"
    assert not quantity.holds(quantity.trivial)


COMPUTED = [
    (entry, quantity)
    for entry, quantity in ALL
    if quantity.trivial is not None
    and (entry.paper, quantity.trivial_by) in PREDICTORS
    and "travel" not in quantity.name  # tests/theory/test_waves.py::test_an_untrained_network_fails_both
]


@pytest.mark.parametrize(("entry", "quantity"), COMPUTED, ids=lambda x: x.id if isinstance(x, Entry) else x.name)
def test_the_trivial_predictor_scores_what_the_registry_says(entry: Entry, quantity: Quantity) -> None:
    score = PREDICTORS[entry.paper, quantity.trivial_by](entry, quantity)
    assert quantity.trivial is not None
    assert not quantity.holds(score)
    assert math.isnan(score) == math.isnan(quantity.trivial)
    if not math.isnan(score):
        assert score == pytest.approx(quantity.trivial, rel=0.1, abs=0.05)
