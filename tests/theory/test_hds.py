"""History-dependent systems: stepping, one matrix product, messages for bad input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.theory.hds import HDS, LinearHDS, generalized_fibonacci, repeat_copy

sizes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 12), st.integers(0, 2**31 - 1))


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_targets_equal_stepping_for_any_linear_system(size: tuple[int, int, int, int]) -> None:
    s, d, horizon, seed = size
    generator = torch.Generator().manual_seed(seed)
    F = torch.randn(d, s * d, generator=generator, dtype=torch.float64) / (s * d)
    system = LinearHDS(F)
    u = torch.randn(3, s, d, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(system.targets(u, horizon), system.rollout(u, horizon), rtol=1e-10, atol=1e-12)


def test_horizon_operator_is_F_times_powers_of_Phi() -> None:
    F = torch.randn(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    system = LinearHDS(F)
    expected = torch.cat([F @ torch.linalg.matrix_power(system.Phi(), t) for t in range(6)])
    torch.testing.assert_close(system.horizon_operator(6), expected)


def test_shorter_horizons_after_longer_ones_agree() -> None:
    system = generalized_fibonacci(3, 2)
    u = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    long = system.targets(u, 9)
    torch.testing.assert_close(system.targets(u, 4), long[:, :4])
    torch.testing.assert_close(system.targets(u.double(), 9).float(), long)
    assert system.targets(u.double(), 9).dtype == torch.float64


def test_fibonacci_numbers() -> None:
    u = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    assert generalized_fibonacci(2, 1).targets(u, 8).flatten().tolist() == [1, 2, 3, 5, 8, 13, 21, 34]


def test_repeat_copy_repeats() -> None:
    u = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(repeat_copy(3, 4).targets(u, 7), torch.cat([u, u, u[:, :1]], dim=1))


def test_any_function_can_be_an_hds() -> None:
    system = HDS(3, 2, lambda h: torch.tanh(h.prod(dim=-2)), name="product")
    u = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0))
    x = system.rollout(u, 4)
    assert x.shape == (5, 4, 2)
    torch.testing.assert_close(x[:, 1], torch.tanh(u[:, 1] * u[:, 2] * x[:, 0]))
    assert torch.equal(system.targets(u, 4), x)
    assert repr(system) == "HDS('product', s=3, d=2)"


def test_operator_is_a_copy() -> None:
    F = torch.zeros(1, 2)
    system = LinearHDS(F)
    F += 1
    assert system.F.sum() == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HDS(0, 2, torch.sum), "s = 0"),
        (lambda: HDS(2, 2.5, torch.sum), "d = 2.5"),
        (lambda: HDS(2, 2, "sum"), "f = 'sum'"),
        (lambda: LinearHDS(torch.zeros(2, 5)), "multiple of its height"),
        (lambda: LinearHDS(torch.zeros(4)), "F has shape"),
        (lambda: LinearHDS(torch.full((1, 2), float("nan"))), "NaN"),
        (lambda: generalized_fibonacci(2, 0), "d = 0"),
        (lambda: repeat_copy(-1, 2), "s = -1"),
        (lambda: repeat_copy(2, 2).targets(torch.zeros(3, 2), 4), "u has shape"),
        (lambda: repeat_copy(2, 2).targets(torch.zeros(2, 2), 0), "horizon = 0"),
        (lambda: repeat_copy(2, 2).rollout(torch.zeros(2, 2), 0), "horizon = 0"),
        (lambda: repeat_copy(2, 2).horizon_operator(0), "horizon = 0"),
        (lambda: repeat_copy(2, 2).next(torch.zeros(2, 3)), "h has shape"),
        (lambda: HDS(2, 2, torch.sum).next(torch.zeros(2, 2)), r"f\(h\) has shape"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
