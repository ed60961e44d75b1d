"""The linear Wave-RNN's part of the cost page."""

from __future__ import annotations

from pathlib import Path

import pytest

from wavemem.benchmarks.wave_linear import LinearCase, run
from wavemem.records.cost_linear import linear_section
from wavemem.records.cost_page import write


def test_the_section_has_a_line_per_length_and_the_growth() -> None:
    text = "\n".join(linear_section(run((5, 20), rounds=1, case=LinearCase(n=6, c=1))))
    assert "| 5 |" in text
    assert "| 20 |" in text
    assert "| exponent |" in text


def test_the_page_says_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "cost.md", tmp_path)
    page = (tmp_path / "cost.md").read_text(encoding="utf-8")
    assert "python -m wavemem.benchmarks.wave_linear" in page


def test_other_files_are_refused() -> None:
    with pytest.raises(ValueError, match="lacks"):
        linear_section({"lengths": []})
