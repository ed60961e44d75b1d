"""The helpers that complain: what they accept, and that every complaint says got, allowed and what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wavemem.checks import number_in, one_of, positive_int, require, shape_is


def test_require_is_silent_when_the_condition_holds() -> None:
    require(True, "got", "allowed", "fix")


def test_require_says_all_three_parts() -> None:
    with pytest.raises(ValueError, match=r"^x = 3; allowed: 1 or 2\. Choose 1 or 2\.$"):
        require(False, "x = 3", "1 or 2", "Choose 1 or 2.")


@pytest.mark.parametrize("value", [1, 7, np.int64(3)])
def test_positive_int_accepts_whole_numbers(value: int) -> None:
    result = positive_int("n", value)
    assert result == value
    assert type(result) is int


@pytest.mark.parametrize("value", [0, -1, 1.0, 1.5, "1", True, None])
def test_positive_int_refuses_the_rest(value: object) -> None:
    with pytest.raises(ValueError, match=r"n = .*whole number, 1 or larger"):
        positive_int("n", value)


def test_positive_int_minimum() -> None:
    assert positive_int("steps", 0, minimum=0) == 0
    with pytest.raises(ValueError, match="2 or larger"):
        positive_int("steps", 1, minimum=2)


@pytest.mark.parametrize("value", [float("nan"), 1.1, -0.1, "half", None])
def test_number_in_refuses(value: object) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        number_in("share", value, 0.0, 1.0)


def test_number_in_accepts_the_ends() -> None:
    assert number_in("share", 0, 0.0, 1.0) == 0.0
    assert number_in("share", 1, 0.0, 1.0) == 1.0


def test_one_of_lists_the_options() -> None:
    assert one_of("kind", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match="kind = 'c'; allowed: 'a', 'b'"):
        one_of("kind", "c", ("a", "b"))


def test_shape_is() -> None:
    h = torch.zeros(5, 3, 2)
    shape_is("h", h, (5, 3, 2))
    shape_is("h", h, ("...", 3, 2))
    shape_is("h", h, ("batch", "s", 2))
    shape_is("h", h, (None, None, None))
    shape_is("h", np.zeros((3, 2)), ("...", 3, 2))
    for wrong in [(5, 3), ("...", 2, 3), (5, 3, 3), ("...", 5, 5, 3, 2)]:
        with pytest.raises(ValueError, match=r"h has shape \(5, 3, 2\)"):
            shape_is("h", h, wrong)
