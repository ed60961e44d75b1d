"""Measurements of string copying: put together from records, compared model by model, and judged by rules.

What each control of the v-Wave comparison isolates is in `COMPARISONS`. Losses of seeds are spread on a logarithmic scale,
so they are compared by ratios: the main reading is the logarithm of the mean training loss. A difference is called one only
if Welch's 95 % interval excludes zero and the exact rank test has p < 0.05; an interval around zero within `MARGINS` is
called "alike"; everything else is "no difference shown". Three seeds a side can therefore never show a difference
(p >= 0.1), five or more can. The verdict follows from four comparisons by `verdict`, and chapters take it from `decide` alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wavemem.checks import require
from wavemem.records.comparisons import ALIKE, UNDECIDED, Interval, ranks, welch, word
from wavemem.records.store import Record
from wavemem.ssm import string_copying
from wavemem.ssm.string_copying import Config, steady_below, task

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
    measured: tuple[string_copying.Config | Record, ...]
    seed: int = 0


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
        own = Config.stored(record.config)
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
        size: of `wavemem.ssm.string_copying.Config`.
    """
    made = [r for r in records if r.config.get("rates") and r.config.get("size") == size]
    drawn = [(r.config.get("batch"), r.config.get("context")) for r in made]
    newest = {model: how for r, how in zip(made, drawn, strict=True) for model in r.rows["model"].unique()}
    kept = [[model for model, of in newest.items() if of == how] for how in drawn]
    rows = [r.rows[r.rows["model"].isin(models)] for r, models in zip(made, kept, strict=True)]
    if not rows:
        return pd.DataFrame(columns=[*_COLUMNS, "value"])
    return pd.concat(rows, ignore_index=True).drop_duplicates(list(_COLUMNS), keep="last")


def scores(rows: pd.DataFrame, model: str, quantity: str, length: int) -> NDArray[np.float64]:
    """A score of every seed of a model at a length, by seed."""
    chosen = rows[(rows["model"] == model) & (rows["quantity"] == quantity) & (rows["length"] == length)]
    return chosen.sort_values("seed")["value"].to_numpy(dtype=np.float64)


class Comparison(NamedTuple):
    """A model, what it is compared with, and what differs between the two.

    Attributes:
        model, control: names of `wavemem.ssm.string_copying`.
        differs: what the model has and the control has not.
    """

    model: str
    control: str
    differs: str


COMPARISONS: tuple[Comparison, ...] = (
    Comparison("v-Wave", "Mamba", "velocity, reach, smoothness, one parameter per channel"),
    Comparison("Mamba long", "Mamba", "reach (and its taps)"),
    Comparison("v-Wave", "Mamba long", "velocity in the place of neurons"),
    Comparison("v-Wave long", "Mamba long", "velocity, where reach is enough already"),
    Comparison("Mamba long (same states)", "Mamba", "reach, at the same number of states"),
    Comparison("Mamba n + 1", "Mamba", "one parameter per channel, as the velocity is"),
    Comparison("v-Wave frozen", "Mamba", "velocity that is not learned"),
    Comparison("v-Wave", "v-Wave frozen", "learning the velocity"),
    Comparison("ring", "v-Wave", "no diffusion"),
    Comparison("selective v", "v-Wave", "velocity chosen by the token"),
    Comparison("v = 0", "Mamba", "no input through the register"),
    Comparison("no register", "Mamba", "one neuron only"),
    Comparison("S6 wave", "S6 wave (v = 0)", "motion of the selective state"),
    Comparison("S6 wave", "Mamba", "paired states, and their motion"),
    Comparison("S6 wave", "v-Wave", "the wave is elsewhere"),
    Comparison("S4D", "Mamba", "modes in the place of register and selection"),
    Comparison("H3", "Mamba", "products in the place of selection"),
)
"""In the order in which the chapter shows them."""

DECISIVE = COMPARISONS[:4]
"""The four that `verdict` uses."""

LOGARITHMIC = ("mean loss", "final loss")
"""Readings that are compared by their logarithms."""

MARGINS = {"mean loss": math.log(1.1), "final loss": math.log(1.1), "characters": 0.02, "strings": 0.02}
"""How near to zero the whole interval must be for two models to be called alike: a tenth of a loss, two answers in a hundred."""


def readings(rows: pd.DataFrame, length: int, guessing: float) -> pd.DataFrame:
    """One line per model and seed.

    Args:
        rows: of `wavemem.ssm.string_copying`.
        length: of the tested strings.
        guessing: loss of even guesses, half of which is the threshold of "updates to half".

    Returns:
        Columns model, seed, "mean loss" (of all logged training losses), "final loss" (of those of the last tenth of the
        training), "updates to half", "characters", "strings".

    Raises:
        ValueError: If no string of this length was tested.
    """
    tested = rows[(rows["length"] == length) & rows["quantity"].isin(["characters", "strings"])]
    known = sorted({int(n) for n in rows.loc[rows["quantity"] == "characters", "length"].unique()})
    require(len(tested) > 0, f"length = {length}", ", ".join(map(str, known)) or "(none)", "Choose a tested length.")
    lines = []
    for (model, seed), own in rows.groupby(["model", "seed"], sort=False):
        curve = own[own["quantity"] == "loss"].sort_values("iteration")
        line = {
            "model": model,
            "seed": seed,
            "mean loss": float(curve["value"].mean(skipna=False)),
            "final loss": float(
                curve.loc[curve["iteration"] > 0.9 * curve["iteration"].max(), "value"].mean(skipna=False)
            ),
            "updates to half": steady_below(curve["iteration"].tolist(), curve["value"].tolist(), guessing / 2),
        }
        for name in ("characters", "strings"):
            found = own[(own["quantity"] == name) & (own["length"] == length)].sort_values("iteration")
            line[name] = float(found["value"].iloc[-1]) if len(found) else float("nan")
        lines.append(line)
    return pd.DataFrame(lines)


