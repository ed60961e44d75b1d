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
from wavemem.records.runs import run_experiment
from wavemem.training import checkpoint
from wavemem.training.checkpoint import Checkpoint

SMALL: dict[str, Any] = {
    "units": 4,
    "channels": 2,
    "dense_units": 4,
    "runs": 1,
    "iterations": 2,
    "batch": 2,
    "test_batch": 2,
    "log_every": 1,
    "s": 2,
    "d": 2,
    "hidden_size": 4,
    "horizons": (2, 3),
    "snapshots": (0, 2),
    "epochs": 1,
    "memory": 2,
    "symbols": 2,
    "test_batches": 1,
    "letters": 3,
    "context": 8,
    "layers": 1,
    "warmup": 0,
    "hidden_sizes": (4,),
}
"""Wherever a configuration has the field."""
OWN: dict[str, dict[str, Any]] = {
    "adding": {"models": ("iRNN",), "lengths": (2,), "dense_iterations": 2},
    "adding_compared": {"lengths": (4,), "runs": (1,), "updates": (2,), "contestants": ("iRNN searched",)},
    "adding_search": {
        "lengths": (4, 5),
        "dense_scales": (0.1,),
        "wave_scales": (1.0,),
        "rates": (0.001,),
        "wave_rates": (0.001,),
        "long_rates": (0.001,),
        "finalists": 1,
        "wave_runs": 1,
        "dense_updates": (2, 2),
        "wave_updates": 2,
        "models": ("iRNN",),
    },
    "adding_starts": {"T": 4, "rates": (0.001,), "starts": ("identity, small normal V",)},
    "copying": {
        "models": ("iRNN",),
        "lengths": (1,),
        "ablation_lengths": (1,),
        "large_units": 4,
        "gated_units": 4,
        "validation_batch": 2,
        "validate_every": 1,
    },
    "curricula": {"tasks": ("T1",), "budget": 10, "control_budget": 10, "marks": 2},
    "gradient_propagation": {"horizons": (2,), "probes": 2, "jacobians": 2},
    "image_search": {"models": ("GRU",), "rounds": 0},
    "images": {"tasks": ("sdigits",), "models": ("iRNN",), "further": (), "size_task": None},
    "initialisations": {"test_horizons": (2, 4)},
    "linear_learning": {"T": 1, "rates": (0.001,), "search_runs": 1, "tests": 4},
    "repeat_copy": {},
    "self_attention": {
        "hidden": 4,
        "seeds": 1,
        "horizon": 2,
        "lr_sbc": (0.1,),
        "lr_lbc": (0.1,),
        "lr_elman": (0.1,),
        "short_lr_sbc": (0.1,),
        "short_lr_lbc": (0.1,),
        "short_lr_elman": (0.1,),
        "lr_layer": (0.1,),
        "phase_horizon": 2,
        "phase_iterations": 2,
        "control_s": 2,
        "control_d": 2,
        "control_iterations": 2,
        "test_horizon": 2,
    },
    "string_copying": {
        "models": ("v-Wave",),
        "shortest": 1,
        "longest": 2,
        "width": 8,
        "heads": 2,
        "n": 2,
        "N": 2,
        "tested": (2,),
        "questions": 2,
    },
    "string_spans": {
        "registers": (2,),
        "velocities": (0.5,),
        "learned_registers": (2,),
        "learned_velocities": (0.5,),
        "lengths": (1, 2),
        "test_lengths": (2,),
        "test_size": 2,
        "width": 4,
        "states": 2,
    },
    "table1": {"tasks": ("T1",), "weight_decays": (0.0,), "thresholds": (0.9,), "weights_of": 1},
    "wave_learning": {
        "T": 1,
        "units": 6,
        "dense_units": 6,
        "probes": 4,
        "tests": 2,
        "image_units": 6,
        "image_channels": 2,
        "image_runs": 1,
        "image_iterations": 2,
        "image_batch": 2,
    },
    "wave_sweeps": {
        "lengths": (0,),
        "learning_rates": (0.01,),
        "clips": (0.0,),
        "small": 4,
        "small_channels": 2,
        "held_out": 2,
        "evaluations": 1,
        "models": ("iRNN",),
        "units": (),
        "epochs": 0,
    },
    "wide_repeat_copy": {},
}


def _tiny(name: str) -> dict[str, Any]:
    fields = [field.name for field in dataclasses.fields(get_experiment(name).Config)]
    return {field: SMALL[field] for field in fields if field in SMALL} | OWN[name]


TINY = {name: _tiny(name) for name in OWN}


def test_every_experiment_that_can_be_resumed_is_tried() -> None:
    resumed = {name for name in experiment_names() if "checkpoints" in signature(get_experiment(name).run).parameters}
    assert resumed == set(TINY)


@pytest.mark.parametrize("name", TINY)
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
            run_experiment(name, "quick", root=tmp_path, settings=TINY[name])
    assert store.find(tmp_path) == []
    record = store.open_record(run_experiment(name, "quick", root=tmp_path, settings=TINY[name]))
    assert record.provenance.wall_seconds >= 1000.0
    config = dataclasses.replace(get_experiment(name).Config.profile("quick"), **TINY[name])
    whole = get_experiment(name).run(config, 0, "cpu")
    pd.testing.assert_frame_equal(record.rows, whole.rows, check_dtype=False)
    assert record.weights.keys() == whole.weights.keys()
    assert all(torch.equal(value, whole.weights[own]) for own, value in record.weights.items())
    assert [path.name for path in record.path.parent.iterdir()] == [record.path.name]


@pytest.mark.parametrize(
    "name", [own for own, tiny in TINY.items() if tiny.get("runs") == 1 and own != "adding_search"]
)
def test_a_run_is_what_it_is_alone(name: str) -> None:
    """But for what is a matter of all runs: the start that a search goes on with, and the disturbance of a response."""
    alone = dataclasses.replace(get_experiment(name).Config.profile("quick"), **TINY[name])
    together = dataclasses.replace(alone, runs=2)
    one, two = (get_experiment(name).run(config, 3, "cpu").rows for config in (alone, together))
    same = two[two["seed"].isin(one["seed"].unique())].reset_index(drop=True)
    assert len(two) > len(same)
    own = ~one["quantity"].str.startswith("response") if "quantity" in one else slice(None)
    pd.testing.assert_frame_equal(same[own], one[own], rtol=1e-4, atol=1e-5)
