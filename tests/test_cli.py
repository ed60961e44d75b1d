"""The command line, as a reader would type it."""

from __future__ import annotations

import dataclasses
import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import wavemem.experiments
from wavemem.building import build, doctor
from wavemem.building.chapters import discover
from wavemem.building.doctor import Finding
from wavemem.building.layout import Layout
from wavemem.building.site import Site
from wavemem.building.worker import Failure
from wavemem.cli import _RANGES, app, main
from wavemem.records.experiment import experiment_names, get_experiment
from wavemem.records.runs import recorded
from wavemem.streams import MOST_RUNS, MOST_SEED, run_seeds

ROOT = Path(__file__).resolve().parents[1]
runner = CliRunner()

_TINY = '''"""A tiny experiment.

More words.
"""

from dataclasses import dataclass

import pandas as pd

from wavemem.records.experiment import Result


@dataclass(frozen=True)
class Config:
    size: int = 3

    @classmethod
    def profile(cls, name):
        return cls(2 if name == "quick" else 9)


def run(config, seed, device):
    if seed == 13:
        raise ValueError("something inside went wrong")
    return Result(pd.DataFrame({"seed": [seed] * config.size, "value": range(config.size)}))


def summarise(rows):
    return rows.groupby("seed").agg({"value": "sum"})
'''


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An experiment beside the real ones."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "tiny.py").write_text(_TINY, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(wavemem.experiments.EXPERIMENTS, "tiny", "tiny")
    monkeypatch.setattr("wavemem.records.run.code_version", lambda *_: "code")
    monkeypatch.delitem(sys.modules, "tiny", raising=False)
    yield "tiny"
    sys.modules.pop("tiny", None)


def _refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Standard error of a command that has to end with status 2 and one line."""
    monkeypatch.setattr(sys, "argv", ["wavemem", *arguments])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.count("\n") == 1
    assert said.startswith("wavemem: ")
    return said


def test_chapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = runner.invoke(app, ["chapters"])
    assert done.exit_code == 0
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == [chapter.name for chapter in discover(Layout(ROOT))]


def test_experiments() -> None:
    done = runner.invoke(app, ["experiments"])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    listed = {line.split()[0]: line for line in lines[: lines.index("")]}
    assert sorted(listed) == experiment_names()
    assert all(len(line.split()) > 3 for line in listed.values())
    assert lines[-1].startswith("profiles: quick, paper")


def test_run(tiny: str, tmp_path: Path) -> None:
    arguments = ["run", tiny, "--device", "cpu", "--seed", "5", "--records", str(tmp_path / "records")]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.exception
    lines = done.stdout.splitlines()
    assert lines[:3] == ["      value", "seed       ", "5         1"]
    assert "(2 rows, " in lines[-1]
    folder = Path(lines[-1].split("  (")[0])
    assert folder.parent == tmp_path / "records" / "tiny"
    assert (folder / "record.json").is_file()
    assert runner.invoke(app, [*arguments, "--replace"]).exit_code == 0


def test_another_protocol_is_stored_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy under the name "paper" stays out of records/ unless it is asked for."""
    (tmp_path / "records" / "registry").mkdir(parents=True)
    monkeypatch.setenv("WAVEMEM_ROOT", str(tmp_path))
    toy = ["s", "d", "hidden_size", "batch", "iterations"]
    command = [
        "run",
        "repeat_copy",
        "--device",
        "cpu",
        "--profile",
        "paper",
        "--set",
        "runs=1",
        "--set",
        "test_batches=1",
    ]
    command += [part for field in toy for part in ("--set", f"{field}=2")] + ["--set", "horizons=2"]
    done = runner.invoke(app, command)
    assert done.exit_code == 0, done.exception
    said = done.stdout.partition("another protocol than profile paper: ")[2].partition(";")[0].split(", ")
    assert set(said) == {*toy, "horizons", "test_batches"}
    assert len(list((tmp_path / "_build" / "records" / "repeat_copy").glob("paper-*"))) == 1
    assert not (tmp_path / "records" / "repeat_copy").exists()
    assert runner.invoke(app, [*command, "--keep"]).exit_code == 0
    assert len(list((tmp_path / "records" / "repeat_copy").glob("paper-*"))) == 1
    assert recorded("repeat_copy") == []


