"""Triton has packages for Linux on x86-64 only: elsewhere the tests that need it are not collected."""

from __future__ import annotations

import platform

collect_ignore = []
if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
    collect_ignore += ["test_elman_triton_interpreted.py", "test_wave_triton_interpreted.py"]
