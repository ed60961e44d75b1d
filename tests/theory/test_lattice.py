"""The substrate: flattening, travel, input phase."""

from __future__ import annotations

import pytest
import torch

from wavemem.theory.boundary import fill, flatten, run, shift, step, unflatten
from wavemem.theory.hds import generalized_fibonacci, repeat_copy


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_flattening_puts_column_after_column() -> None:
    h = torch.arange(6.0).reshape(3, 2)
    assert flatten(h).tolist() == [0, 1, 2, 3, 4, 5]
    batch = _random(4, 3, 2)
    assert flatten(batch)[1, 2 * 2 + 1] == batch[1, 2, 1]
    assert torch.equal(unflatten(flatten(batch), 3, 2), batch)


def test_a_pulse_travels_down_and_leaves() -> None:
    h = torch.zeros(4, 1)
    h[3, 0] = 1.0
    places = []
    for _ in range(5):
        places.append(h[:, 0].nonzero().flatten().tolist())
        h = shift(h)
    assert places == [[3], [2], [1], [0], []]


def test_filling_stores_the_history() -> None:
    u = _random(5, 4, 3)
    states = fill(u)
    assert states.shape == (5, 5, 4, 3)
    assert not states[0].any()
    assert torch.equal(states[-1], u)
    assert torch.equal(states[2][:, 2:], u[:, :2]), "after two steps the first two vectors lie in the last two columns"


def test_filling_past_a_silent_boundary_is_clean_and_past_fibonacci_is_not() -> None:
    u = _random(2, 3, 2)
    assert torch.equal(fill(u, repeat_copy(3, 2).f)[-1], u)
    polluted = fill(u, generalized_fibonacci(3, 2).f)[-1]
    torch.testing.assert_close(polluted[:, 1], u[:, 1] + u[:, 0])


def test_run_starts_with_the_initial_state() -> None:
    h0 = _random(3, 2)
    assert torch.equal(run(h0, repeat_copy(3, 2).f, 0), h0[None])
    assert torch.equal(run(h0, repeat_copy(3, 2).f, 3)[-1], h0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: flatten(torch.zeros(3)), "h has shape"),
        (lambda: unflatten(torch.zeros(5), 2, 2), "h has shape"),
        (lambda: shift(torch.zeros(3)), "h has shape"),
        (lambda: step(torch.zeros(3, 2), lambda h: h), r"boundary\(h\) has shape"),
        (lambda: step(torch.zeros(3), lambda h: h), "h has shape"),
        (lambda: run(torch.zeros(3, 2), lambda h: h[..., 0, :], -1), "steps = -1"),
        (lambda: fill(torch.zeros(3)), "u has shape"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
