"""The report on a set-up."""

from __future__ import annotations

from collections import namedtuple

import pytest

from wavemem.building import doctor
from wavemem.building.doctor import examine, locked_versions
from wavemem.building.layout import Parameters, UsageError


def _states(root) -> dict[str, doctor.Finding]:
    return {finding.subject: finding for finding in examine(root)}


def test_this_machine(real) -> None:
    found = _states(real.root)
    subjects = {"python", "library", "versions", "device", "threads", "kernels", "book", "browser", "disk"}
    assert set(found) == subjects
    assert all(finding.state in ("ok", "note", "fail") for finding in found.values())
    assert "torch" in found["library"].text


def test_without_a_compiler(real, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEMEM_COMPILE", "0")
    finding = _states(real.root)["kernels"]
    assert finding.state == "note"
    assert "compiler" in finding.text


def test_locked_versions(toy) -> None:
    file = toy.layout.root / "constraints.txt"
    file.write_text(
        "# note\n# Torch==2.13.0\nruamel.yaml_x==1.0 ; python_version > '3' \\\n    --hash=sha256:00\nnot a pin\n"
        "a==1 ; python_full_version < '3.11'\na==2 ; python_full_version >= '3.11' \\\n    --hash=sha256:00\nb>=3\n"
    )
    assert locked_versions(file) == {"torch": "2.13.0", "ruamel-yaml-x": "1.0", "a": "2"}


def test_missing_packages(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda name: None)
    in_the_book, outside = _states(toy.layout.root), _states(None)
    for subject in ("library", "device", "book"):
        assert in_the_book[subject].state == "fail"
        assert "pip install -e" in in_the_book[subject].text
    assert outside["book"].state == "note"
    assert outside["versions"].state == "note"


def test_other_versions_than_the_locked(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    (toy.layout.root / "constraints.txt").write_text("".join(f"p{n}==1.0\n" for n in range(9)))
    monkeypatch.setattr(doctor, "_installed", lambda name: "2.0+cpu" if name.startswith("p") else "1.0")
    finding = doctor._constraints(toy.layout.root)
    assert finding.state == "note"
    assert finding.text.startswith("9 differ from constraints.txt: p0 2.0+cpu (locked: 1.0), ")
    monkeypatch.setattr(doctor, "_installed", lambda name: "1.0+cpu")
    assert doctor._constraints(toy.layout.root).state == "ok"


@pytest.mark.parametrize(("free", "state"), [(50e9, "ok"), (2e9, "note"), (1e8, "fail")])
def test_disk(toy, monkeypatch: pytest.MonkeyPatch, free: float, state: str) -> None:
    usage = namedtuple("usage", "total used free")(1e12, 0, free)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    finding = doctor._disk(toy.layout.root)
    assert finding.state == state
    assert "GB free at" in finding.text


def test_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 0))
    finding = doctor._python()
    assert finding.state == "fail"
    assert "3.11 to 3.13" in finding.text
    monkeypatch.setattr(doctor.sys, "version_info", (3, 14, 0))
    finding = doctor._python()
    assert finding.state == "note"
    assert "3.11 to 3.13" in finding.text


def test_browser(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("WAVEMEM_CHROMIUM", raising=False)
    assert doctor.find_browser() is None
    assert doctor._browser().state == "note"
    assert "WAVEMEM_CHROMIUM" in doctor._browser().text
    program = tmp_path / "google-chrome"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert doctor.find_browser() == str(program)
    monkeypatch.setenv("WAVEMEM_CHROMIUM", "/nowhere/chromium")
    assert doctor.find_browser() is None


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(device: str) -> str:
        return Parameters(device=device).on_this_machine().device

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert chosen("auto") == chosen("cpu") == "cpu"
    with pytest.raises(UsageError, match="device is 'cuda'; allowed here: auto, cpu"):
        chosen("cuda")
    with pytest.raises(UsageError, match="unknown device 'tpu'; available: auto, cpu, cuda"):
        chosen("tpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert chosen("auto") == chosen("cuda") == "cuda"
