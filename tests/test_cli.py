"""The command line, as a reader would type it."""

from __future__ import annotations

import dataclasses
import errno
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

import wavemem.experiments
from wavemem.building import doctor, schedule
from wavemem.building.chapters import discover
from wavemem.building.doctor import Finding
from wavemem.building.layout import Layout, Parameters
from wavemem.building.worker import Failure
from wavemem.cli import _RANGES, main
from wavemem.records.experiment import Result, experiment_names, get_experiment
from wavemem.records.runs import recorded
from wavemem.streams import MOST_RUNS, MOST_SEED, run_seeds

ROOT = Path(__file__).resolve().parents[1]
Command = Callable[..., tuple[int, str, str]]


@dataclasses.dataclass(frozen=True)
class Config:
    """Of the experiment "tiny": this module."""

    size: int = 3

    @classmethod
    def profile(cls, name: str) -> Config:
        return cls(2 if name == "quick" else 9)


def run(config: Config, seed: int, device: str) -> Result:
    if seed == 13:
        raise ValueError("something inside went wrong")
    return Result(pd.DataFrame({"seed": [seed] * config.size, "value": range(config.size)}))


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.groupby("seed").agg({"value": "sum"})


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`wavemem` at the top of the book: exit status, standard output, standard error."""
    monkeypatch.chdir(ROOT)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wavemem", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The command that runs an experiment beside the real ones, and stores it in `tmp_path`."""
    monkeypatch.setitem(wavemem.experiments.EXPERIMENTS, "tiny", __name__)
    monkeypatch.setattr("wavemem.records.run.code_version", lambda *_: "code")
    return ["run", "tiny", "--device", "cpu", "--records", tmp_path / "records"]


def test_listings(command: Command) -> None:
    _, said, _ = command("chapters")
    assert [line.split()[0] for line in said.splitlines()] == [chapter.name for chapter in discover(Layout(ROOT))]
    _, said, _ = command("experiments")
    *lines, blank, last = said.splitlines()
    assert sorted(line.split()[0] for line in lines) == experiment_names()
    assert all(len(line.split()) > 3 for line in lines)
    assert (blank, last.startswith("profiles: quick, paper")) == ("", True)


def test_run(tiny: list[object], tmp_path: Path, command: Command) -> None:
    status, said, _ = command(*tiny, "--seed", 5)
    lines = said.splitlines()
    assert (status, lines[:3]) == (0, ["      value", "seed       ", "5         1"])
    assert "(2 rows, " in lines[-1]
    folder = Path(lines[-1].split("  (")[0])
    assert folder.parent == tmp_path / "records" / "tiny"
    assert (folder / "record.json").is_file()
    status, _, said = command(*tiny, "--seed", 5)
    assert (status, said.count("\n"), "exists" in said) == (2, 1, True)
    assert command(*tiny, "--seed", 5, "--replace")[0] == 0


def test_another_protocol_is_stored_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    """A toy under the name "paper" stays out of records/ unless it is asked for."""
    (tmp_path / "records" / "registry").mkdir(parents=True)
    monkeypatch.setenv("WAVEMEM_ROOT", str(tmp_path))
    toy = {"s": 2, "d": 2, "hidden_size": 2, "batch": 2, "iterations": 2, "horizons": 2, "test_batches": 1}
    settings = [part for name, value in toy.items() for part in ("--set", f"{name}={value}")]
    run = ["run", "repeat_copy", "--device", "cpu", "--profile", "paper", "--set", "runs=1", *settings]
    status, said, _ = command(*run)
    names = said.partition("another protocol than profile paper: ")[2].partition(";")[0].split(", ")
    assert (status, set(names)) == (0, toy.keys())
    assert len(list((tmp_path / "_build" / "records" / "repeat_copy").glob("paper-*"))) == 1
    assert not (tmp_path / "records" / "repeat_copy").exists()
    assert command(*run, "--keep")[0] == 0
    assert len(list((tmp_path / "records" / "repeat_copy").glob("paper-*"))) == 1
    assert recorded("repeat_copy") == []


def test_an_experiment_s_own_error_keeps_its_traceback(tiny: list[object], tmp_path: Path, command: Command) -> None:
    with pytest.raises(ValueError, match="something inside went wrong") as caught:
        command(*tiny, "--seed", 13)
    assert (caught.traceback[-1].name, caught.traceback[-1].path.name) == ("run", "test_cli.py")
    assert not list((tmp_path / "records").glob("tiny/quick-*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run absent", "unknown experiment 'absent'; available: "),
        ("run repeat_copy --profile slow", "unknown profile 'slow'; available: quick, paper"),
        ("run repeat_copy --device tpu", "unknown device 'tpu'; available: auto, cpu, cuda"),
        ("run repeat_copy --seed x", "seed is 'x'; allowed: a whole number from 0 to 1,000,000,000,000,000"),
        (f"run repeat_copy --seed {10**20}", "allowed: a whole number from 0 to 1,000,000,000,000,000"),
        (f"run repeat_copy --jobs {'9' * 9000}", "allowed: a whole number from 1 to 1,024"),
        ("run repeat_copy --jobs 2 --scheduler tcp://x:1", "jobs is 2 beside a scheduler; allowed: one of them"),
        ("run repeat_copy --records Makefile", "records is 'Makefile', a file; allowed: a folder"),
        ("run", "Missing argument 'experiment'"),
        ("run repeat_copy --sed 1", "No such option: --sed"),
        ("run absent --help", "unknown experiment 'absent'; available: "),
        ("bok", "No such command 'bok'"),
        ("book run 99", "unknown chapter '99'; available: 01-"),
        ("book run 1 --threads 0", "threads is '0'; allowed: a whole number from 1 to 1,024"),
        ("book build --chapters 1,nope", "unknown chapter 'nope'; available: 01-"),
        ("book build --profile slow", "unknown profile 'slow'; available: quick, paper"),
        ("book build --device tpu", "unknown device 'tpu'; available: auto, cpu, cuda"),
        ("book build --seed -1", "seed is '-1'; allowed: a whole number from 0 to 1,000,000,000,000,000"),
        *(
            (f"book build --jobs {jobs!r}", f"jobs is {jobs!r}; allowed: a whole number from 1 to 1,024")
            for jobs in ("0", "-2", "1.5", "")
        ),
        ("book build --timeout soon", "timeout is 'soon'; allowed: a whole number from 0 to 1,000,000"),
        ("book serve --port 70000", "port is '70000'; allowed: a whole number from 0 to 65,535"),
    ],
)
def test_bad_arguments(arguments: str, said: str, command: Command) -> None:
    status, _, error = command(*shlex.split(arguments))
    assert (status, error.count("\n"), error.startswith("wavemem: ")) == (2, 1, True)
    assert said in error


