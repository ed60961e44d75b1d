"""Digits drawn as ±1 pixels: a history that the eye recognises wherever it turns up again (TWM Figs. 3 and 8 to 11).

The history's vectors are the columns of the drawing, the oldest on the left; dimension j of a vector is row j, from the top.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, require

_Font = dict[str, tuple[str, ...]]

_WIDE: _Font = {
    "0": ("###", "#.#", "#.#", "#.#", "###"),
    "1": ("#", "#", "#", "#", "#"),
    "2": ("###", "..#", "###", "#..", "###"),
    "3": ("###", "..#", "###", "..#", "###"),
    "4": ("#.#", "#.#", "###", "..#", "..#"),
    "5": ("###", "#..", "###", "..#", "###"),
    "6": ("###", "#..", "###", "#.#", "###"),
    "7": ("###", "..#", "..#", "..#", "..#"),
    "8": ("###", "#.#", "###", "#.#", "###"),
    "9": ("###", "#.#", "###", "..#", "###"),
}
# Two pixels leave no room for a hole, so there is no narrow 0, 6, 8 or 9.
_NARROW: _Font = {
    "1": ("#", "#", "#", "#", "#"),
    "2": ("##", ".#", "##", "#.", "##"),
    "3": ("##", ".#", "##", ".#", "##"),
    "5": ("##", "#.", "##", ".#", "##"),
    "7": ("##", ".#", ".#", ".#", ".#"),
}
_LOW: _Font = {
    "0": ("###", "#.#", "#.#", "###"),
    "1": ("#", "#", "#", "#"),
    "3": ("###", ".##", "..#", "###"),
    "4": ("#.#", "#.#", "###", "..#"),
    "5": ("###", "##.", "..#", "##."),
    "7": ("###", "..#", "..#", "..#"),
}
_LOWEST: _Font = {
    "0": ("###", "#.#", "###"),
    "1": ("#", "#", "#"),
    "3": ("###", ".##", "###"),
    "4": ("#.#", "###", "..#"),
    "7": ("###", "..#", "..#"),
}
_FONTS = (_WIDE, _NARROW, _LOW, _LOWEST)


def pixels(text: str, width: int, height: int) -> list[str]:
    """The drawing as lines of "#" and ".", in the largest of four small fonts that fits, in the middle of the field.

    Args:
        text: digits; one pixel is left free between them.
        width: pixels available from left to right.
        height: pixels available from top to bottom.

    Returns:
        ``height`` lines of ``width`` characters.

    Raises:
        ValueError: if the text has other characters than digits or no font fits.
    """
    width, height = positive_int("width", width), positive_int("height", height)
    require(text.isascii() and text.isdigit(), f"text = {text!r}", "one or more digits 0 to 9", "Draw digits only.")
    for font in _FONTS:
        if not all(digit in font for digit in text):
            continue
        glyphs = [font[digit] for digit in text]
        tall, wide = len(glyphs[0]), sum(len(glyph[0]) for glyph in glyphs) + len(glyphs) - 1
        if tall <= height and wide <= width:
            left, top = (width - wide) // 2, (height - tall) // 2
            lines = [".".join(glyph[row] for glyph in glyphs) for row in range(tall)]
            drawn = [("." * left + line).ljust(width, ".") for line in lines]
            return ["." * width] * top + drawn + ["." * width] * (height - tall - top)
    raise ValueError(
        f"{text!r} on {width} × {height} pixels; allowed: what fits, e.g. '4' on 4 × 4, '315' on 8 × 8, '3141' on 16 × 5. "
        "Draw fewer digits or take a larger field (2, 6, 8 and 9 need the larger fonts)."
    )


def digit_history(text: str, s: int, d: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "s d"]:
    """A history of ±1 that shows digits: +1 where there is ink.

    Args:
        text: the digits.
        s: length of the history, the width of the drawing.
        d: dimension of its vectors, the height of the drawing.
        dtype: type of the result.

    Returns:
        The history, oldest vector (left edge of the drawing) first.

    Raises:
        ValueError: if the text has other characters than digits or does not fit.
    """
    lines = pixels(text, s, d)
    ink = torch.tensor([[1.0 if lines[j][i] == "#" else -1.0 for j in range(d)] for i in range(s)])
    return ink.to(dtype)
