"""The fitted transport: exact for registers of any velocity and any input, and silent where nothing travels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.ssm.shift_register import upwind_register
from wavemem.streams import stream
from wavemem.theory.readings import transport


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=stream(seed, "transport"), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), v=st.floats(0.1, 1.0), n=st.integers(2, 8), correlation=st.sampled_from([0.0, 0.9]))
def test_reads_velocity_and_diffusion_of_a_register(seed: int, v: float, n: int, correlation: float) -> None:
    x = normal(seed, 120, 4)
    for t in range(1, 120):
        x[t] += correlation * x[t - 1]
    fit = transport(upwind_register(n, v).states(x))
    assert fit.velocity == pytest.approx(-v, abs=1e-6)  # away from the input: larger numbers
    assert fit.diffusion == pytest.approx(v * (1 - v), abs=1e-5)
    assert fit.nearest == pytest.approx(1.0, abs=1e-5)
    assert fit.uneven < 1e-5
    assert bool((fit.explained[1:] > 1 - 1e-9).all())


def test_direction_is_that_of_the_book() -> None:
    h = upwind_register(6, 0.7).states(normal(1, 100, 4))
    assert transport(h.flip(-1), source=-1).velocity == pytest.approx(0.7)


def test_says_nothing_where_nothing_travels() -> None:
    assert math.isnan(transport(normal(2, 100, 5, 4)).velocity)
    wrong = upwind_register(4, 1.0).states(normal(3, 100, 5))[..., [0, 2, 3, 1]]
    fit = transport(wrong)
    assert math.isnan(fit.velocity)
    assert math.isnan(fit.diffusion)
    assert fit.uneven > 1
    assert fit.nearest < 0.9
    decays = torch.tensor([0.99, 0.97, 0.95, 0.9], dtype=torch.float64)
    h, kept = torch.ones(3, 4, dtype=torch.float64) * normal(4, 3, 4), []
    for _ in range(50):
        h = h * decays
        kept.append(h)
    still = transport(torch.stack(kept))
    assert still.velocity == pytest.approx(0.0, abs=1e-3)


def test_complaints() -> None:
    with pytest.raises(ValueError, match="time >= 2"):
        transport(torch.zeros(1, 4))
    with pytest.raises(ValueError, match="least = 2"):
        transport(normal(0, 10, 4), least=2)
    with pytest.raises(ValueError, match="most = -1"):
        transport(normal(0, 10, 4), most=-1)
    with pytest.raises(ValueError, match="source = 4"):
        transport(normal(0, 10, 4), source=4)
    with pytest.raises(ValueError, match="missing values"):
        transport(torch.full((5, 4), math.nan))
