"""Digits as histories: what is drawn where, which font fits, and refusals."""

from __future__ import annotations

import pytest
import torch

from wavemem.elman.digits import digit_history, pixels


@pytest.mark.parametrize(
    ("text", "s", "d"), [("3141", 16, 5), ("315", 8, 8), ("4", 4, 4), ("31", 8, 3), ("0987", 20, 7)]
)
def test_history_is_the_drawing_with_time_from_left_to_right(text: str, s: int, d: int) -> None:
    lines, u = pixels(text, s, d), digit_history(text, s, d)
    assert u.shape == (s, d)
    assert set(u.unique().tolist()) == {-1.0, 1.0}
    assert ["".join("#" if u[i, j] > 0 else "." for i in range(s)) for j in range(d)] == lines


def test_digits_stand_in_the_middle_with_a_gap_between_them() -> None:
    assert pixels("315", 8, 8) == [
        "........",
        "##.#.##.",
        ".#.#.#..",
        "##.#.##.",
        ".#.#..#.",
        "##.#.##.",
        "........",
        "........",
    ]


def test_all_digits_differ() -> None:
    drawn = [tuple(pixels(digit, 3, 5)) for digit in "0123456789"]
    assert len(set(drawn)) == 10


def test_type_of_the_result() -> None:
    assert digit_history("4", 4, 4, torch.float64).dtype == torch.float64


@pytest.mark.parametrize(("text", "s", "d"), [("3141", 8, 8), ("8", 3, 3), ("1", 1, 2)])
def test_what_does_not_fit_is_refused(text: str, s: int, d: int) -> None:
    with pytest.raises(ValueError, match="allowed: what fits"):
        digit_history(text, s, d)


@pytest.mark.parametrize("text", ["", "3.1", "pi", "٣"])
def test_only_digits(text: str) -> None:
    with pytest.raises(ValueError, match="digits 0 to 9"):
        pixels(text, 8, 8)


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="width"):
        pixels("1", 0, 5)