def compare(
    table: pd.DataFrame, quantity: str, comparisons: Sequence[Comparison] = COMPARISONS, level: float = 0.95
) -> pd.DataFrame:
    """Differences over seeds with Welch's interval and the rank test; comparisons with a model that is not there are left out.

    Args:
        table: from `readings`.
        quantity: one of its columns; of those in `LOGARITHMIC` the natural logarithms are compared.
        comparisons: which.
        level: confidence.

    Returns:
        Columns model, control, differs, mean, low, high, share (of the pairs of seeds in which the model's is larger), p,
        and n, the smaller number of seeds. Runs whose reading is not finite are left out.

    Raises:
        ValueError: If the table has no such column.
    """
    require(quantity in table, f"quantity = {quantity!r}", ", ".join(map(str, table)), "Choose a column.")
    finite = table[np.isfinite(table[quantity])]
    by_model = {str(model): own[quantity].to_numpy(dtype=np.float64) for model, own in finite.groupby("model")}
    if quantity in LOGARITHMIC:
        by_model = {model: np.log(values) for model, values in by_model.items()}
    lines = []
    for each in comparisons:
        if each.model in by_model and each.control in by_model:
            a, b = by_model[each.model], by_model[each.control]
            found = {**welch(a, b, level)._asdict(), **ranks(a, b)._asdict()}
            lines.append({**each._asdict(), **found, "n": min(len(a), len(b))})
    return pd.DataFrame(lines, columns=["model", "control", "differs", "mean", "low", "high", "share", "p", "n"])


def words_of(differences: pd.DataFrame, more: str, less: str, margin: float = 0.0) -> dict[tuple[str, str], str]:
    """(model, control) → the word for their difference, by interval and rank test.

    Args:
        differences: from `compare`.
        more, less: the words for an interval above and below zero with p < 0.05.
        margin: of `MARGINS`.
    """
    words = {}
    for line in differences.to_dict("records"):
        said = word(Interval(line["mean"], line["low"], line["high"]), more, less, margin)
        words[line["model"], line["control"]] = UNDECIDED if said in (more, less) and line["p"] >= 0.05 else said
    return words


def verdict(speed: Mapping[tuple[str, str], str]) -> str:
    """Velocity or span, from the four decisive comparisons of learning speed.

    Args:
        speed: (model, control) → "faster", "slower", `ALIKE` or `UNDECIDED`; what is missing counts as undecided.

    Returns:
        The verdict in one or two sentences.
    """
    wave, reach, swap, added = (speed.get((each.model, each.control), UNDECIDED) for each in DECISIVE)
    behind = {"slower": "slower", ALIKE: "as fast to within a tenth", UNDECIDED: "not shown to be faster"}
    if wave == "faster" and swap == "faster":
        first = (
            "Velocity: v-Wave learned faster than Mamba, and faster than a register of velocity 1 that reaches as far."
        )
    elif wave == "faster" and reach == "faster":
        first = (
            "Span: v-Wave learned faster than Mamba, but so did a register of velocity 1 that reaches over the whole "
            f"string, and against that one v-Wave was {behind[swap]}."
        )
    elif wave == "faster":
        first = "Open: v-Wave learned faster than Mamba, and reach alone was not shown to do the same."
    elif reach == "faster":
        first = (
            "Span: a register of velocity 1 that reaches over the whole string learned faster than Mamba; v-Wave "
            f"{'learned slower than Mamba' if wave == 'slower' else 'was not shown to'}."
        )
    else:
        first = "Nothing shown: neither v-Wave nor a longer register learned faster than Mamba beyond the spread of the seeds."
    second = {
        "faster": "Where the register was long enough already, a velocity below 1 helped.",
        "slower": "Where the register was long enough already, a velocity below 1 slowed learning down.",
        ALIKE: "Where the register was long enough already, a velocity below 1 changed the mean loss by less than a tenth.",
        UNDECIDED: "Where the register was long enough already, no effect of the velocity was shown.",
    }[added]
    return f"{first} {second}"


class Decision(NamedTuple):
    """What one measurement of the models shows.

    Attributes:
        table: `readings` of every run.
        learning: `compare` of the mean loss, the main reading.
        final: of the final loss.
        copying: of the share of characters right.
        speed: words for `learning`, "faster" or "slower".
        quality: words for `copying`, "better" or "worse".
        sentence: `verdict` of `speed`.
    """

    table: pd.DataFrame
    learning: pd.DataFrame
    final: pd.DataFrame
    copying: pd.DataFrame
    speed: dict[tuple[str, str], str]
    quality: dict[tuple[str, str], str]
    sentence: str


def decide(rows: pd.DataFrame, length: int, guessing: float) -> Decision:
    """Apply the rules; arguments and errors as of `readings`."""
    table = readings(rows, length, guessing)
    learning, final, copying = (compare(table, name) for name in ("mean loss", "final loss", "characters"))
    speed = words_of(learning, "slower", "faster", MARGINS["mean loss"])
    quality = words_of(copying, "better", "worse", MARGINS["characters"])
    return Decision(table, learning, final, copying, speed, quality, verdict(speed))
