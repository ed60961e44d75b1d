"""What the tests of kernels share; Triton has packages for Linux on x86-64 only: elsewhere its tests are not collected."""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from wavemem.kernels import compiled as kernels_in_c

collect_ignore = [] if (platform.system(), platform.machine()) == ("Linux", "x86_64") else ["test_triton.py"]

Case = tuple[str, int, dict[str, Any], dict[str, Any]]
"""Kernel, warps, constants, options."""


@pytest.fixture(params=["compiled", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the compiled kernels, and as on a machine whose compiler is unwilling."""
    if request.param == "plain":
        monkeypatch.setattr(kernels_in_c, "load_library", lambda _name: None)
    elif kernels_in_c.load_library("_elman") is None:
        pytest.skip("no C compiler")
    return str(request.param)


@pytest.fixture
def same_with_any_threads() -> Iterator[Callable[[Callable[[], list[Tensor]]], None]]:
    """Check that no number of threads changes a bit of what is computed, PyTorch's or the kernel's own."""
    before = torch.get_num_threads()

    def check(compute: Callable[[], list[Tensor]]) -> None:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(compute())
            with kernels_in_c.own_threads(), kernels_in_c.own_threads():
                assert torch.get_num_threads() == 1
                assert kernels_in_c._OWN[:] == [threads, threads]
                found.append(compute())
            assert torch.get_num_threads() == threads
            assert not kernels_in_c._OWN
        for others in found[1:]:
            assert all(torch.equal(mine, theirs) for mine, theirs in zip(found[0], others, strict=True))

    yield check
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def interpreter() -> Iterator[Any]:
    """The process in which Triton interprets."""
    spec = importlib.util.spec_from_file_location("interpreter", Path(__file__).with_name("interpreter.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    process = module.Interpreter()
    yield process
    process.close()


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Compile kernels of a module as `compiling.py` does, each for compute capabilities 8.0 and 9.0."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)

    def compile_them(module: ModuleType, cases: list[Case], kinds: dict[str, str]) -> list[dict[str, Any]]:
        command = [sys.executable, str(Path(__file__).with_name("compiling.py"))]
        asked = json.dumps([(module.__name__, *case, kinds) for case in cases])
        done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        assert len(found) == 2 * len(cases)
        return found

    return compile_them
