"""The self-attention experiment: its models against slow versions, its data, its repeatability, its summary."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch

from wavemem.elman.self_attention import (
    CONTROLS,
    MODELS,
    Config,
    at_chosen_lr,
    boundary_of,
    control_tasks,
    free_run,
    initial,
    next_vectors,
    run,
    summarise,
)
from wavemem.theory.boundary import run as run_substrate

TINY = replace(
    Config.profile("quick"),
    s=3,
    d=2,
    seeds=2,
    batch=4,
    horizon=3,
    iterations=3,
    phase_iterations=2,
    control_iterations=2,
    test_batch=5,
    test_horizon=4,
    log_every=1,
)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return run(TINY, 0, "cpu").rows


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("model", MODELS)
def test_a_model_fed_its_own_outputs_is_the_free_one(model: str) -> None:
    p, one, u = initial(model, [3, 5], 4, 5, 8), initial(model, [5], 4, 5, 8), drawn(2, 7, 4, 5)
    own = free_run(model, p, u, 6)
    torch.testing.assert_close(next_vectors(model, p, u, own), own)
    assert all(torch.equal(p[name][1:], one[name]) for name in one)  # weights depend on the own seed alone


@pytest.mark.parametrize("model", [m for m in MODELS if m != "Elman"])
def test_free_run_is_theorem_3_1(model: str) -> None:
    p = initial(model, [1], 4, 5, 8)
    u = drawn(1, 3, 4, 5)
    torch.testing.assert_close(
        free_run(model, p, u, 5), run_substrate(u, boundary_of(model, p), 5)[1:, ..., -1, :].movedim(0, 2)
    )


def test_silent_elman_receives_zeros() -> None:
    p = initial("Elman", [1], 4, 5, 8)
    u = drawn(1, 3, 4, 5)
    h = torch.zeros(1, 3, 8)
    for t in range(4 + 3):
        x = u[:, :, t] if t < 4 else torch.zeros(1, 3, 5)
        h = torch.tanh(h @ p["W_hh"].mT + x @ p["W_uh"].mT)
    torch.testing.assert_close(free_run("Elman", p, u, 3, silent=True)[:, :, 2], h @ p["W_r"].mT)


def test_rows_are_complete(rows: pd.DataFrame) -> None:
    jobs = rows[["part", "task", "model"]].drop_duplicates()
    assert len(jobs) == 2 * 3 + len(CONTROLS) * 4
    assert not rows.isna().to_numpy().any()
    free = rows[(rows["quantity"] == "free") & (rows["part"] == "look-up") & (rows["model"] == "SBC")]
    assert sorted(free["step"].unique()) == [1, 2, 3, 4]
    assert free.groupby(["seed", "lr"]).size().unique().tolist() == [4]


def test_one_learning_rate_is_chosen_by_validation(rows: pd.DataFrame) -> None:
    chosen = at_chosen_lr(rows)
    keys = ["part", "task", "model"]
    assert (chosen.groupby(keys)["lr"].nunique() == 1).all()
    validation = rows[rows["quantity"] == "validation"].groupby([*keys, "lr"])["value"].mean()
    picked = chosen[chosen["quantity"] == "validation"].groupby(keys)["value"].mean()
    pd.testing.assert_series_equal(picked, validation.groupby(keys).max())
    table = summarise(rows)
    assert set(table["n"]) == {2}
    assert len(table) == 3 * 3 + 3 + 4 * 4
    assert table["first"].between(0, 1).all()


def test_control_tasks_are_what_they_say() -> None:
    tasks = control_tasks(4, 3)
    h = drawn(6, 4, 3).sign()
    assert torch.equal(tasks["T1"].next(h), h[:, 0])
    assert torch.equal(tasks["T2"].next(h), torch.stack([h[:, j, j] for j in range(3)], dim=-1))
    assert torch.equal(tasks["product"].next(h), h[:, 3] * h[:, 2])


def test_models_that_are_not_there_are_named() -> None:
    for call in (lambda: Config().rates("GRU"), lambda: initial("GRU", [0], 3, 2, 4)):
        with pytest.raises(ValueError, match="model"):
            call()
