"""The cost page's figure of the string models shows every measurement and never changes by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot as plt

from wavemem.figures.string_cost import draw, write


def _timing(median: float) -> dict[str, float]:
    return {"median": median, "lower": median, "upper": median}


def _measured() -> dict[str, Any]:
    training = [
        {"case": {"length": length, "batch": 64 // length}, "times": times}
        for length, times in ((16, {"a": _timing(1.0), "b": _timing(2.0)}), (64, {"a": _timing(1.5)}))
    ]
    generation = [
        {
            "case": {"context": context},
            "times": {"a": _timing(1.0), "b": _timing(context)},
            "bytes": {"a": 2048, "b": 1024 * context},
        }
        for context in (16, 64)
    ]
    return {"training": training, "generation": generation}


def test_every_measurement_is_drawn() -> None:
    figure = draw(_measured())
    train, symbol, kept = figure.axes
    assert [list(line.get_xdata()) for line in train.lines] == [[16, 64], [16]]
    assert [list(line.get_ydata()) for line in train.lines] == [[1.0, 1.5], [2.0]]
    assert [list(line.get_ydata()) for line in symbol.lines] == [[1.0, 1.0], [16, 64]]
    assert [list(line.get_ydata()) for line in kept.lines] == [[2, 2], [16, 64]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    plt.close(figure)


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    source = tmp_path / "strings.json"
    source.write_text(json.dumps(_measured()), encoding="utf-8")
    for name in ("a.svg", "b.svg"):
        write(tmp_path / "new" / name, source)
    assert (tmp_path / "new" / "a.svg").read_bytes() == (tmp_path / "new" / "b.svg").read_bytes()


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.svg"):
        write(tmp_path / "a.png", tmp_path / "strings.json")
    with pytest.raises(ValueError, match="cannot be read"):
        write(tmp_path / "a.svg", tmp_path / "strings.json")
    with pytest.raises(ValueError, match="lacks"):
        draw({"training": []})
