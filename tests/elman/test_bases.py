"""The comparison of bases: on networks that are the theory itself every estimate is right, and the rows are complete."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from wavemem.elman import bases
from wavemem.records.experiment import Result
from wavemem.theory.basis import random_basis
from wavemem.theory.selection import paper_task

S, D, N = 3, 2, 16
SMALL = bases.Config(histories=32, horizon=6)


def perfect(names: tuple[str, ...] = ("T1", "T2")) -> Result:
    """Networks that carry the substrate with so small an amplitude that tanh is the identity; one of them is empty."""
    rows, weights = [], {"sizes": torch.tensor([S, D])}
    for name in names:
        Phi = paper_task(name, S, D).Phi()
        Psi = random_basis(S * D, torch.Generator().manual_seed(0), "orthogonal", N=N).Psi
        W = torch.stack([Psi @ Phi @ Psi.mT, torch.zeros(N, N, dtype=torch.float64)])
        weights |= {
            f"{name} N{N} W_hh": W,
            f"{name} N{N} W_uh": torch.stack([1e-3 * Psi[:, -D:], 0 * Psi[:, -D:]]),
            f"{name} N{N} W_r": torch.stack([1e3 * Psi.mT[-D:], 0 * Psi.mT[-D:]]),
        }
        for decay in (0.0, 10.0):
            about = {"task": name, "hidden_size": N, "weight_decay": decay, "threshold": 0.9, "seed": 0, "iteration": 1}
            rows.append({**about, "quantity": "test_accuracy", "value": 1.0})
    return Result(pd.DataFrame(rows), weights)


@pytest.fixture(scope="module")
def compared() -> pd.DataFrame:
    return bases.compare(perfect(), SMALL, seed=3)


def test_rows_are_complete(compared: pd.DataFrame) -> None:
    assert len(compared) == 2 * 2 * len(bases.ESTIMATES) * len(bases.QUANTITIES)
    assert set(compared["estimate"]) == set(bases.ESTIMATES)
    assert set(compared["quantity"]) == set(bases.QUANTITIES)
    empty = compared[(compared["weight_decay"] == 10.0) & (compared["estimate"] == "algorithm 1")]
    assert np.isnan(empty["value"]).all()  # a network without weights has no basis
    assert not compared.duplicated(["task", "weight_decay", "seed", "estimate", "quantity"]).any()
    table = bases.summarise(compared[compared["weight_decay"] == 0])
    assert table.shape == (len(bases.ESTIMATES) * len(bases.QUANTITIES), 2)


@pytest.mark.parametrize("estimate", bases.ESTIMATES)
def test_on_repeat_copy_every_estimate_of_a_perfect_network_is_right(compared: pd.DataFrame, estimate: str) -> None:
    mine = compared[
        (compared["task"] == "T1") & (compared["weight_decay"] == 0) & (compared["estimate"] == estimate)
    ].set_index("quantity")["value"]
    for quantity in bases.QUANTITIES:
        best = 1.0 if quantity.startswith(("explained", "signs")) else 0.0
        assert abs(mine[quantity] - best) < 1e-4, quantity


def test_the_same_seed_gives_the_same_rows_and_fewer_networks_can_be_asked_for(compared: pd.DataFrame) -> None:
    again = bases.compare(perfect(("T1",)), SMALL, seed=3, at_most=1)
    pd.testing.assert_frame_equal(again, compared[compared["task"] == "T1"].reset_index(drop=True))
    with pytest.raises(ValueError, match="at_most"):
        bases.compare(perfect(("T1",)), SMALL, at_most=0)
    with pytest.raises(ValueError, match="column"):
        bases.summarise(pd.DataFrame())
