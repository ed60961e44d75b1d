"""Figures for dark pages: the drawing on white, in colours of which every pair keeps its contrast.

On ground of luminance Y₀ a colour of luminance Y becomes one of its own hue with Y′ + 0.05 = 1.05 (Y₀ + 0.05) / (Y + 0.05): white
becomes the ground, and each ratio of contrast (WCAG 2.2) is the one that the figure has on paper. Pictures in a sequential map
stay as they are, and what is drawn on them too: in them light means much, and captions say so.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

GROUND: Final = "#121212"
"""The theme's dark ground."""

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
_PLACE = re.compile(r"translate\(([-\d.]+)[ ,]+([-\d.]+)\)")
_FIGURE = re.compile(r'<img\b([^>]*?) src="([^"]*?)([^"/]+)\.svg"([^>]*?)/?>')
_SIZE = re.compile(r'\b(?:width|height)="([\d.]+)pt"')
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def luminance(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Relative luminance of sRGB colours (..., 3)."""
    return np.asarray(_linear(colours) @ _LUMINANCE)


def _linear(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    c = colours / 255
    return np.asarray(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4))


def _rgb(colour: str) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(colour.lstrip("#")), dtype=np.uint8)


def on_dark(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What colours (n, 3) on white become on `GROUND`."""
    linear = _linear(colours)
    Y = linear @ _LUMINANCE
    target = np.minimum(1.0, 1.05 * (luminance(_rgb(GROUND)) + 0.05) / (Y + 0.05) - 0.05)
    tint = linear - Y[:, None]  # of no luminance: what makes a colour differ from a grey
    # As colourful to the eye as before (in OKLab), or as a screen can show.
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(tint > 0, (1 - target)[:, None] / tint, np.where(tint < 0, -target[:, None] / tint, np.inf))
        share = np.minimum((target / np.maximum(Y, 1e-6)) ** (2 / 3), room.min(1))
    shown = np.clip(target[:, None] + share[:, None] * tint, 0, 1)
    encoded = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * encoded).astype(np.uint8))


class _Picture:
    """An image inside a drawing.

    Attributes:
        colours: Its colours (n, 4), each once.
        places: Which of them each pixel has.
        counts: How many pixels have it.
    """

    def __init__(self, image: ElementTree.Element) -> None:
        self.image = image
        data = base64.b64decode(image.get(f"{_XLINK}href", "").partition("base64,")[2])
        pixels = np.array(Image.open(io.BytesIO(data)).convert("RGBA"))
        self.shape = pixels.shape
        packed, self.places, self.counts = np.unique(pixels.view("<u4"), return_inverse=True, return_counts=True)
        self.colours = packed.view(np.uint8).reshape(-1, 4)

    def sequential(self) -> bool:
        """Whether it is in viridis, or in greys and mostly dark."""
        seen = self.colours[:, 3] > 0
        colours, share = self.colours[seen, :3].astype(int), self.counts[seen] / max(1, self.counts[seen].sum())
        map_ = matplotlib.colormaps["viridis"](np.arange(256), bytes=True)[:, :3].astype(int)
        near = np.abs(colours[:, None] - map_).max(-1).min(1, initial=255) <= 6
        grey = np.ptp(colours, axis=1) <= 6
        return bool(share @ near > 0.97 or (share @ grey > 0.97 and share @ luminance(self.colours[seen, :3]) < 0.4))

    def repaint(self) -> None:
        """Put the colours for dark pages into the drawing."""
        colours = self.colours.copy()
        colours[:, :3] = on_dark(colours[:, :3])
        written = io.BytesIO()
        Image.fromarray(colours[self.places.reshape(-1)].reshape(self.shape)).save(written, "png")
        self.image.set(f"{_XLINK}href", "data:image/png;base64," + base64.b64encode(written.getvalue()).decode())

    def holds(self, part: ElementTree.Element) -> bool:
        """Whether a text begins on it. Matplotlib turns pictures upside down: y counts from below."""
        place = next((m for e in part.iter() if (m := _PLACE.search(e.get("transform", "")))), None)
        x, y, width, height = (float(self.image.get(name, "0")) for name in ("x", "y", "width", "height"))
        top = -y if "scale(1 -1)" in self.image.get("transform", "") else y
        return place is not None and x <= float(place[1]) <= x + width and top <= float(place[2]) <= top + height


def _stays(axes: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """The parts of axes with a sequential picture (a colour bar is one) that lie on it, the picture among them."""
    found = [_Picture(image) for image in axes.iter(f"{_SVG}image")]
    pictures = [picture for picture in found if picture.sequential()]
    for part in axes if pictures else ():
        kind = part.get("id", "").partition("_")[0]
        if kind == "text":
            lies = any(picture.holds(part) for picture in pictures)
        else:
            lies = kind != "matplotlib.axis" and any(
                "clip-path" in e.attrib or e.tag == f"{_SVG}image" for e in part.iter()
            )
        if lies:
            yield part


def dark(svg: str) -> str:
    """A figure that matplotlib drew on white, for a page with the ground `GROUND`."""
    for prefix, space in (("", _SVG), ("xlink", _XLINK)):
        ElementTree.register_namespace(prefix, space.strip("{}"))
    root = ElementTree.fromstring(svg)
    for metadata in root.findall(f"{_SVG}metadata"):
        root.remove(metadata)
    groups = [g for g in root.iter(f"{_SVG}g") if g.get("id", "").startswith("axes_")]
    kept = {e for axes in groups for part in _stays(axes) for e in part.iter()}
    found = {c for e in root.iter() if e not in kept for c in _COLOUR.findall(e.get("style", ""))}
    names = sorted(found)
    new = {c: "#" + n.tobytes().hex() for c, n in zip(names, on_dark(np.array([_rgb(c) for c in names])), strict=True)}
    for element in root.iter():
        if element in kept:
            continue
        if element.tag == f"{_SVG}image":
            _Picture(element).repaint()
        if style := element.get("style"):
            element.set("style", _COLOUR.sub(lambda match: new[match[0]], style))
    root.set("fill", "#ffffff")  # what matplotlib draws in black has no colour of its own
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def in_both_themes(body: str, drawings: Mapping[str, Path], images: Path) -> str:
    """A page's HTML with each of matplotlib's figures twice, for light pages and for dark ones, at the size it was drawn.

    Args:
        body: The page.
        drawings: Where the images that pages show come from, by their names on the pages.
        images: The folder of these images in the site; the dark ones are written there.
    """

    def pair(match: re.Match[str]) -> str:
        before, folder, name, after = match.groups()
        drawing = drawings.get(f"{name}.svg")
        text = drawing.read_text(encoding="utf-8") if drawing else ""
        if drawing is None or "Matplotlib" not in text[:2000]:
            return match[0]
        twin = images / f"{name}-dark.svg"
        if not twin.is_file() or twin.stat().st_mtime < drawing.stat().st_mtime:
            images.mkdir(exist_ok=True)
            twin.write_text(dark(text), encoding="utf-8")
        width, height = (round(float(points) * 96 / 72) for points in _SIZE.findall(text)[:2])
        return "".join(
            f'<img{before} src="{folder}{file}.svg"{after}class="figure-{theme} dark-light" loading="lazy" '
            f'width="{width}" height="{height}" />'
            for theme, file in (("light", name), ("dark", twin.stem))
        )

    return _FIGURE.sub(pair, body)
