"""Digits as histories: what is drawn where, which font fits, and refusals."""

from __future__ import annotations

import pytest
import torch

from wavemem.elman.digits import digit_history, pixels


@pytest.mark.parametrize(
    ("text", "s", "d"), [("3141", 16, 5), ("315", 8, 8), ("4", 4, 4), ("31", 8, 3), ("0987", 20, 7)]
)
def test_history_is_the_drawing_with_time_from_left_to_right(text: str, s: int, d: int) -> None:
    lines, u = pixels(text, s, d), digit_history(text, s, d, torch.float64)
    assert u.shape == (s, d)
    assert u.dtype == torch.float64
    assert set(u.unique().tolist()) == {-1.0, 1.0}
    assert ["".join("#" if u[i, j] > 0 else "." for i in range(s)) for j in range(d)] == lines


def test_digits_differ_and_stand_in_the_middle_with_a_gap_between_them() -> None:
    drawn = "........ ##.#.##. .#.#.#.. ##.#.##. .#.#..#. ##.#.##. ........ ........"
    assert pixels("315", 8, 8) == drawn.split()
    assert len({tuple(pixels(digit, 3, 5)) for digit in "0123456789"}) == 10


@pytest.mark.parametrize(
    ("text", "s", "d", "message"),
    [
        ("3141", 8, 8, "allowed: what fits"),
        ("8", 3, 3, "allowed: what fits"),
        ("1", 1, 2, "allowed: what fits"),
        ("", 8, 8, "digits 0 to 9"),
        ("3.1", 8, 8, "digits 0 to 9"),
        ("٣", 8, 8, "digits 0 to 9"),
        ("1", 0, 5, "width"),
    ],
)
def test_bad_input_is_explained(text: str, s: int, d: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        digit_history(text, s, d)
