"""Records of string copying put together, readings of the controls, their differences, and the rules of the verdict."""

from __future__ import annotations

import dataclasses
import itertools
import math
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from wavemem.records.comparisons import ALIKE, UNDECIDED
from wavemem.ssm import string_comparison as comparison
from wavemem.ssm.string_copying import MODELS, Config


def rows_of(losses: dict[str, list[list[float]]], characters: dict[str, list[float]]) -> pd.DataFrame:
    """Rows as string_copying writes them: model → per seed a learning curve, and a score at length 10."""
    rows = []
    for model, curves in losses.items():
        for seed, curve in enumerate(curves):
            at = {"model": model, "seed": seed, "lr": 0.01}
            for i, value in enumerate(curve):
                rows.append({**at, "iteration": 10 * (i + 1), "length": 0, "quantity": "loss", "value": value})
            score = characters[model][seed]
            last = {**at, "iteration": 10 * len(curve), "length": 10}
            rows.append({**last, "quantity": "characters", "value": score})
            rows.append({**last, "quantity": "strings", "value": float(score == 1)})
    return pd.DataFrame(rows)


ROWS = rows_of(
    {
        "Mamba": [[3.0, 2.5, 2.0], [3.0, 2.4, 2.2], [3.0, 2.6, 2.1]],
        "v-Wave": [[3.0, 1.0, 0.2], [3.0, 1.2, 0.1], [3.0, 1.1, 0.3]],
        "Mamba long": [[3.0, 0.5, 0.1], [3.0, 0.6, 1.6], [3.0, 0.7, 0.1]],
    },
    {"Mamba": [0.2, 0.3, 0.2], "v-Wave": [1.0, 0.9, 1.0], "Mamba long": [1.0, 0.5, 1.0]},
)


def test_readings_are_the_rows_own_numbers() -> None:
    table = comparison.readings(ROWS, 10, guessing=3.0).set_index(["model", "seed"])
    assert len(table) == 9
    assert table.loc[("Mamba", 0), "mean loss"] == pytest.approx(2.5)
    assert math.isnan(table.loc[("Mamba", 0), "updates to half"])
    assert table.loc[("v-Wave", 1), "updates to half"] == 20
    assert math.isnan(table.loc[("Mamba long", 1), "updates to half"])  # below half once, but not to the end
    assert table.loc[("v-Wave", 1), "characters"] == 0.9
    assert list(table.loc["v-Wave", "strings"]) == [1, 0, 1]
    with pytest.raises(ValueError, match="length = 11"):
        comparison.readings(ROWS, 11, 3.0)


def test_the_final_loss_is_of_the_last_tenth() -> None:
    curves = {"Mamba": [[float(i) for i in range(20)], [1.0] * 20]}
    table = comparison.readings(rows_of(curves, {"Mamba": [1.0, 0.5]}), 10, guessing=3.0)
    assert table["final loss"].tolist() == [18.5, 1.0]  # of the updates after 180 of 200
    assert table["mean loss"].tolist() == [9.5, 1.0]
    assert table["updates to half"].tolist()[1] == 10  # 1 is below the half of 3


def test_only_what_is_there_is_compared() -> None:
    table = comparison.readings(ROWS, 10, 3.0)
    found = comparison.compare(table, "mean loss")
    assert list(zip(found["model"], found["control"], strict=True)) == [
        ("v-Wave", "Mamba"),
        ("Mamba long", "Mamba"),
        ("v-Wave", "Mamba long"),
    ]
    logs = [math.log(wave / mamba) for wave, mamba in ((4.2, 7.5), (4.3, 7.6), (4.4, 7.7))]
    assert found["mean"].iloc[0] == pytest.approx(sum(logs) / 3)
    assert found["share"].iloc[0] == 0
    assert found["p"].iloc[0] == pytest.approx(0.1)
    assert found["high"].iloc[0] < 0
    assert set(comparison.words_of(found, "slower", "faster").values()) == {UNDECIDED}  # three seeds cannot
    assert comparison.compare(table, "updates to half")["model"].tolist() == ["v-Wave"]  # no finite value of Mamba's
    with pytest.raises(ValueError, match="quantity = 'speed'"):
        comparison.compare(table, "speed")


