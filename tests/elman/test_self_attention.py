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
    windows,
)
from wavemem.theory.boundary import run as run_substrate

TINY = replace(
    Config.profile("quick"),
    s=3,
    d=2,
    hidden=6,
    seeds=2,
    batch=4,
    horizon=3,
    iterations=3,
    phase_horizon=2,
    phase_iterations=2,
    control_s=3,
    control_d=2,
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


def test_windows_are_what_the_substrate_holds() -> None:
    u, future = drawn(2, 3, 4, 5), drawn(2, 3, 6, 5)
    sequence = torch.cat([u, future], dim=2)
    for t in range(6):
        assert torch.equal(windows(u, future)[:, :, t], sequence[:, :, t : t + 4])


@pytest.mark.parametrize("model", MODELS)
def test_first_prediction_is_the_same_fed_and_free(model: str) -> None:
    p = initial(model, [3, 5], 4, 5, 8)
    u, future = drawn(2, 7, 4, 5), drawn(2, 7, 6, 5)
    torch.testing.assert_close(next_vectors(model, p, u, future)[:, :, 0], free_run(model, p, u, 6)[:, :, 0])


@pytest.mark.parametrize("model", MODELS)
def test_a_model_fed_its_own_outputs_is_the_free_one(model: str) -> None:
    p = initial(model, [3, 5], 4, 5, 8)
    u = drawn(2, 7, 4, 5)
    own = free_run(model, p, u, 6)
    torch.testing.assert_close(next_vectors(model, p, u, own), own)


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


@pytest.mark.parametrize("model", MODELS)
def test_a_models_weights_depend_on_its_seed_alone(model: str) -> None:
    many, one = initial(model, [1, 2, 3], 4, 5, 8), initial(model, [2], 4, 5, 8)
    assert all(torch.equal(many[name][1:2], one[name]) for name in one)


def test_rows_are_complete_and_repeat(rows: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(rows, run(TINY, 0, "cpu").rows)
    jobs = rows[["part", "task", "model"]].drop_duplicates()
    assert len(jobs) == 2 * 3 + len(CONTROLS) * 4
    assert not rows.isna().to_numpy().any()
    free = rows[(rows["quantity"] == "free") & (rows["part"] == "look-up") & (rows["model"] == "SBC")]
    assert sorted(free["step"].unique()) == [1, 2, 3, 4]
    assert free.groupby(["seed", "lr"]).size().unique().tolist() == [4]


def test_another_base_seed_has_other_runs() -> None:
    assert sorted(run(replace(TINY, seeds=1), 4, "cpu").rows["seed"].unique()) == [4000]


def test_one_learning_rate_is_chosen_by_validation(rows: pd.DataFrame) -> None:
    chosen = at_chosen_lr(rows)
    keys = ["part", "task", "model"]
    assert (chosen.groupby(keys)["lr"].nunique() == 1).all()
    validation = rows[rows["quantity"] == "validation"].groupby([*keys, "lr"])["value"].mean()
    picked = chosen[chosen["quantity"] == "validation"].groupby(keys)["value"].mean()
    pd.testing.assert_series_equal(picked, validation.groupby(keys).max())


def test_summary(rows: pd.DataFrame) -> None:
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


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="model"):
        Config().rates("GRU")
    with pytest.raises(ValueError, match="model"):
        initial("GRU", [0], 3, 2, 4)
    with pytest.raises(ValueError, match="model"):
        boundary_of("Elman", {})
    with pytest.raises(ValueError, match="model"):
        free_run("GRU", {}, torch.ones(1, 2, 3, 4), 2)
    with pytest.raises(ValueError, match="future"):
        next_vectors("LBC", initial("LBC", [0], 3, 4, 4), torch.ones(1, 2, 3, 4), torch.ones(1, 3, 3, 4))
    with pytest.raises(ValueError, match="s = 1"):
        control_tasks(1, 3)
