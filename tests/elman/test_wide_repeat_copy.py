"""Figs. 8 and 9: rows, weights, summary; resuming; refusals."""

from __future__ import annotations

import pytest

from wavemem.elman import wide_repeat_copy as experiment
from wavemem.theory.spectrum import phase_counts

TINY = experiment.Config(
    s=4, d=2, hidden_sizes=(12, 9), runs=2, iterations=6, horizons=(4, 8), test_batches=1, log_every=3
)


@pytest.fixture(scope="module")
def result() -> experiment.Result:
    return experiment.run(TINY, 5, progress=False)


def test_rows_weights_and_summary(result: experiment.Result) -> None:
    networks = experiment.by_network(result.rows)
    assert networks["hidden_size"].tolist() == [12, 12, 9, 9]
    assert networks["seed"].tolist() == [5000, 5001, 5000, 5001]
    assert (networks["n_theory"] == 8).all()
    for _, row in networks.iterrows():
        ensemble = experiment.network(result, int(row["hidden_size"]), int(row["seed"]))
        counts = phase_counts(ensemble.W_hh[0], 4)
        assert (int(counts.sum()), int(counts.min())) == (row["n_learned"], row["phase_min"])
    summary = experiment.summarise(result.rows)
    assert summary["hidden_size"].tolist() == [12, 9]
    assert {"matching", "test_accuracy"} <= set(summary.columns)
    assert result.weights["sizes"].tolist() == [4, 2]


def test_refusals(result: experiment.Result) -> None:
    with pytest.raises(ValueError, match="hidden_size"):
        experiment.network(result, 10, 5)
    with pytest.raises(ValueError, match="seed"):
        experiment.network(result, 12, 7)
