"""What the tests of Triton kernels share; Triton has packages for Linux on x86-64 only: elsewhere they are not collected."""

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

collect_ignore = [] if (platform.system(), platform.machine()) == ("Linux", "x86_64") else ["test_triton.py"]

Case = tuple[str, int, dict[str, Any], dict[str, Any]]
"""Kernel, warps, constants, options."""


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
