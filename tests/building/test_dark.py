"""Figures for dark pages keep their contrasts; pictures in which light means much keep their colours."""

from __future__ import annotations

import io
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from wavemem.building import dark
from wavemem.plotting.style import CATEGORICAL, GRID, INK, LEARNED, MUTED, NEGATIVE, POSITIVE

COLOURS = (INK, MUTED, GRID, POSITIVE, NEGATIVE, LEARNED, *CATEGORICAL, "#ffffff", "#f7f7f7", "#fde725")


def rgb(*colours: str) -> np.ndarray:
    """Colours as rows."""
    return np.array([list(bytes.fromhex(colour[1:])) for colour in colours], dtype=np.uint8)


def test_each_pair_keeps_its_contrast() -> None:
    before, after = (dark.luminance(colours) + 0.05 for colours in (rgb(*COLOURS), dark.on_dark(rgb(*COLOURS))))
    np.testing.assert_allclose(after[:, None] / after, before / before[:, None], rtol=0.03)
    np.testing.assert_array_equal(dark.on_dark(rgb("#ffffff")), rgb(dark.GROUND))
    red, blue = dark.on_dark(rgb(POSITIVE, NEGATIVE)).astype(int)
    assert red[0] > red[2] + 60
    assert blue[2] > blue[0] + 60


def drawing(cmap: str) -> str:
    """A picture with its bar, a line and a word on it, and a title above it."""
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "t"}):
        figure = Figure()
        axes = figure.subplots()
        picture = axes.imshow(np.linspace(-1, 1, 64).reshape(8, 8), cmap=cmap)
        figure.colorbar(picture)
        axes.plot([0, 7], [0, 7], color=POSITIVE)
        axes.text(3, 3, "on it", color=NEGATIVE)
        axes.set_title("above", color=MUTED)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


@pytest.mark.parametrize(("cmap", "stays"), [("viridis", True), ("gray", True), ("RdBu_r", False)])
def test_a_sequential_picture_stays_with_what_is_on_it(cmap: str, stays: bool) -> None:
    svg = drawing(cmap)
    found = dark.dark(svg)
    pictures = [re.findall(r"base64,\s*([^\"]+)", text) for text in (svg, found)]
    assert [before == after for before, after in zip(*pictures, strict=True)] == [stays, stays]
    for colour, kept in ((POSITIVE, stays), (NEGATIVE, stays), (MUTED, False), (dark.GROUND, True)):
        assert (colour in found) is kept, colour
    assert dark.dark(svg) == found


def test_pages_show_each_drawing_twice(tmp_path: Path) -> None:
    source, images = tmp_path / "drawing.svg", tmp_path / "_images"
    source.write_text(drawing("RdBu_r"), encoding="utf-8")
    (tmp_path / "logo.svg").write_text("<svg/>", encoding="utf-8")
    shown = {"a.svg": source, "logo.svg": tmp_path / "logo.svg"}
    body = dark.in_both_themes(
        '<p><img alt="x &gt; y" src="../_images/a.svg" /></p><img src="logo.svg"/>', shown, images
    )
    pair = [f'<img alt="x &gt; y" src="../_images/{name}.svg"' for name in ("a", "a-dark")]
    assert all(body.count(image) == 1 for image in pair)
    assert body.count('width="614" height="461"') == 2
    assert body.endswith('<img src="logo.svg"/>')
    assert (images / "a-dark.svg").read_text(encoding="utf-8") == dark.dark(source.read_text(encoding="utf-8"))
