"""Readings of the string-copying experiment that chapter 19 shows: learning speeds, records, what the abstract claims."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wavemem.checks import require
from wavemem.experiments.string_copying import Config, best_rates, task
from wavemem.records.comparisons import mean_interval, ranks, ratio
from wavemem.records.store import Record
from wavemem.training.learning_speed import at_least_times, learning_speed

__all__ = [
    "Part",
    "claims",
    "completed",
    "intervals",
    "learning_speeds",
    "part",
    "parts",
    "said_of_rates",
    "scores",
    "search_rows",
    "searches",
    "short",
]

Floats = NDArray[np.float64]

_COLUMNS = ("model", "seed", "lr", "iteration", "length", "quantity")


class Part(NamedTuple):
    """What has been measured with strings of one length.

    Attributes:
        rows: rows of the experiment, each once.
        longest: longest trained string.
        shortest: shortest.
        start: loss of guessing, ln V.
        iterations: updates.
        sizes: layers × width.
        measured: the configuration, or the records, that the rows come from.
        seed: base seed.
    """

    rows: pd.DataFrame
    longest: int
    shortest: int
    start: float
    iterations: int
    sizes: str
    measured: tuple[Config | Record, ...]
    seed: int = 0

    @property
    def title(self) -> str:
        """Of a figure's panel."""
        return f"up to {self.longest}, {self.sizes}"


def _config(record: Record) -> Config:
    fields = {each.name for each in dataclasses.fields(Config)}
    known: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in record.config.items() if name in fields
    }
    return Config(**known)


def part(config: Config, rows: pd.DataFrame, seed: int = 0, record: Record | None = None) -> Part:
    """A result with what is needed to read it."""
    sizes = f"{config.layers} × {config.width}"
    start = math.log(task(config).letters)
    return Part(rows, config.longest, config.shortest, start, config.iterations, sizes, (record or config,), seed)


def _protocol(config: Config) -> Config:
    """What two runs must have in common to be compared: all but who is trained, how often, and what is kept of it."""
    return dataclasses.replace(config, models=("Mamba",), runs=1, keep_weights=False)


def parts(records: Sequence[Record], config: Config | None = None, seed: int | None = None) -> list[Part]:
    """Committed measurements; records of one protocol and base seed, of different models, are put together.

    Searches are left out.

    Args:
        records: of `string_copying`, oldest first; of two rows that say the same thing the later one is kept.
        config: only measurements by this one's protocol.
        seed: only those with this base seed.

    Returns:
        The measurements, by length, width and updates.
    """
    found: dict[tuple[Config, int], Part] = {}
    for record in records:
        own = _config(record)
        key, new = (_protocol(own), record.seed), part(own, record.rows, record.seed, record)
        if own.rates or (config is not None and key[0] != _protocol(config)) or seed not in (None, record.seed):
            continue
        if key in found:
            rows = pd.concat([found[key].rows, new.rows], ignore_index=True)
            rows = rows.drop_duplicates(list(_COLUMNS), keep="last")
            new = new._replace(rows=rows, measured=(*found[key].measured, record))
        found[key] = new
    return sorted(found.values(), key=lambda p: (p.longest, p.sizes, p.iterations, p.seed))


def completed(rows: pd.DataFrame, others: pd.DataFrame | None) -> pd.DataFrame:
    """Rows of a record, and of other rows the models that it lacks."""
    if others is None:
        return rows
    return pd.concat([rows, others[~others["model"].isin(rows["model"])]], ignore_index=True)


def search_rows(records: Sequence[Record], size: str) -> pd.DataFrame:
    """Rows of the committed searches for learning rates of one size; empty where there is none.

    Of each model those count that have the batch and context of the newest search in which it is.

    Args:
        records: oldest first.
        size: of `wavemem.experiments.string_copying.Config`.
    """
    made = [r for r in records if r.config.get("rates") and r.config.get("size") == size]
    drawn = [(r.config.get("batch"), r.config.get("context")) for r in made]
    newest = {model: how for r, how in zip(made, drawn, strict=True) for model in r.rows["model"].unique()}
    kept = [[model for model, of in newest.items() if of == how] for how in drawn]
    rows = [r.rows[r.rows["model"].isin(models)] for r, models in zip(made, kept, strict=True)]
    if not rows:
        return pd.DataFrame(columns=[*_COLUMNS, "value"])
    return pd.concat(rows, ignore_index=True).drop_duplicates(list(_COLUMNS), keep="last")


