"""The figures of training draw what they are given."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from wavemem.figures import training as figures

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


def _table1_rows(tasks: tuple[str, ...] = ("T1", "T2")) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {
                "task": task,
                "hidden_size": 8,
                "weight_decay": decay,
                "threshold": threshold,
                "seed": seed,
                "iteration": n,
                "quantity": quantity,
                "value": float(rng.uniform(0.1, 1)),
            }
            for task in tasks
            for decay in (0.0, 1e-3)
            for threshold in (0.9, 0.98)
            for seed in (0, 1)
            for n in (20, 100, 1000)
            for quantity in ("horizon", "accuracy", "loss")
        ]
    )


def _curricula_rows() -> pd.DataFrame:
    rows = []
    for task in ("T1", "T2"):
        for name in ("ladder", "multiplicative", "cycle"):
            for seed in (0, 1):
                for n in range(0, 60, 10):
                    values = {"horizon": 5.0 + n // 20, "loss": 1.0 / (n + 1), "test_accuracy": 0.5, "lasting": n / 10}
                    rows += [
                        {"task": task, "curriculum": name, "seed": seed, "iteration": n, "steps": n * (9 + seed),
                         "quantity": quantity, "value": value}
                        for quantity, value in values.items()
                    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_an_episode_has_one_strip_per_signal_and_no_target_in_the_input_phase() -> None:
    inputs = np.zeros((9, 2))
    fig = figures.episode(inputs, np.ones((6, 2)), {"before": inputs, "after": inputs}, s=3)
    strips = [ax for ax in fig.axes if ax.images]
    assert [ax.get_ylabel() for ax in strips[:4]] == ["input $u(t)$", "target", "before", "after"]
    target = strips[1].images[0].get_array()
    assert np.isnan(np.asarray(np.ma.filled(target, np.nan))[:, :3]).all()
    assert (np.asarray(target)[:, 3:] == 1).all()


def test_learning_curves_have_one_line_per_network() -> None:
    fig = figures.learning_curves(_table1_rows())
    assert len(fig.axes) == 6
    assert all(len(ax.lines) == 8 for ax in fig.axes)  # 2 penalties x 2 thresholds x 2 seeds
    one = figures.learning_curves(_table1_rows(("T3",)), floors={"T3": 0.2})
    assert one.axes[-1].lines[-1].get_ydata()[0] == 0.2
    assert one.axes[0].get_title(loc="left") + one.axes[0].get_title() == "T3"


def test_learning_curves_without_records_say_so() -> None:
    fig = figures.learning_curves(None)
    assert "not measured" in fig.axes[0].texts[0].get_text()


def test_the_race_shows_every_schedule_that_was_run() -> None:
    fig = figures.curricula_race(_curricula_rows(), budget=400.0)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["ladder", "multiplicative", "fixed, $s$ steps"]
    mean = fig.axes[0].lines[0]
    # At 45 steps both runs are in their first 20 updates.
    assert np.interp(45.0, mean.get_xdata(), mean.get_ydata()) == pytest.approx(5.0)
    # Beyond the cheaper run's last step there is no mean of both.
    assert np.isnan(np.asarray(mean.get_ydata())[np.asarray(mean.get_xdata()) > 450]).all()


def test_arriving_eigenvalues_are_drawn_beside_the_number_of_the_theory() -> None:
    fig = figures.eigenvalues_arriving(_curricula_rows(), {"T1": 16, "T2": 10}, {"T1": (0.0, 0.0), "T2": (0.2, 0.3)})
    texts = [text.get_text() for ax in fig.axes for text in ax.texts]
    assert texts == ["smallest loss of\na linear network", r"$\Phi$ has 16", r"$\Phi$ has 10"]
    assert fig.axes[2].lines[0].get_ydata()[-1] == 5.0
    with pytest.raises(ValueError, match="quantity"):
        figures.eigenvalues_arriving(_curricula_rows(), {"T9": 1})


def test_accuracy_by_step_draws_the_trained_horizon_over_the_map() -> None:
    values = np.linspace(0.5, 1, 12).reshape(3, 4)
    fig = figures.accuracy_by_step({"a": ([0, 5, 10], values, np.array([1.0, 2.0, 4.0]))})
    np.testing.assert_array_equal(np.asarray(fig.axes[0].images[0].get_array()), values)
    np.testing.assert_array_equal(fig.axes[0].lines[-1].get_xdata(), [1, 2, 4])


def test_outputs_of_one_lag_share_a_colour() -> None:
    values = np.full((3, 2, 3), 0.7)
    fig = figures.accuracy_by_output([0, 1, 2], {"T1": values}, {"T1": [2, 2, 1]})
    lines = fig.axes[0].lines
    assert lines[0].get_color().tolist() == lines[1].get_color().tolist()
    assert lines[0].get_color().tolist() != lines[2].get_color().tolist()
    assert [text.get_text() for text in fig.axes[0].get_legend().get_texts()] == ["lag 2", "lag 1"]


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_beyond_the_horizon_none_wrong_lies_on_the_floor(share: float) -> None:
    wrong = np.full((10, 2), share)
    fig = figures.beyond_the_horizon({("T1", 0.0): (wrong, np.ones((10, 2)))}, trained=5, cycle=2)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["T1, L2 = 0"]
    heights = fig.axes[0].lines[0].get_ydata()
    assert (np.asarray(heights) > 0).all()
    assert (np.asarray(heights) == share).all() == (share > 0)


def test_seed_spread_marks_the_mean_and_the_expected_better_of_two() -> None:
    table = pd.DataFrame(
        {
            "task": "T1",
            "weight_decay": [0.0] * 3 + [1e-3],
            "error": [1.0, 2.0, 4.0, 9.0],
            "other": [1.0, 1.0, 1.0, np.nan],
        }
    )
    fig = figures.seed_spread(table, {"error": "e", "other": "o"}, best="error")
    points = {line.get_marker(): np.asarray(line.get_xdata()) for line in fig.axes[0].lines[:3]}
    np.testing.assert_array_equal(points["o"], [1, 2, 4])
    assert points["|"][0] == pytest.approx(7 / 3)
    assert points["<"][0] == pytest.approx((1 + 1 + 2) / 3)
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["T1, L2 = 0", "T1, L2 = $10^{-3}$"]
