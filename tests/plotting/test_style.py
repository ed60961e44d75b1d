"""The look of the figures: sizes, colours, the same bytes every time."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import matplotlib
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from wavemem.plotting.style import CATEGORICAL, INK, MUTED, TEXT_WIDTH, figure_size, use_book_style


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    with matplotlib.rc_context():
        yield


def _svg() -> bytes:
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
    use_book_style()
    first = _svg()
    use_book_style()
    assert _svg() == first
    assert b"<text" not in first
    assert b"date" not in first.lower().split(b"<style", 1)[0]


@pytest.mark.parametrize(("height", "fraction", "size"), [(2.8, 1.0, (7.2, 2.8)), (3, 0.5, (3.6, 3))])
def test_sizes(height: float, fraction: float, size: tuple[float, float]) -> None:
    assert figure_size(height, fraction) == pytest.approx(size)
    assert TEXT_WIDTH == 7.2


@pytest.mark.parametrize("height", [0, -1.0, float("nan")])
def test_bad_heights(height: float) -> None:
    with pytest.raises(ValueError, match="allowed: a positive number of inches"):
        figure_size(height)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.01, float("nan")])
def test_bad_fractions(fraction: float) -> None:
    with pytest.raises(ValueError, match="allowed: 0 < fraction <= 1"):
        figure_size(2.0, fraction)


def test_the_settings_are_in_force() -> None:
    use_book_style()
    settings = matplotlib.rcParams
    assert settings["svg.hashsalt"] == "wavemem"
    assert settings["svg.fonttype"] == "path"
    assert settings["figure.constrained_layout.use"]
    assert settings["axes.prop_cycle"].by_key()["color"] == list(CATEGORICAL)


def _luminance(colour: str) -> float:
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


def test_text_is_readable_on_white() -> None:
    for colour in (INK, MUTED):
        assert 1.05 / (_luminance(colour) + 0.05) >= 4.5


def test_without_a_notebook_ipython_stays_out() -> None:
    code = (
        "import sys; from wavemem.plotting.style import use_book_style; use_book_style(); "
        "sys.exit('IPython' in sys.modules or 'matplotlib_inline' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("running", [True, False])
def test_in_a_notebook_figures_become_svg_without_a_date(monkeypatch: pytest.MonkeyPatch, running: bool) -> None:
    calls: list[tuple[tuple[str, ...], dict[str, object]]] = []
    inline = SimpleNamespace(set_matplotlib_formats=lambda *formats, **options: calls.append((formats, options)))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: object() if running else None))
    monkeypatch.setitem(sys.modules, "matplotlib_inline.backend_inline", inline)
    use_book_style()
    assert calls == ([(("svg",), {"metadata": {"Date": None}})] if running else [])
