"""The first-order recurrence in parallel over time, against its loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.kernels.first_order import first_order_scan


def loop(a: Tensor, u: Tensor, h0: Tensor) -> Tensor:
    h, states = h0, []
    for t in range(u.shape[2]):
        h = a[:, :, t] * h + u[:, :, t]
        states.append(h)
    return torch.stack(states, 2)


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 40), seed=st.integers(0, 1000))
def test_equals_the_loop(length: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(2, 3, length, 4, generator=generator, dtype=torch.float64)
    a[0, 0] = 0.0
    a[0, 1] = 1.0
    u = torch.randn(2, 3, length, 4, generator=generator, dtype=torch.float64)
    h0 = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(2, 3, length, 4, generator=generator, dtype=torch.float64)
    found = []
    for scan in (first_order_scan, loop):
        own = [value.clone().requires_grad_() for value in (a, u, h0)]
        h = scan(*own)
        found.append([h, *torch.autograd.grad((h * weight).sum(), own)])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(first_order_scan(a, u), loop(a, u, torch.zeros_like(h0)), rtol=1e-10, atol=1e-11)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="a has shape"):
        first_order_scan(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 5))
    with pytest.raises(ValueError, match="no step"):
        first_order_scan(torch.zeros(1, 2, 0, 4), torch.zeros(1, 2, 0, 4))
    with pytest.raises(ValueError, match="h0 has shape"):
        first_order_scan(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3))
