"""Running an experiment: shared between processes, stopped and taken up, and what computed the numbers."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
import threading
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from wavemem.records import provenance, store
from wavemem.records.experiment import Result, experiment_names, get_experiment
from wavemem.records.runs import run_experiment
from wavemem.records.store import ExistingRecord
from wavemem.training import checkpoint
from wavemem.training.checkpoint import Checkpoint

TINY: dict[str, dict[str, Any]] = {
    "adding": {
        "models": ("iRNN",),
        "lengths": (2,),
        "units": 4,
        "channels": 2,
        "dense_units": 4,
        "runs": 1,
        "iterations": 2,
        "dense_iterations": 2,
        "batch": 2,
        "test_batch": 2,
        "log_every": 1,
    },
    "adding_compared": {
        "lengths": (4,),
        "runs": (1,),
        "updates": (2,),
        "units": 4,
        "channels": 2,
        "batch": 2,
        "test_batch": 2,
        "log_every": 1,
        "contestants": ("iRNN searched",),
    },
    "adding_search": {
        "lengths": (4, 5),
        "dense_scales": (0.1,),
        "wave_scales": (1.0,),
        "rates": (0.001,),
        "wave_rates": (0.001,),
        "long_rates": (0.001,),
        "finalists": 1,
        "units": 4,
        "channels": 2,
        "runs": 1,
        "wave_runs": 1,
        "dense_updates": (2, 2),
        "wave_updates": 2,
        "batch": 2,
        "test_batch": 2,
        "log_every": 1,
        "models": ("iRNN",),
    },
    "adding_starts": {
        "T": 4,
        "units": 4,
        "rates": (0.001,),
        "runs": 1,
        "iterations": 2,
        "batch": 2,
        "test_batch": 2,
        "log_every": 1,
        "starts": ("identity, small normal V",),
    },
    "copying": {
        "models": ("iRNN",),
        "lengths": (1,),
        "ablation_lengths": (1,),
        "units": 4,
        "channels": 2,
        "dense_units": 4,
        "large_units": 4,
        "gated_units": 4,
        "runs": 1,
        "iterations": 2,
        "batch": 2,
        "test_batch": 2,
        "validation_batch": 2,
        "log_every": 1,
        "validate_every": 1,
    },
    "curricula": {
        "s": 2,
        "d": 2,
        "tasks": ("T1",),
        "hidden_size": 4,
        "runs": 1,
        "budget": 10,
        "control_budget": 10,
        "iterations": 2,
        "batch": 2,
        "horizons": (2, 3),
        "marks": 2,
    },
    "gradient_propagation": {
        "s": 2,
        "d": 2,
        "hidden_size": 4,
        "runs": 1,
        "iterations": 2,
        "batch": 2,
        "horizons": (2,),
        "snapshots": (0, 2),
        "probes": 2,
        "jacobians": 2,
    },
    "image_search": {"models": ("GRU",), "runs": 1, "epochs": 1, "rounds": 0},
    "images": {
        "tasks": ("sdigits",),
        "models": ("iRNN",),
        "further": (),
        "size_task": None,
        "runs": 1,
        "epochs": 1,
    },
    "initialisations": {
        "s": 2,
        "d": 2,
        "hidden_size": 4,
        "runs": 1,
        "iterations": 2,
        "batch": 2,
        "horizons": (2, 3),
        "test_horizons": (2, 4),
        "test_batch": 2,
        "log_every": 1,
    },
    "linear_learning": {
        "T": 1,
        "memory": 2,
        "symbols": 2,
        "units": 4,
        "channels": 2,
        "runs": 1,
        "iterations": 2,
        "batch": 2,
        "rates": (0.001,),
        "search_runs": 1,
        "tests": 4,
    },
    "repeat_copy": {
        "s": 2,
        "d": 2,
        "hidden_size": 4,
        "runs": 1,
        "iterations": 2,
        "batch": 2,
        "horizons": (2, 3),
        "test_batches": 1,
        "log_every": 1,
    },
    "self_attention": {
        "s": 2,
        "d": 2,
        "hidden": 4,
        "seeds": 1,
        "batch": 2,
        "horizon": 2,
        "iterations": 2,
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
        "test_batch": 2,
        "test_horizon": 2,
        "log_every": 1,
    },
    "string_copying": {
        "models": ("v-Wave",),
        "letters": 3,
        "shortest": 1,
        "longest": 2,
        "context": 8,
        "width": 8,
        "layers": 1,
        "heads": 2,
        "n": 2,
        "N": 2,
        "runs": 1,
        "iterations": 2,
        "batch": 2,
        "warmup": 0,
        "tested": (2,),
        "questions": 2,
        "log_every": 1,
    },
    "string_spans": {
        "registers": (2,),
        "velocities": (0.5,),
        "learned_registers": (2,),
        "learned_velocities": (0.5,),
        "letters": 3,
        "lengths": (1, 2),
        "context": 8,
        "test_lengths": (2,),
        "test_size": 2,
        "width": 4,
        "layers": 1,
        "states": 2,
        "runs": 1,
        "iterations": 2,
        "batch": 2,
        "warmup": 0,
        "log_every": 1,
    },
    "table1": {
        "s": 2,
        "d": 2,
        "tasks": ("T1",),
        "hidden_sizes": (4,),
        "weight_decays": (0.0,),
        "thresholds": (0.9,),
        "runs": 1,
        "iterations": 2,
        "batch": 2,
        "horizons": (2, 3),
        "test_batches": 1,
        "log_every": 1,
        "weights_of": 1,
    },
    "wave_learning": {
        "T": 1,
        "memory": 2,
        "symbols": 2,
        "units": 6,
        "channels": 2,
        "dense_units": 6,
        "runs": 1,
        "iterations": 2,
        "batch": 2,
        "snapshots": (0, 2),
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
        "runs": 1,
        "iterations": 2,
        "batch": 2,
        "held_out": 2,
        "evaluations": 1,
        "memory": 2,
        "symbols": 2,
        "models": ("iRNN",),
    },
    "wide_repeat_copy": {
        "s": 2,
        "d": 2,
        "hidden_sizes": (4,),
        "runs": 1,
        "iterations": 2,
        "batch": 2,
        "horizons": (2, 3),
        "test_batches": 1,
        "log_every": 1,
    },
}
"""The smallest trainings of every experiment that keeps checkpoints, but for those that read images."""


@dataclasses.dataclass(frozen=True)
class Config:
    size: int = 3


def _write(root: Path, value: int, replace: bool) -> Path:
    about = provenance.Provenance(profile="quick", seeds=(0,), device="test")
    result = Result(pd.DataFrame({"seed": [0], "value": [value]}))
    return store.write(root, "trial", Config(), result, about, code="c", replace=replace)


@pytest.mark.parametrize("replace", [False, True])
def test_many_who_write_the_same_record_leave_one(tmp_path: Path, replace: bool) -> None:
    """All are about to give their folder its name at the same moment."""
    together, done = threading.Barrier(8), []

    def one(value: int) -> None:
        # Threads have one process id in common, by which drafts are named.
        own = tmp_path / f"draft{value}"
        own.mkdir()
        (own / "value").write_text(str(value))
        together.wait()
        try:
            store._publish(own, tmp_path / "quick-key", replace)
            done.append(value)
        except ExistingRecord:
            pass

    threads = [threading.Thread(target=one, args=(value,)) for value in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == (8 if replace else 1)
    assert int((tmp_path / "quick-key" / "value").read_text()) in done
    _write(tmp_path, 1, False)
    with pytest.raises(ExistingRecord):
        _write(tmp_path, 2, False)


_TWICE = """
import sys, torch
from wavemem.records.runs import run_experiment
from wavemem.training import checkpoint
from wavemem.training.checkpoint import Checkpoint
torch.set_num_threads(1)
settings = dict(s=2, d=2, hidden_size=4, runs=1, iterations=20, batch=2, horizons=(2, 3), test_batches=1)
print("ready", flush=True)
sys.stdin.readline()
print(run_experiment("repeat_copy", "quick", root=sys.argv[1], settings=settings))
"""


def test_the_same_run_twice_at_once_leaves_one_record(tmp_path: Path) -> None:
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    both = [
        subprocess.Popen(
            [sys.executable, "-c", _TWICE, str(tmp_path)], env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    said = []
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        out, err = process.communicate()
        # One that began when the other was done is told so; nothing else may happen.
        assert process.returncode == 0 or "ExistingRecord" in err, err
        said.append(out)
    assert len(store.find(tmp_path)) == 1
    assert [path.name for path in (tmp_path / "repeat_copy").iterdir()] == [store.find(tmp_path)[0].path.name]
    assert any(said)


def test_what_computes_is_part_of_a_record_and_of_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    settings = {"s": 2, "d": 2, "hidden_size": 4, "runs": 1, "iterations": 2, "batch": 2, "horizons": (2, 3)}
    paths = []
    try:
        for threads, kernels in ((1, True), (2, True), (1, False)):
            torch.set_num_threads(threads)
            if not kernels:
                monkeypatch.setattr(provenance, "in_use", lambda: ())
            paths.append(run_experiment("repeat_copy", "quick", root=tmp_path, settings=settings))
    finally:
        torch.set_num_threads(before)
    records = [store.open_record(path) for path in paths]
    assert [record.provenance.computed["threads"] for record in records] == [1, 2, 1]
    assert records[2].provenance.computed["compiled"] is False
    assert len({record.key for record in records}) == 3
    for record in records:
        config = get_experiment("repeat_copy").Config(**{**record.config, "horizons": tuple(record.config["horizons"])})
        made = record.provenance.computed
        assert store.record_key("repeat_copy", config, record.seed, record.code, record.data, made) == record.key


def test_records_from_before_it_was_noted_are_read() -> None:
    old = provenance.Provenance(profile="quick", seeds=(0,), device="test").to_json()
    del old["computed"]
    assert provenance.Provenance.from_json(old).computed == {}


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
