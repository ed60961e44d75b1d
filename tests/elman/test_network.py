"""Ensembles of Elman networks: independence of the runs, initial weights, Eq. 9."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from wavemem.elman.network import ElmanEnsemble


def test_initial_weights_depend_on_the_own_seed_alone() -> None:
    together = ElmanEnsemble.initialise([3, 5, 8], 12, 4)
    for k, seed in enumerate([3, 5, 8]):
        alone = ElmanEnsemble.initialise([seed], 12, 4)
        for name, value in alone.state_dict().items():
            assert torch.equal(value[0], together.state_dict()[name][k])


def test_uniform_and_gaussian_initialisation_have_the_papers_scale() -> None:
    uniform = ElmanEnsemble.initialise(range(4), 100, 8, init="uniform")
    for value in uniform.state_dict().values():
        assert float(value.abs().max()) <= 0.1
        assert float(value.std()) == pytest.approx(0.1 / 3**0.5, rel=0.1)
    gaussian = ElmanEnsemble.initialise(range(4), 100, 8, init="gaussian")
    for value in gaussian.state_dict().values():
        assert float(value.std()) == pytest.approx(0.1, rel=0.1)


def test_eq9_states_and_outputs() -> None:
    ensemble = ElmanEnsemble.initialise([0, 1], 6, 3, dtype=torch.float64)
    u = torch.randn(4, 2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    states = ensemble.states(u, steps=6)
    assert states.shape == (6, 2, 5, 6)
    h = torch.zeros(5, 6, dtype=torch.float64)
    for t in range(6):
        drive = u[t, 1] @ ensemble.W_uh[1].T if t < 4 else 0.0
        h = torch.tanh(h @ ensemble.W_hh[1].T + drive)
        torch.testing.assert_close(states[t, 1], h)
    torch.testing.assert_close(ensemble(u, steps=6)[5, 1], h @ ensemble.W_r[1].T)
    torch.testing.assert_close(ensemble.run(1)(u[:, 1:], steps=6), ensemble(u, steps=6)[:, 1:])


def test_gradient_with_respect_to_inputs_flows() -> None:
    ensemble = ElmanEnsemble.initialise([0], 6, 3)
    u = torch.ones(4, 1, 2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(ensemble(u)[-1].sum(), u)
    assert gradient.shape == u.shape
    assert bool((gradient.abs().amax(dim=(1, 2, 3)) > 0).all())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": []}, "seeds"),
        ({"seeds": [-1]}, "seed"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"d": 0}, "d"),
        ({"init": "zeros"}, "init"),
        ({"activation": "relu"}, "activation"),
    ],
)
def test_wrong_settings_are_named(arguments: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"seeds": [0], "hidden_size": 4, "d": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        ElmanEnsemble.initialise(**settings)


def test_wrong_shapes_and_runs_are_named() -> None:
    with pytest.raises(ValueError, match="W_hh"):
        ElmanEnsemble(torch.zeros(4, 4), torch.zeros(1, 4, 2), torch.zeros(1, 2, 4))
    with pytest.raises(ValueError, match="W_uh"):
        ElmanEnsemble(torch.zeros(1, 4, 4), torch.zeros(2, 4, 2), torch.zeros(1, 2, 4))
    with pytest.raises(ValueError, match="W_r"):
        ElmanEnsemble(torch.zeros(1, 4, 4), torch.zeros(1, 4, 2), torch.zeros(1, 4, 2))
    with pytest.raises(ValueError, match="run 2"):
        ElmanEnsemble.initialise([0, 1], 4, 2).run(2)
