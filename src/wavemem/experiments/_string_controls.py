"""What each control of the v-Wave comparison isolates, and the rules by which chapter 20 words its verdict.

The rules are fixed here, apart from any result: a difference is called one only if Welch's 95 % interval of the seed means
excludes zero, and the verdict follows from four differences by `verdict`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from wavemem.checks import require
from wavemem.experiments.string_spans import steady_below
from wavemem.records.comparisons import UNDECIDED, Interval, welch, word

__all__ = ["COMPARISONS", "DECISIVE", "Comparison", "compare", "readings", "verdict", "words_of"]


class Comparison(NamedTuple):
    """A model, what it is compared with, and what differs between the two.

    Attributes:
        model, control: names of `wavemem.experiments.string_copying`.
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
)
"""In the order in which the chapter shows them."""

DECISIVE = COMPARISONS[:4]
"""The four that `verdict` uses."""


def readings(rows: pd.DataFrame, length: int, guessing: float) -> pd.DataFrame:
    """One line per model and seed.

    Args:
        rows: of `wavemem.experiments.string_copying`.
        length: of the tested strings.
        guessing: loss of even guesses, half of which is the threshold of "updates to half".

    Returns:
        Columns model, seed, "mean loss" (of all logged training losses), "updates to half", "characters", "strings".

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
            "mean loss": float(curve["value"].mean()),
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
    """Differences of seed means with Welch's interval; comparisons with a model that is not there are left out.

    Args:
        table: from `readings`.
        quantity: one of its columns.
        comparisons: which.
        level: confidence.

    Returns:
        Columns model, control, differs, mean, low, high. Runs whose reading is not finite are left out.

    Raises:
        ValueError: If the table has no such column.
    """
    require(quantity in table, f"quantity = {quantity!r}", ", ".join(map(str, table)), "Choose a column.")
    finite = table[np.isfinite(table[quantity])]
    by_model = {str(model): own[quantity].to_numpy(dtype=np.float64) for model, own in finite.groupby("model")}
    lines = []
    for each in comparisons:
        if each.model in by_model and each.control in by_model:
            found = welch(by_model[each.model], by_model[each.control], level)
            lines.append({**each._asdict(), **found._asdict()})
    return pd.DataFrame(lines, columns=["model", "control", "differs", "mean", "low", "high"])


def words_of(differences: pd.DataFrame, more: str, less: str) -> dict[tuple[str, str], str]:
    """(model, control) → the word for their difference.

    Args:
        differences: from `compare`.
        more, less: the words for an interval above and below zero.
    """
    return {
        (line["model"], line["control"]): word(Interval(line["mean"], line["low"], line["high"]), more, less)
        for line in differences.to_dict("records")
    }


def verdict(speed: Mapping[tuple[str, str], str]) -> str:
    """Velocity or span, from the four decisive comparisons of learning speed.

    Args:
        speed: (model, control) → "faster", "slower" or `UNDECIDED`; what is missing counts as undecided.

    Returns:
        The verdict in one or two sentences.
    """
    wave, reach, swap, added = (speed.get((each.model, each.control), UNDECIDED) for each in DECISIVE)
    if wave == "faster" and swap == "faster":
        first = (
            "Velocity: v-Wave learned faster than Mamba, and faster than a register of velocity 1 that reaches as far."
        )
    elif wave == "faster" and reach == "faster":
        first = (
            "Span: v-Wave learned faster than Mamba, but so did a register of velocity 1 that reaches over the whole "
            f"string, and against that one v-Wave was {'slower' if swap == 'slower' else 'not shown to be faster'}."
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
        UNDECIDED: "Where the register was long enough already, no effect of the velocity was shown.",
    }[added]
    return f"{first} {second}"
