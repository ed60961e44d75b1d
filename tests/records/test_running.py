"""Running an experiment: settings read, pieces shared between processes, stopped and taken up, and what computed the numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from wavemem.elman.table1 import Config
from wavemem.records import code, experiment, store
from wavemem.records.experiment import Result, Where, get_experiment, run_pieces
from wavemem.records.run import parse_settings, run_experiment, side_by_side, with_settings
from wavemem.training.checkpoint import claimed


def test_unknown_experiment_lists_what_exists() -> None:
    with pytest.raises(ValueError, match="does not exist"):
        get_experiment("no_such_experiment")
    with pytest.raises(ValueError, match="quick"):
        Config.profile("no such profile")


def test_what_is_typed_takes_the_kind_of_the_field() -> None:
    read = parse_settings(Config(), ["weight_decays=0,1e-3", "runs=5", "lr=1", "lr_drop_at=none"])
    assert read == {"weight_decays": (0.0, 1e-3), "runs": 5, "lr": 1.0, "lr_drop_at": None}
    assert with_settings(Config(), read) == replace(Config(), **read)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["task=T1"], r"'task=T1'; allowed: FIELD=VALUE .* Nearest: 'tasks'"),
        (["runs"], "allowed: FIELD=VALUE"),
        (["runs=1.5"], "runs = '1.5'; allowed: a whole number from 1 to 1,000"),
        (["lr=fast"], "lr = 'fast'; allowed: a number from 1e-07 to 100"),
        (["runs=1", "runs=2"], "given twice"),
        (["lr_drop_at=soon"], "allowed: a whole number from 1 to 1e.09, or none"),
        (["runs=none"], "runs = 'none'; allowed: a whole number"),
        ({"run": 3}, "setting 'run'"),
        ({"runs": "3"}, "runs = '3'; allowed: a whole number"),
        ({"tasks": ()}, r"tasks = \(\); allowed: 1 or more"),
    ],
)
def test_a_setting_that_cannot_be_read_or_does_not_fit_is_named(settings: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        (parse_settings if isinstance(settings, list) else with_settings)(Config(), settings)


def who(name: str, where: Where) -> Result:
    """A piece that says who did it."""
    return Result(pd.DataFrame({"piece": [name], "process": [os.getpid()]}))


def test_pieces_in_other_hands_are_left_for_later(tmp_path: Path) -> None:
    order: list[str] = []

    def piece(name: str) -> Callable[[Where], Result]:
        def run(where: Where) -> Result:
            assert where.checkpoint == tmp_path / f"{name}.safetensors"
            order.append(name)
            if name == "b":
                holder.__exit__(None, None, None)
            return who(name, where)

        return run

    holder = claimed(tmp_path / "a.safetensors")
    assert holder.__enter__()
    done = run_pieces({name: piece(name) for name in "abc"}, folder=tmp_path)
    assert order == ["b", "c", "a"]
    assert [one.rows["piece"].item() for one in done] == ["a", "b", "c"]


def test_pieces_divided_among_processes_give_the_same_numbers(tmp_path: Path) -> None:
    pieces = {name: partial(who, name) for name in "abc"}
    with side_by_side(2):
        several = pd.concat(one.rows for one in run_pieces(pieces, folder=tmp_path))
    alone = pd.concat(one.rows for one in run_pieces(pieces))
    assert several["piece"].tolist() == alone["piece"].tolist() == ["a", "b", "c"]
    assert os.getpid() not in several["process"].tolist()
    with side_by_side(1):
        assert {one.rows["process"].item() for one in run_pieces(pieces, folder=tmp_path)} == {os.getpid()}


def test_a_process_that_the_caller_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[object] = []
    monkeypatch.setattr(experiment, "_watch_parent", lambda *how: followed.append(how))
    where = Where(torch.device("cpu"), checkpoint=tmp_path / "x")
    for caller in (os.getpid(), os.getppid()):
        assert experiment._unless_claimed(partial(who, "a"), where, caller) is not None
    assert followed == [(os.getppid(), signal.SIGKILL)]


TINY = {"s": 2, "d": 2, "hidden_size": 4, "runs": 1, "iterations": 2, "batch": 2, "horizons": (2, 3), "test_batches": 1}
_TWICE = """
import sys, torch
from wavemem.records.run import run_experiment
torch.set_num_threads(1)
print("ready", flush=True)
sys.stdin.readline()
print(run_experiment("repeat_copy", "quick", root=sys.argv[1], settings=eval(sys.argv[2])))
"""


def test_the_same_run_twice_at_once_leaves_one_record(tmp_path: Path) -> None:
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | {"text": True}
    command = [sys.executable, "-c", _TWICE, str(tmp_path), repr(TINY | {"iterations": 20})]
    both = [subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes) for _ in range(2)]
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
    (record,) = store.find(tmp_path)
    assert [path.name for path in (tmp_path / "repeat_copy").iterdir()] == [record.path.name]
    assert any(said)


def test_what_computes_is_part_of_a_record_and_of_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    records = []
    try:
        for threads, kernels in ((1, True), (2, True), (1, False)):
            torch.set_num_threads(threads)
            if not kernels:
                monkeypatch.setattr(code, "in_use", lambda: ())
            records.append(store.open_record(run_experiment("repeat_copy", "quick", root=tmp_path, settings=TINY)))
    finally:
        torch.set_num_threads(before)
    assert [record.provenance.computed["threads"] for record in records] == [1, 2, 1]
    assert records[2].provenance.computed["compiled"] is False
    assert len({record.key for record in records}) == 3
    for record in records:
        config = get_experiment("repeat_copy").Config.stored(record.config)
        made = record.provenance.computed
        assert store.record_key("repeat_copy", config, record.seed, record.code, made) == record.key
        assert record.provenance.seeds == (0,)
