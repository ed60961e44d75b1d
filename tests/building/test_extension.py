"""Docstrings as written, translated for Sphinx."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import pytest

from wavemem.building.extension import skip_field, translate, without_thebe


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("the matrix `F` of `f`", "the matrix ``F`` of ``f``"),
        ("shape (*batch, s, d) and (*any, N)", r"shape (\*batch, s, d) and (\*any, N)"),
        ("the largest |x| and |y|", r"the largest \|x\| and \|y\|"),
        ("an *emphasised* and a **strong** word", "an *emphasised* and a **strong** word"),
        ("see :class:`Result` and ``a * b | c``", "see :class:`Result` and ``a * b | c``"),
        ("state h_ and W_hh", r"state h\_ and W_hh"),
        ("a link `page <https://example.org>`_ stays", "a link `page <https://example.org>`_ stays"),
        ("s * d", r"s \* d"),
        ("e.g. tcp://host:8786", r"e.g. tcp\://host:8786"),
    ],
)
def test_inline(written: str, meant: str) -> None:
    assert translate([written]) == [meant]


def test_tables_become_list_tables() -> None:
    written = ["Symbols.", "", "| name | shape |", "|---|---|", "| `h` | (*batch, `s|d`) |", "| `u` |", "", "After."]
    done = translate(written)
    assert done == [
        "Symbols.", "", "", ".. list-table::", "   :header-rows: 1", "",
        "   * - name", "     - shape", r"   * - ``h``", r"     - (\*batch, ``s|d``)", "   * - ``u``", "     - \\ ",
        "", "", "After.",
    ]  # fmt: skip


def test_code_is_left_alone() -> None:
    code = ["Example::", "", "    a = `b` * |c|", "", "Then `d`."]
    assert translate(code) == [*code[:4], "Then ``d``."]
    assert translate([">>> a * b | c"]) == [">>> a * b | c"]


def test_fields_of_named_tuples_are_described_once() -> None:
    class Pair(NamedTuple):
        left: int

        @property
        def double(self) -> int:
            return 2 * self.left

    assert skip_field(None, "class", "left", Pair.left, False, None) is True
    assert skip_field(None, "class", "double", Pair.double, False, None) is None


def test_every_script_of_thebe_goes_and_all_others_stay_in_order() -> None:
    ours = SimpleNamespace(filename="mathjax/tex-svg-full.js", attributes={})
    inline = SimpleNamespace(filename=None, attributes={"body": "var togglebuttonSelector = '.toggle';"})
    url = SimpleNamespace(filename=None, attributes={"body": "const THEBE_JS_URL = 'x'"})
    file = SimpleNamespace(filename="sphinx-thebe.js", attributes={})
    assert without_thebe([ours, url, inline, file, url, "design-tabs.js"]) == [ours, inline, "design-tabs.js"]