def test_no_book_and_no_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAVEMEM_ROOT", str(tmp_path))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").touch()
    for arguments, reason in (
        (["book", "run"], "no chapters in"),
        (["run", "repeat_copy", "--device", "cpu"], "no folder records/registry in or above"),
    ):
        status, _, said = command(*arguments)
        assert (status, reason in said) == (2, True)


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("note", 0), ("fail", 1)])
def test_doctor(monkeypatch: pytest.MonkeyPatch, command: Command, state: str, code: int) -> None:
    findings = [Finding("ok", "python", "3.11"), Finding(state, "disk", "so much")]
    monkeypatch.setattr(doctor, "examine", lambda root: findings)
    status, said, _ = command("doctor")
    assert (status, said.splitlines()[1].split()) == (code, [state, "disk", "so", "much"])


def test_the_order_reaches_the_build(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    orders = []

    def execute(chapters, layout, *order):
        orders.append((["".join(chapter.name[:2]) for chapter in chapters], *order))
        failure = Failure("04-x", "error", "E: e", "", 3, "x = 1", "/somewhere/04-x.ipynb")
        return schedule.Outcome({"01-a": 1.5}, ["01-a"], [failure])

    monkeypatch.setattr(schedule, "execute_chapters", execute)
    options = ["--profile", "paper", "--device", "cpu", "--seed", "3", "--jobs", "4", "--threads", "2", "--force"]
    for arguments, order in (
        (["run", "1", "4", *options, "--timeout", "60"], (["01", "04"], Parameters("paper", "cpu", 3), 4, True, 60, 2)),
        (["build", "--chapters", "2", "--device", "cpu"], (["02"], Parameters(), 2, False, None, 1)),
    ):
        status, said, error = command("book", *arguments)
        assert (status, orders[-1]) == (1, order)
        assert "  01-a                                 1.5 s   executed now\n" in said
        assert "chapter 04-x: error\n" in error
        assert "  partly executed notebook: /somewhere/04-x.ipynb\n" in error
        assert "1 failed; 1 finished and kept" in error
        assert "site" not in said  # no pages of a book that lacks a chapter


def test_help(command: Command) -> None:
    for arguments, names in (
        (["--help"], "chapters experiments run doctor book"),
        (["book", "-h"], "run build serve links"),
    ):
        _, said, _ = command(*arguments)
        assert all(f" {name} " in said for name in names.split())
    status, said, _ = command("run", "table1", "--help")
    for field in dataclasses.fields(get_experiment("table1").Config):
        assert f"\n  {field.name}: " in said
    assert (status, "quick: 4\n      paper: 8" in said) == (0, True)


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EMFILE, errno.EIO]
)
@pytest.mark.parametrize("where", ["pathlib.Path.mkdir", "wavemem.records.run.write_rows", "wavemem.records.run.sync"])
def test_what_the_system_refuses_is_one_line(
    tiny: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command, number: int, where: str
) -> None:
    def refuse(path: object, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(where, refuse)
    status, _, said = command(*tiny)
    assert (status, said.count("\n"), os.strerror(number) in said) == (1, 1, True)
    assert not list(tmp_path.glob("records/tiny/[!.]*"))


def test_too_little_memory_is_one_line(tiny: list[object], monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.setattr(get_experiment("tiny"), "run", lambda *_: torch.empty(2**55))
    status, _, said = command(*tiny)
    assert (status, said.startswith("wavemem: not enough memory")) == (1, True)


_NOBODY = """
import os, pwd, sys
def nobody(*_): raise KeyError("no such user")
pwd.getpwuid = pwd.getpwnam = nobody
from wavemem.cli import main
sys.argv = ["wavemem", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["doctor"], (0, 1)), (["experiments"], (0,)), (["run", "repeat_copy", "--set", "runs=0"], (2,))],
)
def test_no_home_no_user_no_compiler_no_checkout_no_unicode(
    arguments: list[str], status: tuple[int, ...], tmp_path: Path
) -> None:
    bare = {"PATH": str(tmp_path), "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-c", _NOBODY, *arguments]
    done = subprocess.run(run, env=bare, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in status, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.isascii()


def test_a_reader_that_goes_away_is_no_error() -> None:
    run = [sys.executable, "-m", "wavemem.cli", "experiments"]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_seed_that_is_allowed_can_be_stored() -> None:
    assert _RANGES["seed"][1] + 1 <= MOST_SEED  # some experiments take the next base seed, too
    assert max(run_seeds(MOST_SEED, MOST_RUNS)) < 2**63
