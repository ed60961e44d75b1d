"""The benchmark runs, keeps its promises about what it writes, and the cost page shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from wavemem.benchmarks.elman import Case, measure, near_critical
from wavemem.benchmarks.machine import describe
from wavemem.records.cost_page import render, write

SMALL = Case(N=8, K=2, batch=4, s=2, d=2, horizon=3, threads=1)


def test_measure_reports_the_three_and_their_ratios(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    result = measure(SMALL, rounds=2, per_round=2)
    assert torch.get_num_threads() == before
    assert result["loop"]["repetitions"] == result["ensemble"]["repetitions"] == 4
    assert result["speed_up"] == result["loop"]["median"] / result["ensemble"]["median"]
    record = {"machine": describe(), "measured": "2026-01-01", "headline": [result], "scaling": [result]}
    (tmp_path / "elman.json").write_text(json.dumps(record))
    write(tmp_path / "cost.md", tmp_path)
    page = (tmp_path / "cost.md").read_text()
    assert page.startswith("(page-cost)=\n# ")
    assert f"{result['speed_up']:.1f}" in page
    assert record["machine"]["processor"] in page


def test_networks_of_the_benchmark_are_orthogonal() -> None:
    W_hh = near_critical(SMALL).W_hh.detach()
    torch.testing.assert_close(W_hh @ W_hh.mT, torch.eye(8).expand(2, 8, 8), atol=1e-5, rtol=0)


def test_page_without_measurements_says_so(tmp_path: Path) -> None:
    write(tmp_path / "cost.md", tmp_path / "missing")
    assert "No measurement is stored" in (tmp_path / "cost.md").read_text()


def test_page_refuses_other_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="machine"):
        render({"headline": []})
    (tmp_path / "elman.json").write_text("{")
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path / "cost.md", tmp_path)
    with pytest.raises(ValueError, match="rounds"):
        measure(SMALL, rounds=0)