def test_every_comparison_names_models_that_exist() -> None:
    assert {name for each in comparison.COMPARISONS for name in (each.model, each.control)} <= set(MODELS)
    assert len({(each.model, each.control) for each in comparison.COMPARISONS}) == len(comparison.COMPARISONS)
    assert set(comparison.DECISIVE) <= set(comparison.COMPARISONS)


def many(scale: dict[str, float], seeds: int = 6) -> pd.DataFrame:
    """Curves whose mean loss is given, with a spread of a few per cent from seed to seed."""
    return rows_of(
        {m: [[x * (1 + 0.01 * k), x * (1 + 0.01 * k)] for k in range(seeds)] for m, x in scale.items()},
        {m: [1.0 if x < 1 else 0.1 * (k % 2) for k in range(seeds)] for m, x in scale.items()},
    )


@pytest.mark.parametrize(
    ("swap", "added", "word", "sentence"),
    [
        (0.5, 1.0, "faster", "Velocity:"),
        (1.2, 0.8, "slower", "v-Wave was slower"),
        (1.0, 1.1, ALIKE, "as fast to within a tenth"),
    ],
)
def test_six_seeds_decide_either_way(swap: float, added: float, word: str, sentence: str) -> None:
    long = 0.5
    rows = many({"Mamba": 2.0, "Mamba long": long, "v-Wave": long * swap, "v-Wave long": long * added})
    found = comparison.decide(rows, 10, 3.0)
    assert found.speed["v-Wave", "Mamba"] == "faster"
    assert found.quality["v-Wave", "Mamba"] == "better"
    assert found.speed["v-Wave", "Mamba long"] == word
    assert found.quality["v-Wave", "Mamba long"] == ALIKE
    assert sentence in found.sentence
    line = found.final[found.final["control"] == "Mamba long"].iloc[0]
    assert line["mean"] == pytest.approx(math.log(swap))
    assert line["n"] == 6
    assert comparison.decide(rows[rows["seed"] < 3], 10, 3.0).sentence.startswith("Nothing shown")


def test_an_interval_without_an_order_of_ranks_is_no_difference() -> None:
    line = {"model": "a", "control": "b", "mean": 1.0, "low": 0.5, "high": 1.5, "p": 0.06}
    assert comparison.words_of(pd.DataFrame([line]), "slower", "faster") == {("a", "b"): UNDECIDED}
    assert comparison.words_of(pd.DataFrame([{**line, "p": 0.05}]), "slower", "faster") == {("a", "b"): UNDECIDED}
    assert comparison.words_of(pd.DataFrame([{**line, "p": 0.04}]), "slower", "faster") == {("a", "b"): "slower"}
    near = {**line, "mean": 0.0, "low": -0.05, "high": 0.05}  # alike by the interval, whatever the ranks
    for p in (0.01, 0.9):
        assert comparison.words_of(pd.DataFrame([{**near, "p": p}]), "slower", "faster", 0.1) == {("a", "b"): ALIKE}


def test_the_smaller_number_of_seeds_is_told() -> None:
    table = comparison.readings(many({"Mamba": 2.0, "v-Wave": 1.0}, 5), 10, 3.0)
    table = table[(table["model"] != "Mamba") | (table["seed"] < 3)]
    assert comparison.compare(table, "final loss")["n"].tolist() == [3]


@pytest.mark.parametrize(
    ("words", "beginning"),
    [
        (("faster", "faster", "faster"), "Velocity:"),
        (("faster", UNDECIDED, "faster"), "Velocity:"),
        (("faster", "faster", UNDECIDED), "Span: v-Wave learned faster than Mamba, but so did"),
        (("faster", "faster", "slower"), "Span: v-Wave learned faster than Mamba, but so did"),
        (("faster", UNDECIDED, UNDECIDED), "Open:"),
        ((UNDECIDED, "faster", UNDECIDED), "Span: a register"),
        (("slower", "faster", "slower"), "Span: a register"),
        ((UNDECIDED, UNDECIDED, UNDECIDED), "Nothing shown"),
        (("slower", "slower", UNDECIDED), "Nothing shown"),
    ],
)
def test_the_verdict_follows_from_the_words(words: tuple[str, str, str], beginning: str) -> None:
    named = {
        (each.model, each.control): word for each, word in zip(comparison.DECISIVE, (*words, "slower"), strict=True)
    }
    text = comparison.verdict(named)
    assert text.startswith(beginning)
    assert text.endswith("slowed learning down.")
    assert ("v-Wave was slower" in text) == (words == ("faster", "faster", "slower"))


