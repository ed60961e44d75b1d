"""Figs. 12 to 14: rows, weights, summary; resuming; refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wavemem.elman import initialisations as experiment
from wavemem.theory.spectrum import eigenvalues

TINY = experiment.Config(
    s=3, d=2, hidden_size=10, runs=2, iterations=6, horizons=(4, 8), test_horizons=(6, 12), test_batch=16, log_every=3
)


@pytest.fixture(scope="module")
def result() -> experiment.Result:
    return experiment.run(TINY, 5, progress=False)


def test_rows_weights_and_summary(result: experiment.Result) -> None:
    networks = experiment.by_network(result.rows)
    assert list(networks["init"].unique()) == ["gaussian", "uniform"]
    assert sorted(networks["seed"].unique()) == [5000, 5001]
    assert {"test_accuracy at 6", "last_cycle at 12"} <= set(networks.columns)
    assert networks.filter(like="at ").to_numpy().min() >= 0
    for init in experiment.INITS:
        own = networks[networks["init"] == init].set_index("seed")
        before = eigenvalues(result.weights[f"{init} initial W_hh"]).abs().amax(-1)
        after = eigenvalues(result.weights[f"{init} W_hh"]).abs().amax(-1)
        assert own["initial_radius"].to_numpy() == pytest.approx(before.numpy())
        assert own["radius"].to_numpy() == pytest.approx(after.numpy())
    assert set(result.rows["quantity"]) > set(experiment.CURVES)
    summary = experiment.summarise(result.rows)
    assert summary.loc["n_theory", ("uniform", "mean")] == 6


def test_both_starts_see_the_same_seeds(result: experiment.Result) -> None:
    uniform, gaussian = (result.weights[f"{init} initial W_hh"] for init in experiment.INITS)
    assert uniform.shape == gaussian.shape == (2, 10, 10)
    assert float(uniform.abs().max()) <= 10**-0.5 < float(gaussian.abs().max())


def test_radii_follow_the_circular_law() -> None:
    from wavemem.elman.network import ElmanEnsemble

    for init, radius in (("uniform", 3**-0.5), ("gaussian", 1.0)):
        W = ElmanEnsemble.initialise([0, 1], 300, 2, init="gaussian" if init == "gaussian" else "uniform").W_hh
        found = eigenvalues(W).abs()
        assert found.amax(-1).numpy() == pytest.approx(radius, rel=0.12)
        # A disc filled evenly has half its area, and so half its eigenvalues, inside radius/√2.
        assert float((found < radius / np.sqrt(2)).double().mean()) == pytest.approx(0.5, abs=0.06)


def test_test_horizons_shorter_than_a_cycle_are_refused() -> None:
    with pytest.raises(ValueError, match="test_horizons"):
        replace(TINY, test_horizons=(2, 10))
