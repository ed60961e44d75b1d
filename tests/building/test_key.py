"""What a chapter depends on: the modules that it imports, and everything else that its cache key holds."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

from wavemem.building import cache
from wavemem.building.cache import Key, chapter_key, read_files
from wavemem.building.chapters import code_cells, discover
from wavemem.building.layout import Layout, Parameters
from wavemem.kernels import compiled
from wavemem.records.code import closure, imported_names

QUICK = Parameters("quick", "cpu", 0)


def _keys(layout: Layout) -> dict[str, str]:
    return {chapter.name: chapter_key(chapter, layout, QUICK).value for chapter in discover(layout)}


def _changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("source", "package", "names"),
    [
        ("import wavemem.a.b as c", "", {"wavemem.a.b"}),
        ("from wavemem.a import b, c", "", {"wavemem.a", "wavemem.a.b", "wavemem.a.c"}),
        ("from wavemem.a import *", "", {"wavemem.a"}),
        ("def f():\n    from wavemem import a", "", {"wavemem", "wavemem.a"}),
        ("try:\n    import wavemem.a\nexcept ImportError:\n    import wavemem.b", "", {"wavemem.a", "wavemem.b"}),
        ("from . import a", "wavemem.p", {"wavemem.p", "wavemem.p.a"}),
        ("from ..q import a", "wavemem.p", {"wavemem.q", "wavemem.q.a"}),
        ("import importlib\nimportlib.import_module('wavemem.a')", "", {"importlib", "wavemem.a"}),
        ("%matplotlib inline\nimport wavemem.a", "", {"wavemem.a"}),
        ("x = ('%s'\n% 1)\nimport wavemem.a", "", {"wavemem.a"}),
    ],
)
def test_imported_names(source: str, package: str, names: set[str]) -> None:
    assert imported_names(source, package) == names


def test_broken_code_still_depends_on_what_it_names() -> None:
    found = imported_names("from wavemem.theory import hds\nimport wavemem.a.b\nx = = 1")
    assert {"wavemem.theory", "wavemem.theory.hds", "wavemem.a.b"} <= found


def test_closure_of_a_package(toy) -> None:
    toy.module("wavemem.deep.inner", "from ..plain import X\n")
    toy.module("wavemem.deep.beside", "")
    toy.module("wavemem.lazy", "def f():\n    from wavemem.deep import inner\n    return inner\n")
    toy.module("wavemem.unused", "import wavemem.plain\n")
    (toy.layout.package / "wavemem" / "deep" / "__init__.py").write_text("from . import hidden\n")
    toy.module("wavemem.deep.hidden", "")

    found = closure(["from wavemem import lazy\nimport numpy"], toy.layout.package)

    assert set(found) == {
        "wavemem",
        "wavemem.lazy",
        "wavemem.deep",
        "wavemem.deep.inner",
        "wavemem.deep.hidden",
        "wavemem.plain",
    }


def test_closure_takes_along_the_files_that_a_module_names(toy) -> None:
    package = toy.layout.package / "wavemem"
    (package / "fast.py").write_text('library = load("_fast")\nnumbers = read("table.csv")\n')
    (package / "_fast.c").write_text("int x;\n")
    (package / "data").mkdir()
    (package / "data" / "table.csv").write_text("1\n")
    (package / "data" / "other.csv").write_text("1\n")
    found = closure(["import wavemem.fast"], toy.layout.package)
    assert {name for name in found if ":" in name} == {"wavemem.fast:_fast.c", "wavemem.fast:table.csv"}


def test_closure_survives_circles_and_names_that_are_no_modules(toy) -> None:
    toy.module("wavemem.a", "from wavemem.b import thing, absent\n")
    toy.module("wavemem.b", "import wavemem.a\n")
    assert set(closure(["import wavemem.a, wavemem.nothing"], toy.layout.package)) == {
        "wavemem",
        "wavemem.a",
        "wavemem.b",
    }


def test_a_module_changes_exactly_the_chapters_that_import_it(toy) -> None:
    toy.module("wavemem.low", "Y = 1\n")
    toy.module("wavemem.high", "def f():\n    from wavemem import low\n")
    toy.module("wavemem.apart", "")
    toy.chapter("01-direct", "from wavemem.low import Y")
    toy.chapter("02-through", "import wavemem.high")
    toy.chapter("03-other", "import wavemem.plain")
    before = _keys(toy.layout)

    toy.module("wavemem.low", "Y = 2\n")
    changed_low = _keys(toy.layout)
    toy.module("wavemem.apart", "Z = 1\n")
    changed_apart = _keys(toy.layout)
    toy.module("wavemem.plain", "X = 2\n")
    changed_plain = _keys(toy.layout)

    assert _changed(before, changed_low) == {"01-direct", "02-through"}
    assert _changed(changed_low, changed_apart) == set()
    assert _changed(changed_apart, changed_plain) == {"03-other"}


def test_everything_else_in_the_key(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    records = toy.layout.root / "records"
    for name in ("mine", "yours"):
        (records / name / "quick-1").mkdir(parents=True)
        (records / name / "quick-1" / "rows.csv").write_text("1\n")
    chapter = toy.chapter("01-first", "x = 1", settings="records: [mine]")
    first = chapter_key(chapter, toy.layout, QUICK)

    assert chapter_key(chapter, toy.layout, QUICK).value == first.value
    assert chapter_key(chapter, toy.layout, QUICK, threads=1).value == first.value
    for parameters, name in [
        (Parameters("paper", "cpu", 0), "parameter profile"),
        (Parameters("quick", "cuda", 0), "parameter device"),
        (Parameters("quick", "cpu", 1), "parameter seed"),
    ]:
        changes = chapter_key(chapter, toy.layout, parameters).changes(first.ingredients)
        assert [change for change in changes if change != "GPU"] == [name]
    assert chapter_key(chapter, toy.layout, QUICK, threads=2).changes(first.ingredients) == ["threads"]

    (records / "yours" / "quick-1" / "rows.csv").write_text("2\n")
    assert chapter_key(chapter, toy.layout, QUICK).value == first.value
    (records / "mine" / "quick-1" / "rows.csv").write_text("2\n")
    second = chapter_key(chapter, toy.layout, QUICK)
    assert second.changes(first.ingredients) == ["data records/mine/quick-1/rows.csv"]

    (toy.layout.root / "constraints.txt").write_text("numpy==2.0.1\n")
    third = chapter_key(chapter, toy.layout, QUICK)
    assert third.changes(second.ingredients) == ["constraints.txt"]

    monkeypatch.setattr(cache, "KEY_PACKAGES", ("numpy",))
    monkeypatch.setattr(cache.importlib.metadata, "version", lambda name: "0.0")
    assert "version numpy" in chapter_key(chapter, toy.layout, QUICK).changes(third.ingredients)

    edited = toy.chapter("01-first", "x = 2", settings="records: [mine]")
    monkeypatch.undo()
    assert chapter_key(edited, toy.layout, QUICK).changes(third.ingredients) == ["chapter text"]


@pytest.mark.parametrize("place", ["notebooks/helpers.py", "notebooks/data/rows.csv", "helpers.py"])
def test_what_lies_beside_the_notebooks_is_in_the_key(toy, place: str) -> None:
    chapter = toy.chapter("01-first", "x = 1")
    toy.module("wavemem.low", "")
    first = chapter_key(chapter, toy.layout, QUICK)
    file = toy.layout.root / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("import wavemem.low\n")
    added = chapter_key(chapter, toy.layout, QUICK)
    assert f"data {place}" in added.changes(first.ingredients)
    assert ("module wavemem.low" in added.ingredients) == (file.suffix == ".py")
    file.write_text("x = 2\n")
    assert f"data {place}" in chapter_key(chapter, toy.layout, QUICK).changes(added.ingredients)


def test_another_chapter_and_an_editor_s_files_are_not_in_the_key(toy) -> None:
    chapter = toy.chapter("01-first", "x = 1")
    first = chapter_key(chapter, toy.layout, QUICK)
    toy.chapter("02-second", "x = 2")
    for name in (
        "01-first.ipynb",
        "02-second.py",
        ".01-first.md.swp",
        ".ipynb_checkpoints/01-first.md",
        "__pycache__/h.pyc",
    ):
        file = toy.layout.notebooks / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    assert chapter_key(chapter, toy.layout, QUICK).value == first.value


def test_files_that_a_kernel_was_seen_to_read(toy) -> None:
    root = toy.layout.root
    chapter = toy.chapter("01-first", "import wavemem.plain")
    notes = root / "notes.txt"
    read = [
        "src/wavemem/plain.py",
        "src/wavemem/dynamic.py",
        "src/wavemem/__pycache__/lazy.cpython-311.pyc",
        "numbers.csv",
    ]
    read += [
        "_build/x",
        ".git/config",
        "src/wavemem.egg-info/PKG-INFO",
        "records/registry/a.toml",
        "own.csv",
        "was/here.csv",
    ]
    lines = [f"r {root / name}" for name in read] + [f"w {root / 'own.csv'}"]
    notes.write_text("\n".join(lines))
    key = chapter_key(chapter, toy.layout, QUICK, read=["was/here.csv", "not/any/more.csv"])
    assert {"read was/here.csv", "read not/any/more.csv"} <= key.ingredients.keys()
    expected = ["numbers.csv", "src/wavemem/dynamic.py", "src/wavemem/lazy.py", "was/here.csv"]
    assert read_files(toy.layout, notes, key) == expected
    assert read_files(toy.layout, root / "absent", key) == []


def test_what_computes_is_in_the_key(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.module("wavemem.kernels.compiled", "")
    kernels = toy.chapter("01-first", "import wavemem.kernels.compiled")
    plain = toy.chapter("02-second", "import wavemem.plain")

    def changed(before: list[Key]) -> list[list[str]]:
        keys = [chapter_key(chapter, toy.layout, QUICK) for chapter in (kernels, plain)]
        return [new.changes(old.ingredients) for new, old in zip(keys, before, strict=True)]

    monkeypatch.setattr(compiled, "in_use", lambda: ("wave-1",))
    before = [chapter_key(chapter, toy.layout, QUICK) for chapter in (kernels, plain)]
    assert changed(before) == [[], []]
    monkeypatch.setattr(compiled, "in_use", lambda: ())
    assert changed(before) == [["compiled kernels"], []]
    monkeypatch.setattr(compiled, "processor", lambda: "another")
    assert changed(before) == [["compiled kernels", "processor"], ["processor"]]
    monkeypatch.setenv("WAVEMEM_WAVE_KERNEL", "torch")
    assert changed(before)[1] == ["WAVEMEM_WAVE_KERNEL", "processor"]


def test_a_change_that_was_taken_back_shows(toy) -> None:
    chapter = toy.chapter("01-first", "import wavemem.plain")
    first = chapter_key(chapter, toy.layout, QUICK)
    assert chapter_key(chapter, toy.layout, QUICK).touched(first) == []
    file = toy.layout.package / "wavemem" / "plain.py"
    file.write_text("X = 1\n")  # the same bytes
    again = chapter_key(chapter, toy.layout, QUICK)
    assert again.value == first.value
    assert again.touched(first) == [file.as_posix()]
    file.unlink()
    assert file.as_posix() in chapter_key(chapter, toy.layout, QUICK).touched(again)


_LOAD = """
import contextlib, json, sys
loaded = {}
for name, lines in json.load(sys.stdin).items():
    for module in [m for m in sys.modules if m.partition(".")[0] == "wavemem"]:
        del sys.modules[module]
    exec(lines, {})
    loaded[name] = sorted(m for m in sys.modules if m.partition(".")[0] == "wavemem")
