"""The store: whole records or none, read back bit for bit, damage named; and where a measurement came from."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from wavemem.records import code, provenance, run, store
from wavemem.records.experiment import Result
from wavemem.records.run import ExistingRecord
from wavemem.records.store import DamagedRecord, ForeignRecord, Provenance


@dataclasses.dataclass(frozen=True)
class Config:
    s: int = 4
    rate: float = 1e-3
    horizons: tuple[int, ...] = (10, 20)


def about(started: str = "2026-01-01T00:00:00+00:00") -> Provenance:
    return Provenance(profile="quick", seeds=(0, 1), device="test", started=started)


def result() -> Result:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "seed": np.arange(50),
            "loss": rng.standard_normal(50) * 10.0 ** rng.integers(-300, 300, 50),
            "single": rng.standard_normal(50).astype(np.float32),
            "solved": rng.random(50) < 0.5,
            "task": ["T1", "NA", "", 'with "quotes", and comma', "nan"] * 10,
        }
    )
    rows.loc[3, "loss"] = np.nan
    rows.loc[4, "loss"] = -np.inf
    return Result(rows, {"W_hh": torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))})


def written(root: Path, config: Config | None = None, started: str = "2026", replace: bool = False) -> Path:
    how = {"seed": 0, "code": "abc", "replace": replace}
    return run.write(root, "trial", config or Config(), result(), about(started), **how)


def test_rows_and_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = written(tmp_path)
    (record,) = store.find(tmp_path, "trial", "quick")
    assert path.parent == tmp_path / "trial"
    assert path.name == f"quick-{record.key}"
    assert sorted(p.name for p in path.iterdir()) == ["record.json", "rows.csv", "weights.safetensors"]
    pd.testing.assert_frame_equal(record.rows, result().rows, check_exact=True)
    assert torch.equal(record.weights["W_hh"], result().weights["W_hh"])
    assert record.config == {"s": 4, "rate": 1e-3, "horizons": [10, 20]}
    assert record.provenance.seeds == (0, 1)
    description = json.loads((path / "record.json").read_text())
    del description["provenance"]["computed"]  # records from before it was noted
    (path / "record.json").write_text(json.dumps(description))
    assert store.open_record(path).provenance.computed == {}


def test_key_changes_with_everything_that_would_make_it_again() -> None:
    base = ("trial", Config(), 0, "abc", {"threads": 1})
    other = ("other", Config(s=5), 1, "abd", {"threads": 2})
    keys = {store.record_key(*base[:i], other[i], *base[i + 1 :]) for i in range(5)}
    assert len(keys | {store.record_key(*base)}) == 6
    assert store.record_key(*base) == store.record_key(*base)


def test_records_are_found_oldest_first(tmp_path: Path) -> None:
    for day in (3, 1, 2):
        written(tmp_path, Config(s=day), f"2026-01-{day:02}")
    assert [r.config["s"] for r in store.find(tmp_path, "trial")] == [1, 2, 3]


def test_a_record_is_not_overwritten_unasked(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(ExistingRecord, match="replace=True"):
        written(tmp_path)
    path = written(tmp_path, replace=True)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


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
            run._publish(own, tmp_path / "quick-key", replace)
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


STAGES = ["save", "_describe", "sync"]


@pytest.mark.parametrize("stage", STAGES)
def test_failure_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(run, stage, fail)
    with pytest.raises(OSError, match="disk full"):
        written(tmp_path)
    assert list((tmp_path / "trial").iterdir()) == []


@pytest.mark.parametrize("stage", STAGES)
def test_kill_while_writing_leaves_no_record_and_keeps_the_old_one(tmp_path: Path, stage: str) -> None:
    old = written(tmp_path)
    program = textwrap.dedent(
        f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_store as t
        t.run.{stage} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
        t.written(Path({str(tmp_path)!r}), t.Config(s=9))
        """
    )
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [r.path for r in store.find(tmp_path)] == [old]
    assert len(store.open_record(old).rows) == 50