def searches(records: Sequence[Record], size: str) -> pd.DataFrame:
    """Final losses of the committed searches for learning rates of one size: model, lr, seed, loss, chosen.

    The final loss is the mean of the last tenth of the learning curve; the rate with the smallest mean over seeds is chosen.
    Empty where no search is committed.
    """
    columns = ["model", "lr", "seed", "loss", "chosen"]
    together = search_rows(records, size)
    if not len(together):
        return pd.DataFrame(columns=columns)
    best = best_rates(together)
    curve = together[together["quantity"] == "loss"]
    end = curve.groupby(["model", "lr"])["iteration"].transform("max")
    late = curve[curve["iteration"] > 0.9 * end]
    table = late.groupby(["model", "lr", "seed"], sort=False)["value"].mean().rename("loss").reset_index()
    table["chosen"] = [best[str(model)] == lr for model, lr in zip(table["model"], table["lr"], strict=True)]
    return table[columns]


def learning_speeds(rows: pd.DataFrame, start: float, window: int = 5) -> pd.DataFrame:
    """`wavemem.training.learning_speed` of every run: model, lr, seed, its readings, and the mean of the logged losses.

    Args:
        rows: rows of the experiment.
        start: loss of guessing.
        window: logged values of the running mean.

    Raises:
        ValueError: If there is no learning curve.
    """
    curves = rows[rows["quantity"] == "loss"]
    require(len(curves) > 0, "rows without losses", "rows of string_copying", "Pass the rows of a training.")
    table = []
    for (model, lr, seed), run in curves.groupby(["model", "lr", "seed"], sort=False):
        run = run.sort_values("iteration")
        speed = learning_speed(run["iteration"].to_numpy(), run["value"].to_numpy(), start, window=window)
        mean = float(run["value"].mean(skipna=False))
        table.append({"model": model, "lr": lr, "seed": seed, **speed._asdict(), "mean": mean})
    return pd.DataFrame(table)


def scores(rows: pd.DataFrame, model: str, quantity: str, length: int) -> Floats:
    """A score of every seed of a model at a length, by seed."""
    chosen = rows[(rows["model"] == model) & (rows["quantity"] == quantity) & (rows["length"] == length)]
    return chosen.sort_values("seed")["value"].to_numpy(dtype=np.float64)


def _of(table: pd.DataFrame, model: str, column: str) -> Floats:
    chosen: Floats = table[table["model"] == model].sort_values("seed")[column].to_numpy(dtype=np.float64)
    return chosen


def said_of_rates(found: Part, faster: str = "v-Wave", slower: str = "Mamba") -> str:
    """Whether one model learns exponentially faster than another, in a sentence that follows from the measurement.

    Args:
        found: the measurement.
        faster: of which it is claimed.
        slower: with which it is compared.
    """
    table = learning_speeds(found.rows, found.start)
    a, b = (v[v > 0] for v in (_of(table, faster, "rate"), _of(table, slower, "rate")))
    if not len(a) or not len(b):
        return f"{faster} and {slower} have not both been measured."
    reached = [_of(table, model, "reached") for model in (faster, slower)]
    arrived = [f"{np.isfinite(runs).sum()} of {len(runs)}" for runs in reached]
    between, order = ratio(a, b), ranks(a, b)
    runs = (
        f"{arrived[0]} runs of {faster} and {arrived[1]} of {slower} come down to a tenth of "
        f"the loss of guessing within {found.iterations:,} updates."
    )
    if len(a) < len(reached[0]) or len(b) < len(reached[1]):
        runs += f" Rates exist where the fall begins at all: of {len(a)} and {len(b)} runs."
    shown = (
        f"The ratio of the rates is {between.mean:.2f} (95 % interval {between.low:.2f} to {between.high:.2f}; "
        f"rank test p = {order.p:.2g})"
    )
    if order.p >= 0.05 or between.low <= 1 <= between.high:
        word = "no difference of rates is shown"
    elif between.low > 1:
        word = f'the loss of {faster} falls at the larger rate, which is "exponentially faster" as defined above'
    else:
        word = f"the loss of {faster} falls at the smaller rate"
    return f"{runs} {shown}: {word}."


