"""The marks that figures share."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pytest

from wavemem.plotting.marks import legend_below, level, not_measured, plain_log


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def test_a_legend_names_each_label_once() -> None:
    fig, (left, right) = plt.subplots(1, 2)
    for ax, labels in ((left, ("a", "b")), (right, ("b", "c"))):
        for label in labels:
            ax.plot([0, 1], label=label)
    assert [text.get_text() for text in legend_below(fig).get_texts()] == ["a", "b", "c"]
    assert [text.get_text() for text in legend_below(fig, [left], fontsize=7).get_texts()] == ["a", "b"]


def test_a_level_stands_at_its_value() -> None:
    _, ax = plt.subplots()
    level(ax, 0.5, "chance")
    assert list(ax.lines[0].get_ydata()) == [0.5, 0.5]
    assert (ax.texts[0].get_text(), ax.texts[0].xy[1]) == ("chance", 0.5)


@pytest.mark.parametrize(
    ("limits", "wanted"), [((1, 20), ["1", "2", "5", "10", "20"]), ((1, 1000), ["1", "10", "100", "1000"])]
)
def test_logarithmic_axes_have_plain_numbers(limits: tuple[float, float], wanted: list[str]) -> None:
    _, ax = plt.subplots()
    ax.set(yscale="log", ylim=limits)
    plain_log(ax.yaxis)
    shown = [text.get_text() for text in ax.get_yticklabels() if limits[0] <= text.get_position()[1] <= limits[1]]
    assert shown == wanted


def test_what_is_not_measured_says_so() -> None:
    (ax,) = not_measured("steps", "accuracy").axes
    assert (ax.texts[0].get_text(), ax.get_xlabel()) == ("not measured yet", "steps")
