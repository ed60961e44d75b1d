"""Toy chapters through jupytext, papermill and a kernel: what is published, what is said, what is left alone."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from wavemem.building import cache, schedule
from wavemem.building.cache import chapter_key
from wavemem.building.chapters import discover, select
from wavemem.building.layout import KEYED, BuildError, Layout, Parameters, UsageError
from wavemem.building.progress import Display
from wavemem.building.schedule import Outcome, execute_chapters, kernel_environment
from wavemem.processes import claim

SEVEN = Parameters("quick", "cpu", 7)
BROKEN = {"02-fails", "03-dead", "04-slow", "05-killed", "06-exits"}

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


@dataclass
class Ran:
    """A tree, what became of its chapters, and what the log says."""

    toy: object
    layout: Layout
    outcome: Outcome
    log: str

    def execute(self, wanted: str, force: bool = False) -> Outcome:
        """Execute some chapters again."""
        chapters = select(discover(self.layout), wanted)
        return execute_chapters(chapters, self.layout, SEVEN, 2, force, display=Display(len(chapters), io.StringIO()))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, new_toy, real: Layout) -> Ran:
    toy = new_toy(tmp_path_factory.mktemp("execution") / "toy")
    toy.module("wavemem.plain", "X = 'from the tree'\n")
    toy.module("wavemem.elman.table1", "")
    toy.module("wavemem.plotting.style", (real.package / "wavemem/plotting/style.py").read_text(encoding="utf-8"))
    # All that a reader may have lying about; the fixture sets variables that point to it.
    (toy.layout.notebooks / "helpers.py").write_text("from wavemem.plain import X\n")
    (toy.layout.root / "records").mkdir()
    (toy.layout.root / "records" / "seen.csv").write_text("1")
    (toy.layout.root / "matplotlibrc").write_text("lines.linewidth: 40\nsavefig.facecolor: red\n")
    (toy.layout.root / "ipython_kernel_config.py").write_text("raise SystemExit\n")
    (toy.layout.root / "random.py").write_text("raise SystemExit\n")
    mine = toy.layout.root.parent / "mine"
    spec = {"argv": ["/bin/false"], "display_name": "mine", "language": "python"}
    (mine / "kernels" / "python3").mkdir(parents=True)
    (mine / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    (mine / "startup.py").write_text("print('started')\n")
    (mine / "profile_default").mkdir()
    (mine / "profile_default" / "ipython_kernel_config.py").write_text("raise SystemExit\n")
    (mine / "sitecustomize.py").write_text("print('customised')\n")
    personal = {"JUPYTER_PATH": mine, "PYTHONSTARTUP": mine / "startup.py", "IPYTHONDIR": mine, "PYTHONPATH": mine}
    toy.chapter("01-good", _SPEAKS, _FIGURE)
    toy.chapter("02-fails", "x = 1", "# the culprit\ny = x / 0", "z = 3")
    toy.chapter("03-dead", "x = 1", "import os\nos._exit(1)")
    toy.chapter("04-slow", "import time; time.sleep(600)", settings="timeout: 1")
    # A kernel's parent is the process that executes the chapter.
    toy.chapter("06-exits", "x = 1", "import sys\nsys.exit(0)", "raise RuntimeError('never reached')")
    toy.chapter("05-killed", "import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(600)")
    log = io.StringIO()
    chapters = discover(toy.layout)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**personal, "PYTHONOPTIMIZE": "1"}.items():
            patch.setenv(name, str(value))
        outcome = execute_chapters(chapters, toy.layout, SEVEN, 2, display=Display(len(chapters), log, interval=0.0))
    return Ran(toy, toy.layout, outcome, log.getvalue())


def _failure(ran: Ran, name: str):
    return next(failure for failure in ran.outcome.failures if failure.chapter == name)


def test_parameters_are_injected_and_hidden(ran: Ran) -> None:
    notebook = nbformat.read(ran.layout.chapters(SEVEN) / "01-good.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "seed = 7" in code[1].source
    for cell in code[:2]:
        assert "remove-cell" in cell.metadata.tags
    assert "remove-cell" not in code[2].metadata.get("tags", [])
    assert code[2].outputs[0].text.splitlines() == [
        "True quick cpu 7 from the tree 1 PASSIVE",
        "<object object at 0x…>",
        "1",
    ]


def test_the_notebook_holds_no_trace_of_the_moment(ran: Ran) -> None:
    text = (ran.layout.chapters(SEVEN) / "01-good.ipynb").read_text(encoding="utf-8")
    assert "image/svg+xml" in text
    for trace in ('"papermill"', "start_time", "iopub", "dc:date", str(ran.layout.root)):
        assert trace not in text


def test_twice_executed_gives_the_same_bytes(ran: Ran) -> None:
    files = [ran.layout.chapters(SEVEN) / "01-good.ipynb", ran.layout.results(SEVEN) / "01-good.json"]
    before = [file.read_bytes() for file in files]
    moments = [file.stat().st_ino for file in files]
    shared, others = (ran.layout.build / "runs" / f"{name}-0123456789ab" for name in ("table1", "adding"))
    for folder in (shared, others):
        folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", None)
        again = ran.execute("1")
    assert (again.executed, list(again.seconds)) == ([], ["01-good"])
    assert shared.is_dir()
    # This time with no personal setting at all.
    (ran.layout.root / "matplotlibrc").unlink()
    assert ran.execute("1", force=True).executed == ["01-good"]
    assert not shared.exists()  # what the chapter shares with others is trained anew too
    assert others.is_dir()  # and nothing else
    assert [file.stat().st_ino for file in files] != moments
    assert [file.read_bytes() for file in files] == before


def test_what_a_chapter_was_seen_to_read_is_in_its_key(ran: Ran) -> None:
    entry = cache.look_up(ran.layout, SEVEN, "01-good")
    assert cache.read_by(entry) == ("records/seen.csv",)
    chapter = select(discover(ran.layout), "1")[0]
    seen = ran.layout.root / "records" / "seen.csv"
    for change, text in ((lambda: seen.write_text("2"), "2"), (seen.unlink, None), (lambda: seen.write_text("1"), "1")):
        change()
        key = chapter_key(chapter, ran.layout, SEVEN, read=cache.read_by(entry))
        assert key.changes(entry.ingredients) == ([] if text == "1" else ["read records/seen.csv"])
    assert cache.is_current(entry, key)


@pytest.mark.parametrize(
    ("name", "kind", "cell", "first_line", "message"),
    [
        ("02-fails", "error", 3, "# the culprit", "ZeroDivisionError: division by zero"),
        ("03-dead", "dead kernel", 3, "import os", "the kernel died"),
        ("04-slow", "time-out", 2, "import time; time.sleep(600)", "time limit"),
        ("05-killed", "dead process", 2, "import os, signal, time", "killed by signal 9"),
        ("06-exits", "error", 3, "import sys", "SystemExit: 0 (the chapter did not reach its end)"),
    ],
)
def test_a_failure_says_where_and_what(
    ran: Ran, name: str, kind: str, cell: int, first_line: str, message: str
) -> None:
    failure = _failure(ran, name)
    assert (failure.kind, failure.cell, failure.first_line) == (kind, cell, first_line)
    assert message in failure.message
    partial = Path(failure.notebook)
    assert partial.is_file()
    assert nbformat.read(partial, as_version=4).cells
    said = failure.describe()
    assert said.startswith(f"chapter {name}: {kind}")
    assert f"code cell {cell}, which begins: {first_line}" in said
    assert str(partial) in said


def test_an_error_brings_its_traceback_without_colours(ran: Ran) -> None:
    said = _failure(ran, "02-fails").describe()
    assert "y = x / 0" in said
    assert "\x1b" not in said


def test_the_good_chapter_is_kept_and_nothing_of_the_others(ran: Ran) -> None:
    assert ran.outcome.executed == list(ran.outcome.seconds) == ["01-good"]
    assert {failure.chapter for failure in ran.outcome.failures} == BROKEN
    folder = ran.layout.chapters(SEVEN)
    assert sorted(path.name for path in folder.iterdir()) == ["01-good.ipynb", "01-good.key.json"]
    assert [path.name for path in ran.layout.results(SEVEN).iterdir()] == ["01-good.json"]
    for name in BROKEN:
        assert cache.look_up(ran.layout, SEVEN, name) is None


def test_the_plain_log(ran: Ran) -> None:
    lines = ran.log.splitlines()
    assert "01-good: not executed yet" in lines
    assert any(line.startswith("01-good: executed in ") for line in lines)
    assert any(line.startswith("02-fails: FAILED after ") for line in lines)
    assert any("/6 chapters; " in line and "04-slow" in line for line in lines)
    assert "\r" not in ran.log


def test_only_the_mended_chapter_is_executed(ran: Ran) -> None:
    source = ran.layout.notebooks / "02-fails.md"
    text = source.read_text(encoding="utf-8")
    try:
        source.write_text(text.replace("x / 0", "x / 1"), encoding="utf-8")
        outcome = ran.execute("1,2")
        assert outcome.executed == ["02-fails"]
        assert set(outcome.seconds) == {"01-good", "02-fails"}
        assert not ran.layout.work(SEVEN, "02-fails").exists()
    finally:
        source.write_text(text, encoding="utf-8")
        for suffix in (".ipynb", ".key.json"):
            (ran.layout.chapters(SEVEN) / f"02-fails{suffix}").unlink(missing_ok=True)


def test_a_chapter_without_parameters_is_refused_with_advice(toy) -> None:
    chapter = toy.chapter("01-first", "x = 1")
    chapter.source.write_text(chapter.text.replace("[parameters]", "[other]"), encoding="utf-8")
    display = Display(1, io.StringIO())
    outcome = execute_chapters(discover(toy.layout), toy.layout, SEVEN, display=display)
    assert "no code cell is tagged 'parameters'" in outcome.failures[0].message


def test_a_chapter_in_another_build_s_hands_is_waited_for_and_not_executed_again(
    toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_start", None)
    chapter = toy.chapter("01-first", "x = 1")
    claimed, _ = claim(toy.layout.work(SEVEN, "x").with_name("01-first.lock"))
    assert claimed is not None
    said = io.StringIO()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(execute_chapters, [chapter], toy.layout, SEVEN, display=Display(1, said))
        with pytest.raises(TimeoutError):
            other.result(1.0)
        cache.publish(toy.layout, SEVEN, "01-first", chapter_key(chapter, toy.layout, SEVEN), b"{}", None, 3.0)
        claimed.close()
        outcome = other.result(60.0)
    assert (outcome.executed, outcome.failures, outcome.seconds) == ([], [], {"01-first": 3.0})
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


@pytest.mark.parametrize("revert", [False, True])
def test_a_chapter_whose_sources_changed_meanwhile_is_not_published(
    toy, monkeypatch: pytest.MonkeyPatch, revert: bool
) -> None:
    chapter = toy.chapter("01-first", "import wavemem.plain")

    def start(chapter, layout, *_others):
        work = layout.work(SEVEN, chapter.name)
        work.mkdir()
        (work / "published.ipynb").write_text("{}")
        (work / "outcome.json").write_text('{"seconds": 1.0}')
        file = toy.module("wavemem.plain", "X = 2\n")
        if revert:
            file.write_text("X = 1\n")
        return subprocess.Popen(["true"])

    monkeypatch.setattr(schedule, "_start", start)
    outcome = execute_chapters([chapter], toy.layout, SEVEN, display=Display(1, io.StringIO()))
    assert [failure.kind for failure in outcome.failures] == ["changed while it ran"]
    assert "plain.py; not published: run the same command again" in outcome.failures[0].message
    assert cache.look_up(toy.layout, SEVEN, "01-first") is None


@pytest.mark.parametrize(("jobs", "threads"), [(0, 1), (-1, 1), (1, 0)])
def test_numbers_that_cannot_be(toy, jobs: int, threads: int) -> None:
    with pytest.raises(UsageError, match="allowed: a positive integer"):
        execute_chapters([], toy.layout, SEVEN, jobs, threads=threads)
    with pytest.raises(BuildError, match="device has to be chosen"):
        execute_chapters([], toy.layout, Parameters("quick", "auto", 0))


PERSONAL = {
    "ATEN_CPU_CAPABILITY": "default",
    "DOCUTILSCONFIG": "/nowhere",
    "IPYTHONDIR": "/nowhere",
    "JUPYTER_PATH": "/nowhere",
    "KMP_AFFINITY": "compact",
    "LANG": "de_DE",
    "LC_ALL": "de_DE",
    "MATPLOTLIBRC": "/nowhere",
    "MKL_CBWR": "COMPATIBLE",
    "MPLBACKEND": "agg",
    "OMP_DYNAMIC": "true",
    "OMP_NUM_THREADS": "64",
    "PYTHONDEVMODE": "1",
    "PYTHONHASHSEED": "7",
    "PYTHONHOME": "/nowhere",
    "PYTHONOPTIMIZE": "2",
    "PYTHONPATH": "/nowhere",
    "PYTHONSTARTUP": "/nowhere",
    "PYTHONWARNINGS": "error",
    "TORCH_SHOW_CPP_STACKTRACES": "1",
    "TRITON_INTERPRET": "1",
    "TZ": "Asia/Tokyo",
    "WAVEMEM_CHAPTER": "another",
    "WAVEMEM_RUNS": "/nowhere",
}


def test_a_kernel_s_environment_is_nobody_s(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> dict[str, str]:
        return kernel_environment(toy.layout, toy.layout.build / "w", "01-first", 1)

    quiet = made()
    for name, value in PERSONAL.items():
        monkeypatch.setenv(name, value)
    assert made() == quiet
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        assert quiet[name] == "1"  # however many cores the machine has
    for name in KEYED:
        monkeypatch.setenv(name, "x")
    assert {name: value for name, value in made().items() if quiet.get(name) != value} == dict.fromkeys(KEYED, "x")


class TestCache:
    """Publishing by hand, without a kernel."""

    @pytest.fixture
    def entry(self, toy):
        chapter = toy.chapter("01-first", "x = 1")
        key = chapter_key(chapter, toy.layout, SEVEN)
        cache.publish(toy.layout, SEVEN, "01-first", key, b"{}", b"[1]", 1.234)
        return toy, key

    def test_published_is_found(self, entry) -> None:
        toy, key = entry
        found = cache.look_up(toy.layout, SEVEN, "01-first")
        assert found is not None
        assert cache.is_current(found, key)
        assert found.seconds == 1.23
        assert found.results is not None
        assert found.results.read_bytes() == b"[1]"
        assert cache.look_up(toy.layout, Parameters(), "01-first") is None

    @pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"key": 1}'])
    def test_a_damaged_key_is_no_entry(self, entry, damage: str) -> None:
        toy, _ = entry
        (toy.layout.chapters(SEVEN) / "01-first.key.json").write_text(damage)
        assert cache.look_up(toy.layout, SEVEN, "01-first") is None

    def test_changed_files_are_no_entry(self, entry) -> None:
        toy, key = entry
        (toy.layout.results(SEVEN) / "01-first.json").write_bytes(b"[2]")
        assert cache.look_up(toy.layout, SEVEN, "01-first") is None
        cache.publish(toy.layout, SEVEN, "01-first", key, b"{}", None, 1.0)
        assert not (toy.layout.results(SEVEN) / "01-first.json").exists()
        assert cache.look_up(toy.layout, SEVEN, "01-first") is not None
        (toy.layout.chapters(SEVEN) / "01-first.ipynb").write_bytes(b"{ }")
        assert cache.look_up(toy.layout, SEVEN, "01-first") is None

    def test_a_publication_cut_short_leaves_no_half(self, entry, monkeypatch: pytest.MonkeyPatch) -> None:
        toy, key = entry

        def fail(*_arguments: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(cache, "write_json", fail)
        with pytest.raises(KeyboardInterrupt):
            cache.publish(toy.layout, SEVEN, "01-first", key, b"{ }", b"[1]", 1.0)
        assert cache.look_up(toy.layout, SEVEN, "01-first") is None
        monkeypatch.undo()
        monkeypatch.setattr(os, "replace", fail)
        shutil.rmtree(toy.layout.chapters(SEVEN))
        with pytest.raises(KeyboardInterrupt):
            cache.publish(toy.layout, SEVEN, "01-first", key, b"{ }", None, 1.0)
        assert list(toy.layout.chapters(SEVEN).iterdir()) == []

    def test_why(self, entry) -> None:
        toy, _ = entry
        found = cache.look_up(toy.layout, SEVEN, "01-first")
        newer = chapter_key(toy.chapter("01-first", "x = 2"), toy.layout, Parameters("quick", "cpu", 8), threads=2)
        assert not cache.is_current(found, newer)
        assert cache.reason(found, newer) == "changed: chapter text, parameter seed, threads"
        assert cache.reason(None, newer) == "not executed yet"
