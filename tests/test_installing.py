"""What a reader is told about installing, what is locked, and how an environment is mended."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "constraints.txt").read_text(encoding="utf-8")
TORCH = re.findall(r"^# (torch==\S+)$", LOCK, re.MULTILINE)


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def environment() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "tools" / "environment.py")))


def test_supported_versions_are_the_same_wherever_they_stand() -> None:
    for name in ("README.md", "book/how-to-use.md", "Makefile", "tools/environment.py", "constraints.txt"):
        assert re.search(r"3\.11(\.0)? to 3\.13", _text(name)), name
        assert not re.search(r"3\.11 (or|to 3\.12)", _text(name)), name
    project = tomllib.loads(_text("pyproject.toml"))["project"]
    assert project["requires-python"] == ">=3.11"
    assert [line.rsplit(" ", 1)[1] for line in project["classifiers"]] == ["3.11", "3.12", "3.13"]
    assert '["3.11.0", "3.12", "3.13"]' in _text(".github/workflows/test.yml")


@pytest.mark.parametrize("name", ["README.md", "book/how-to-use.md"])
def test_both_sizes_and_the_smaller_build_come_first(name: str) -> None:
    before = _text(name).split("\nmake book", 1)[0].replace(" \\\n    ", " ").replace("\n.venv/", " && .venv/")
    assert "3 GB of disk with a CPU build of PyTorch or 5.8 GB with a CUDA" in before
    smaller = f".venv/bin/uv pip install --python .venv {TORCH[0]} --torch-backend=cpu"
    assert f"python3 -m venv .venv && .venv/bin/pip install uv && {smaller}" in before


def _pins(where: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in LOCK.splitlines():
        if line and line[0] not in "# ":
            pin = Requirement(line.rstrip(" \\"))
            if pin.marker is None or pin.marker.evaluate(where):
                assert pin.name not in found, f"two versions of {pin.name} for {where}"
                found[pin.name] = next(iter(pin.specifier)).version
    return found


@pytest.mark.parametrize("python", ["3.11.0", "3.11.5", "3.12.0", "3.13.0"])
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_whatever_the_project_asks_for_is_locked(python: str, system: str) -> None:
    project = tomllib.loads(_text("pyproject.toml"))["project"]
    where = {"python_full_version": python, "python_version": python[:4], "sys_platform": system}
    pins = _pins({**where, "platform_machine": "x86_64"}) | {"torch": TORCH[0].removeprefix("torch==")}
    extras = project["optional-dependencies"]
    for line in [*project["dependencies"], *extras["book"], *extras["test"]]:
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate(where):
            assert pins.get(need.name, "0") in need.specifier, f"{line}: {pins.get(need.name)}; run KEEP=1 make lock"
    assert "setuptools" in pins


def test_every_locked_file_but_pytorch_has_a_hash() -> None:
    assert len(TORCH) == 1
    blocks = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) > 100
    for block in blocks:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block[:60]
        assert not re.match(r"(torch|nvidia|cuda)\b", block), block[:60]
    listed = yaml.safe_load(_text("environment.yml"))["dependencies"][-1]["pip"]
    assert listed == [TORCH[0], "--editable .[book,test]", *(block.splitlines()[0].rstrip(" \\") for block in blocks)]


def test_a_checkout_keeps_line_ends_that_scripts_can_have() -> None:
    names = ["tools/lock", ".ci/run", "Makefile", "notebooks/01-histories.md", "records/x/record.json"]
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git here")
    said = subprocess.run(
        ["git", "check-attr", "text", "eol", "--", *names], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = {tuple(line.split(": ")[:2]): line.split(": ")[2] for line in said.stdout.splitlines()}
    assert [found[name, "eol"] for name in names[:4]] == ["lf"] * 4
    assert found[names[4], "text"] == "unset"


def test_what_pip_did_not_finish_is_forgotten(environment, tmp_path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    records = {
        "whole": "whole-1.0.dist-info/INSTALLER,sha256=x,4\n",
        "unpacked": "unpacked/__init__.py,sha256=x,4\n",  # the wheel's own RECORD
        "begun": None,
    }
    for name, record in records.items():
        info = packages / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").touch()
        if record is not None:
            (info / "RECORD").write_text(record)
    (packages / "~removed").mkdir()
    (packages / "~removed.pth").touch()
    environment.drop_unfinished(tmp_path)
    assert list(packages.iterdir()) == [packages / "whole-1.0.dist-info"]


@pytest.mark.parametrize("blank", ["", "two words/"])
def test_an_environment_that_was_moved_or_copied_names_its_new_place(environment, tmp_path, blank: str) -> None:
    old, new = tmp_path / f"{blank}old" / ".venv", tmp_path / f"{blank}new" / ".venv"
    (old / "bin").mkdir(parents=True)
    first = f'#!/bin/sh\n\'\'\'exec\' "{old}/bin/python3.11" "$0" "$@"\n' if blank else f"#!{old}/bin/python3.11\n"
    for name in ("pip", "tool"):
        (old / "bin" / name).write_text(first + "import sys\n")
        (old / "bin" / name).chmod(0o755)
    (old / "bin" / "activate").write_text(f"VIRTUAL_ENV={old}\n")
    (old / "bin" / "data").write_text(f"not a script: {old}\n")
    assert environment.moved_from(old) is None
    shutil.copytree(old, new)
    assert environment.moved_from(new) == str(old)
    environment.move(new, str(old))
    assert environment.moved_from(new) is None
    for name in ("pip", "tool", "activate"):
        assert str(old) not in (new / "bin" / name).read_text()
        assert str(old) in (old / "bin" / name).read_text()
    assert (new / "bin" / "tool").stat().st_mode & 0o777 == 0o755
    assert str(old) in (new / "bin" / "data").read_text()


def test_a_folder_that_is_no_environment_is_left_alone(environment, tmp_path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "thesis.tex").touch()
    with pytest.raises(environment.Refused, match="holds files but no environment; move it away, or set VENV"):
        environment.make(tmp_path, anew=True)
    assert (tmp_path / "lib" / "thesis.tex").is_file()


def test_personal_settings_of_pip_say_where_from_but_not_how(environment, monkeypatch: pytest.MonkeyPatch) -> None:
    where = {"PIP_INDEX_URL", "PIP_CERT"}
    how = {"PIP_USER", "PIP_TARGET", "PIP_NO_DEPS", "PIP_REQUIRE_HASHES", "PYTHONHOME"}
    for name in where | how:
        monkeypatch.setenv(name, "1")
    seen = environment.surroundings()
    assert where <= seen.keys()
    assert not seen.keys() & how


def test_an_old_python_is_told_what_is_needed(tmp_path) -> None:
    program = "import sys; sys.version_info = (3, 9, 2); sys.argv = ['environment.py', 'nowhere']; "
    program += f"import runpy; runpy.run_path({str(ROOT / 'tools' / 'environment.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(
        r"set-up: .* is Python 3\.9\.2; needed: 3\.11 to 3\.13 \(set PYTHON=path of one\)\n", done.stderr
    )
    assert list(tmp_path.iterdir()) == []


def test_binder_takes_the_cpu_build_and_the_locked_versions(tmp_path: Path) -> None:
    """What it would install, and with what: each program that it calls is replaced by one that says how it was called."""
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    programs, log = tmp_path / "bin", tmp_path / "log"
    names = [
        "bin/python3",
        "bin/make",
        "bin/pip",
        "bin/jupytext-config",
        *(f".venv/bin/{n}" for n in ("python", "pip", "uv")),
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >>"{log}"\n')
        (tmp_path / name).chmod(0o755)
    where = {"python_full_version": "3.12.0", "python_version": "3.12", "sys_platform": "linux"}
    jupytext = _pins({**where, "platform_machine": "x86_64"})["jupytext"]
    variables = {"PATH": f"{programs}:/usr/bin:/bin", "NB_PYTHON_PREFIX": str(tmp_path)}
    subprocess.run(["bash", str(ROOT / ".binder" / "postBuild")], cwd=tmp_path, env=variables, check=True)
    assert log.read_text().splitlines() == [
        "bin/python3 -m venv .venv",
        ".venv/bin/pip install uv",
        f".venv/bin/uv pip install --python .venv {TORCH[0]} --torch-backend=cpu",
        "bin/make .venv/.installed",
        f".venv/bin/python -m ipykernel install --prefix {tmp_path} --name python3",
        f"bin/pip install jupytext=={jupytext}",
        "bin/jupytext-config set-default-viewer markdown",
    ]
    assert (ROOT / ".binder" / "postBuild").stat().st_mode & 0o100
    assert _text(".binder/runtime.txt") == "python-3.12\n"
