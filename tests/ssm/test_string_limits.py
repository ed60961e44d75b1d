"""Copying by looking up, against a loop over text; and the counting bound against counting."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wavemem.ssm.string_tasks import letters_in, looked_up, lookup_error_bound, state_bound
from wavemem.streams import stream


@given(st.lists(st.integers(0, 2), min_size=3, max_size=12), st.integers(1, 3))
def test_looking_up_is_a_search_in_text(string: list[int], n: int) -> None:
    text = "".join("abc"[c] for c in string)
    expected = list(text[:n])
    for i in range(n, len(text)):
        place = text.rfind(text[i - n : i]) + n
        expected.append(text[place] if place < len(text) else "-")
    said = looked_up(torch.tensor([string]), n, 3)[0]
    assert ["abc"[c] if c >= 0 else "-" for c in said.tolist()] == expected


def test_the_bound_on_errors_holds() -> None:
    strings = torch.randint(26, (2000, 40), generator=stream(0, "strings"))
    for n in (1, 2, 3, 4):
        wrong = (looked_up(strings, n, 26) != strings).any(1).double().mean().item()
        assert wrong <= lookup_error_bound(26, 40, n) + 0.005
    assert lookup_error_bound(26, 300, 6) < 0.001
    assert lookup_error_bound(2, 300, 1) == 1.0


def test_a_state_of_b_bits_copies_at_most_two_to_the_b_strings() -> None:
    """Whatever the reader does: here it keeps the parity of every letter."""
    copied = 0
    for string in itertools.product(range(4), repeat=3):
        state = tuple(c % 2 for c in string)  # three bits
        copied += string == state  # the writer says the even or odd letter that it is most often
    assert copied / 4**3 <= state_bound(3, 4, 3) == 2**-3


def test_bits_and_letters() -> None:
    assert letters_in(32, 16) == 8
    assert state_bound(32, 16, 8) == 1.0
    assert state_bound(31, 16, 8) == 0.5
    assert state_bound(0, 26, 300) < 1e-300
    assert state_bound(1e6, 26, 300) == 1.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: looked_up(torch.zeros(2, 3, dtype=torch.int64), 0, 2),
        lambda: looked_up(torch.zeros(2, 3, dtype=torch.int64), 4, 2),
        lambda: looked_up(torch.zeros(3, dtype=torch.int64), 1, 2),
        lambda: looked_up(torch.full((2, 3), 5), 1, 2),
        lambda: lookup_error_bound(0, 3, 1),
        lambda: state_bound(-1, 2, 3),
        lambda: state_bound(1, 2, 0),
        lambda: letters_in(3, 1),
        lambda: letters_in(-3, 2),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="allowed"):
        call()
