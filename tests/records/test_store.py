"""The store: whole records or none, read back bit for bit, damage named."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from wavemem.records import runs, store
from wavemem.records.experiment import Result
from wavemem.records.provenance import Provenance, measure
from wavemem.records.store import DamagedRecord, ForeignRecord, MissingRecord


@dataclasses.dataclass(frozen=True)
class Config:
    s: int = 4
    rate: float = 1e-3
    horizons: tuple[int, ...] = (10, 20)

    @classmethod
    def profile(cls, name: str) -> Config:
        return cls(s={"quick": 4, "paper": 8}[name])


def provenance(profile: str = "quick", started: str = "2026-01-01T00:00:00+00:00") -> Provenance:
    return Provenance(profile=profile, seeds=(0, 1), device="test", started=started)


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


def written(root: Path, **kwargs: object) -> Path:
    return store.write(root, "trial", Config(), result(), provenance(), code="abc", **kwargs)


def test_rows_and_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = written(tmp_path)
    record = store.load(tmp_path, "trial", "quick")
    assert path.parent == tmp_path / "trial"
    assert path.name == f"quick-{record.key}"
    assert sorted(p.name for p in path.iterdir()) == ["record.json", "rows.csv", "weights.safetensors"]
    pd.testing.assert_frame_equal(record.rows, result().rows, check_exact=True)
    assert torch.equal(record.weights["W_hh"], result().weights["W_hh"])
    assert record.config == {"s": 4, "rate": 1e-3, "horizons": [10, 20]}
    assert record.provenance.seeds == (0, 1)


def test_key_changes_with_configuration_code_data_and_seed_only() -> None:
    base = store.record_key("trial", Config(), 0, "abc", "")
    assert base == store.record_key("trial", Config(), 0, "abc", "")
    others = {
        store.record_key("other", Config(), 0, "abc", ""),
        store.record_key("trial", Config(s=5), 0, "abc", ""),
        store.record_key("trial", Config(), 1, "abc", ""),
        store.record_key("trial", Config(), 0, "abd", ""),
        store.record_key("trial", Config(), 0, "abc", "d"),
    }
    assert len(others) == 5
    assert base not in others


def test_newest_record_is_loaded(tmp_path: Path) -> None:
    for day in ("03", "01", "02"):
        store.write(tmp_path, "trial", Config(s=int(day)), result(), provenance(started=f"2026-01-{day}"), code="c")
    assert store.load(tmp_path, "trial", "quick").config["s"] == 3
    assert [r.config["s"] for r in store.find(tmp_path, "trial")] == [1, 2, 3]
    oldest = store.find(tmp_path, "trial")[0]
    assert store.load(tmp_path, "trial", "quick", key=oldest.key).path == oldest.path


def test_a_record_is_not_overwritten_unasked(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(ValueError, match="replace=True"):
        written(tmp_path)
    path = written(tmp_path, replace=True)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("stage", ["save", "_describe", "_sync"])
def test_failure_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(store, stage, fail)
    with pytest.raises(OSError, match="disk full"):
        written(tmp_path)
    assert list((tmp_path / "trial").iterdir()) == []


@pytest.mark.parametrize("stage", ["save", "_describe", "_sync"])
def test_kill_while_writing_leaves_no_record_and_keeps_the_old_one(tmp_path: Path, stage: str) -> None:
    old = written(tmp_path)
    program = textwrap.dedent(
        f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_store as t
        from wavemem.records import runs, store
        store.{stage} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
        store.write({str(tmp_path)!r}, "trial", t.Config(s=9), t.result(), t.provenance(), code="abc")
        """
    )
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [r.path for r in store.find(tmp_path)] == [old]
    assert len(store.load(tmp_path, "trial", "quick").rows) == 50


@pytest.mark.parametrize("name", ["rows.csv", "weights.safetensors"])
def test_truncated_or_changed_files_are_named(tmp_path: Path, name: str) -> None:
    path = written(tmp_path) / name
    content = path.read_bytes()
    for damaged in (content[:-1], bytes([content[0] ^ 1]) + content[1:]):
        path.write_bytes(damaged)
        with pytest.raises(DamagedRecord, match=name):
            store.load(tmp_path, "trial", "quick")
    path.unlink()
    with pytest.raises(DamagedRecord, match=f"no {name}"):
        store.load(tmp_path, "trial", "quick")


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


def test_missing_record_says_what_is_there(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(MissingRecord, match=r"trial \(quick"):
        store.load(tmp_path, "trial", "paper")
    with pytest.raises(MissingRecord, match="no record has been measured"):
        store.load(tmp_path / "empty", "trial", "paper")


def test_bad_names_configurations_and_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lower-case"):
        store.write(tmp_path, "../elsewhere", Config(), result(), provenance(), code="c")
    with pytest.raises(ValueError, match="quick, paper"):
        store.write(tmp_path, "trial", Config(), result(), provenance("slow"), code="c")
    with pytest.raises(ValueError, match="dataclass"):
        store.write(tmp_path, "trial", {"s": 4}, result(), provenance(), code="c")
    with pytest.raises(ValueError, match="rate"):
        store.write(tmp_path, "trial", Config(rate=float("nan")), result(), provenance(), code="c")
    for rows in (
        pd.DataFrame(),
        pd.DataFrame({"a": ["x", None]}),
        pd.DataFrame({"a": pd.to_datetime(["2026-01-01"])}),
    ):
        with pytest.raises(ValueError, match="column"):
            store.write(tmp_path, "trial", Config(), Result(rows), provenance(), code="c")
    assert store.find(tmp_path) == []


def test_measure_fills_in_time_memory_and_versions() -> None:
    with measure("quick", [3], "cpu") as found:
        torch.ones(10).sum()
    assert found.wall_seconds > 0
    assert found.peak_memory_mib > 1
    assert found.versions["torch"] == torch.__version__.split("+")[0] or found.versions["torch"] == torch.__version__
    assert found.device.endswith("(CPU)")
    assert found.seeds == (3,)
    assert Provenance.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_run_experiment_stores_what_the_module_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    module = types.SimpleNamespace(
        Config=Config, run=lambda config, seed, device: result(), summarise=lambda rows: rows
    )
    monkeypatch.setattr(runs, "get_experiment", lambda name: module)
    monkeypatch.setattr(runs, "module_of", lambda name: name)
    monkeypatch.setattr(runs, "code_version", lambda *names: "abc")
    path = runs.run_experiment("trial", "paper", seed=0, root=tmp_path)
    record = store.load(tmp_path, "trial")
    assert record.path == path
    assert record.provenance.seeds == tuple(range(50))
    assert record.config["s"] == 8
    with pytest.raises(ValueError, match="exists"):
        runs.run_experiment("trial", "paper", seed=0, root=tmp_path)
