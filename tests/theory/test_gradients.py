"""Shapes, batching, decay rates and refusals of the gradient functions."""

from __future__ import annotations

import pytest
import torch

from wavemem.elman.network import ElmanEnsemble
from wavemem.theory import gradients


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
    assert gradients.step_norms(ensemble.W_hh, slopes).shape == (2, 3, 5)


def test_bounds_accept_one_wave_for_a_whole_batch() -> None:
    columns = torch.ones(2, 4, 6, 3)
    dC_dh, last = torch.ones(2, 5, 6), torch.ones(2, 5)
    shared = gradients.bound_waves(dC_dh, last, columns)
    each = gradients.bound_waves(dC_dh, last, columns.unsqueeze(1).expand(-1, 5, -1, -1, -1))
    assert shared.shape == (2, 5, 4)
    torch.testing.assert_close(shared, each)


@pytest.mark.parametrize("rate", [-0.3, 0.0, 0.55])
def test_decay_rate_recovers_an_exponential(rate: float) -> None:
    distance = torch.arange(7, -1, -1, dtype=torch.float64)
    norms = 3.0 * torch.exp(-rate * distance)
    assert float(gradients.decay_rate(norms)) == pytest.approx(rate, abs=1e-12)


W_HH, W_UH, W_R, X = torch.eye(4), torch.ones(4, 2), torch.ones(2, 4), torch.ones(3, 5, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gradients.states(torch.ones(4, 3), W_UH, X), "W_hh has shape"),
        (lambda: gradients.states(W_HH, torch.ones(3, 2), X), "W_uh has shape"),
        (lambda: gradients.states(W_HH, W_UH, torch.ones(3, 5, 3)), "x has shape"),
        (lambda: gradients.states(W_HH, W_UH, X, activation="relu"), "allowed: 'tanh', 'linear'"),
        (lambda: gradients.states(W_HH, W_UH, X, steps=0), "steps = 0"),
        (lambda: gradients.cost_gradient(W_HH, W_UH, W_R, X, torch.ones(3, 4)), "target has shape"),
        (lambda: gradients.linear_columns(W_HH, W_UH, 0), "s = 0"),
        (lambda: gradients.decay_rate(torch.ones(3, 1)), "at least 2"),
        (lambda: gradients.decay_rate(torch.tensor([1.0, 0.0])), "positive norms"),
        (
            lambda: gradients.bound_waves(X[:, 0], X[:, 0, 0], torch.ones(5, 4, 2), torch.ones(3, 6, 4, 2)),
            "deps_dx has",
        ),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
