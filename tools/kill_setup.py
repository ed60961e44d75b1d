#!/usr/bin/env python3
"""Stop the set-up at random moments; the same command must end with a whole environment. No network.

    python3 tools/kill_setup.py [--kills 20] [--each 3] [--seed 0]

In a scratch folder: this tree's Makefile and ``tools/environment.py`` around a tiny library, with packages made here in
the place of the real ones. A signal (SIGINT, SIGTERM, SIGKILL; to the whole group, or to make alone, whose children then
go on) comes at a moment of the time that an undisturbed set-up takes. After so many on one environment it is left to end,
every second time in a folder that was moved meanwhile, and examined.
"""

import argparse
import base64
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = 80  # enough files that a signal can come between two of them
BACKEND = """
import sys
from pathlib import Path
sys.path.insert(0, {tools!r})
from kill_setup import wheel

def build_editable(folder, config_settings=None, metadata_directory=None):
    return wheel(Path(folder), "wavemem", "1.0", {{"wavemem.pth": str(Path.cwd() / "src")}}, script="wavemem:main").name
"""


def wheel(folder, name, version, files, script=""):
    """Write a wheel; pip writes its own RECORD, so that of the wheel lists what pip asks for."""
    info = f"{name}-{version}.dist-info/"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: book\nProvides-Extra: test\n"
    content = {info + "METADATA": about}
    content[info + "WHEEL"] = "Wheel-Version: 1.0\nGenerator: here\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if script:
        content[info + "entry_points.txt"] = f"[console_scripts]\n{name} = {script}\n"
    content.update(files)  # after the metadata: the worst order for whoever is interrupted
    record = ""
    for path, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    content[info + "RECORD"] = record + info + "RECORD,,\n"
    target = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in content.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return target


def tiny_tree(root):
    """The Makefile's world in small."""
    (root / "tools").mkdir(parents=True)
    (root / "src").mkdir()
    shutil.copy(ROOT / "Makefile", root)
    shutil.copy(ROOT / "tools" / "environment.py", root / "tools")
    (root / "src" / "wavemem.py").write_text(
        "import torch, many\ndef main():\n    print(torch.whole(), many.whole(), __file__)\n"
    )
    (root / "backend.py").write_text(BACKEND.format(tools=str(ROOT / "tools")))
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "wavemem"\n'
        'version = "1.0"\n'
    )
    packages = root / "packages"
    packages.mkdir()
    pins = "# torch==1.0\n"
    for name in ("torch", "many", "more"):
        files = {f"{name}/m{i}.py": f"x = {i}\n" for i in range(MODULES)}
        files[f"{name}/__init__.py"] = (
            "import importlib\n\ndef whole():\n"
            f"    return sum(importlib.import_module(f'{name}.m{{i}}').x for i in range({MODULES}))\n"
        )
        made = wheel(packages, name, "1.0", files, script=f"{name}:whole")
        if name != "torch":
            pins += f"{name}==1.0 --hash=sha256:{hashlib.sha256(made.read_bytes()).hexdigest()}\n"
    (root / "constraints.txt").write_text(pins)


def set_up(root):
    """Begin the command that a reader gives."""
    hostile = {
        "PIP_USER": "1",
        "PIP_TARGET": str(root / "elsewhere"),
        "PIP_NO_DEPS": "1",
        "PYTHONPATH": str(root / "nowhere"),
    }
    sources = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (root / "packages").as_uri(), "PIP_CONFIG_FILE": os.devnull}
    return subprocess.Popen(
        ["make", ".venv/.installed", f"PYTHON={sys.executable}"],
        cwd=root,
        env={**os.environ, **hostile, **sources},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def fault(root):
    """What is wrong with a finished set-up, or nothing."""
    bin = root / ".venv" / "bin"
    expected = sum(range(MODULES))
    for name in ("many", "more", "torch", "wavemem", "pip"):
        if not (bin / name).is_file():
            return f"no {name} in bin"
    said = subprocess.run([bin / "wavemem"], capture_output=True, text=True, check=False)
    if said.stdout != f"{expected} {expected} {root / 'src' / 'wavemem.py'}\n":
        return f"wavemem says {said.stdout!r} {said.stderr[-300:]!r}"
    code = f"import more; assert more.whole() == {expected}"
    if subprocess.call([bin / "python", "-I", "-c", code]) or subprocess.call([bin / "pip", "check", "-q"]):
        return "packages are not whole"
    left = [path.name for path in root.glob(".venv/lib/python3*/site-packages/~*")]
    return f"left over: {left}" if left or (root / "elsewhere").exists() else ""


def main():
    """Run the trials and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--each", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and so would its children
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch).resolve() / "a book"
        tiny_tree(root)
        began = time.monotonic()
        said = set_up(root).communicate()[0]
        whole = time.monotonic() - began
        if fault(root):
            sys.exit(f"undisturbed: {fault(root)}\n{said}")
        print(f"undisturbed: {whole:.1f} s", flush=True)
        bad = 0
        for first in range(0, options.kills, options.each):
            shutil.rmtree(root / ".venv", ignore_errors=True)
            number = first
            while number < min(first + options.each, options.kills):
                which = draw.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
                alone = draw.random() < 0.25
                running = set_up(root)
                time.sleep(draw.uniform(0.02, 0.6) * whole)
                running.send_signal(which) if alone else os.killpg(running.pid, which)
                if running.wait() == 0:  # too late to stop anything
                    shutil.rmtree(root / ".venv")
                    continue
                inside = sum(1 for _ in root.glob(".venv/**/*"))
                print(
                    f"{number:3d}  {which.name:7s} {'make alone' if alone else 'all'}, {inside} files by then",
                    flush=True,
                )
                number += 1
            if first // options.each % 2:
                running.stdout.read()  # no process is left
                root = root.rename(root.with_name(f"moved {first}"))
            again = set_up(root)
            said = again.communicate()[0]
            wrong = f"exit status {again.returncode}\n{said}" if again.returncode else fault(root)
            bad += bool(wrong)
            print(f"     {wrong or 'healed'}", flush=True)
        print(f"{options.kills} signals, {bad} environments not healed")
        sys.exit(bad != 0)


if __name__ == "__main__":
    main()