print(json.dumps(loaded))
"""


def test_what_python_really_loads_is_in_the_closure(real: Layout) -> None:
    lines, found = {}, {}
    for chapter in discover(real):
        cells = code_cells(chapter.text)
        nodes = [node for cell in cells for node in ast.walk(ast.parse(cell))]
        wanted = [
            node
            for node in nodes
            if isinstance(node, ast.Import | ast.ImportFrom) and "wavemem" in ast.unparse(node).split(" ", 2)[1]
        ]
        lines[chapter.name] = "\n".join(ast.unparse(node) for node in wanted)
        found[chapter.name] = set(closure(cells, real.package))
    done = subprocess.run(
        [sys.executable, "-c", _LOAD], input=json.dumps(lines), capture_output=True, text=True, check=True
    )
    for name, modules in json.loads(done.stdout).items():
        assert modules, name
        assert set(modules) <= found[name], name


def test_editing_any_module_changes_exactly_the_chapters_whose_closure_has_it(real_copy: Layout) -> None:
    closures = {c.name: closure(code_cells(c.text), real_copy.package) for c in discover(real_copy)}
    before = _keys(real_copy)
    for module in ("theory.attention", "theory.hds", "building.schedule"):
        file = real_copy.package.joinpath("wavemem", *module.split(".")).with_suffix(".py")
        file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        after = _keys(real_copy)
        expected = {name for name, modules in closures.items() if f"wavemem.{module}" in modules}
        assert _changed(before, after) == expected, module
        before = after
