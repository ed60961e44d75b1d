"""Rows of measurements as CSV that reads back bit for bit.

CSV so that a reader can open a record with anything; exactness because a record is evidence: floats are written in
their shortest form that parses to the same bits, and the column types are kept beside the file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["read_rows", "write_rows"]

_KINDS = {"f": "float", "i": "int", "u": "int", "b": "bool"}


def _column_type(name: str, column: pd.Series) -> str:
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in _KINDS:
        return str(dtype)
    if all(isinstance(value, str) for value in column):
        return "str"
    raise ValueError(
        f"column {name!r} of type {dtype}; allowed: floats, integers, booleans, or strings without gaps. "
        "Convert it (missing numbers are NaN in a float column)."
    )


def write_rows(path: Path, rows: pd.DataFrame) -> dict[str, str]:
    """Write a table; returns the type of each column, needed to read it back.

    Raises:
        ValueError: column names that are not unique strings, or a column of another type.
    """
    names = list(rows.columns)
    if not names or any(not isinstance(n, str) for n in names) or len(set(names)) != len(names):
        raise ValueError(f"columns {names}; allowed: at least one column, unique names that are strings. Rename them.")
    types = {name: _column_type(name, rows[name]) for name in names}
    rows.to_csv(path, index=False, na_rep="nan", lineterminator="\n", encoding="utf-8")
    return types


def read_rows(path: Path, types: dict[str, str]) -> pd.DataFrame:
    """Read a table written by :func:`write_rows`.

    Args:
        path: the CSV file.
        types: what :func:`write_rows` returned.

    Raises:
        ValueError: the columns are not those of ``types``.
    """
    text = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    if list(text.columns) != list(types):
        raise ValueError(f"{path} has columns {list(text.columns)}; allowed: {list(types)}. Restore the file.")
    columns: dict[str, pd.Series] = {}
    for name, kind in types.items():
        values = text[name]
        if kind == "str":
            columns[name] = values
        elif kind == "bool":
            columns[name] = values == "True"
        else:
            columns[name] = pd.Series(values.to_numpy(dtype=str).astype(np.dtype(kind)))
    return pd.DataFrame(columns)
