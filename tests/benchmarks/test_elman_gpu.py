"""The GPU's benchmark, carried out on the CPU at tiny sizes, and its part of the cost page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from wavemem.benchmarks import __main__ as benchmarks
from wavemem.benchmarks import elman_gpu
from wavemem.benchmarks.counts import Ceilings
from wavemem.benchmarks.elman import Case
from wavemem.benchmarks.elman_gpu import AngleSettings, angles_by_precision, measure_ceilings, measure_on, waits_of
from wavemem.cli import app
from wavemem.records.cost_page import render, write

CPU = torch.device("cpu")
SMALL = Case(N=8, K=2, batch=4, s=2, d=2, horizon=3, threads=1)
SETTINGS = AngleSettings(s=2, d=2, N=8, runs=2, iterations=3, horizons=(2, 3), modulus=0.0)
ONCE = ("--rounds", "1", "--per-round", "1")


def test_a_case_is_measured_with_its_ratios() -> None:
    result = measure_on(CPU, SMALL, Ceilings(1e9, 1e9), rounds=2, per_round=2)
    assert result["speed_up"] == result["loop"]["median"] / result["ensemble"]["median"]
    assert result["over_floor"] == result["ensemble"]["median"] / result["floor"]
    assert result["ensemble"]["repetitions"] == 2
    assert result["scans"] is result["peak_bytes"] is None
    assert waits_of(CPU, SMALL) is None
    with pytest.raises(ValueError, match="rounds"):
        measure_on(CPU, SMALL, Ceilings(1e9, 1e9), rounds=0)


def test_ceilings_are_positive_and_the_precision_is_put_back() -> None:
    before = torch.get_float32_matmul_precision()
    found = measure_ceilings(CPU, size=64, rounds=1)
    assert all(value > 0 for value in found.values())
    assert torch.get_float32_matmul_precision() == before


def test_precisions_differ_by_what_they_round_off() -> None:
    found = angles_by_precision(CPU, SETTINGS)["precisions"]
    assert list(found) == ["ieee", "tf32", "tf32x3"]
    assert found["ieee"]["changes"] == [0.0, 0.0]
    # Adam's first steps are as long as the learning rate, whatever the gradients' size.
    assert 0.0 < max(found["tf32"]["changes"]) <= 2 * 3 * 1e-3 + 1e-6
    assert max(found["tf32x3"]["changes"]) < max(found["tf32"]["changes"])


def test_the_command_writes_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wavemem.training.device.choose_device", lambda _name: CPU)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "abacus 9000")
    monkeypatch.setattr(elman_gpu, "TARGETS", (SMALL,))
    monkeypatch.setattr(elman_gpu, "SCALING", (Case(N=16, K=2, batch=4, s=2, d=2, horizon=3, threads=1),))
    monkeypatch.setattr(elman_gpu, "measure_ceilings", lambda device: measure_ceilings(device, 64, 1))
    monkeypatch.setattr(elman_gpu, "angles_by_precision", lambda device: angles_by_precision(device, SETTINGS))
    import typer

    command = typer.Typer()
    command.command()(benchmarks.main)
    done = CliRunner().invoke(command, ["--gpu", *ONCE, "--model", "elman", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.exception
    assert "abacus 9000" in done.stdout
    stored = json.loads((tmp_path / "elman-gpu.json").read_text())
    write(tmp_path / "cost.md", tmp_path)
    page = (tmp_path / "cost.md").read_text()
    assert "abacus 9000" in page
    assert "No measurement is stored" in page
    assert f"| {stored['headline'][0]['speed_up']:.1f} |" in page
    assert "N (hidden units) | 8 → 16" in page
    assert "tf32x3" in page


def test_what_tf32_changes_is_shown_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wavemem.training.device.choose_device", lambda _name: CPU)
    monkeypatch.setattr(elman_gpu, "angles_by_precision", lambda device: angles_by_precision(device, SETTINGS))
    benchmarks.main(tmp_path, arithmetic=True)
    write(tmp_path / "cost.md", tmp_path)
    page = (tmp_path / "cost.md").read_text()
    assert "no GPU was at hand" in page
    assert "on the processor, where the factors" in page
    assert "\n| tf32x3 | " in page


def test_without_a_gpu_the_command_and_the_page_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no CUDA device"):
        benchmarks.run_gpu(1, 1, False)
    done = CliRunner().invoke(app, ["bench", "--gpu", "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "no CUDA device" in " ".join(done.output.replace("│", " ").split())
    write(tmp_path / "cost.md", tmp_path)
    assert "Not measured: no GPU was at hand" in (tmp_path / "cost.md").read_text()
    with pytest.raises(ValueError, match="bench --gpu"):
        render(None, {"headline": []})
