"""Toy chapters through jupytext, papermill and a kernel: what is published, what is said, what is left alone."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from wavemem.building import cache, schedule
from wavemem.building.cache import chapter_key, compare, look_up
from wavemem.building.chapters import discover, select
from wavemem.building.layout import KEYED, Layout, Parameters
from wavemem.building.progress import Display
from wavemem.building.schedule import Outcome, execute_chapters, kernel_environment
from wavemem.building.worker import Failure, stopped_at
from wavemem.processes import claim

SEVEN = Parameters("quick", "cpu", 7)

_FIGURE = """import matplotlib.pyplot as plt
from wavemem.plotting.style import figure_size, use_book_style
use_book_style()
fig, ax = plt.subplots(figsize=figure_size(1.5, 0.5))
ax.plot([0, 1], [1, 0], label="a")
ax.legend()
plt.show()"""

_SPEAKS = """import json, os
from pathlib import Path
import wavemem.elman.table1
from helpers import X
print(__debug__, profile, device, seed, X, os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"])
print(object())
print(Path("records/seen.csv").read_text())
Path("written").write_text("x")
Path("written").read_text()
Path(os.environ["WAVEMEM_RESULTS_DIR"], os.environ["WAVEMEM_CHAPTER"] + ".json").write_text(json.dumps({"seed": seed}))"""

# Name, cells, kind, number and first line of the cell, message. A kernel's parent is the process that executes the chapter.
BROKEN: list[tuple[str, list[str], str, int, str, str]] = [
    ("02-fails", ["x = 1", "# the culprit\ny = x / 0", "z = 3"], "error", 3, "# the culprit", "ZeroDivisionError: division"),
    ("03-dead", ["x = 1", "import os\nos._exit(1)", "z = 3"], "dead kernel", 3, "import os", "the kernel died"),
    ("04-slow", ["import time; time.sleep(600)", "z = 3"], "time-out", 2, "import time; time.sleep(600)", "time limit"),
    ("05-killed", ["import os\nos.kill(os.getppid(), 9)", "z = 3"], "dead process", 2, "import os", "killed by signal 9"),
    ("06-exits", ["import sys\nsys.exit(0)", "z = 3"], "error", 2, "import sys", "SystemExit: 0 (the chapter did not reach"),
]  # fmt: skip


def execute(layout: Layout, wanted: str = "", log: io.StringIO | None = None, force: bool = False) -> Outcome:
    chapters = select(discover(layout), wanted)
    display = Display(len(chapters), log or io.StringIO(), interval=0.0)
    return execute_chapters(chapters, layout, SEVEN, 2, force, display=display)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, new_toy, real: Layout) -> SimpleNamespace:
    """The layout of a tree, the outcome of executing its chapters, and what the log says."""
    toy = new_toy(tmp_path_factory.mktemp("execution") / "toy")
    toy.module("wavemem.plain", "X = 'from the tree'\n")
    toy.module("wavemem.elman.table1", "")
    for name in ("style", "tables"):
        source = real.package / "wavemem" / "plotting" / f"{name}.py"
        toy.module(f"wavemem.plotting.{name}", source.read_text(encoding="utf-8"))
    # All that a reader may have lying about; the variables point to it.
    mine = toy.layout.root.parent / "mine"
    spec = {"argv": ["/bin/false"], "display_name": "mine", "language": "python"}
    for path, text in {
        toy.layout.notebooks / "helpers.py": "from wavemem.plain import X\n",
        toy.layout.root / "records" / "seen.csv": "1",
        toy.layout.root / "matplotlibrc": "lines.linewidth: 40\nsavefig.facecolor: red\n",
        toy.layout.root / "ipython_kernel_config.py": "raise SystemExit\n",
        toy.layout.root / "random.py": "raise SystemExit\n",
        mine / "kernels" / "python3" / "kernel.json": json.dumps(spec),
        mine / "startup.py": "print('started')\n",
        mine / "profile_default" / "ipython_kernel_config.py": "raise SystemExit\n",
        mine / "sitecustomize.py": "print('customised')\n",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    personal = {"JUPYTER_PATH": mine, "PYTHONSTARTUP": mine / "startup.py", "IPYTHONDIR": mine, "PYTHONPATH": mine}
    toy.chapter("01-good", _SPEAKS, _FIGURE)
    for name, cells, *_ in BROKEN:
        toy.chapter(name, *cells, settings="timeout: 1" if name == "04-slow" else "")
    log = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**personal, "PYTHONOPTIMIZE": "1"}.items():
            patch.setenv(name, str(value))
        outcome = execute(toy.layout, log=log)
    return SimpleNamespace(layout=toy.layout, outcome=outcome, log=log.getvalue())


def test_the_notebook_has_its_parameters_and_no_trace_of_the_moment(ran) -> None:
    file = ran.layout.chapters(SEVEN) / "01-good.ipynb"
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "seed = 7" in code[1].source
    assert ["remove-cell" in cell.metadata.get("tags", []) for cell in code] == [True, True, False, False]
    said = "True quick cpu 7 from the tree 1 PASSIVE\n<object object at 0x…>\n1\n"
    assert code[2].outputs[0].text == said
    text = file.read_text(encoding="utf-8")
    assert "image/svg+xml" in text
    for trace in ('"papermill"', "start_time", "iopub", "dc:date", str(ran.layout.root)):
        assert trace not in text


def test_twice_executed_gives_the_same_bytes(ran) -> None:
    files = [ran.layout.chapters(SEVEN) / "01-good.ipynb", ran.layout.results(SEVEN) / "01-good.json"]
    before = [(file.read_bytes(), file.stat().st_ino) for file in files]
    shared, others = (ran.layout.build / "runs" / f"{name}-0123456789ab" for name in ("table1", "adding"))
    for folder in (shared, others):
        folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", None)
        again = execute(ran.layout, "1")
    assert (again.executed, list(again.seconds)) == ([], ["01-good"])
    assert again.timings().endswith(" s   up to date")
    assert shared.is_dir()
    # This time with no personal setting at all.
    (ran.layout.root / "matplotlibrc").unlink()
    assert execute(ran.layout, "1", force=True).executed == ["01-good"]
    assert not shared.exists()  # what the chapter shares with others is trained anew too
    assert others.is_dir()  # and nothing else
    for file, (content, inode) in zip(files, before, strict=True):
        assert file.read_bytes() == content
        assert file.stat().st_ino != inode


def test_what_a_chapter_was_seen_to_read_is_in_its_key(ran) -> None:
    (chapter,) = select(discover(ran.layout), "1")
    seen = ran.layout.root / "records" / "seen.csv"
    for change in (lambda: seen.write_text("2"), seen.unlink):
        change()
        assert compare(chapter, ran.layout, SEVEN)[2] == "changed: read records/seen.csv"
    seen.write_text("1")
    assert compare(chapter, ran.layout, SEVEN)[2] == ""


@pytest.mark.parametrize(("name", "_cells", "kind", "cell", "first_line", "message"), BROKEN)
def test_a_failure_says_where_and_what(
    ran, name: str, _cells: object, kind: str, cell: int, first_line: str, message: str
) -> None:
    (failure,) = [failure for failure in ran.outcome.failures if failure.chapter == name]
    assert (failure.kind, failure.cell, failure.first_line) == (kind, cell, first_line)
    assert message in failure.message
    assert nbformat.read(failure.notebook, as_version=4).cells
    said = failure.describe()
    assert said.startswith(f"chapter {name}: {kind}\n  in code cell {cell}, which begins: {first_line}\n  ")
    assert failure.notebook in said
    assert ("y = x / 0" in said) == (name == "02-fails")
    assert "\x1b" not in said
    assert look_up(ran.layout, SEVEN, name) is None


def test_where_a_notebook_stopped_that_was_not_written_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "x.ipynb"
    assert stopped_at(file) == {}
    file.write_text('{"cells": [')
    assert stopped_at(file) == {}


def test_a_report_keeps_the_end_of_a_long_traceback() -> None:
    failure = Failure("01-x", "error", "E: e", traceback="\n".join(f"\x1b[1mline {n}\x1b[0m" for n in range(50)))
    first, _, *rest = failure.describe().split("\n")
    assert (first, rest[-1], len(rest)) == ("chapter 01-x: error", "    line 49", 12)


def test_the_good_chapter_is_kept_and_nothing_of_the_others(ran) -> None:
    assert ran.outcome.executed == list(ran.outcome.seconds) == ["01-good"]
    assert {failure.chapter for failure in ran.outcome.failures} == {name for name, *_ in BROKEN}
    folder = ran.layout.chapters(SEVEN)
    assert sorted(path.name for path in folder.iterdir()) == ["01-good.ipynb", "01-good.key.json"]
    assert [path.name for path in ran.layout.results(SEVEN).iterdir()] == ["01-good.json"]
    starts = ("01-good: not executed yet$", "01-good: executed in ", "02-fails: FAILED after ", r"\[.*/6 chapters; ")
    for line in (*starts, r"\[.*04-slow"):
        assert re.search(f"^{line}", ran.log, re.MULTILINE)
    assert "\r" not in ran.log


def test_only_the_mended_chapter_is_executed(ran, tmp_path: Path) -> None:
    layout = Layout(shutil.copytree(ran.layout.root, tmp_path / "copy"))
    source = layout.notebooks / "02-fails.md"
    source.write_text(source.read_text(encoding="utf-8").replace("x / 0", "x / 1"), encoding="utf-8")
    outcome = execute(layout, "1,2")
    assert outcome.executed == ["02-fails"]
    assert set(outcome.seconds) == {"01-good", "02-fails"}
    assert not layout.work(SEVEN, "02-fails").exists()


def test_a_chapter_without_parameters_is_refused_with_advice(toy) -> None:
    text = toy.chapter("01-first", "x = 1").text
    toy.source("01-first").write_text(text.replace("[parameters]", "[other]"), encoding="utf-8")
    assert "no code cell is tagged 'parameters'" in execute(toy.layout).failures[0].message


def test_a_chapter_of_another_build_is_waited_for(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_start", None)
    chapter = toy.chapter("01-first", "x = 1")
    claimed, _ = claim(toy.layout.work(SEVEN, "x").with_name("01-first.lock"))
    said = io.StringIO()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(execute, toy.layout, log=said)
        with pytest.raises(TimeoutError):
            other.result(1.0)
        cache.publish(toy.layout, SEVEN, "01-first", chapter_key(chapter, toy.layout, SEVEN), b"{}", None, 3.0)
        claimed.close()
        assert other.result(60.0) == Outcome({"01-first": 3.0})
    waited = f"01-first: another build executes it (process {os.getpid()}); waiting for it to end"
    assert said.getvalue().splitlines() == ["01-first: not executed yet", waited, "01-first: executed by another build"]


def test_a_killed_build_takes_its_chapters_with_it(toy) -> None:
    toy.chapter("01-first", "from pathlib import Path\nPath('running').touch()\nimport time; time.sleep(600)")
    command = [sys.executable, "-m", "wavemem.cli", "book", "run", "--device", "cpu"]
    with subprocess.Popen(command, cwd=toy.layout.root, stderr=subprocess.DEVNULL) as build:
        deadline = time.monotonic() + 300
        while not (toy.layout.root / "running").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        build.send_signal(signal.SIGKILL)
    assert (toy.layout.root / "running").exists()
    work = toy.layout.work(Parameters(), "01-first")
    # The lock is free once nobody executes the chapter.
    with work.with_name("01-first.lock").open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
    assert json.loads((work / "outcome.json").read_text())["failure"]["kind"] == "stopped"
    assert not toy.layout.chapters(Parameters()).exists()


@pytest.mark.parametrize("left", ["X = 2\n", "X = 1\n", ""])
def test_sources_that_changed_meanwhile(toy, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    """Also those that were changed back, or removed."""
    toy.chapter("01-first", "import wavemem.plain")

    def start(chapter, layout, *_others):
        work = layout.work(SEVEN, chapter.name)
        work.mkdir()
        (work / "published.ipynb").write_text("{}")
        (work / "outcome.json").write_text('{"seconds": 1.0}')
        file = toy.module("wavemem.plain", left)
        if not left:
            file.unlink()
        return subprocess.Popen(["true"])

    monkeypatch.setattr(schedule, "_start", start)
    (failure,) = execute(toy.layout).failures
    assert failure.kind == "changed while it ran"
    assert "plain.py; not published: run the same command again" in failure.message
    assert look_up(toy.layout, SEVEN, "01-first") is None


def test_words_that_changed_meanwhile_cost_nothing(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    chapter = toy.chapter("01-first", "x = 1")

    def start(chapter, layout, *_others):
        work = layout.work(SEVEN, chapter.name)
        work.mkdir()
        (work / "published.ipynb").write_text("{}")
        (work / "outcome.json").write_text('{"seconds": 1.0}')
        toy.source(chapter.name).write_text(chapter.text.replace("Words.", "Words, and words."))
        return subprocess.Popen(["true"])

    monkeypatch.setattr(schedule, "_start", start)
    assert execute(toy.layout).executed == [chapter.name]
    assert compare(discover(toy.layout)[0], toy.layout, SEVEN)[2] == ""


PERSONAL = (
    "ATEN_CPU_CAPABILITY DOCUTILSCONFIG IPYTHONDIR JUPYTER_PATH KMP_AFFINITY LANG LC_ALL MATPLOTLIBRC MKL_CBWR MPLBACKEND "
    "OMP_DYNAMIC OMP_NUM_THREADS PYTHONDEVMODE PYTHONHASHSEED PYTHONHOME PYTHONOPTIMIZE PYTHONPATH PYTHONSTARTUP "
    "PYTHONWARNINGS TORCH_SHOW_CPP_STACKTRACES TRITON_INTERPRET TZ WAVEMEM_CHAPTER WAVEMEM_RUNS"
)


def test_a_kernel_s_environment_is_nobody_s(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> dict[str, str]:
        return kernel_environment(toy.layout, toy.layout.build / "w", "01-first", 1)

    quiet = made()
    for name in PERSONAL.split():
        monkeypatch.setenv(name, "mine")
    assert made() == quiet
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        assert quiet[name] == "1"  # however many cores the machine has
    for name in KEYED:
        monkeypatch.setenv(name, "x")
    assert {name: value for name, value in made().items() if quiet.get(name) != value} == dict.fromkeys(KEYED, "x")


@pytest.fixture
def entry(toy):
    """A chapter published by hand, without a kernel, and its key."""
    key = chapter_key(toy.chapter("01-first", "x = 1"), toy.layout, SEVEN)
    cache.publish(toy.layout, SEVEN, "01-first", key, b"{}", b"[1]", 1.234)
    found = look_up(toy.layout, SEVEN, "01-first")
    assert (found.ingredients, found.seconds) == (key.ingredients, 1.23)
    assert (toy.layout.results(SEVEN) / "01-first.json").read_bytes() == b"[1]"
    assert look_up(toy.layout, Parameters(), "01-first") is None
    return toy, key


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"key": 1}', "[2]", "{ }"])
@pytest.mark.parametrize("file", [0, 1, 2])
def test_damaged_or_changed_files_are_no_entry(entry, file: int, damage: str) -> None:
    toy, key = entry
    damaged = cache._files(toy.layout, SEVEN, "01-first")[file]
    damaged.write_text(damage if damaged.read_text() != damage else "")
    assert look_up(toy.layout, SEVEN, "01-first") is None
    cache.publish(toy.layout, SEVEN, "01-first", key, b"{}", None, 1.0)
    assert not (toy.layout.results(SEVEN) / "01-first.json").exists()
    assert look_up(toy.layout, SEVEN, "01-first") is not None


def test_a_publication_cut_short_leaves_no_half(entry, monkeypatch: pytest.MonkeyPatch) -> None:
    toy, key = entry

    def fail(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "write_json", fail)
    with pytest.raises(KeyboardInterrupt):
        cache.publish(toy.layout, SEVEN, "01-first", key, b"{ }", b"[1]", 1.0)
    assert look_up(toy.layout, SEVEN, "01-first") is None
    monkeypatch.undo()
    monkeypatch.setattr(os, "replace", fail)
    shutil.rmtree(toy.layout.chapters(SEVEN))
    with pytest.raises(KeyboardInterrupt):
        cache.publish(toy.layout, SEVEN, "01-first", key, b"{ }", None, 1.0)
    assert list(toy.layout.chapters(SEVEN).iterdir()) == []


def test_why_a_chapter_is_executed_again(entry) -> None:
    toy, _ = entry
    chapter = toy.chapter("01-first", "x = 2", settings="records: [a]")
    (toy.layout.root / "constraints.txt").unlink()
    (toy.layout.notebooks / "new.csv").touch()
    said = compare(chapter, toy.layout, SEVEN, threads=2)[2]
    assert said == "changed: code cells, constraints.txt, data notebooks/new.csv and 1 more"
    assert compare(chapter, toy.layout, Parameters())[2] == "not executed yet"
