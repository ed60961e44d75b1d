"""Fig. 5: what is measured is what is named, and both events are found where they were put."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from wavemem.elman import gradient_propagation as experiment
from wavemem.elman.network import ElmanEnsemble
from wavemem.theory.basis import random_basis
from wavemem.theory.gradients import cost_gradient
from wavemem.theory.hds import random_histories
from wavemem.theory.selection import paper_task

S, D, N = 4, 2, 10


@pytest.fixture
def histories() -> torch.Tensor:
    return random_histories(6, S, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def perfect_copy() -> ElmanEnsemble:
    Psi = random_basis(S * D, torch.Generator().manual_seed(1), N=N, kind="orthogonal").Psi
    W_hh = Psi @ paper_task("T1", S, D).Phi().to(Psi) @ Psi.T
    return ElmanEnsemble(W_hh[None], Psi[None, :, -D:], Psi.T[None, -D:], activation="linear")


def test_a_perfect_copy_has_gain_one_in_every_direction_of_every_input(histories: torch.Tensor) -> None:
    gains = experiment.input_gains(perfect_copy(), histories)
    torch.testing.assert_close(gains, torch.ones(1, S, D, dtype=torch.float64))
    task = paper_task("T1", S, D)
    norms = experiment.gradient_norms(perfect_copy(), task, histories, "gain")
    torch.testing.assert_close(norms, torch.ones(1, S, dtype=torch.float64))
    for cost, message in (("loss", "cycle"), ("training", "horizon")):
        with pytest.raises(ValueError, match=message):
            experiment.gradient_norms(perfect_copy(), task, histories, cost)


def test_next_step_cost_is_eq10s(histories: torch.Tensor) -> None:
    ensemble = ElmanEnsemble.initialise([3, 4], N, D, dtype=torch.float64)
    task = paper_task("T1", S, D)
    cycle = experiment.gradient_norms(ensemble, task, histories, "cycle")
    torch.testing.assert_close(cycle, experiment.gradient_norms(ensemble, task, histories, "training", horizon=S))
    norms = experiment.gradient_norms(ensemble, task, histories, "next")
    for k in range(2):
        weights = (ensemble.W_hh[k], ensemble.W_uh[k], ensemble.W_r[k])
        true = cost_gradient(*weights, histories, task.next(histories).to(histories))
        torch.testing.assert_close(norms[k], true.x.norm(dim=-1).mean(0))


def test_gain_jacobian_is_autograds(histories: torch.Tensor) -> None:
    ensemble = ElmanEnsemble.initialise([5], N, D, dtype=torch.float64)

    def outputs(x: torch.Tensor) -> torch.Tensor:
        return ensemble.outputs(ensemble.states(x[:, None, None], steps=2 * S)[S:]).flatten()

    gains = experiment.input_gains(ensemble, histories[:1])
    jacobian = torch.autograd.functional.jacobian(outputs, histories[0]).movedim(1, 0)
    torch.testing.assert_close(gains[0], torch.linalg.svdvals(jacobian))


def test_both_events_are_found_where_they_were_put() -> None:
    iterations = np.array([0, 10, 20, 30, 40])
    rows = pd.DataFrame(
        {
            "iteration": iterations,
            "seed": 7,
            "cost": "cycle",
            "input": 1,
            "decay_rate": [0.8, 0.4, 0.0, 0.02, 0.02],
            "largest_eigenvalue": [0.5, 0.8, 1.2, 1.1, 1.1],
            "persistent": [0, 1, 2, 3, 4],
        }
    )
    found = experiment.transition(rows, 7)
    assert (found.crossing, found.drop, found.lag) == pytest.approx((15, 15, 0))
    assert found.persistent_at_crossing == 1
    assert found.rate_at_crossing == pytest.approx(0.2)
    assert found.rate_after == pytest.approx((0.5 * (0.2 + 0.0) * 5 + 0.01 * 10 + 0.02 * 10) / 25)
    never = experiment.transition(rows.assign(largest_eigenvalue=0.9), 7)
    assert np.isnan([never.crossing, never.lag, never.rate_after]).all()
    with pytest.raises(ValueError, match="seeds \\[7\\]"):
        experiment.transition(rows, 8)


def test_a_small_run_has_rows_for_everything() -> None:
    config = dataclasses.replace(
        experiment.Config.profile("quick"),
        s=S, d=D, hidden_size=N, runs=2, iterations=6, horizons=(S,), batch=4, snapshots=(0, 3, 6), probes=4, jacobians=2,
    )  # fmt: skip
    found = experiment.run(config, 5, "cpu")
    assert len(found.rows) == 3 * len(experiment.COSTS) * 2 * S
    assert set(found.rows["seed"]) == {5000, 5001}
    newest = found.rows[found.rows["input"] == S]
    assert np.allclose(newest["relative"], 1.0)
    assert found.weights["W_hh"].shape == (3, 2, N, N)
    assert found.weights["iterations"].tolist() == [0, 3, 6]
    summary = experiment.summarise(found.rows)
    assert list(summary["cost"].unique()) == list(experiment.COSTS)
    assert len(summary) == 2 * len(experiment.COSTS)
