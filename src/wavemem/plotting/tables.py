"""Tables as the book prints them: whole numbers whole, no exponents of a computer, one row of headings."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable
from decimal import Decimal
from itertools import cycle
from typing import Any, Final

import numpy as np
import pandas as pd

ABSENT: Final = "–"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_EXPONENT = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)(?:e| × 10\^)([-−+]?\d+)\b")
_MINUS = re.compile(r"(?<![\w–-])-(?=[\d∞])")


def typeset(text: str) -> str:
    """Numbers in a text as print has them: 0.012 for 1.2e-02, 20,000 for 2e+04, 3 × 10⁻⁷ for 3e-07, a minus for a hyphen."""

    def plain(match: re.Match[str]) -> str:
        mantissa, exponent = match[1], int(match[2].replace("−", "-"))
        if -4 < exponent < 6:
            return f"{Decimal(f'{mantissa}e{exponent}'):,f}"
        return f"{mantissa} × 10{str(exponent).translate(_SUPERSCRIPT)}"

    return _MINUS.sub("−", _EXPONENT.sub(plain, text))


def _figures(value: float, decimals: int) -> str:
    if not math.isfinite(value):
        return ABSENT if math.isnan(value) else "∞" if value > 0 else "−∞"
    tiny = value != 0 and not 1e-4 <= abs(value) < 1e9
    return typeset(f"{value:.1e}".replace(".0e", "e") if tiny else f"{value:,.{decimals}f}")


def numbers(values: Iterable[float]) -> list[str]:
    """The numbers of a column with the same decimals: as many as they have, or three significant digits of the smallest.

    Whole numbers have none; what is not defined is a dash; the very small and the very large are powers of ten.
    """
    column = np.asarray(list(values), dtype=float)
    shown = column[np.isfinite(column) & (np.abs(column) >= 1e-4) & (np.abs(column) < 1e9)]
    exact = [d for d in range(5) if np.allclose(shown, shown.round(d), rtol=1e-9, atol=0)]
    decimals = exact[0] if exact else max(0, 2 - math.floor(math.log10(np.abs(shown).min())))
    return [_figures(value, decimals) for value in column]


def _column(values: pd.Series[Any] | pd.Index[Any]) -> tuple[list[str], bool]:
    """Each entry in print, and whether they are words."""
    if pd.api.types.is_integer_dtype(values.dtype) or pd.api.types.is_float_dtype(values.dtype):
        return numbers(values.to_numpy(dtype=float, na_value=math.nan)), False
    cells = []
    for value in values:
        if isinstance(value, bool | np.bool_):
            cells.append("yes" if value else "no")
        elif value is None or isinstance(value, float | np.floating):
            cells += numbers([math.nan if value is None else float(value)])
        else:
            cells.append(typeset(str(value)))
    return cells, not all(re.match(r"[−+-]?[\d∞]|–$", cell) for cell in cells)


def _heading(name: Any) -> Any:
    """A column's name in words, of each level where it has several."""
    if isinstance(name, tuple):
        return tuple(map(_heading, name))
    return re.sub(r"(?<=[a-z])_(?=[a-z])", " ", name) if isinstance(name, str) else name


def _index(index: pd.Index[Any]) -> pd.Index[Any]:
    # One by one: names need no decimals in common.
    levels = [_column(index.get_level_values(level).astype(object))[0] for level in range(index.nlevels)]
    if isinstance(index, pd.MultiIndex):
        return pd.MultiIndex.from_arrays(levels, names=index.names)
    return pd.Index(levels[0], name=index.name, dtype=object)


def table(frame: pd.DataFrame) -> str:
    """A data frame as HTML: names of the index beside those of the columns, words to the left and numbers to the right.

    An index that only counts the rows is left out.
    """
    columns = [_column(frame.iloc[:, k]) for k in range(frame.shape[1])]
    counts = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    printed = pd.DataFrame(dict(enumerate(cells for cells, _ in columns)), index=_index(frame.index), dtype=object)
    printed.columns = _index(frame.columns.map(_heading))
    head, body = printed.to_html(index=not counts, index_names=False, border=0, justify="unset").split("</thead>")
    above, row = head.rsplit("<tr", 1)
    heads = [name for name in (*frame.index.names, *frame.columns.names[: frame.columns.nlevels == 1]) if name]
    if len(heads) > frame.index.nlevels:
        heads[-2:] = [f"{heads[-2]} \\ {heads[-1]}"]
    for name in heads:
        row = row.replace("<th></th>", f'<th class="words">{html.escape(_heading(str(name)))}</th>', 1)
    kinds = [' class="words"' if words else "" for _, words in columns]
    of_heads, of_cells = cycle(kinds), cycle(kinds)
    row = re.sub("<th>(?!</th>)", lambda _: f"<th{next(of_heads)}>", row)
    body = re.sub("<td>", lambda _: f"<td{next(of_cells)}>", body)
    return f"{above}<tr{row}</thead>{body}".replace("<th></th>", "<td></td>").replace(' style="text-align: unset;"', "")