@pytest.mark.parametrize(("name", "what"), [("rows.csv", "rows"), ("weights.safetensors", "weights")])
def test_truncated_or_changed_files_are_named(tmp_path: Path, name: str, what: str) -> None:
    path = written(tmp_path) / name
    content = path.read_bytes()
    for damaged in (content[:-1], bytes([content[0] ^ 1]) + content[1:]):
        path.write_bytes(damaged)
        with pytest.raises(DamagedRecord, match=name):
            getattr(store.open_record(path.parent), what)
    path.unlink()
    with pytest.raises(DamagedRecord, match=f"no {name}"):
        getattr(store.open_record(path.parent), what)


def test_damaged_and_foreign_descriptions_are_named(tmp_path: Path) -> None:
    path = written(tmp_path) / "record.json"
    text = path.read_text()
    for length in (0, 1, len(text) // 2, len(text) - 3):
        path.write_text(text[:length])
        with pytest.raises(DamagedRecord, match="cut short"):
            store.find(tmp_path)
    for change in ({"format": "other"}, {"version": 99}):
        path.write_text(json.dumps(json.loads(text) | change))
        with pytest.raises(ForeignRecord):
            store.find(tmp_path)
    content = json.loads(text)
    del content["provenance"]["seeds"]
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedRecord, match="seeds"):
        store.find(tmp_path)
    path.unlink()
    with pytest.raises(DamagedRecord, match=r"no record\.json"):
        store.find(tmp_path)


@pytest.mark.parametrize(
    ("config", "rows", "message"),
    [
        (Config(rate=float("nan")), {"a": [1]}, "float"),
        (Config(), {}, "column"),
        (Config(), {"a": ["x", None]}, "column"),
        (Config(), {"a": pd.to_datetime(["2026-01-01"])}, "column"),
    ],
)
def test_what_cannot_be_stored_is_refused(
    tmp_path: Path, config: Config, rows: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run.write(tmp_path, "trial", config, Result(pd.DataFrame(rows)), about(), seed=0, code="c")
    assert store.find(tmp_path) == []


def test_measure_fills_in_time_memory_and_versions() -> None:
    with provenance.measure("quick", [3], "cpu") as found:
        torch.ones(10).sum()
    assert found.wall_seconds > 0
    assert found.peak_memory_mib > 1
    assert found.versions["torch"] in (torch.__version__, torch.__version__.split("+")[0])
    assert found.device.endswith("(CPU)")
    assert found.seeds == (3,)


def test_git_state_is_the_project_s_own_or_unknown(tmp_path: Path) -> None:
    assert provenance.git_state(tmp_path) == ("unknown", True)
    outer, inner = tmp_path / "outer", tmp_path / "outer" / "book"
    inner.mkdir(parents=True)
    git = ["git", "-C", str(outer), "-c", "user.name=a", "-c", "user.email=b", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "of another project"]):
        subprocess.run([*git, *command], check=True)
    commit, dirty = provenance.git_state(outer)
    assert len(commit) == 40
    assert not dirty
    assert provenance.git_state(inner) == ("unknown", True)  # a tree without .git inside another repository
    record = outer / "records" / "copying" / "paper-0123456789ab" / "record.json"
    record.parent.mkdir(parents=True)
    record.touch()
    assert provenance.git_state(outer) == (commit, False)  # the record of a run before this one
    (outer / "records" / "registry").mkdir()
    for new in (outer / "new", outer / "records" / "registry" / "claims-toy.toml"):
        new.touch()
        assert provenance.git_state(outer) == (commit, True)
        new.unlink()


def test_code_version_changes_exactly_with_used_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "wavemem"
    (package / "sub").mkdir(parents=True)
    for name, text in {
        "__init__": "",
        "sub/__init__": "",
        "used": "x = 1\n",
        "unused": "x = 1\n",
        "sub/start": "def f():\n    from wavemem import used\n",
    }.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.setattr(code, "_PACKAGE", package)
    before = code.code_version("wavemem.sub.start")
    (package / "unused.py").write_text("x = 2\n")
    assert code.code_version("wavemem.sub.start") == before
    (package / "used.py").write_text("x = 2\n")
    assert code.code_version("wavemem.sub.start") != before
    for module in ("numpy", "wavemem.no_such_module"):
        with pytest.raises(ValueError, match="module of wavemem"):
            code.code_version(module)
