"""The report on a set-up."""

from __future__ import annotations

import sys
from collections import namedtuple
from pathlib import Path

import pytest

from wavemem.building import doctor
from wavemem.building.doctor import Finding, examine, find_browser, locked_versions


def _states(root: Path | None) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine(root)}


def test_this_machine(real) -> None:
    found = _states(real.root)
    subjects = {"python", "library", "versions", "device", "threads", "kernels", "book", "browser", "disk"}
    assert set(found) == subjects
    for subject, package in (("library", "torch"), ("book", "sphinxcontrib-bibtex")):
        assert f"{package} " in found[subject].text
        assert "pytest" not in found[subject].text


def test_locked_versions(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toy.layout.root / "constraints.txt"
    file.write_text(
        "# note\n# torch==2.13.0\na-b==1.0 ; python_version > '3' \\\n    --hash=sha256:00\nnot a pin\n"
        "a==1 ; python_full_version < '3.11'\na==2 ; python_full_version >= '3.11' \\\n    --hash=sha256:00\nb>=3\n"
    )
    pins = {"torch": "2.13.0", "a-b": "1.0", "a": "2"}
    assert locked_versions(file) == pins
    monkeypatch.setattr(doctor, "_installed", lambda name: f"{pins.get(name, '1')}+cpu")
    said = _states(toy.layout.root)["versions"]
    assert said == Finding("ok", "versions", "all installed packages are as in constraints.txt (3 pins)")
    file.write_text("".join(f"p{n}==2.0\n" for n in range(9)))
    said = _states(toy.layout.root)["versions"]
    assert said.state == "note"
    assert said.text.startswith("9 differ from constraints.txt: p0 1+cpu (locked: 2.0), ")


def test_missing_packages(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda name: None)
    monkeypatch.setitem(sys.modules, "torch", None)
    in_the_book, outside = _states(toy.layout.root), _states(None)
    for subject in ("library", "device", "book"):
        assert in_the_book[subject].state == "fail"
        assert "pip install -e" in in_the_book[subject].text
    assert (outside["book"].state, outside["versions"].state) == ("note", "note")


@pytest.mark.parametrize(("free", "state"), [(50e9, "ok"), (2e9, "note"), (1e8, "fail")])
def test_disk(monkeypatch: pytest.MonkeyPatch, free: float, state: str) -> None:
    usage = namedtuple("usage", "total used free")(1e12, 0, free)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    assert _states(None)["disk"].state == state


@pytest.mark.parametrize(("version", "state"), [((3, 10, 0), "fail"), ((3, 11, 0), "ok"), ((3, 14, 0), "note")])
def test_python(monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], state: str) -> None:
    monkeypatch.setattr(doctor.sys, "version_info", version)
    finding = doctor._python()
    assert finding.state == state
    assert ("3.11 to 3.13" in finding.text) == (state != "ok")


def test_kernels_that_do_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wavemem.kernels.compiled.load_library", lambda name: None)
    finding = doctor._kernels()
    assert (finding.state, "compile" in finding.text) == ("note", True)


def test_neither_browser_nor_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("WAVEMEM_COMPILE", "0")
    monkeypatch.delenv("WAVEMEM_CHROMIUM", raising=False)
    found = _states(None)
    assert (found["browser"].state, found["kernels"].state) == ("note", "note")
    assert "WAVEMEM_CHROMIUM" in found["browser"].text
    assert "compiler" in found["kernels"].text
    program = tmp_path / "google-chrome"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_browser() == _states(None)["browser"].text == str(program)
    monkeypatch.setenv("WAVEMEM_CHROMIUM", "/nowhere/chromium")
    assert find_browser() is None
