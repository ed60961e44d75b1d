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
from wavemem.records.registry import fingerprint

QUICK = Parameters("quick", "cpu", 0)


def _keys(layout: Layout) -> dict[str, dict[str, str]]:
    return {chapter.name: chapter_key(chapter, layout, QUICK).ingredients for chapter in discover(layout)}


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
        # Code that does not parse: every word may name a module.
        (
            "import wavemem.a\n= 1",
            "",
            {"wavemem.a", *(f"wavemem.a.{word}" for word in ("import", "wavemem", "a", "1"))},
        ),
    ],
)
def test_imported_names(source: str, package: str, names: set[str]) -> None:
    assert imported_names(source, package) == names


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from wavemem import lazy\nimport numpy", "lazy deep deep.inner deep.hidden plain"),
        ("import wavemem.a, wavemem.nothing", "a b"),
        ("import wavemem.fast", "fast fast:_fast.c fast:table.csv"),
    ],
)
def test_closure(toy, source: str, names: str) -> None:
    """Through functions, packages and circles, without names that are no modules, with the files that a module names."""
    for name, text in {
        "a": "from wavemem.b import thing, absent\n",
        "b": "import wavemem.a\n",
        "deep.inner": "from ..plain import X\n",
        "deep.beside": "",
        "deep.hidden": "",
        "fast": 'library = load("_fast")\nnumbers = read("table.csv")\n',
        "lazy": "def f():\n    from wavemem.deep import inner\n    return inner\n",
        "unused": "import wavemem.plain\n",
    }.items():
        toy.module(f"wavemem.{name}", text)
    package = toy.layout.package / "wavemem"
    (package / "deep" / "__init__.py").write_text("from . import hidden\n")
    (package / "data").mkdir()
    for name in ("_fast.c", "data/table.csv", "data/other.csv"):
        (package / name).write_text("1\n")
    assert set(closure([source], toy.layout.package)) == {"wavemem", *(f"wavemem.{name}" for name in names.split())}


def test_a_module_changes_exactly_the_chapters_that_import_it(toy) -> None:
    toy.module("wavemem.high", "def f():\n    from wavemem import low\n")
    toy.chapter("01-direct", "from wavemem.low import Y")
    toy.chapter("02-through", "import wavemem.high")
    toy.chapter("03-other", "import wavemem.plain")
    keys = _keys(toy.layout)
    low = ("low", {"01-direct", "02-through"})
    for version, (module, changed) in enumerate([low, ("apart", set()), ("plain", {"03-other"}), low]):
        toy.module(f"wavemem.{module}", f"Y = {version}\n")
        before, keys = keys, _keys(toy.layout)
        assert {name for name in keys if keys[name] != before[name]} == changed


