"""Ensembles of Elman networks: initial weights and bad input; `tests/training/test_ensemble.py` has the rest."""

from __future__ import annotations

from collections.abc import Callable

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


def of_shapes(*shapes: tuple[int, ...]) -> ElmanEnsemble:
    return ElmanEnsemble(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ElmanEnsemble.initialise([], 4, 2), "seeds is empty"),
        (lambda: ElmanEnsemble.initialise([-1], 4, 2), "seed"),
        (lambda: ElmanEnsemble.initialise([0], 0, 2), "hidden_size = 0"),
        (lambda: ElmanEnsemble.initialise([0], 4, 0), "d = 0"),
        (lambda: ElmanEnsemble.initialise([0], 4, 2, init="zeros"), "init = 'zeros'"),
        (lambda: ElmanEnsemble.initialise([0], 4, 2, activation="relu"), "activation = 'relu'"),
        (lambda: of_shapes((4, 4), (1, 4, 2), (1, 2, 4)), r"W_hh has shape \(4, 4\)"),
        (lambda: of_shapes((1, 4, 3), (1, 4, 2), (1, 2, 4)), r"W_hh has shape \(1, 4, 3\); allowed: \(K, N, N\)"),
        (lambda: of_shapes((1, 4, 4), (2, 4, 2), (1, 2, 4)), r"W_uh .* \(2, 4, 2\); allowed: \(K = 1, N = 4, d\)"),
        (lambda: of_shapes((1, 4, 4), (1, 4, 2), (1, 4, 2)), "W_r has shape"),
    ],
)
def test_bad_input_is_explained(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
