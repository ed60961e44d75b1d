"""Ensembles of Elman networks: initial weights and bad input; `tests/training/test_ensemble.py` has the rest."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from wavemem.elman.network import ElmanEnsemble


def test_uniform_and_gaussian_initialisation_have_the_papers_scale() -> None:
    uniform = ElmanEnsemble.initialise(range(4), 100, 8, init="uniform")
    for value in uniform.state_dict().values():
        assert float(value.abs().max()) <= 0.1
        assert float(value.std()) == pytest.approx(0.1 / 3**0.5, rel=0.1)
    gaussian = ElmanEnsemble.initialise(range(4), 100, 8, init="gaussian")
    for value in gaussian.state_dict().values():
        assert float(value.std()) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [-1]}, "seed"),
        ({"hidden_size": 0}, "hidden_size = 0"),
        ({"d": 0}, "d = 0"),
        ({"init": "zeros"}, "init = 'zeros'"),
        ({"activation": "relu"}, "activation = 'relu'"),
    ],
)
def test_wrong_settings_are_named(arguments: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"seeds": [0], "hidden_size": 4, "d": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        ElmanEnsemble.initialise(**settings)


@pytest.mark.parametrize(
    ("W_hh", "W_uh", "W_r", "message"),
    [
        ((4, 4), (1, 4, 2), (1, 2, 4), r"W_hh has shape \(4, 4\)"),
        ((1, 4, 3), (1, 4, 2), (1, 2, 4), r"W_hh has shape \(1, 4, 3\); allowed: \(K, N, N\)"),
        ((1, 4, 4), (2, 4, 2), (1, 2, 4), r"W_uh has shape \(2, 4, 2\); allowed: \(K = 1, N = 4, d\)"),
        ((1, 4, 4), (1, 4, 2), (1, 4, 2), "W_r has shape"),
    ],
)
def test_wrong_shapes_are_named(W_hh: Any, W_uh: Any, W_r: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ElmanEnsemble(torch.zeros(W_hh), torch.zeros(W_uh), torch.zeros(W_r))
