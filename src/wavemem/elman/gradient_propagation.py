r"""How far the gradient reaches while an Elman network learns repeat copy: Fig. 5 of the TWM paper.

An ensemble is trained, its weights are kept at chosen iterations, and at each of them the same fixed probe
histories are differentiated in four ways. With g(m) the gradient at input m (1 = oldest, s = newest):

| `cost` | g(m) is the gradient of |
|---|---|
| "cycle" | the squared error of the first s output steps; repeat copy asks for every input once in them |
| "next" | the squared error of step s + 1 alone (Eq. 10) |
| "training" | the squared error of all output steps of the (first) training horizon |
| "gain" | the outputs y(s+1) … y(2s) themselves, whatever their error |

The norm is the mean of ‖g(m)‖ over histories; for "gain" it is the root mean square of the d gains of
`input_gains`, which is 1 for a perfect copy.

The paper says neither which cost nor which normalisation its figure shows. "cycle" is ours for the figure. A
loss, and with it its gradient, vanishes in a network that has learnt, so that its norm cannot approach 1: norms
are also given relative to the newest input's, and "gain" does without the error.

Source: Karuvally, Sejnowski and Siegelmann (2024), section 4.3 and Fig. 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Final, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.integrate import trapezoid
from torch import Tensor

from wavemem.checks import one_of, positive_int, require
from wavemem.elman.network import ElmanEnsemble
from wavemem.elman.training import Training, evaluate, train
from wavemem.records.experiment import Pieces, Result, Where, resumable
from wavemem.records.fields import Batch, Count, Decay, Items, OneOf, Rungs, Share, Size, Updates, Within
from wavemem.streams import run_seeds, stream
from wavemem.theory.gradients import decay_rate, slopes_of
from wavemem.theory.hds import HDS, random_histories
from wavemem.theory.selection import PAPER_TABLES, paper_task
from wavemem.theory.spectrum import complete_waves, eigenvalues
from wavemem.training.curriculum import LadderCurriculum

COSTS: Final = ("cycle", "next", "training", "gain")
"""What can be differentiated with respect to the inputs; see the table at the top of the module."""


def _geometric(first: int, last: int, count: int) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unique(np.geomspace(first, last, count).round().astype(int)))


@dataclass(frozen=True)
class Config(Training):
    """Settings of Fig. 5: seconds on one core in "quick"; in "paper" s = d = 8, N = 128.

    Attributes:
        task: "T1" to "T4".
        hidden_size: neurons N.
        weight_decay: Adam's coupled L2.
        threshold: accuracy at which a run climbs; one rung is a fixed horizon.
        snapshots: iterations at which the gradients are measured; 0 is before training.
        probes: histories over which they are averaged.
        jacobians: how many of them also for "gain" and `input_gains`, which need the whole Jacobian.
    """

    PARTS: ClassVar = ("runs", "snapshots")
    PAPER: ClassVar = {
        "d": 8,
        "hidden_size": 128,
        "iterations": 20_000,
        "horizons": (10, 20, 40, 60, 100),
        "snapshots": (*range(0, 80, 2), *_geometric(80, 20_000, 40)),
    }

    s: Annotated[int, Within(2, 10_000)] = 8
    iterations: Count = 1600
    # Whole cycles: with a horizon of 10 the two oldest inputs would be asked for once more than the others.
    horizons: Rungs = (16,)
    task: Annotated[str, OneOf(PAPER_TABLES)] = "T1"
    hidden_size: Size = 64
    weight_decay: Decay = 0.0
    threshold: Share = 0.98
    snapshots: Annotated[tuple[Updates, ...], Items(2, rise=True)] = (*range(0, 80, 2), *_geometric(80, 1600, 36))
    probes: Batch = 256
    jacobians: Batch = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.snapshots[-1] <= self.iterations,
            f"snapshots = (…, {self.snapshots[-1]:,}) with iterations = {self.iterations:,}",
            "numbers of updates from 0 to iterations",
            "Train longer, or name fewer.",
        )


def gradient_norms(
    ensemble: ElmanEnsemble,
    task: HDS,
    histories: Float[Tensor, "B s d"],
    cost: str = "cycle",
    horizon: int | None = None,
) -> Float[Tensor, "K s"]:
    """Norm of the gradient at every input, averaged over histories, for each run of an ensemble.

    Args:
        ensemble: K networks.
        task: what they are asked to continue.
        histories: the inputs x(1) … x(s); every run sees the same.
        cost: one of `COSTS`.
        horizon: output steps of the "training" cost; the others ignore it.

    Returns:
        One norm per run and input, oldest first.

    Raises:
        ValueError: if the cost is unknown, or "training" is asked for without a horizon.
    """
    one_of("cost", cost, COSTS)
    s = task.s
    if cost == "gain":
        return _root_mean_square(input_gains(ensemble, histories))
    steps = {"next": 1, "cycle": s}.get(cost) or positive_int("horizon", horizon)
    histories = histories.to(ensemble.W_hh)
    inputs = _inputs(ensemble, histories).requires_grad_(True)
    y = ensemble.outputs(ensemble.states(inputs, steps=s + steps)[s:])
    target = task.targets(histories, steps).movedim(1, 0).unsqueeze(1)
    # Every history has its own inputs, so the gradient of the summed cost holds the gradient of each.
    (g,) = torch.autograd.grad(0.5 * (y - target).square().sum(), inputs)
    return torch.linalg.vector_norm(g, dim=-1).mean(-1).T.detach()


def input_gains(ensemble: ElmanEnsemble, histories: Float[Tensor, "B s d"]) -> Float[Tensor, "K s d"]:
    """How strongly each direction of an input moves the first s outputs, whatever the error.

    Args:
        ensemble: K networks.
        histories: the inputs at which to linearise.

    Returns:
        Singular values of ∂(y(s+1) … y(2s))/∂x(m), largest first, averaged over histories; all of them are 1
        for a perfect copy.
    """
    return torch.linalg.svdvals(_gain_jacobian(ensemble, histories)).mean(2)


def _inputs(ensemble: ElmanEnsemble, histories: Float[Tensor, "B s d"]) -> Float[Tensor, "s K B d"]:
    return histories.to(ensemble.W_hh).movedim(1, 0).unsqueeze(1).expand(-1, ensemble.K, -1, -1).clone()


def _root_mean_square(gains: Float[Tensor, "K s d"]) -> Float[Tensor, "K s"]:
    return gains.square().mean(-1).sqrt()


@torch.no_grad()
def _gain_jacobian(ensemble: ElmanEnsemble, histories: Float[Tensor, "B s d"]) -> Float[Tensor, "K s B sd d"]:
    """∂(y(s+1) … y(2s))/∂x(m) by carrying the d directions of every input forward through the network."""
    s = histories.shape[1]
    h = ensemble.states(_inputs(ensemble, histories), steps=2 * s)
    slopes = slopes_of(h, ensemble.activation)[:, :, None, :, :, None]  # (T, K, 1, B, N, 1)
    carried = h.new_zeros(ensemble.K, s, *h.shape[2:], histories.shape[2])
    read = []
    for k in range(2 * s):
        carried = slopes[k] * torch.einsum("knm,ksbmd->ksbnd", ensemble.W_hh, carried)
        if k < s:
            carried[:, k] = slopes[k, :, 0] * ensemble.W_uh.unsqueeze(1)
        else:
            read.append(torch.einsum("kon,ksbnd->ksbod", ensemble.W_r, carried))
    return torch.cat(read, dim=-2)


def _train(config: Config, seed: int, where: Where) -> Result:
    """Train the ensemble and measure the gradients at every snapshot."""
    task = paper_task(config.task, config.s, config.d)
    seeds = run_seeds(seed, config.runs)
    ensemble = ElmanEnsemble.initialise(seeds, config.hidden_size, config.d, device=where.device)
    training = config.fit_config(
        weight_decay=config.weight_decay,
        log_every=max(1, config.iterations // 100),
        snapshots=config.snapshots,
    )
    ladder, label = LadderCurriculum(config.horizons, config.threshold), f"{config.task}, N = {config.hidden_size}"
    result = train(ensemble, task, training, seeds, ladder, config.batch, where.progress, label, where.checkpoint)
    accuracy = evaluate(ensemble, task, config.test_horizon, seeds=seeds)
    histories = random_histories(
        config.probes, config.s, config.d, generator=stream(seed, "gradient histories"), dtype=torch.float32
    ).to(where.device)
    rows = []
    for iteration, state in sorted(result.snapshots.items()):
        at = ElmanEnsemble(state["W_hh"], state["W_uh"], state["W_r"])
        moduli = eigenvalues(state["W_hh"]).abs()
        waves = complete_waves(state["W_hh"], config.s)
        gains = input_gains(at, histories[: config.jacobians]).cpu().double()
        for cost in COSTS:
            if cost == "gain":
                norms = _root_mean_square(gains)
            else:
                norms = gradient_norms(at, task, histories, cost, horizon=config.horizons[0]).cpu().double()
            rates = torch.full((len(norms),), math.nan, dtype=torch.float64)
            alive = (norms > 0).all(-1) & norms.isfinite().all(-1)  # not what diverged
            rates[alive] = decay_rate(norms[alive]).double()
            for k, m in np.ndindex(*norms.shape):
                rows.append(
                    {
                        "iteration": iteration,
                        "run": k,
                        "seed": seeds[k],
                        "cost": cost,
                        "input": m + 1,
                        "norm": norms[k, m].item(),
                        "relative": (norms[k, m] / norms[k, -1]).item(),
                        "decay_rate": rates[k].item(),
                        "strongest": gains[k, m, 0].item(),
                        "weakest": gains[k, m, -1].item(),
                        "largest_eigenvalue": moduli[k].max().item(),
                        "persistent": int((moduli[k] > 0.9).sum()),
                        "waves": int(waves[k]),
                        "accuracy": float(accuracy[k]),
                    }
                )
    kept = sorted(result.snapshots)
    weights = {name: torch.stack([result.snapshots[i][name] for i in kept]) for name in ("W_hh", "W_uh", "W_r")}
    weights["iterations"] = torch.tensor(kept)
    return Result(pd.DataFrame(rows), weights)


@resumable
def run(config: Config, seed: int) -> Pieces:
    """Train the ensemble and measure the gradients at every snapshot.

    Rows with `iteration`, `run`, `seed`, `cost`, `input` (1 = oldest), `norm`, `relative` (to the newest
    input), `decay_rate` (of the run's norms at that iteration), `strongest` and `weakest` (the extreme
    singular values of `input_gains`), `largest_eigenvalue` (|λ| of W_hh), `persistent` (eigenvalues of
    modulus > 0.9), `waves` (`complete_waves`, meaningful for T1), and `accuracy` (of the trained run at
    twice the last horizon). Weights: W_hh, W_uh and W_r of every snapshot, each of shape (snapshots, K, …),
    and the `iterations`.
    """
    return {config.task: partial(_train, config, seed)}


class Transition(NamedTuple):
    """When the decay of one run ends, and when its largest eigenvalue reaches the unit circle.

    Attributes:
        crossing: iteration at which |λ|max first reaches 1, interpolated between snapshots; nan if it never does.
        drop: iteration at which the decay rate first falls to `share` of its first value; nan if it never does.
        rate_before: decay rate before training.
        rate_at_crossing: decay rate at the crossing, interpolated.
        rate_after: absolute rate averaged over the iterations from the crossing to the end.
        persistent_at_crossing: eigenvalues of modulus > 0.9 at the last snapshot before the crossing.
    """

    crossing: float
    drop: float
    rate_before: float
    rate_at_crossing: float
    rate_after: float
    persistent_at_crossing: float

    @property
    def lag(self) -> float:
        """Iterations from the crossing to the drop; negative if the drop comes first."""
        return self.drop - self.crossing


def _first(iterations: np.ndarray, values: np.ndarray, level: float) -> float:
    """First iteration at which `values` rises to the level, linear between measurements."""
    reached = np.flatnonzero(values >= level)
    if reached.size == 0:
        return float("nan")
    i = int(reached[0])
    if i == 0:
        return float(iterations[0])
    share = (level - values[i - 1]) / (values[i] - values[i - 1])
    return float(iterations[i - 1] + share * (iterations[i] - iterations[i - 1]))


def transition(rows: pd.DataFrame, seed: int, cost: str = "cycle", share: float = 0.25) -> Transition:
    """Locate both events of Fig. 5 B in one run.

    Args:
        rows: from `run`.
        seed: which run.
        cost: one of `COSTS`.
        share: the decay has ended where its rate is at most this share of the rate before training.

    Raises:
        ValueError: if the rows hold no such run and cost.
    """
    chosen = rows[(rows["seed"] == seed) & (rows["cost"] == cost) & (rows["input"] == 1)].sort_values("iteration")
    require(
        len(chosen) >= 2,
        got=f"seed={seed}, cost={cost!r} with {len(chosen)} measurements",
        allowed=f"seeds {sorted(set(rows['seed']))}, costs {sorted(set(rows['cost']))}, at least 2 snapshots",
        fix="Choose a run that was measured.",
    )
    iterations = chosen["iteration"].to_numpy(dtype=float)
    rate = chosen["decay_rate"].to_numpy()
    crossing = _first(iterations, chosen["largest_eigenvalue"].to_numpy(), 1.0)
    drop = _first(iterations, -rate, -share * rate[0])
    at = after = persistent = float("nan")
    if not np.isnan(crossing):
        at = float(np.interp(crossing, iterations, rate))
        persistent = float(chosen["persistent"].to_numpy()[iterations <= crossing][-1])
        later = iterations > crossing
        times = np.concatenate(([crossing], iterations[later]))
        rates = np.abs(np.concatenate(([at], rate[later])))
        # Integrated over time, so that closely spaced snapshots do not count for more.
        after = float(trapezoid(rates, times) / (times[-1] - times[0])) if later.any() else abs(at)
    return Transition(crossing, drop, float(rate[0]), at, after, persistent)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per cost and seed: both events of Fig. 5 B, the rates, and the final accuracy."""
    table = []
    for cost in COSTS:
        for seed in sorted(set(rows["seed"])):
            found = transition(rows, int(seed), cost)
            last = rows[(rows["seed"] == seed) & (rows["cost"] == cost)].sort_values("iteration").iloc[-1]
            events = {"crossing": found.crossing, "drop": found.drop, "lag": found.lag, **found._asdict()}
            ended = {"persistent_at_end": int(last["persistent"]), "accuracy": float(last["accuracy"])}
            table.append({"cost": cost, "seed": int(seed), **events, **ended})
    return pd.DataFrame(table)
