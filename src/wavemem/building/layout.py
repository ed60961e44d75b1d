"""Where the book's sources lie and its generated files go, what a build is given, and what its processes see.

Everything generated lives under ``_build/``, which git ignores::

    _build/chapters/<variant>/NN-name.ipynb      executed chapter, published whole or not at all
    _build/chapters/<variant>/NN-name.key.json   what it was made from
    _build/results/<variant>/NN-name.json        what the chapter measured, for the reproduction report
    _build/scratch/<variant>/NN-name/            scratch of a running or failed execution
    _build/pages/                                pages made from what the chapters measured, and what they were made from
    _build/source/                               the tree that Sphinx reads, assembled from the above
    _build/sphinx/                               what Sphinx has read of it, for the next build
    _build/html/                                 the site
    _build/course/<edition>/                     pages, source, sphinx and html of a course's edition

A *variant* is one choice of the parameters, so that a look at another profile does not throw the first away. An *edition* is
one choice of parts, with or without solutions; all editions are made from the same executed chapters.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import wavemem
from wavemem.processes import child_command

KEYED = ("LD_LIBRARY_PATH", "WAVEMEM_ELMAN_KERNEL", "WAVEMEM_SELECTIVE_KERNEL", "WAVEMEM_WAVE_KERNEL")
"""Variables that are handed on, can change a number, and so belong to a chapter's key."""

