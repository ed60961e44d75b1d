"""What holds for every experiment: killed, it goes on and ends with the same numbers; a run is what it is alone."""

from __future__ import annotations

import dataclasses
import itertools
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from wavemem.records import store
from wavemem.records.experiment import experiment_names, get_experiment
from wavemem.records.fields import Field, fields_of
from wavemem.records.run import run_experiment
from wavemem.training import checkpoint
from wavemem.training.checkpoint import Checkpoint

LARGEST = {10_000: 4, 100_000: 3, 1_000_000: 2, 1_000_000_000: 2}
"""Upper end of a field's declared range → the value that is large enough to be tried."""
OWN: dict[str, dict[str, Any]] = {
    "adding_grid": {"lengths": (100,)},
    "gradient_propagation": {"snapshots": (0, 2)},
    "image_search": {"models": ("GRU",), "rounds": 0, "epochs": 1, "log_every": 54},
    "images": {
        "tasks": ("sdigits",),
        "models": ("iRNN",),
        "further": (),
        "size_task": None,
        "epochs": 1,
        "log_every": 54,
    },
    "initialisations": {"test_horizons": (4,)},
    "string_copying": {"context": 11},
    "string_spans": {"context": 11},
    "wave_learning": {"snapshots": (0, 2), "T": 1, "memory": 2, "symbols": 2, "units": 6, "image_units": 6},
}
"""Where fields depend on each other, or the smallest is still long."""


def smallest(field: Field, value: Any) -> Any:
    """A value that takes little time: small numbers, of several entries the first."""
    if isinstance(value, tuple):
        parts = field.parts if field.items is None else field.parts * min(len(value), 1)
        return tuple(smallest(part, entry) for part, entry in zip(parts, value, strict=False))
    if field.within is None or not isinstance(value, int):
        return value
    return max(int(field.within.low), min(value, LARGEST.get(int(field.within.high), 1)))


def tiny(name: str) -> dict[str, Any]:
    """Settings of an experiment's quick profile that take a moment to train."""
    config = get_experiment(name).Config.profile("quick")
    return {own: smallest(field, getattr(config, own)) for own, field in fields_of(type(config)).items()} | OWN.get(
        name, {}
    )


RESUMED = [name for name in experiment_names() if "checkpoints" in signature(get_experiment(name).run).parameters]


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_numbers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an experiment calls its checkpoints; the record's duration is that of the whole measurement."""
    clock, save = itertools.count(step=1000.0), Checkpoint.save

    def stopped(self: Checkpoint, *arguments: Any) -> None:
        save(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as first:
        first.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        first.setattr(Checkpoint, "save", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(name, "quick", root=tmp_path, settings=tiny(name))
    assert store.find(tmp_path) == []
    record = store.open_record(run_experiment(name, "quick", root=tmp_path, settings=tiny(name)))
    assert record.provenance.wall_seconds >= 1000.0
    config = dataclasses.replace(get_experiment(name).Config.profile("quick"), **tiny(name))
    whole = get_experiment(name).run(config, 0, "cpu")
    pd.testing.assert_frame_equal(record.rows, whole.rows, check_dtype=False)
    assert record.weights.keys() == whole.weights.keys()
    assert all(torch.equal(value, whole.weights[own]) for own, value in record.weights.items())
    assert [path.name for path in record.path.parent.iterdir()] == [record.path.name]


@pytest.mark.parametrize("name", [own for own in RESUMED if tiny(own).get("runs") == 1 and own != "adding_search"])
def test_a_run_is_what_it_is_alone(name: str) -> None:
    """But for what is a matter of all runs: the start that a search goes on with, and the disturbance of a response."""
    alone = dataclasses.replace(get_experiment(name).Config.profile("quick"), **tiny(name))
    together = dataclasses.replace(alone, runs=2)
    one, two = (get_experiment(name).run(config, 3, "cpu").rows for config in (alone, together))
    same = two[two["seed"].isin(one["seed"].unique())].reset_index(drop=True)
    assert len(two) > len(same)
    own = ~one["quantity"].str.startswith("response") if "quantity" in one else slice(None)
    pd.testing.assert_frame_equal(same[own], one[own], rtol=1e-4, atol=1e-5)
