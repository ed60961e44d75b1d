"""Tables as the book prints them."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from wavemem.plotting.tables import numbers, table, typeset

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("column", "printed"),
    [
        ([525.0, NAN, 50652], "525 – 50,652"),
        ([0.1, 0.25, -1], "0.10 0.25 −1.00"),
        ([1e-15, 0, 3.5e39, -INF, INF], "1 × 10⁻¹⁵ 0 3.5 × 10³⁹ −∞ ∞"),
        ([1 / 3, 1000 / 3], "0.333 333.333"),
        ([NAN], "–"),
        ([], ""),
    ],
)
def test_numbers(column: list[float], printed: str) -> None:
    assert " ".join(numbers(column)) == printed


@pytest.mark.parametrize(
    ("computed", "printed"),
    [
        ("2e-14 of 1 × 10^4", "2 × 10⁻¹⁴ of 10,000"),
        ("1.555e+04 ± 1.1e+03 (n = 3)", "15,550 ± 1,100 (n = 3)"),
        ("5e-05–0.0005, L2 = 1e-3", "5 × 10⁻⁵–0.0005, L2 = 0.001"),
        ("-0.81 to -∞, 3-4", "−0.81 to −∞, 3-4"),
        ("commit c7e8ff0, seed_1e5", "commit c7e8ff0, seed_1e5"),
    ],
)
def test_numbers_in_a_text(computed: str, printed: str) -> None:
    assert typeset(computed) == printed


def rows(frame: pd.DataFrame) -> list[str]:
    """The cells of each row, headings between brackets."""
    return [
        " ".join(f"[{text}]" if tag == "th" else text for tag, text in re.findall(r"<(t[hd])[^>]*>(.*?)</t[hd]>", row))
        for row in re.findall(r"<tr.*?</tr>", table(frame), flags=re.DOTALL)
    ]


def test_a_table_has_one_row_of_headings() -> None:
    frame = pd.DataFrame(
        {"test_steps": [525.0, NAN], "right": [True, np.False_], "seen": ["3 of 4", "<none>"], "either": [2.0, None]},
        index=pd.Index([0.001, 0.03], name="learning_rate"),
    )
    wanted = ["[{}] [test steps] [right] [seen] [either]", "[0.001] 525 yes 3 of 4 2", "[0.03] – no &lt;none&gt; –"]
    assert rows(frame) == [wanted[0].format("learning rate"), *wanted[1:]]
    frame.columns.name = "model"
    assert rows(frame)[0] == wanted[0].format("learning rate \\ model")
    assert re.findall(r'td class="words">([^<]*)', table(frame)) == ["yes", "3 of 4", "no", "&lt;none&gt;"]


def test_an_index_that_counts_is_left_out() -> None:
    assert rows(pd.DataFrame({"q": [1, 2]})) == ["[q]", "1", "2"]
    assert rows(pd.DataFrame({"q": [1.5]}, index=["row"])) == [" [q]", "[row] 1.5"]


def test_several_levels() -> None:
    index = pd.MultiIndex.from_product([["T1"], [1.0, 2.0]], names=["task", "seed"])
    columns = pd.MultiIndex.from_product([["ring"], ["p", "q"]])
    found = rows(pd.DataFrame([[0.5, 1], [2, 3]], index=index, columns=columns))
    assert found == ["  [ring]", "[task] [seed] [p] [q]", "[T1] [1] 0.5 1", "[2] 2.0 3"]
