"""The string models' part of the cost page: what it says follows from the numbers, whatever they are."""

from __future__ import annotations

from typing import Any

import pytest

from wavemem.records.cost_page import write
from wavemem.records.cost_strings import FIGURE, by_length, strings_section


def _timing(median: float) -> dict[str, Any]:
    return {"median": median, "lower": median, "upper": median, "repetitions": 3}


def _training(length: int, batch: int, ratio: float = 1.1, left_out: bool = False, **times: float) -> dict[str, Any]:
    sizes = {"K": 1, "width": 32, "layers": 2, "n": 4, "states": 16, "heads": 2, "threads": 2}
    given = {"Mamba": 2.0, "v-Wave": 2.0 * ratio, **times}
    return {
        "case": {"length": length, "batch": batch, **sizes},
        "times": {name: _timing(value) for name, value in given.items()},
        "others": 0.01,
        "left_out": {"ALiBi": 13 * 2**30} if left_out else {},
        "parameters": {"Mamba": 1000, "v-Wave": 1064, "ALiBi": 2000},
        "ratio": ratio,
    }


def _generation(context: int, growing: bool = True) -> dict[str, Any]:
    cache = 128 * context if growing else 128
    return {
        "case": {"context": context, "batch": 8, "threads": 1},
        "times": {"Mamba": _timing(1.0), "ALiBi": _timing(1.0 + context / 100)},
        "others": None,
        "bytes": {"Mamba": 640, "ALiBi": cache},
        "numbers": {"Mamba": 160, "ALiBi": cache // 4},
    }


def _measured() -> dict[str, Any]:
    scan = {
        "case": {"length": 1024, "batch": 16, "channels": 64, "states": 16, "threads": 2},
        "times": {"chunked": _timing(90.0), "compiled": _timing(8.0)},
        "others": 0.0,
        "floor": 5.0,
        "over_floor": 1.6,
    }
    register = {
        "case": {"length": 1024, "batch": 4, "channels": 64, "n": 4, "threads": 2},
        "times": {"conv1d": _timing(3.0), "shift": _timing(1.0), "fft": _timing(7.0)},
        "others": 0.0,
    }
    return {
        "machine": {"cores": 2, "processor": "abacus", "vectors": "none", "torch": "2", "gpu": "abacus 9000"},
        "measured": "2026-01-01",
        "ceilings": {"operations_per_second": 1e11, "bytes_per_second": 2e10},
        "training": [
            _training(45, 32, 1.2, ALiBi=1.0),
            _training(64, 256, ALiBi=1.0),
            _training(1024, 16, 1.4, ALiBi=3.0),
            _training(16_384, 1, left_out=True),
        ],
        "generation": [_generation(64), _generation(16_384)],
        "scan": [scan],
        "register": [register],
    }


def test_the_page_says_what_the_numbers_say() -> None:
    text = "\n".join(strings_section(_measured()))
    assert "takes 1.20 times as long as one of Mamba in the first row, and at most 1.40 times in any" in text
    assert "is met in 3 of 4 rows" in text
    assert "From 64 to 16,384 tokens per sequence" in text
    assert "1.00 times the time for Mamba" in text
    assert "3.00 times the time for ALiBi (up to 1,024)" in text
    assert "From 1,024 tokens on, ALiBi's step takes longer than Mamba's." in text
    assert "Left out, since the memory would not have held it: ALiBi at 16,384 tokens (some 13 GiB)." in text
    assert "What is kept stays the same for Mamba, and grows to 256 times for ALiBi." in text
    assert "| 1,024 | 16 | 64 | 16 | 2 | 90 (90–90) | 8 (8–8) | 5 | 1.60 | 0.00 |" in text
    assert "conv1d (v = 1) | shift (v = 1) | Fourier" in text
    assert f"{{figure}} {FIGURE}" in text
    assert "Not measured: no GPU was at hand" in text
    assert "not quiet" not in text


def test_other_numbers_are_described_as_they_are() -> None:
    measured = _measured()
    measured["training"] = [_training(64, 16, ALiBi=1.0), _training(1024, 1, ALiBi=1.5)]
    measured["generation"] = [_generation(64, growing=False), _generation(1024, growing=False)]
    text = "\n".join(strings_section(measured))
    assert "is met in 2 of 2 rows" in text
    assert "At 1,024 tokens, ALiBi's step is not the longer one." in text
    assert "What is kept stays the same for Mamba and ALiBi." in text
    assert "Left out" not in text
    measured["register"][0]["others"] = 1.7
    assert "other programs took up to 1.7 cores" in "\n".join(strings_section(measured))
    measured["training"] = [_training(64, 16, ALiBi=3.0), _training(1024, 1, ALiBi=2.5)]
    assert "From 64 tokens on, ALiBi's step takes longer" in "\n".join(strings_section(measured))


def test_the_short_measurement_has_no_figure_and_no_kernels() -> None:
    measured = {**_measured(), "scan": [], "register": []}
    measured["training"], measured["generation"] = measured["training"][:1], measured["generation"][:1]
    text = "\n".join(strings_section(measured))
    for absent in ("figure", "The register", "The selective scan", "tokens per sequence, with"):
        assert absent not in text
    assert "met in 1 of 1 rows" in text


def test_a_gpu_has_its_own_part() -> None:
    gpu = _measured()
    gpu["scan"][0]["times"] = {"chunked": _timing(90.0), "triton": _timing(3.0)}
    text = "\n".join(strings_section(None, gpu))
    assert "on abacus 9000" in text
    assert "The Triton kernel is 30 to 30 times as fast" in text
    assert "`wavemem bench --model strings` makes one" in text
    gpu["scan"] = []
    assert "Triton kernel is" not in "\n".join(strings_section(None, gpu))


def test_series_are_the_largest_group_of_equal_tokens() -> None:
    found = by_length(_measured()["training"])
    assert [result["case"]["length"] for result in found] == [64, 1024, 16_384]
    assert by_length([]) == []


def test_other_files_are_refused(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="lacks 'training'"):
        strings_section({"machine": {"cores": 1, "processor": "", "vectors": "", "torch": ""}, "measured": ""})
    (tmp_path / "strings.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"strings\.json is not JSON"):
        write(tmp_path / "cost.md", tmp_path)
