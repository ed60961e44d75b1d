"""Shapes, batching, decay rates and refusals of the gradient functions."""

from __future__ import annotations

import pytest
import torch

from wavemem.elman.network import ElmanEnsemble
from wavemem.theory import gradients
from wavemem.theory import gradients as bounds


def test_runs_are_independent_and_states_are_those_of_the_ensemble() -> None:
    ensemble = ElmanEnsemble.initialise([0, 1], hidden_size=6, d=2, dtype=torch.float64)
    x = torch.randn(2, 3, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h = gradients.states(ensemble.W_hh, ensemble.W_uh, x)
    expected = ensemble.states(x.permute(2, 0, 1, 3), steps=5).permute(1, 2, 0, 3)
    torch.testing.assert_close(h, expected)
    alone = gradients.states(ensemble.W_hh[1], ensemble.W_uh[1], x[1])
    torch.testing.assert_close(h[1], alone)
    slopes = gradients.slopes_of(h)
    stored = gradients.stored_columns(ensemble.W_hh, ensemble.W_uh, slopes)
    assert stored.shape == (2, 3, 4, 6, 2)
    torch.testing.assert_close(stored[1], gradients.stored_columns(ensemble.W_hh[1], ensemble.W_uh[1], slopes[1]))
    assert bounds.step_norms(ensemble.W_hh, slopes).shape == (2, 3, 5)


def test_bounds_accept_one_wave_for_a_whole_batch() -> None:
    columns = torch.ones(2, 4, 6, 3)
    dC_dh, last = torch.ones(2, 5, 6), torch.ones(2, 5)
    shared = bounds.bound_waves(dC_dh, last, columns)
    each = bounds.bound_waves(dC_dh, last, columns.unsqueeze(1).expand(-1, 5, -1, -1, -1))
    assert shared.shape == (2, 5, 4)
    torch.testing.assert_close(shared, each)


@pytest.mark.parametrize("rate", [-0.3, 0.0, 0.55])
def test_decay_rate_recovers_an_exponential(rate: float) -> None:
    distance = torch.arange(7, -1, -1, dtype=torch.float64)
    norms = 3.0 * torch.exp(-rate * distance)
    assert float(gradients.decay_rate(norms)) == pytest.approx(rate, abs=1e-12)


def test_refusals() -> None:
    W_hh, W_uh, W_r = torch.eye(4), torch.ones(4, 2), torch.ones(2, 4)
    x = torch.ones(3, 5, 2)
    with pytest.raises(ValueError, match="allowed: \\(\\*runs, N, N\\)"):
        gradients.states(torch.ones(4, 3), W_uh, x)
    with pytest.raises(ValueError, match="W_uh of shape"):
        gradients.states(W_hh, torch.ones(3, 2), x)
    with pytest.raises(ValueError, match="inputs of shape"):
        gradients.states(W_hh, W_uh, torch.ones(3, 5, 3))
    with pytest.raises(ValueError, match="allowed: tanh, linear"):
        gradients.states(W_hh, W_uh, x, activation="relu")
    with pytest.raises(ValueError, match="steps=0"):
        gradients.states(W_hh, W_uh, x, steps=0)
    with pytest.raises(ValueError, match="target of shape"):
        gradients.cost_gradient(W_hh, W_uh, W_r, x, torch.ones(3, 4))
    with pytest.raises(ValueError, match="s=0"):
        gradients.linear_columns(W_hh, W_uh, 0)
    with pytest.raises(ValueError, match="at least 2"):
        gradients.decay_rate(torch.ones(3, 1))
    with pytest.raises(ValueError, match="positive norms"):
        gradients.decay_rate(torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="deps_dx of shape"):
        bounds.bound_waves(torch.ones(3, 4), torch.ones(3), torch.ones(5, 4, 2), torch.ones(3, 6, 4, 2))
