"""Compiling the C kernels: cached, refused politely, never half written."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch

from wavemem.kernels import compiled
from wavemem.kernels.wave import wave_scan, wave_scan_reference

needs_compiler = pytest.mark.skipif(compiled.compiler() is None, reason="no C compiler")


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WAVEMEM_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "tiny.c"
    source.write_text("int answer(void) { return 42; }\n")
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "compiled.py"))
    compiled.load_library.cache_clear()
    yield tmp_path
    compiled.load_library.cache_clear()


def _answer() -> int | None:
    """What the library answers, loaded anew; None if there is none."""
    compiled.load_library.cache_clear()
    library = compiled.load_library("tiny")
    return None if library is None else library.answer()


@needs_compiler
def test_compiles_once_and_again_after_a_change(fresh: Path) -> None:
    for _ in range(2):
        assert _answer() == 42
        assert len(list((fresh / "cache").iterdir())) == 1
    (fresh / "tiny.c").write_text("int answer(void) { return 43; }\n")
    assert _answer() == 43


COMPILERS = {
    "hangs": '#!/bin/sh\n[ "$1" = --version ] && exit 0\nsleep 600 & wait\n',
    "has no shell": "#!/no/such/shell\n",
    "is empty": "",
}


@pytest.mark.parametrize("trouble", [pytest.param("source", marks=needs_compiler), "folder", *COMPILERS])
def test_trouble_gives_none_and_leaves_nothing(fresh: Path, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    if trouble == "source":
        (fresh / "tiny.c").write_text("int answer(void) { return }\n")
    elif trouble == "folder":
        monkeypatch.setenv("WAVEMEM_CACHE", str(fresh / "tiny.c"))
    else:
        (fresh / "cc").write_text(COMPILERS[trouble])
        (fresh / "cc").chmod(0o755)
        monkeypatch.setenv("CC", str(fresh / "cc"))
        monkeypatch.setattr(compiled, "_PATIENCE", 0.2)
    assert _answer() is None
    assert not list(fresh.glob("cache/*"))


def test_without_a_compiler_the_plain_path_is_taken(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEMEM_COMPILE", "0")
    assert compiled.compiler() is None
    assert compiled.load_library("_wave") is None
    generator = torch.Generator().manual_seed(0)
    arguments = [torch.randn(shape, generator=generator) for shape in ((1, 2, 2, 3), (1, 8, 2), (1, 8), (4, 1, 3, 2))]
    assert torch.equal(wave_scan(*arguments), wave_scan_reference(*arguments))


@needs_compiler
@pytest.mark.parametrize("damage", ["empty", "another", "half", "one bit"])
def test_a_damaged_library_is_compiled_again(fresh: Path, damage: str) -> None:
    assert _answer() == 42
    (path,) = (fresh / "cache").iterdir()
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    path.unlink()  # the one in use keeps its memory
    path.write_bytes(
        {"empty": b"", "another": b"\x7fELF", "half": whole[: len(whole) // 2], "one bit": bytes(flipped)}[damage]
    )
    path.chmod(0o700)
    assert _answer() == 42
    (path,) = (fresh / "cache").iterdir()
    assert len(path.read_bytes()) == len(whole)


@needs_compiler
def test_a_library_that_others_may_write_to_is_not_loaded(fresh: Path) -> None:
    (fresh / "evil.c").write_text("int answer(void) { return 666; }\n")
    assert _answer() == 42
    (path,) = (fresh / "cache").iterdir()
    subprocess.run(
        [compiled.compiler() or "cc", "-shared", "-fPIC", "-o", str(path), str(fresh / "evil.c")], check=True
    )
    forged = path.with_name(f"{path.stem.rsplit('-', 1)[0]}-{compiled._digest(path.read_bytes())}.so")
    path.rename(forged)
    forged.chmod(0o777)
    assert _answer() == 42


@needs_compiler
@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file away")
def test_a_library_of_another_user_is_not_loaded(fresh: Path) -> None:
    assert _answer() == 42
    (path,) = (fresh / "cache").iterdir()
    os.chown(path, 12345, 12345)
    assert _answer() == 42
    (path,) = (fresh / "cache").iterdir()
    assert path.stat().st_uid == 0


@needs_compiler
def test_a_folder_that_a_group_may_write_to_is_closed(fresh: Path) -> None:
    (fresh / "cache").mkdir()
    (fresh / "cache").chmod(0o777)
    assert _answer() == 42
    assert (fresh / "cache").stat().st_mode & 0o777 == 0o700


def test_without_a_home_the_temporary_folder_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("no home")

    for name in ("WAVEMEM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    assert compiled.cache_folder().name.startswith("wavemem-")