def claims(found: Part) -> dict[str, dict[str, Floats]]:
    """The abstract's claims about learning, one value per seed: entry → quantity (without its prefix or suffix) → values.

    Runs of one seed are compared with one another: they read the same contexts. Ratios are given by their logarithms, so
    that their mean over seeds is the logarithm of a ratio of geometric means.
    """
    table = learning_speeds(found.rows, found.start)
    present = set(table["model"])
    result: dict[str, dict[str, Floats]] = {"vwave:fig1": {}, "vwave:fig2": {}}
    second = result["vwave:fig2"]

    def by_seed(quantity: str, *models: str) -> list[Floats]:
        """Of the seeds that all of these models have."""
        own = table[table["model"].isin(models)]
        common = own.groupby("seed")["model"].nunique() == len(models)
        own = own[own["seed"].isin(common.index[common])]
        return [_of(own, model, quantity) for model in models]

    if {"Mamba", "v-Wave"} <= present:
        pairs = zip(*by_seed("reached", "v-Wave", "Mamba"), strict=True)
        result["vwave:fig1"]["log ratio of updates to a tenth of the starting loss, Mamba over v-Wave"] = np.log(
            [at_least_times(wave, mamba, found.iterations) for wave, mamba in pairs]
        )
        wave, mamba = (np.where(v > 0, v, np.nan) for v in by_seed("rate", "v-Wave", "Mamba"))
        second["log ratio of the decay rates of the loss, v-Wave over Mamba"] = np.log(wave / mamba)
        wave, mamba = by_seed("folds", "v-Wave", "Mamba")
        second["log ratio of the final losses, Mamba over v-Wave"] = wave - mamba
    for control in ("Mamba long", "v-Wave frozen"):
        if {control, "v-Wave"} <= present:
            wave, other = (np.log(v) for v in by_seed("mean", "v-Wave", control))
            second[f"log ratio of the mean losses, v-Wave over {control}"] = wave - other
    if {"ALiBi", "RoPE", "v-Wave"} <= present:
        wave, alibi, rope = by_seed("folds", "v-Wave", "ALiBi", "RoPE")
        second["log ratio of the final losses, v-Wave over the worse transformer"] = np.minimum(alibi, rope) - wave
        said = found.rows[(found.rows["quantity"] == "strings") & (found.rows["length"] == found.longest)]
        wide = said.pivot_table(index="seed", columns="model", values="value")[["ALiBi", "RoPE", "v-Wave"]].dropna()
        behind = wide["v-Wave"] - wide[["ALiBi", "RoPE"]].min(axis=1)
        second["strings of the longest length said right, v-Wave minus the worse transformer"] = behind.to_numpy(
            dtype=np.float64
        )
    return result


def short(value: float) -> str:
    """A number in three digits, without powers of ten where it is large."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def intervals(values: Mapping[str, Floats]) -> dict[str, str]:
    """Mean and 95 % interval of each, as text; how many seeds have a value where not all do."""
    shown = {}
    for name, v in values.items():
        finite = v[np.isfinite(v)]
        if not len(finite):
            shown[name] = "never"
            continue
        each = mean_interval(finite)
        few = "" if len(finite) == len(v) else f" ({len(finite)} of {len(v)})"
        half = each.high - each.mean
        wide = f" ± {half:,.0f}" if 100 <= half < math.inf else f" ± {half:.2g}" if half < 100 else ""
        shown[name] = f"{short(each.mean)}{wide}{few}"
    return shown
