"""Readings of string copying on curves whose rates are known."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from wavemem.experiments import _string_learning as readings
from wavemem.experiments.string_copying import Config
from wavemem.records.entries import load_registry

CONFIG = Config(letters=16, iterations=900)
START = math.log(16)


def measured(rates: dict[str, float], seeds: tuple[int, ...] = (0, 1, 2), lr: float = 5e-3) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for model, rate in rates.items():
        for seed in seeds:
            at = {"model": model, "seed": seed, "lr": lr}
            for t in range(10, 901, 10):
                value = START * math.exp(-rate * (1 + 0.02 * seed) * t)
                rows.append({**at, "iteration": t, "length": 0, "quantity": "loss", "value": value})
            share = min(1.0, 100 * rate)
            rows.append({**at, "iteration": 900, "length": CONFIG.longest, "quantity": "strings", "value": share})
    return pd.DataFrame(rows)


def part(rates: dict[str, float], seeds: tuple[int, ...] = (0, 1, 2)) -> readings.Part:
    return readings.part(CONFIG, measured(rates, seeds))


def test_rates_of_known_curves() -> None:
    table = readings.learning_speeds(measured({"Mamba": 0.005, "v-Wave": 0.01}), START)
    assert list(table["model"]) == ["Mamba"] * 3 + ["v-Wave"] * 3
    np.testing.assert_allclose(table["rate"], [0.005 * f for f in (1, 1.02, 1.04, 2, 2.04, 2.08)], rtol=0.05)
    assert (table["straight"] > 0.99).all()


@pytest.mark.parametrize(
    ("wave", "mamba", "expected"),
    [
        (0.01, 0.005, "larger rate"),
        (0.005, 0.01, "smaller rate"),
        (0.01, 0.01, "no difference of rates is shown"),
        (0.01, 0.001, "0 of 5 of Mamba"),
        (0.01, 0.001, "larger rate"),
        (0.001, 0.01, "0 of 5 runs of v-Wave"),
    ],
)
def test_the_sentence_follows_from_the_rates(wave: float, mamba: float, expected: str) -> None:
    assert expected in readings.said_of_rates(part({"v-Wave": wave, "Mamba": mamba}, (0, 1, 2, 3, 4)))
    assert "no difference of rates is shown" in readings.said_of_rates(part({"v-Wave": wave, "Mamba": mamba}))


def test_what_was_not_measured_is_not_compared() -> None:
    assert "not both been measured" in readings.said_of_rates(part({"v-Wave": 0.01}))


def test_claims_are_quantities_of_the_registry_seed_by_seed() -> None:
    rates = {"ALiBi": 0.02, "RoPE": 0.009, "Mamba": 0.004, "v-Wave": 0.008, "Mamba long": 0.016, "v-Wave frozen": 0.008}
    found = readings.claims(part(rates))
    registry = load_registry()
    for entry, quantities in found.items():
        known = {quantity.name for quantity in registry.entry(entry).quantities}
        for name, values in quantities.items():
            assert f"short training: {name}" in known
            assert f"{name}, strings up to 20" in known
            assert len(values) == 3
    second = found["vwave:fig2"]
    np.testing.assert_allclose(
        second["log ratio of the decay rates of the loss, v-Wave over Mamba"], math.log(2), atol=0.05
    )
    np.testing.assert_allclose(second["log ratio of the final losses, Mamba over v-Wave"], 0.004 * 855, rtol=0.1)
    assert (second["log ratio of the final losses, v-Wave over the worse transformer"] > 0).all()
    np.testing.assert_allclose(second["log ratio of the mean losses, v-Wave over Mamba long"], math.log(2), atol=0.1)
    np.testing.assert_allclose(second["log ratio of the mean losses, v-Wave over v-Wave frozen"], 0, atol=1e-12)
    behind = second["strings of the longest length said right, v-Wave minus the worse transformer"]
    np.testing.assert_allclose(behind, -0.1)
    times = found["vwave:fig1"]["log ratio of updates to a tenth of the starting loss, Mamba over v-Wave"]
    assert (times > math.log(1.8)).all()


def test_only_common_seeds_are_compared() -> None:
    rows = pd.concat([measured({"Mamba": 0.005}, (1, 2, 3)), measured({"v-Wave": 0.01}, (0, 1))])
    found = readings.claims(readings.part(CONFIG, rows))
    assert len(found["vwave:fig2"]["log ratio of the decay rates of the loss, v-Wave over Mamba"]) == 1


def record(config: Config, rows: pd.DataFrame, seed: int = 0) -> Any:
    values = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(config).items()}
    return SimpleNamespace(config=values, rows=rows, profile="paper", path=Path(), seed=seed)


def test_records_of_one_size_are_put_together_and_searches_kept_apart() -> None:
    one, two = measured({"Mamba": 0.005}), measured({"v-Wave": 0.01})
    search = pd.concat([measured({"Mamba": 0.002 * k}, lr=0.001 * k) for k in (1, 2, 3)])
    longer = dataclasses.replace(CONFIG, longest=12)
    records = [
        record(CONFIG, one),
        record(longer, one),
        record(CONFIG, two),
        record(CONFIG, two),
        record(dataclasses.replace(CONFIG, rates=(0.001, 0.002, 0.003)), search),
    ]
    found = readings.parts(records)
    assert [p.longest for p in found] == [10, 12]
    assert len(found[0].rows) == len(one) + len(two)
    assert found[1].title == "up to 12, 2 × 32"
    other = [record(CONFIG, one, 1), record(dataclasses.replace(CONFIG, batch=8), one)]
    assert len(readings.parts([*records, *other])) == 4  # other seeds and other protocols stay apart
    assert [p.seed for p in readings.parts([*records, *other], CONFIG, seed=1)] == [1]
    assert [len(p.rows) for p in readings.parts([*records, *other], CONFIG, seed=0)] == [len(one) + len(two)]
    table = readings.searches(records, "quick")
    assert sorted(table[table["chosen"]]["lr"].unique()) == [0.003]
    assert len(table) == 9
    assert not len(readings.searches(records, "paper"))
    speeds = readings.learning_speeds(readings.search_rows(records, "quick"), START, window=1)
    rates = speeds.groupby("lr")["rate"].mean()
    assert rates.is_monotonic_increasing
    assert speeds.groupby("lr")["reached"].count().tolist() == [0, 3, 3]  # e-folding 1.8 times does not get to a tenth


def test_a_record_is_completed_by_models_that_it_lacks_and_by_no_others() -> None:
    own, others = measured({"Mamba": 0.005}), measured({"Mamba": 0.001, "RoPE": 0.002}, (7,))
    both = readings.completed(own, others)
    assert set(both[both["model"] == "Mamba"]["seed"]) == {0, 1, 2}
    assert set(both[both["model"] == "RoPE"]["seed"]) == {7}
    assert readings.completed(own, None) is own


def test_intervals_say_how_many_seeds_they_are_of() -> None:
    shown = readings.intervals({"a": np.array([1.0, 1.0, 1.0]), "b": np.array([np.nan, 2.0]), "c": np.array([np.nan])})
    assert shown == {"a": "1 ± 0", "b": "2 (1 of 2)", "c": "never"}
    assert readings.intervals({"a": np.array([1000.0, 1500.0, 2000.0])}) == {"a": "1,500 ± 1,242"}
    assert [readings.short(v) for v in (26592.0, 163.3, 0.000649)] == ["26,592", "163", "0.000649"]


def test_a_table_without_losses_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed"):
        readings.learning_speeds(measured({"Mamba": 0.01}).iloc[:0], START)
