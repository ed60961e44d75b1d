"""Running an experiment: shared between processes, stopped and taken up, and what computed the numbers."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from wavemem.records import provenance, store
from wavemem.records.experiment import Result, get_experiment
from wavemem.records.runs import run_experiment
from wavemem.records.store import ExistingRecord

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
