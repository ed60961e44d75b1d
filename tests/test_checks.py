"""The helpers that complain: what they accept, and that every complaint says got, allowed and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from wavemem.checks import choose_device, number_in, one_of, positive_int, require, shape_is

H = torch.zeros(5, 3, 2)


def test_what_is_allowed_is_returned() -> None:
    require(True, "got", "allowed", "fix")
    counts = [positive_int("n", 1), positive_int("n", np.int64(3)), positive_int("steps", 0, minimum=0)]
    assert (counts, {type(count) for count in counts}) == ([1, 3, 0], {int})
    assert (number_in("share", 0, 0.0, 1.0), number_in("share", 1, 0.0, 1.0)) == (0.0, 1.0)
    assert one_of("kind", "a", ("a", "b")) == "a"
    for shape in ((5, 3, 2), ("...", 3, 2), ("batch", "s", 2), (5, "...", 2), ("...", 5, 3, 2), (5, 3, 2, "...")):
        shape_is("h", H, shape)
    shape_is("h", np.zeros((3, 2)), ("...", 3, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: require(False, "x = 3", "1 or 2", "Choose 1 or 2."), r"^x = 3; allowed: 1 or 2\. Choose 1 or 2\.$"),
        *(
            (lambda v=v: positive_int("n", v), r"n = .*whole number, 1 or larger")
            for v in (0, -1, 1.0, 1.5, "1", True, None)
        ),
        (lambda: positive_int("steps", 1, minimum=2), "2 or larger"),
        *((lambda v=v: number_in("p", v, 0.0, 1.0), "from 0 to 1") for v in (float("nan"), 1.1, -0.1, "half", None)),
        (lambda: choose_device("tpu"), "'auto', 'cpu', 'cuda'"),
        (lambda: one_of("kind", "c", ("a", "b")), "kind = 'c'; allowed: 'a', 'b'"),
        *(
            (lambda shape=shape: shape_is("h", H, shape), r"h has shape \(5, 3, 2\)")
            for shape in [(5, 3), ("...", 2, 3), (5, 3, 3), ("...", 5, 5, 3, 2), (5, "...", 3), (5, "...", 5, 3, 2)]
        ),
    ],
)
def test_what_is_not_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
