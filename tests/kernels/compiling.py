"""Compile Triton kernels for devices that need not be there, and let NVIDIA's assembler say what they need.

Reads a list of cases from the standard input, as JSON, and writes what it found. A process of its own, since Triton decides
when it is first imported whether it compiles or interprets.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CAPABILITIES = {80: "sm_80", 90: "sm_90a"}


def build(
    capability: int,
    module: str,
    name: str,
    warps: int,
    constants: dict[str, Any],
    options: dict[str, Any],
    kinds: dict[str, str],
) -> dict[str, Any]:
    """Compile one kernel; arguments that are no constants are *fp32 unless their kind is given."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(importlib.import_module(module), name)
    names = kernel.arg_names
    signature = {a: "constexpr" if a in constants else kinds.get(a, "*fp32") for a in names}
    pointers = [i for i, a in enumerate(names) if signature[a].startswith("*")]
    source = ASTSource(
        kernel,
        signature,
        constexprs={(names.index(a),): value for a, value in constants.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i in pointers},
    )
    target = GPUTarget("cuda", capability, 32)
    compiled = triton.compile(source, target=target, options={"num_warps": warps, "num_stages": 1, **options})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(compiled.asm["ptx"])
        command = [triton.knobs.nvidia.ptxas.path, "-v", f"--gpu-name={CAPABILITIES[capability]}", "-o", "/dev/null"]
        said = subprocess.run([*command, str(path)], check=True, capture_output=True, text=True).stderr
    (registers,) = re.findall(r"Used (\d+) registers", said)
    (spilt,) = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", said)
    return {
        "kernel": name,
        "constants": constants,
        "capability": capability,
        "shared": compiled.metadata.shared,
        "threads": 32 * warps,
        "registers": int(registers),
        "spilt": sum(map(int, spilt)),
        "ptx": compiled.asm["ptx"],
    }


if __name__ == "__main__":
    json.dump([build(capability, *case) for case in json.load(sys.stdin) for capability in CAPABILITIES], sys.stdout)