def test_every_combination_has_a_verdict_and_nothing_in_gives_nothing_shown() -> None:
    for words in itertools.product(("faster", "slower", ALIKE, UNDECIDED), repeat=4):
        assert (
            comparison.verdict(
                {(e.model, e.control): w for e, w in zip(comparison.DECISIVE, words, strict=True)}
            ).count(".")
            == 2
        )
    assert comparison.verdict({}).startswith("Nothing shown")


CONFIG = Config(letters=16)


def measured(models: tuple[str, ...], seeds: tuple[int, ...] = (0, 1, 2), lr: float = 5e-3) -> pd.DataFrame:
    at = {"lr": lr, "iteration": 900, "length": CONFIG.longest, "quantity": "strings"}
    return pd.DataFrame([{"model": m, "seed": s, **at, "value": s / 10} for m in models for s in seeds])


def record(config: Config, rows: pd.DataFrame, seed: int = 0) -> Any:
    values = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(config).items()}
    return SimpleNamespace(config=values, rows=rows, seed=seed)


def test_records_of_one_protocol_are_put_together_and_searches_kept_apart() -> None:
    one, two = measured(("Mamba",)), measured(("v-Wave",))
    rates = (0.001, 0.002, 0.003)
    search = pd.concat([measured(("Mamba",), lr=lr) for lr in rates])
    records = [
        record(CONFIG, one),
        record(dataclasses.replace(CONFIG, longest=12), one),
        record(CONFIG, two),
        record(CONFIG, two),
        record(dataclasses.replace(CONFIG, rates=rates), search),
    ]
    found = comparison.parts(records)
    assert [(p.longest, p.sizes, p.start) for p in found] == [(n, "2 × 32", math.log(16)) for n in (10, 12)]
    assert len(found[0].rows) == len(one) + len(two)
    others = [record(CONFIG, one, 1), record(dataclasses.replace(CONFIG, batch=8), one)]
    assert len(comparison.parts([*records, *others])) == 4  # other seeds and other protocols stay apart
    assert [p.seed for p in comparison.parts([*records, *others], CONFIG, seed=1)] == [1]
    assert [len(p.rows) for p in comparison.parts([*records, *others], CONFIG, seed=0)] == [len(one) + len(two)]
    assert sorted(comparison.search_rows(records, "quick")["lr"].unique()) == list(rates)
    assert not len(comparison.search_rows(records, "paper"))


def test_of_a_model_that_was_searched_again_the_newest_search_counts() -> None:
    first = record(dataclasses.replace(CONFIG, rates=(0.1,)), measured(("Mamba", "v-Wave"), lr=0.1))
    again = record(dataclasses.replace(CONFIG, rates=(0.2,), batch=8), measured(("Mamba",), lr=0.2))
    found = comparison.search_rows([first, again], "quick")
    assert found.groupby("model")["lr"].unique().map(list).to_dict() == {"Mamba": [0.2], "v-Wave": [0.1]}


def test_a_record_is_completed_by_models_that_it_lacks_and_by_no_others() -> None:
    own, others = measured(("Mamba",)), measured(("Mamba", "RoPE"), (7,))
    both = comparison.completed(own, others)
    assert set(both[both["model"] == "Mamba"]["seed"]) == {0, 1, 2}
    assert set(both[both["model"] == "RoPE"]["seed"]) == {7}
    assert comparison.completed(own, None) is own


def test_scores_are_ordered_by_seed() -> None:
    rows = measured(("Mamba", "v-Wave"), (2, 0, 1))
    assert comparison.scores(rows, "v-Wave", "strings", CONFIG.longest).tolist() == [0.0, 0.1, 0.2]
