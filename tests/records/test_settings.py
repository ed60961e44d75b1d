"""Settings typed on a command line: read after the kinds of the fields, or refused with what is allowed."""

from __future__ import annotations

import pytest

from wavemem.elman.table1 import Config
from wavemem.records.fields import parse_settings, with_settings


def test_values_take_the_kind_of_the_field() -> None:
    read = parse_settings(
        Config(),
        [
            "tasks=T1,T2",
            "hidden_sizes=128",
            "weight_decays=0,1e-3",
            "runs=5",
            "lr=1",
            "lr_drop_at=100",
            "init=gaussian",
        ],
    )
    assert read == {
        "tasks": ("T1", "T2"),
        "hidden_sizes": (128,),
        "weight_decays": (0.0, 1e-3),
        "runs": 5,
        "lr": 1.0,
        "lr_drop_at": 100,
        "init": "gaussian",
    }
    config = with_settings(Config(), read)
    assert config.tasks == ("T1", "T2")
    assert config.weight_decays == (0.0, 1e-3)
    assert parse_settings(Config(), ["lr_drop_at=none"]) == {"lr_drop_at": None}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["task=T1"], r"'task=T1'; allowed: FIELD=VALUE .* Nearest: 'tasks'"),
        (["runs"], "allowed: FIELD=VALUE"),
        (["runs=1.5"], "runs = '1.5'; allowed: a whole number from 1 to 1,000"),
        (["lr=fast"], "lr = 'fast'; allowed: a number from 1e-07 to 100"),
        (["runs=1", "runs=2"], "given twice"),
        (["lr_drop_at=soon"], "allowed: a whole number from 1 to 1e.09, or none"),
        (["runs=none"], "runs = 'none'; allowed: a whole number"),
    ],
)
def test_what_cannot_be_read_is_named(typed: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_settings(Config(), typed)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"run": 3}, "setting 'run'"),
        ({"runs": "3"}, "runs = '3'; allowed: a whole number"),
        ({"tasks": ()}, r"tasks = \(\); allowed: 1 or more"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        with_settings(Config(), settings)