def test_a_record_is_not_overwritten_by_accident(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["run", tiny, "--device", "cpu", "--records", str(tmp_path / "records")]
    assert runner.invoke(app, arguments).exit_code == 0
    assert "exists" in _refused(capsys, monkeypatch, *arguments)
    file = tmp_path / "file"
    file.touch()
    assert "a file; allowed: a folder" in _refused(capsys, monkeypatch, *arguments[:-1], str(file))


def test_an_experiment_s_own_error_keeps_its_traceback(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["run", tiny, "--device", "cpu", "--seed", "13", "--records", str(tmp_path / "records")]
    monkeypatch.setattr(sys, "argv", ["wavemem", *arguments])
    with pytest.raises(ValueError, match="something inside went wrong") as caught:
        main()
    assert any(entry.name == "run" and entry.path.name == "tiny.py" for entry in caught.traceback)
    assert not list((tmp_path / "records").glob("tiny/quick-*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "absent"], "unknown experiment 'absent'; available: "),
        (["run", "repeat_copy", "--profile", "slow"], "unknown profile 'slow'; available: quick, paper"),
        (["run", "repeat_copy", "--device", "tpu"], "unknown device 'tpu'; available: auto, cpu, cuda"),
        (["run", "repeat_copy", "--seed", "x"], "seed is 'x'; allowed: a whole number from 0 to 1,000,000,000,000,000"),
        (["run", "repeat_copy", "--seed", str(10**20)], "allowed: a whole number from 0 to 1,000,000,000,000,000"),
        (["run", "repeat_copy", "--jobs", "9" * 9000], "allowed: a whole number from 1 to 1,024"),
        (["run"], "Missing argument 'experiment'"),
        (["run", "repeat_copy", "--sed", "1"], "No such option: --sed"),
        (["run", "absent", "--help"], "unknown experiment 'absent'; available: "),
        (["bok"], "No such command 'bok'"),
        (["book", "serve", "--port", "70000"], "port is '70000'; allowed: a whole number from 0 to 65,535"),
        (["book", "run", "99"], "unknown chapter '99'; available: 01-"),
        (["book", "build", "--chapters", "1,nope"], "unknown chapter 'nope'; available: 01-"),
        (["book", "build", "--profile", "slow"], "unknown profile 'slow'; available: quick, paper"),
        (["book", "build", "--device", "tpu"], "unknown device 'tpu'; available: auto, cpu, cuda"),
        (["book", "build", "--seed", "-1"], "seed is '-1'; allowed: a whole number from 0 to 1,000,000,000,000,000"),
        (["book", "build", "--jobs", "0"], "jobs is '0'; allowed: a whole number from 1 to 1,024"),
        (["book", "build", "--jobs", "-2"], "jobs is '-2'; allowed: a whole number from 1 to 1,024"),
        (["book", "build", "--jobs", "1.5"], "jobs is '1.5'; allowed: a whole number from 1 to 1,024"),
        (["book", "build", "--jobs", ""], "jobs is ''; allowed: a whole number from 1 to 1,024"),
        (["book", "build", "--threads", "two"], "threads is 'two'; allowed: a whole number from 1 to 1,024"),
        (["book", "run", "1", "--threads", "0"], "threads is '0'; allowed: a whole number from 1 to 1,024"),
        (["book", "build", "--timeout", "soon"], "timeout is 'soon'; allowed: a whole number from 0 to 1,000,000"),
        (["book", "serve", "--port", "http"], "port is 'http'; allowed: a whole number from 0 to 65,535"),
    ],
)
def test_bad_arguments(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said in _refused(capsys, monkeypatch, *arguments)


def test_no_book_here(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["wavemem", "book", "run"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "no chapters in" in capsys.readouterr().err


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("note", 0), ("fail", 1)])
def test_doctor(monkeypatch: pytest.MonkeyPatch, state: str, code: int) -> None:
    findings = [Finding("ok", "python", "3.11"), Finding(state, "disk", "so much")]
    monkeypatch.setattr(doctor, "examine", lambda root: findings)
    done = runner.invoke(app, ["doctor"])
    assert done.exit_code == code
    assert done.stdout.splitlines()[1].split() == [state, "disk", "so", "much"]


def test_doctor_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = runner.invoke(app, ["doctor"])
    for subject in ("python", "library", "versions", "device", "threads", "book", "browser", "disk"):
        assert f" {subject} " in done.stdout


def test_the_order_reaches_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = []

    def execute(layout: Layout, order: build.Order):
        orders.append(order)
        failure = Failure("04-x", "error", "E: e", 3, "x = 1", "", "/somewhere/04-x.ipynb")
        return build.Outcome({"01-a": 1.5}, ["01-a"], [failure]), order.parameters()

    monkeypatch.setattr(build, "execute", execute)
    monkeypatch.chdir(ROOT)
    options = ["--profile", "paper", "--device", "cpu", "--seed", "3", "--jobs", "4", "--threads", "2", "--force"]
    done = runner.invoke(app, ["book", "run", "1", "4", *options, "--timeout", "60"])
    assert orders == [build.Order("paper", "cpu", 3, "1,4", 4, True, 60, 2)]
    assert done.exit_code == 1
    assert "01-a" in done.stdout
    assert "chapter 04-x: error" in done.stderr
    assert "partly executed notebook: /somewhere/04-x.ipynb" in done.stderr
    done = runner.invoke(app, ["book", "build", "--device", "cpu"])
    assert orders[1] == build.Order(device="cpu", jobs=2)
    assert done.exit_code == 1
    assert "1 failed; 1 finished and kept; no pages built" in done.stderr


def test_the_printed_server_serves_this_machine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "two words; $(touch here)"
    (root / "notebooks").mkdir(parents=True)
    (root / "_toc.yml").touch()
    site = Site(root / "_build" / "html", True, [], [])
    monkeypatch.setattr(build, "build_book", lambda *_: (build.Outcome(), site))
    monkeypatch.chdir(root)
    done = runner.invoke(app, ["book", "build"])
    assert done.exit_code == 0, done.exception
    line = next(line for line in done.stdout.splitlines() if line.startswith("serve: "))
    words = shlex.split(line.removeprefix("serve: ").split("   then ")[0])
    assert words[words.index("--bind") + 1] == "127.0.0.1"
    assert words[words.index("--directory") + 1] == str(root / "_build" / "html")


def test_help_lists_every_command() -> None:
    done = runner.invoke(app, ["--help"])
    for command in ("chapters", "experiments", "run", "doctor", "book"):
        assert command in done.stdout
    inside = runner.invoke(app, ["book", "--help"]).stdout
    for command in ("run", "build", "serve", "links"):
        assert command in inside


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["wavemem", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EMFILE, errno.EIO]
)
@pytest.mark.parametrize("where", ["pathlib.Path.mkdir", "wavemem.records.run.write_rows", "wavemem.records.run._sync"])
def test_what_the_system_refuses_is_one_line(
    tiny: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    where: str,
) -> None:
    def refuse(path: object, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(where, refuse)
    assert _main(monkeypatch, "run", tiny, "--device", "cpu", "--records", str(tmp_path / "records")) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert os.strerror(number) in said
    assert not list(tmp_path.glob("records/tiny/[!.]*"))


def test_a_file_system_without_locks_is_said_and_works(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", refuse)
    assert _main(monkeypatch, "run", tiny, "--device", "cpu", "--records", str(tmp_path / "records")) == 0
    assert caplog.text.count("offers no locks (Function not implemented)") == 1
    assert len(list(tmp_path.glob("records/tiny/*"))) == 1


def test_memory_that_is_not_there_is_one_line(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def greedy(*_: object) -> None:
        torch.empty(2**55)

    monkeypatch.setattr(get_experiment(tiny), "run", greedy)
    assert _main(monkeypatch, "run", tiny, "--device", "cpu", "--records", str(tmp_path / "records")) == 1
    assert capsys.readouterr().err.startswith("wavemem: not enough memory")


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
    command = [sys.executable, "-c", _NOBODY, *arguments]
    done = subprocess.run(command, env=bare, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in status, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.isascii()


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-m", "wavemem.cli", "experiments"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_no_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WAVEMEM_ROOT", str(tmp_path))
    assert _main(monkeypatch, "run", "repeat_copy", "--device", "cpu") == 2
    assert "no folder records/registry in or above" in capsys.readouterr().err


def test_help_of_run_lists_the_fields(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(monkeypatch, "run", "table1", "--help") == 0
    shown = capsys.readouterr().out
    for field in dataclasses.fields(get_experiment("table1").Config):
        assert f"\n  {field.name}: " in shown
    assert "quick: 4\n      paper: 8" in shown


def test_a_seed_that_is_allowed_can_be_stored() -> None:
    assert _RANGES["seed"][1] + 1 <= MOST_SEED  # some experiments take the next base seed, too
    assert max(run_seeds(MOST_SEED, MOST_RUNS)) < 2**63
    with pytest.raises(ValueError, match="seed is"):
        run_seeds(MOST_SEED + 1, 1)