# Where things are. What these can change is known otherwise: by a digest, as data sets and compiled kernels are, or by
# the name of the device.
_PASSED = (
    *("HOME", "LOGNAME", "USER", "PATH", "TMPDIR", "XDG_CACHE_HOME", "SYSTEMROOT"),
    *("CC", "CUDA_VISIBLE_DEVICES", "WAVEMEM_CACHE", "WAVEMEM_COMPILE", "WAVEMEM_DATA"),
    *("SSL_CERT_DIR", "SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
_FIXED = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "TZ": "UTC"}


class UsageError(ValueError):
    """The command was given something that does not exist; the message is one line that lists what does."""


class BuildError(RuntimeError):
    """The book could not be built; the message says what to look at."""


def choose(kind: str, given: str, available: Iterable[str]) -> str:
    """Return ``given`` if it is among the available names of a kind, e.g. "profile".

    Raises:
        UsageError: If it is not; the message lists those that are.
    """
    names = list(available)
    if given not in names:
        raise UsageError(f"unknown {kind} {given!r}; available: {', '.join(names) or 'none'}")
    return given


@dataclass(frozen=True)
class Parameters:
    """The papermill parameters that every chapter takes."""

    profile: str = "quick"
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        # Not at the top: they import PyTorch, and a list of the chapters does not wait for it.
        from wavemem.checks import DEVICES
        from wavemem.records.experiment import PROFILES

        choose("profile", self.profile, PROFILES)
        choose("device", self.device, DEVICES)

    @property
    def variant(self) -> str:
        """Folder name of this choice."""
        return f"{self.profile}-{self.device}-seed{self.seed}"

    def on_this_machine(self) -> Parameters:
        """These, with "auto" replaced by the device that it stands for.

        Raises:
            UsageError: If "cuda" is asked for where there is none.
        """
        from wavemem.checks import choose_device

        try:
            return replace(self, device=choose_device(self.device).type)
        except ValueError as error:
            raise UsageError(str(error)) from error


@dataclass(frozen=True)
class Edition:
    """What a course's pages hold of the book; all of it by default.

    Attributes:
        kind: "full": the book as it is; "student": no solutions anywhere; "instructor": solutions unfolded, every page marked.
        parts: Roman numbers of the parts that it has, of those that ``_toc.yml`` numbers; None for all of them.
        title: Title in the place of the book's; empty for the book's.
        full_book: Address of the full book online, to which what is left out is linked; empty for none.
        problems: Name and notebook of each problem set that it shows.
    """

    kind: str = "full"
    parts: tuple[str, ...] | None = None
    title: str = ""
    full_book: str = ""
    problems: tuple[tuple[str, bytes], ...] = ()

    @property
    def folder(self) -> str:
        """Name of the folder of its pages."""
        return "-".join([self.kind, *(self.parts or ())])


@dataclass(frozen=True)
class Layout:
    """Paths of one copy of the book, and of the pages of one edition of it."""

    root: Path
    edition: Edition = Edition()

    @property
    def notebooks(self) -> Path:
        """Text sources of the chapters."""
        return self.root / "notebooks"

    @property
    def package(self) -> Path:
        """The folder that holds the package ``wavemem``."""
        return self.root / "src"

    @property
    def build(self) -> Path:
        """Everything generated."""
        return self.root / "_build"

    @property
    def pages(self) -> Path:
        """What is generated for the pages, which differ between editions; the executed chapters do not."""
        return self.build if self.edition == Edition() else self.build / "course" / self.edition.folder

    @property
    def source(self) -> Path:
        """The assembled tree that Sphinx reads."""
        return self.pages / "source"

    @property
    def site(self) -> Path:
        """The finished pages."""
        return self.pages / "html"

    def chapters(self, parameters: Parameters) -> Path:
        """Executed chapters of one variant."""
        return self.build / "chapters" / parameters.variant

    def results(self, parameters: Parameters) -> Path:
        """What the chapters of one variant measured."""
        return self.build / "results" / parameters.variant

    def work(self, parameters: Parameters, chapter: str) -> Path:
        """Scratch folder of one chapter's execution."""
        return self.build / "scratch" / parameters.variant / chapter


def find_root(start: Path | None = None) -> Path:
    """Find the top of the book: the folder with ``_toc.yml`` and ``notebooks/``.

    Args:
        start: Where to begin; the current folder by default. Its parents are searched too, then, for the default,
            the copy that this package was installed from.

    Raises:
        UsageError: If there is no book above ``start``.
    """
    candidates = [(start or Path.cwd()).resolve()]
    candidates += candidates[0].parents
    if start is None:
        candidates.append(Path(__file__).resolve().parents[3])
    for folder in candidates:
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise UsageError(f"no book here: neither {candidates[0]} nor a folder above it holds _toc.yml and notebooks/")


def clean_environment(threads: int = 1) -> dict[str, str]:
    """A fresh environment; Python finds this copy of the package and what is installed, and no user's files.

    The number of threads does not depend on how many chapters run at a time, since it can change the last digits of
    what they compute.
    """
    environment = {name: os.environ[name] for name in (*_PASSED, *KEYED) if name in os.environ} | _FIXED
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        environment[name] = str(threads)
    # Threads that spin while they wait make a shared core many times slower.
    environment["OMP_WAIT_POLICY"] = "PASSIVE"
    environment["PYTHONPATH"] = str(Path(wavemem.__file__).parents[1])
    return environment


def run_apart(
    layout: Layout, folder: Path, entry: str, *arguments: str, held: tuple[int, ...] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    """Call a function in a process that knows nothing of whoever builds the book, and wait for it.

    Args:
        layout: Where the book lies.
        folder: Where the process works; nothing in it may look like a setting.
        entry: MODULE:FUNCTION.
        arguments: Its command line.
        held: File descriptors that it keeps open as long as it lives.
        variables: What its environment holds beside :func:`clean_environment`.
    """
    settings = {"MPLBACKEND": "agg", "MPLCONFIGDIR": str(layout.build / "matplotlib"), "WAVEMEM_ROOT": str(layout.root)}
    return subprocess.run(
        child_command(entry, *arguments),
        cwd=folder,
        env=clean_environment() | settings | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        pass_fds=held,
    )


def digest(content: Any) -> str:
    """SHA-256 of bytes, or of anything that JSON can hold."""
    data = content if isinstance(content, bytes) else json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, whatever happens in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, keys sorted."""
    write_atomically(path, (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())
