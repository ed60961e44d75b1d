"""The look of the figures: sizes, colours, the same bytes every time; the marks that they share."""

from __future__ import annotations

import io
import subprocess
import sys
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from IPython.core.formatters import HTMLFormatter
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from wavemem.plotting import style
from wavemem.plotting.style import CATEGORICAL, INK, LEARNED, MUTED, TEXT_WIDTH, figure_size, use_book_style


def _svg() -> bytes:
    use_book_style()
    figure = Figure(figsize=figure_size(2.0, 0.5))
    axes = figure.subplots()
    axes.plot([0, 1, 2], [1, 0, 2], label="$\\nu$")
    axes.imshow([[0.0, 1.0], [1.0, 0.0]])
    axes.set_title("Ψ and words")
    axes.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def test_the_same_figure_gives_the_same_bytes() -> None:
    first = _svg()
    assert _svg() == first
    assert b"<text" not in first
    assert b"date" not in first.lower().split(b"<style", 1)[0]
    settings = matplotlib.rcParams
    assert (settings["svg.hashsalt"], settings["svg.fonttype"]) == ("wavemem", "path")
    assert settings["axes.prop_cycle"].by_key()["color"] == list(CATEGORICAL)


def test_sizes() -> None:
    assert figure_size(2.8) == (TEXT_WIDTH, 2.8)
    assert figure_size(3, 0.5) == (TEXT_WIDTH / 2, 3)
    for name, values in {"height": (0, -1.0, float("nan")), "fraction": (0, -0.5, 1.01, float("nan"))}.items():
        for value in values:
            with pytest.raises(ValueError, match=f"^{name} = .*; allowed: "):
                figure_size(**{"height": 2.0, name: value})


@pytest.mark.parametrize(
    ("colour", "least"), [*((text, 4.5) for text in (INK, MUTED, LEARNED)), *((line, 3) for line in CATEGORICAL)]
)
def test_text_and_lines_are_readable_on_white(colour: str, least: float) -> None:
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = sum(c * weight for c, weight in zip(channels, (0.2126, 0.7152, 0.0722), strict=True))
    assert 1.05 / (luminance + 0.05) >= least


def test_without_a_notebook_ipython_stays_out() -> None:
    code = (
        "import sys; from wavemem.plotting.style import use_book_style; use_book_style(); "
        "sys.exit('IPython' in sys.modules or 'matplotlib_inline' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("running", [True, False])
def test_in_a_notebook_figures_and_tables_are_the_books(monkeypatch: pytest.MonkeyPatch, running: bool) -> None:
    calls: list[tuple[tuple[str, ...], dict[str, object]]] = []
    inline = SimpleNamespace(set_matplotlib_formats=lambda *formats, **options: calls.append((formats, options)))
    tables = HTMLFormatter()
    shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": tables}))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell if running else None))
    monkeypatch.setitem(sys.modules, "matplotlib_inline.backend_inline", inline)
    use_book_style()
    assert calls == ([(("svg",), {"metadata": {"Date": None}})] if running else [])
    assert ("<td>525</td>" in tables(pd.DataFrame({"steps": [525.0]}))) is running


def test_a_legend_names_each_label_once() -> None:
    fig, (left, right) = plt.subplots(1, 2)
    for ax, labels in ((left, ("a", "b")), (right, ("b", "c"))):
        for label in labels:
            ax.plot([0, 1], label=label)
    assert [text.get_text() for text in style.legend_below(fig).get_texts()] == ["a", "b", "c"]
    assert [text.get_text() for text in style.legend_below(fig, [left], fontsize=7).get_texts()] == ["a", "b"]


@pytest.mark.parametrize(("top", "wanted"), [(20, "1 2 5 10 20"), (1000, "1 10 100 1000")])
def test_logarithmic_axes_have_plain_numbers(top: float, wanted: str) -> None:
    _, ax = plt.subplots()
    ax.set(yscale="log", ylim=(1, top))
    style.plain_log(ax.yaxis)
    assert " ".join(t.get_text() for t in ax.get_yticklabels() if 1 <= t.get_position()[1] <= top) == wanted


def test_what_is_not_measured_says_so() -> None:
    (ax,) = style.not_measured("steps", "accuracy").axes
    assert (ax.texts[0].get_text(), ax.get_xlabel()) == ("not measured yet", "steps")
