"""The benchmark of the string models: competitors compute the same, it says what it measured, and the page shows it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from wavemem.benchmarks import strings
from wavemem.benchmarks.strings import (
    GENERATING,
    MODELS,
    TRAINING,
    Generating,
    StringCase,
    attention_bytes,
    free_bytes,
    make,
    measure_generation,
    measure_training,
    reader,
    run_strings,
    trainer,
)
from wavemem.benchmarks.strings_kernels import RegisterCase, ScanCase
from wavemem.cli import app
from wavemem.records.cost_page import write

SMALL = StringCase(12, 3, 2, 16, 1, threads=1)
CONTEXT = Generating(10, 2, 3, 16, 1)


@pytest.mark.parametrize("name", MODELS)
def test_training_steps_learn(name: str) -> None:
    step = trainer(name, SMALL)
    losses = torch.stack([step() for _ in range(30)])
    assert losses.shape == (30, 2)
    assert bool((losses[-1] < losses[0]).all())


def test_models_differ_in_their_blocks_alone() -> None:
    counts = {name: make(name, StringCase()).parameter_count() for name in MODELS}
    # One velocity per channel and layer.
    assert counts["v-Wave"] - counts["Mamba"] == 2 * 64
    assert counts["ALiBi"] == counts["RoPE"]


@pytest.mark.parametrize("name", MODELS)
def test_reading_in_pieces_leaves_what_reading_at_once_leaves(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reader(name, CONTEXT)[1]
    monkeypatch.setattr(strings, "_PIECE", 3)
    pieces = reader(name, CONTEXT)[1]
    for one, other in zip(whole, pieces, strict=True):
        for key, value in one.items():
            torch.testing.assert_close(other[key], value, rtol=1e-4, atol=1e-5)


def test_measurements_say_what_was_measured() -> None:
    before = torch.get_num_threads()
    result = measure_training(SMALL, rounds=2, per_round=2, patience=0.0)
    assert torch.get_num_threads() == before
    assert list(result["times"]) == list(MODELS)
    assert all(timing["repetitions"] == 4 for timing in result["times"].values())
    assert result["ratio"] == result["times"]["v-Wave"]["median"] / result["times"]["Mamba"]["median"]
    assert result["left_out"] == {}
    again = measure_generation(CONTEXT, rounds=1, patience=0.0)
    longer = measure_generation(replace(CONTEXT, context=20), rounds=1, patience=0.0)
    for name in ("Mamba", "v-Wave"):
        assert again["bytes"][name] == longer["bytes"][name] == 4 * again["numbers"][name] == 4 * 32 * (4 + 16)
    for name in ("ALiBi", "RoPE"):
        assert again["bytes"][name] == 4 * again["numbers"][name] == 4 * 2 * 16 * 10
        assert longer["bytes"][name] == 2 * again["bytes"][name]


def test_what_does_not_fit_is_left_out() -> None:
    case = replace(SMALL, length=32)
    needed = attention_bytes(case, "ALiBi")
    assert needed == 32 * 32 * (4 * 2 * 4 + 9)
    assert attention_bytes(case, "RoPE") == 0
    result = measure_training(case, rounds=1, patience=0.0, free=needed)
    assert result["left_out"] == {"ALiBi": needed}
    assert set(result["times"]) == {"Mamba", "v-Wave", "RoPE"}
    assert (free_bytes() or 1) > 0


def test_the_sizes_are_those_that_are_asked_for() -> None:
    lengths = [case.length for case in TRAINING if case.length * case.batch * case.K == 16_384]
    assert lengths == [64, 256, 1024, 4096, 16_384]
    assert [case.context for case in GENERATING] == lengths


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="model"):
        make("LSTM", SMALL)
    for name in ("length", "batch", "K"):
        with pytest.raises(ValueError, match=f"{name} = 0"):
            trainer("Mamba", replace(SMALL, **{name: 0}))
    with pytest.raises(ValueError, match="threads"):
        measure_training(replace(SMALL, threads=0))
    with pytest.raises(ValueError, match="context"):
        reader("Mamba", replace(CONTEXT, context=0))
    with pytest.raises(ValueError, match="steps"):
        measure_generation(replace(CONTEXT, steps=0))
    with pytest.raises(ValueError, match="rounds"):
        measure_training(SMALL, rounds=0)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strings, "TRAINING", (SMALL, replace(SMALL, length=36, batch=1)))
    monkeypatch.setattr(strings, "GENERATING", (CONTEXT, replace(CONTEXT, context=20)))
    monkeypatch.setattr(strings, "SCANS", (ScanCase(8, 2, 4, 2, 1),))
    monkeypatch.setattr(strings, "GPU_SCANS", (ScanCase(8, 1, 4, 2, 1),))
    monkeypatch.setattr(strings, "REGISTERS", (RegisterCase(8, 2, 4, 3, 1),))
    fixed = {"operations_per_second": 1e9, "tf32_operations_per_second": 1e9, "bytes_per_second": 1e9}
    monkeypatch.setattr(strings, "measure_ceilings", lambda *_: fixed)


@pytest.mark.usefixtures("small")
def test_the_command_writes_what_the_page_shows(tmp_path: Path) -> None:
    times = ["--rounds", "1", "--per-round", "1", "--patience", "0"]
    done = CliRunner().invoke(app, ["bench", "--model", "strings", *times, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.exception
    assert [path.name for path in tmp_path.iterdir()] == ["strings.json"]
    stored = json.loads((tmp_path / "strings.json").read_text())
    assert [len(stored[part]) for part in ("training", "generation", "scan", "register")] == [2, 2, 1, 1]
    write(tmp_path / "cost.md", tmp_path)
    page = (tmp_path / "cost.md").read_text()
    assert "## Models that copy strings" in page
    assert stored["machine"]["processor"] in page
    assert f"| {stored['training'][0]['ratio']:.2f} |" in page


@pytest.mark.usefixtures("small")
def test_the_short_way_measures_the_books_size_alone() -> None:
    found = run_strings(1, 1, False, 0.0)
    assert [len(found[part]) for part in ("training", "generation", "scan", "register")] == [1, 1, 0, 0]


@pytest.mark.usefixtures("small")
def test_the_same_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor stands in for the device; the scan's kernel for it is tested elsewhere."""

    class Device:
        type = "cuda"

    def elsewhere(function: Any) -> Any:
        return lambda *arguments: function(*("cpu" if isinstance(a, Device) else a for a in arguments))

    monkeypatch.setattr("wavemem.training.device.choose_device", lambda _name: Device())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "abacus 9000")
    for name in ("measure_training", "measure_generation", "measure_scan", "measure_register"):
        monkeypatch.setattr(strings, name, elsewhere(getattr(strings, name)))
    found = run_strings(1, 1, True, 0.0, "cuda")
    assert found["machine"]["gpu"] == "abacus 9000"
    assert len(found["scan"]) == 2