def test_everything_else_in_the_key(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    records = toy.layout.root / "records"
    for name in ("mine", "yours"):
        (records / name / "quick-1").mkdir(parents=True)
        (records / name / "quick-1" / "rows.csv").write_text("1\n")
    before = chapter_key(toy.chapter("01-first", "x = 1", settings="records: [mine]"), toy.layout, QUICK).ingredients

    def changes(parameters: Parameters = QUICK, threads: int = 1) -> list[str]:
        return chapter_key(discover(toy.layout)[0], toy.layout, parameters, threads).changes(before)

    assert changes() == []
    assert changes(threads=2) == ["threads"]
    assert changes(Parameters("paper", "cpu", 0)) == ["parameter profile"]
    assert changes(Parameters("quick", "cpu", 1)) == ["parameter seed"]
    assert set(changes(Parameters("quick", "cuda", 0))) - {"GPU"} == {"parameter device"}
    (records / "yours" / "quick-1" / "rows.csv").write_text("2\n")
    assert changes() == []
    (records / "mine" / "quick-1" / "rows.csv").write_text("2\n")
    (toy.layout.root / "constraints.txt").write_text("numpy==2.0.1\n")
    toy.chapter("01-first", "x = 2", settings="records: [mine]")
    changed = ["code cells", "constraints.txt", "data records/mine/quick-1/rows.csv"]
    assert changes() == changed
    installed = cache.importlib.metadata.version
    monkeypatch.setattr(cache.importlib.metadata, "version", lambda name: "0" if name == "numpy" else installed(name))
    assert changes() == [*changed, "version numpy"]
    monkeypatch.setattr(cache, "KEY_PACKAGES", (*cache.KEY_PACKAGES, "no such thing"))
    assert "version no such thing" in changes()


def test_the_entries_that_a_chapter_names_are_in_its_key(toy, real: Layout) -> None:
    """For what a change of the registry changes see `fingerprint`."""
    records = toy.layout.root / "records"
    records.symlink_to(real.root / "records")
    toy.module("wavemem.records.registry", "")
    toy.chapter("01-names", "import wavemem.records.registry\n'twm:fig5'")
    toy.chapter("02-names-none", "'twm:fig5'")
    chapter = toy.chapter("03-in-words", "import wavemem.records.registry")
    toy.source(chapter.name).write_text(chapter.text.replace("Words", "'twm:fig5'"))
    marks = [made.get("registry entries") for made in _keys(toy.layout).values()]
    assert marks == [fingerprint(text, records) if text is not None else None for text in ("'twm:fig5'", None, "")]


HIDDEN = ("01-first.ipynb", "02-second.py", "03-third.md", ".01-first.md.swp", ".x/01-first.md", "__pycache__/h.pyc")


@pytest.mark.parametrize("place", ["notebooks/helpers.py", "notebooks/data/rows.csv", "helpers.py"])
def test_what_lies_beside_the_notebooks_is_in_the_key(toy, place: str) -> None:
    """But no other chapter, and nothing that an editor keeps."""
    chapter, _ = toy.chapter("01-first", "x = 1"), toy.chapter("02-second", "x = 2")
    toy.module("wavemem.low", "")
    first = chapter_key(chapter, toy.layout, QUICK)
    for name in HIDDEN:
        (toy.layout.notebooks / name).parent.mkdir(exist_ok=True)
        (toy.layout.notebooks / name).write_text("x")
    assert chapter_key(chapter, toy.layout, QUICK) == first
    file = toy.layout.root / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("import wavemem.low\n")
    added = chapter_key(chapter, toy.layout, QUICK)
    assert f"data {place}" in added.changes(first.ingredients)
    assert ("module wavemem.low" in added.ingredients) == (file.suffix == ".py")
    file.write_text("x = 2\n")
    assert f"data {place}" in chapter_key(chapter, toy.layout, QUICK).changes(added.ingredients)


def test_files_that_a_kernel_was_seen_to_read(toy) -> None:
    root = toy.layout.root
    chapter = toy.chapter("01-first", "import wavemem.plain")
    notes = root / "notes.txt"
    read = "src/wavemem/plain.py src/wavemem/dynamic.py src/wavemem/__pycache__/lazy.cpython-311.pyc numbers.csv was/here.csv"
    read += " _build/x .git/config src/wavemem.egg-info/PKG-INFO records/registry/a.toml own.csv"
    notes.write_text("".join(f"r {root / name}\n" for name in read.split()) + f"w {root / 'own.csv'}")
    key = chapter_key(chapter, toy.layout, QUICK, read=["was/here.csv", "not/any/more.csv"])
    assert {"read was/here.csv", "read not/any/more.csv"} <= key.ingredients.keys()
    expected = ["numbers.csv", "src/wavemem/dynamic.py", "src/wavemem/lazy.py", "was/here.csv"]
    assert read_files(toy.layout, notes, key) == expected
    assert read_files(toy.layout, root / "absent", key) == []


def test_what_computes_is_in_the_key(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.module("wavemem.kernels.compiled", "")
    kernels = toy.chapter("01-first", "import wavemem.kernels.compiled")
    plain = toy.chapter("02-second", "import wavemem.plain")

    def keys() -> list[Key]:
        return [chapter_key(chapter, toy.layout, QUICK) for chapter in (kernels, plain)]

    def changed() -> list[list[str]]:
        return [new.changes(old.ingredients) for new, old in zip(keys(), before, strict=True)]

    monkeypatch.setattr(compiled, "in_use", lambda: ("wave-1",))
    before = keys()
    assert changed() == [[], []]
    monkeypatch.setattr(compiled, "in_use", lambda: ())
    assert changed() == [["compiled kernels"], []]
    monkeypatch.setattr(compiled, "processor", lambda: "another")
    assert changed() == [["compiled kernels", "processor"], ["processor"]]
    monkeypatch.setenv("WAVEMEM_WAVE_KERNEL", "torch")
    assert changed()[1] == ["WAVEMEM_WAVE_KERNEL", "processor"]


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
        cells = [cell.source for cell in code_cells(chapter.text)]
        nodes = [node for cell in cells for node in ast.walk(ast.parse(cell))]
        imports = [ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        lines[chapter.name] = "\n".join(line for line in imports if "wavemem" in line.split(" ", 2)[1])
        found[chapter.name] = set(closure(cells, real.package))
    done = subprocess.run(
        [sys.executable, "-c", _LOAD], input=json.dumps(lines), capture_output=True, text=True, check=True
    )
    for name, modules in json.loads(done.stdout).items():
        assert modules, name
        assert set(modules) <= found[name], name
