"""The benchmark of the linear Wave-RNN: its competitors agree, and it says what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wavemem.benchmarks.wave_linear import METHODS, LinearCase, main, measure


def test_every_competitor_is_timed_and_computes_the_same() -> None:
    result = measure(LinearCase(n=12, c=2, batch=2), 40, rounds=2)
    assert result["T"] == 40
    assert result["case"]["n"] == 12
    for name in METHODS:
        assert result[name]["repetitions"] == 2
        assert 0 < result[name]["lower"] <= result[name]["median"] <= result[name]["upper"]
        assert result[name]["error"] < 1e-5


def test_slow_competitors_are_not_repeated() -> None:
    result = measure(LinearCase(n=6, c=1), 10, rounds=3, slow=0.0)
    assert [result[name]["repetitions"] for name in METHODS] == [1] * len(METHODS)


def test_the_command_writes_its_file(tmp_path: Path) -> None:
    main(out=tmp_path / "bench", rounds=1, longest=20)
    written = json.loads((tmp_path / "bench" / "wave-linear.json").read_text(encoding="utf-8"))
    assert [line["T"] for line in written["lengths"]] == [20]
    assert written["unit"].startswith("milliseconds")


def test_numbers_that_are_not_positive_are_refused() -> None:
    with pytest.raises(ValueError, match="rounds"):
        measure(LinearCase(n=6, c=1), 10, rounds=0)
    with pytest.raises(ValueError, match="T = 0"):
        measure(LinearCase(n=6, c=1), 0)
