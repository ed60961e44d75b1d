"""Figs. 8, 9 and 12 to 14: rows, weights, summaries; refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wavemem.elman import repeat_copy as experiment
from wavemem.elman.network import ElmanEnsemble
from wavemem.records.experiment import Result
from wavemem.theory.spectrum import eigenvalues, phase_counts

SIZES = experiment.Sizes(
    s=4, d=2, hidden_sizes=(12, 9), runs=2, iterations=6, horizons=(4, 8), test_batches=1, log_every=3
)
STARTS = experiment.Starts(
    s=3, d=2, hidden_size=10, runs=2, iterations=6, horizons=(4, 8), test_horizons=(6, 12), test_batch=16, log_every=3
)


@pytest.fixture(scope="module")
def sizes() -> Result:
    return experiment.run_sizes(SIZES, 5, progress=False)


def test_sizes_rows_weights_and_summary(sizes: Result) -> None:
    networks = experiment.networks_by_size(sizes.rows)
    assert networks["hidden_size"].tolist() == [12, 12, 9, 9]
    assert networks["seed"].tolist() == [5000, 5001, 5000, 5001]
    assert (networks["n_theory"] == 8).all()
    for _, row in networks.iterrows():
        ensemble = experiment.network(sizes, int(row["hidden_size"]), int(row["seed"]))
        counts = phase_counts(ensemble.W_hh[0], 4)
        assert (int(counts.sum()), int(counts.min())) == (row["n_learned"], row["phase_min"])
    summary = experiment.wide_repeat_copy.summarise(sizes.rows)
    assert summary["hidden_size"].tolist() == [12, 9]
    assert {"matching", "test_accuracy"} <= set(summary.columns)
    assert sizes.weights["sizes"].tolist() == [4, 2]


def test_starts_rows_weights_and_summary() -> None:
    result = experiment.run_starts(STARTS, 5, progress=False)
    networks = experiment.networks_by_start(result.rows)
    assert list(networks["init"].unique()) == ["gaussian", "uniform"]
    assert sorted(networks["seed"].unique()) == [5000, 5001]
    assert {"test_accuracy at 6", "last_cycle at 12"} <= set(networks.columns)
    assert networks.filter(like="at ").to_numpy().min() >= 0
    for init in STARTS.inits:
        own = networks[networks["init"] == init].set_index("seed")
        before = eigenvalues(result.weights[f"{init} initial W_hh"]).abs().amax(-1)
        after = eigenvalues(result.weights[f"{init} W_hh"]).abs().amax(-1)
        assert own["initial_radius"].to_numpy() == pytest.approx(before.numpy())
        assert own["radius"].to_numpy() == pytest.approx(after.numpy())
    assert set(result.rows["quantity"]) > set(experiment.CURVES)
    summary = experiment.initialisations.summarise(result.rows)
    assert summary.loc["n_theory", ("uniform", "mean")] == 6
    uniform, gaussian = (result.weights[f"{init} initial W_hh"] for init in STARTS.inits)
    assert uniform.shape == gaussian.shape == (2, 10, 10)
    assert float(uniform.abs().max()) <= 10**-0.5 < float(gaussian.abs().max())


@pytest.mark.parametrize(("init", "radius"), [("uniform", 3**-0.5), ("gaussian", 1.0)])
def test_radii_follow_the_circular_law(init: str, radius: float) -> None:
    found = eigenvalues(ElmanEnsemble.initialise([0, 1], 300, 2, init=init).W_hh).abs()
    assert found.amax(-1).numpy() == pytest.approx(radius, rel=0.12)
    # A disc filled evenly has half its area, and so half its eigenvalues, inside radius/√2.
    assert float((found < radius / np.sqrt(2)).double().mean()) == pytest.approx(0.5, abs=0.06)


def test_bad_input_is_explained(sizes: Result) -> None:
    with pytest.raises(ValueError, match="hidden_size"):
        experiment.network(sizes, 10, 5)
    with pytest.raises(ValueError, match="seed"):
        experiment.network(sizes, 12, 7)
    with pytest.raises(ValueError, match="test_horizons"):
        replace(STARTS, test_horizons=(2, 10))
