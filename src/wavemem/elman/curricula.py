"""What a curriculum buys: the same networks trained with different schedules of the horizon, at equal cost (TWM App. B.2).

The paper trains with a horizon that grows and says that this "did not affect the results" but "did improve training
efficiency". Here the schedules are compared on what they spend: a run that has made updates with horizons H_1, H_2, …
has computed Σ (s + H_n) time steps per history of its batch, forward and back.

| `curriculum` | horizon |
|---|---|
| "ladder" | up a rung when a batch's accuracy exceeds a threshold (what produced the paper's Table 1) |
| "multiplicative" | times γ = 1.2 or divided by it, by the loss of the first steps (what App. B.2 describes) |
| "longest" | that of the last rung, from the start |
| "shortest" | that of the first rung, to the end |
| "cycle" | s steps, to the end: nothing is asked for after the last stored vector |

All schedules start from the same weights and draw from the same stream of histories, seed by seed. In "quick" the horizons
are the paper's in units of s: 10 steps at s = 8 are 5 at s = 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Final

import numpy as np
import pandas as pd
import torch

from wavemem.checks import one_of, require
from wavemem.elman.network import ElmanEnsemble
from wavemem.elman.training import Training, evaluate, spectral, tidy, train
from wavemem.records.experiment import Pieces, Result, Where, resumable
from wavemem.records.fields import Batch, Count, Items, OneOf, Rungs, Runs, Share, Size
from wavemem.streams import run_seeds
from wavemem.theory.selection import PAPER_TABLES, paper_task
from wavemem.theory.spectrum import theoretical_eigenvalues
from wavemem.training.curriculum import Curriculum, LadderCurriculum, MultiplicativeCurriculum, fixed_horizon

CURRICULA: Final = ("ladder", "multiplicative", "longest", "shortest", "cycle")
"""The schedules; see the table at the top of the module."""
CURVES: Final = ("horizon", "loss", "accuracy")
"""Of the batch of an update."""
MEASURED: Final = ("test_accuracy", "lasting", "modulus_max", "angle_error")
"""On the weights after an update."""


Schedule = Annotated[str, OneOf(CURRICULA)]


@dataclass(frozen=True)
class Config(Training):
    """Sizes and protocol: in "quick" half a minute on one core; in "paper" s = d = 8, N = 128.

    Attributes:
        tasks: among "T1" to "T4".
        curricula: among `CURRICULA`, for every task.
        controls: among `CURRICULA`, for the first task only.
        hidden_size: number of neurons N.
        iterations: updates of the curricula whose horizon moves.
        budget: time steps, per history of its batch, that a run with "longest" may spend.
        control_budget: the same for "shortest" and "cycle".
        horizons: rungs of the ladder; the first and the last are also the limits of the other schedules.
        threshold: of the ladder.
        marks: how many times, at equal distances, the weights are measured.
        test_batches: batches of the test.
        modulus: eigenvalues of larger modulus are counted.
        weights_of: curricula whose weights at the marks are kept.
    """

    PARTS: ClassVar = ("tasks", "curricula", "controls", "runs", "marks", "weights_of")
    PAPER: ClassVar = {
        "s": 8,
        "d": 8,
        "hidden_size": 128,
        "runs": 5,
        "budget": 4_000_000,
        "control_budget": 1_000_000,
        "iterations": 20_000,
        "horizons": (10, 20, 40, 60, 100),
        "marks": 80,
        "test_batches": 10,
    }

    runs: Runs = 3
    iterations: Count = 750
    horizons: Rungs = (5, 10, 20, 30, 50)
    tasks: tuple[Annotated[str, OneOf(PAPER_TABLES)], ...] = ("T1", "T2")
    curricula: tuple[Schedule, ...] = ("ladder", "multiplicative", "longest")
    controls: Annotated[tuple[Schedule, ...], Items(0)] = ("shortest", "cycle")
    hidden_size: Size = 64
    budget: Count = 80_000
    control_budget: Count = 20_000
    threshold: Share = 0.98
    marks: Count = 30
    test_batches: Batch = 1
    modulus: Share = 0.9
    weights_of: Annotated[tuple[Schedule, ...], Items(0)] = ("ladder", "multiplicative", "shortest", "cycle")

    def schedule(self, name: str) -> tuple[Curriculum, int]:
        """The curriculum of a name, and how many updates it is given."""
        one_of("curriculum", name, CURRICULA)
        first, last = self.horizons[0], self.horizons[-1]
        if name == "ladder":
            return LadderCurriculum(self.horizons, self.threshold), self.iterations
        if name == "multiplicative":
            return MultiplicativeCurriculum(first, last), self.iterations
        horizon = {"longest": last, "shortest": first, "cycle": self.s}[name]
        budget = self.budget if name == "longest" else self.control_budget
        return fixed_horizon(horizon), max(1, budget // (self.s + horizon))

    def updates_at_marks(self, name: str) -> tuple[int, ...]:
        """The numbers of updates after which the weights are measured: none, and `marks` times until the last."""
        last = self.schedule(name)[1]
        return tuple(int(n) for n in np.unique(np.linspace(0, last, self.marks + 1).round()))


def _train(config: Config, task_name: str, name: str, seed: int, where: Where) -> Result:
    """Train the runs of one task with one curriculum and measure them at the marks."""
    task = paper_task(task_name, config.s, config.d)
    about = pd.DataFrame({"task": task_name, "curriculum": name, "seed": run_seeds(seed, config.runs)})
    seeds = about["seed"].tolist()
    curriculum, iterations = config.schedule(name)
    marks = config.updates_at_marks(name)
    ensemble = ElmanEnsemble.initialise(seeds, config.hidden_size, config.d, device=where.device)
    training, label = config.fit_config(iterations=iterations, log_every=1, snapshots=marks), f"{task_name}, {name}"
    trained = train(ensemble, task, training, seeds, curriculum, config.batch, where.progress, label, where.checkpoint)
    log = trained.log.assign(steps=(trained.log["horizon"] + config.s).groupby(trained.log["run"]).cumsum())
    spent = log.pivot(index="iteration", columns="run", values="steps")
    theory = theoretical_eigenvalues(task)
    measured = []
    for iteration in marks:
        ensemble.load_state_dict(trained.snapshots[iteration])
        right = evaluate(ensemble, task, config.test_horizon, config.test_batches, config.batch, seeds)
        for k, W_hh in enumerate(ensemble.W_hh):
            found = spectral(theory, W_hh, config.modulus)
            measured.append(
                {
                    "run": k,
                    "iteration": iteration,
                    "steps": int(spent[k][iteration]) if iteration else 0,
                    "test_accuracy": right[k],
                    "lasting": found["n_learned"],
                    "modulus_max": found["radius"],
                    "angle_error": found["angle_error"],
                }
            )
    # Of the curves a few hundred points are enough.
    kept = log[(log["iteration"] == 1) | (log["iteration"] % max(1, iterations // 300) == 0)]
    rows = tidy(kept, about, CURVES, measured, ("iteration", "steps"))
    weights = {}
    if name in config.weights_of:
        for key in ("W_hh", "W_uh", "W_r"):
            weights[f"{task_name} {name} {key}"] = torch.stack([trained.snapshots[n][key] for n in marks])
        weights[f"{task_name} {name} iterations"] = torch.tensor(marks)
    return Result(rows, weights)


@resumable
def run(config: Config, seed: int) -> Pieces:
    """Train every task with every curriculum, and the first task with the controls.

    Rows (task, curriculum, seed, iteration, steps, quantity, value), with `steps` the time steps spent up to and
    including that update: `CURVES` of the batches, and `MEASURED` at the marks: test_accuracy (share of right signs at
    twice the last rung), lasting (eigenvalues above `Config.modulus`), modulus_max, angle_error (rad; NaN where the
    number of lasting eigenvalues is not Φ's). Weights "T1 ladder W_hh" (marks, runs, N, N) and so on, and
    "T1 ladder iterations" (marks,), for the curricula in `Config.weights_of`.
    """
    return {
        f"{task}-{name}": partial(_train, config, task, name, seed)
        for task in config.tasks
        for name in (*config.curricula, *(config.controls if task == config.tasks[0] else ()))
    }


def ensemble_at(result: Result, task: str, mark: int, curriculum: str = "ladder") -> ElmanEnsemble:
    """The runs of a task as they were at a mark.

    Args:
        result: from `run`.
        task: "T1" to "T4".
        mark: index into the weights that were kept.
        curriculum: one whose weights were kept.

    Raises:
        ValueError: if these weights were not kept.
    """
    key = f"{task} {curriculum} W_hh"
    require(key in result.weights, f"weights {key!r}", f"{sorted(result.weights)}", "Name what was kept.")
    W_hh, W_uh, W_r = (result.weights[f"{task} {curriculum} {name}"][mark] for name in ("W_hh", "W_uh", "W_r"))
    return ElmanEnsemble(W_hh, W_uh, W_r)


def summarise(rows: pd.DataFrame, budget: float | None = None, level: float = 0.98) -> pd.DataFrame:
    """One line per task, curriculum and seed: what was reached within a budget, and when.

    Args:
        rows: from `run`.
        budget: only marks within so many time steps count; by default all.
        level: test accuracy that counts as having learned the task.

    Returns:
        Columns task, curriculum, seed, updates and steps (of the last mark within the budget), test_accuracy, lasting and
        angle_error (there), steps_to_level (of the first mark from which on the test accuracy stays at the level within the
        budget; NaN if it does not).

    Raises:
        ValueError: if the rows lack the columns of `run`.
    """
    for column in ("task", "curriculum", "seed", "iteration", "steps", "quantity", "value"):
        one_of("column", column, rows.columns)
    marks = rows[rows["quantity"].isin(MEASURED)]
    cell = ["task", "curriculum", "seed"]
    limit = float(marks["steps"].max()) if budget is None else budget
    table = marks[marks["steps"] <= limit].pivot(
        index=[*cell, "iteration", "steps"], columns="quantity", values="value"
    )
    lines = []
    for key, own in table.reset_index().groupby(cell, sort=False):
        own = own.sort_values("iteration")
        last = own.iloc[-1]
        below = own[own["test_accuracy"] < level]["iteration"].max()
        above = own[own["iteration"] > (-1 if np.isnan(below) else below)]
        lines.append(
            {
                **dict(zip(cell, key, strict=True)),
                "updates": int(last["iteration"]),
                "steps": int(last["steps"]),
                "test_accuracy": float(last["test_accuracy"]),
                "lasting": int(last["lasting"]),
                "angle_error": float(last["angle_error"]),
                "steps_to_level": float(above["steps"].iloc[0]) if len(above) else float("nan"),
            }
        )
    return pd.DataFrame(lines)
