"""Experiment skeleton: what it measures. `tests/records/test_every_experiment.py` kills it and lets it go on."""

from __future__ import annotations

import pytest

from wavemem.records.experiment import weights_of
from wavemem.wave_rnn.skeleton import Config, run, summarise


def test_what_is_in_the_window_is_learned_and_nothing_else() -> None:
    result = run(Config(delays=(1, 6), runs=2, iterations=300), 0, progress=False)
    table = summarise(result.rows)
    assert table.loc[1, 300] < 0.05
    assert table.loc[6, 300] > 0.5
    largest = weights_of(result, "delay 1")["w"].abs().argmax(1)
    assert largest.tolist() == [2, 2]


def test_profiles() -> None:
    assert Config.profile("paper").iterations > Config.profile("quick").iterations


def test_bad_sizes() -> None:
    with pytest.raises(ValueError, match="iterations"):
        Config(iterations=0)
