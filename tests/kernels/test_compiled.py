"""Compiling the C kernels: cached, refused politely, never half written."""

from __future__ import annotations

import ctypes
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


@needs_compiler
def test_compiles_once_and_again_after_a_change(fresh: Path) -> None:
    library = compiled.load_library("tiny")
    assert isinstance(library, ctypes.CDLL)
    assert library.answer() == 42
    assert len(list((fresh / "cache").iterdir())) == 1
    compiled.load_library.cache_clear()
    compiled.load_library("tiny")
    assert len(list((fresh / "cache").iterdir())) == 1
    (fresh / "tiny.c").write_text("int answer(void) { return 43; }\n")
    compiled.load_library.cache_clear()
    changed = compiled.load_library("tiny")
    assert changed is not None
    assert changed.answer() == 43


@needs_compiler
def test_source_that_does_not_compile_gives_none_and_leaves_nothing(fresh: Path) -> None:
    (fresh / "tiny.c").write_text("int answer(void) { return }\n")
    assert compiled.load_library("tiny") is None
    assert not list((fresh / "cache").iterdir())


@needs_compiler
def test_a_folder_that_cannot_be_written_gives_none(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fresh / "file").write_text("")
    monkeypatch.setenv("WAVEMEM_CACHE", str(fresh / "file"))
    assert compiled.load_library("tiny") is None


def test_without_a_compiler_the_plain_path_is_taken(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEMEM_COMPILE", "0")
    assert compiled.compiler() is None
    assert compiled.load_library("_wave") is None
    generator = torch.Generator().manual_seed(0)
    arguments = [torch.randn(shape, generator=generator) for shape in ((1, 2, 2, 3), (1, 8, 2), (1, 8), (4, 1, 3, 2))]
    assert torch.equal(wave_scan(*arguments), wave_scan_reference(*arguments))
