#!/usr/bin/env python3
"""Make the environment that the Makefile works in, or mend the one that is there.

Whatever interrupted an earlier call (Ctrl-C, a kill, a full disk), and wherever the folder was moved or copied to since,
the same call ends with the same environment. A PyTorch that is already there, of the locked version, is kept.

Standard library only, and in words that an old Python can read, so that it can say which one is needed.
"""

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

NEEDED = (3, 11)
TESTED = (3, 13)
ROOT = Path(__file__).resolve().parent.parent
# Where packages come from is the reader's choice, how they are installed is not.
SOURCES = ["INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "TRUSTED_HOST", "CERT", "CLIENT_CERT", "PROXY"]
SOURCES += [
    "TIMEOUT",
    "DEFAULT_TIMEOUT",
    "RETRIES",
    "CACHE_DIR",
    "NO_CACHE_DIR",
    "CONFIG_FILE",
    "KEYRING_PROVIDER",
    "NO_INPUT",
]
HELD = []  # descriptor of the lock


class Refused(Exception):
    """Nothing was done; the message is one line that says what to do."""


def surroundings():
    """The variables that the environment's programs see."""
    kept = ["PIP_" + name for name in SOURCES]
    return {name: text for name, text in os.environ.items() if name in kept or not name.startswith(("PIP_", "PYTHON"))}


def ran(*command, **options):
    """Whether a command ends well; False too if it does not start."""
    with contextlib.suppress(OSError):
        # A command that outlives a killed set-up keeps the lock, so that the next one waits for it.
        options["pass_fds"] = HELD
        return subprocess.call([str(word) for word in command], env=surroundings(), **options) == 0
    return False


def complete(info):
    """Whether pip came to its last step with a package: a RECORD that lists pip's own file."""
    try:
        return "INSTALLER," in (info / "RECORD").read_text(encoding="utf-8")
    except OSError:
        return False


def usable(venv):
    """Whether the interpreter runs and pip and the scripts are there, whole."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if not ran(venv / "bin" / "python", "-I", "-m", "pip", "--version", **quiet):
        return False
    if not (venv / "pyvenv.cfg").is_file():
        return True  # conda's, say: not ours to judge
    return (venv / "bin" / "activate").is_file() and any(map(complete, packages(venv, "pip-*.dist-info")))


def packages(venv, pattern):
    """Files in the folders of packages that fit a pattern."""
    return sorted(venv.glob("lib/python3*/site-packages/" + pattern))


def drop_unfinished(venv):
    """Forget what pip had begun to install or to remove, so that it is installed again."""
    for rest in packages(venv, "~*"):
        shutil.rmtree(str(rest)) if rest.is_dir() else rest.unlink()
    for info in packages(venv, "*.dist-info"):
        if not complete(info):
            print("was not installed to its end, will be again: " + info.name)
            shutil.rmtree(str(info))


def moved_from(venv):
    """The folder that the environment's scripts name, if that is not the one in which it lies."""
    try:
        head = (venv / "bin" / "pip").read_bytes()[:2000].decode("utf-8", "replace")
    except OSError:
        return None
    found = re.search(r"(/[^\"'\n]*)/bin/python", head)
    if found is None or (os.path.exists(found.group(1)) and os.path.samefile(found.group(1), str(venv))):
        return None
    return found.group(1)


def move(venv, old):
    """Let the scripts name the folder in which they lie; nothing else in an environment names it."""
    print(f"{venv} was made as {old}: mending its scripts")
    for script in sorted((venv / "bin").iterdir(), key=lambda path: path.name == "pip"):  # what tells comes last
        if script.is_file() and not script.is_symlink():
            content = script.read_bytes()
            if (content.startswith(b"#!") or script.name.lower().startswith("activate")) and os.fsencode(
                old
            ) in content:
                part = script.with_name("." + script.name + ".part")
                part.write_bytes(content.replace(os.fsencode(old), os.fsencode(str(venv))))
                part.chmod(script.stat().st_mode)
                part.replace(script)


def make(venv, anew):
    """Let there be an environment in which pip runs."""
    if not (venv / "pyvenv.cfg").is_file() and any(p.is_file() and not p.is_symlink() for p in venv.glob("**/*")):
        if usable(venv):
            return
        raise Refused(f"{venv} holds files but no environment; move it away, or set VENV=another folder")
    old = moved_from(venv)
    if old and not anew:
        move(venv, old)
    drop_unfinished(venv)
    attempts = [["--clear"]] if anew else [[], ["--clear"]]
    while anew or not usable(venv):
        if not attempts:
            raise Refused(
                f"{sys.executable} cannot make a virtual environment, see above; on Debian: apt-get install python3-venv"
            )
        ran(sys.executable, "-m", "venv", *attempts.pop(0), venv)
        anew = False


def install(venv, constraints):
    """Install what the book and its tests need, everything of a locked version and with its hash checked, but PyTorch."""
    # PyTorch has no hash: its CPU and CUDA builds are different files of one version, and either will do.
    text = constraints.read_text(encoding="utf-8") if constraints else ""
    torch = re.search(r"^#? ?(torch==[^\s;+\\]+)", text, re.MULTILINE)
    hashed = "--hash=" in text
    everything = ["-e", ".[book,test]"]
    steps = [[torch.group(1) if torch else "torch"], everything]
    if hashed:
        # setuptools, too, is then a locked one, so the build of the library itself fetches nothing.
        steps = [["--require-hashes", "-r", str(constraints)], steps[0], ["--no-build-isolation", *everything]]
    elif constraints:
        steps = [["-c", str(constraints), *step] for step in steps]
    pip = [venv / "bin" / "python", "-I", "-m", "pip", "install", "--no-user", "--quiet", "--disable-pip-version-check"]
    for step in steps:
        if not ran(*pip, *step, cwd=str(ROOT)):
            raise Refused(f"pip could not install {step[-1]}; what it did is kept, the same command goes on")


def main():
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("venv", type=Path)
    parser.add_argument("--constraints", default="", help="the locked versions; the newest ones without")
    parser.add_argument(
        "--exactly", action="store_true", help="an environment of another Python than this is made anew"
    )
    options = parser.parse_args()
    if sys.version_info < NEEDED:
        version = ".".join(map(str, sys.version_info[:3]))
        raise Refused(f"{sys.executable} is Python {version}; needed: 3.11 to 3.13 (set PYTHON=path of one)")
    if sys.version_info[:2] > TESTED:
        print(f"{sys.executable} is newer than what the locked versions are tested with, 3.11 to 3.13")
    venv = Path(os.path.abspath(str(options.venv)))
    with contextlib.suppress(OSError):  # one set-up at a time, where the file system can tell
        HELD.append(os.open(__file__, os.O_RDONLY))
        fcntl.flock(HELD[0], fcntl.LOCK_EX)
    own = f"import sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    mine = (venv / "pyvenv.cfg").is_file()
    make(venv, mine and options.exactly and not ran(venv / "bin" / "python", "-I", "-c", own))
    print(f"installing into {venv} (once, and again when what it is made from changes)", flush=True)
    install(venv, Path(os.path.abspath(options.constraints)) if options.constraints else None)
    part = venv / ".installed.part"
    part.write_text(str(venv.resolve()) + "\n", encoding="utf-8")
    part.replace(venv / ".installed")


if __name__ == "__main__":
    try:
        main()
    except Refused as refusal:
        sys.exit("set-up: " + str(refusal))
    except OSError as error:
        sys.exit(f"set-up: {error}; what is done is kept, the same command goes on")
    except KeyboardInterrupt:
        sys.exit("set-up: interrupted; the same command goes on")
