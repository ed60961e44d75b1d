"""Build the pages with Jupyter Book, and serve them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from wavemem.building.chapters import Chapter
from wavemem.building.errors import BuildError
from wavemem.building.paths import Layout, Parameters, write_json
from wavemem.building.stage import stage

__all__ = ["Site", "broken_links", "build_site"]

_PAGE_PACKAGES = (
    "jupyter-book",
    "sphinx",
    "myst-nb",
    "sphinx-book-theme",
    "pydata-sphinx-theme",
    "sphinxcontrib-bibtex",
)
_COMMAND = "from jupyter_book.cli.main import main; main()"
_WARNING = re.compile(r"\b(WARNING|ERROR|CRITICAL|SEVERE)\b")


@dataclass(frozen=True)
class Site:
    """A built site.

    Attributes:
        folder: Where its pages are.
        rebuilt: Whether they were built now.
        left_out: Pages of the table of contents that do not exist.
        unexecuted: Chapters shown without outputs.
    """

    folder: Path
    rebuilt: bool
    left_out: list[str]
    unexecuted: list[str]


def _stamp(layout: Layout, digest: str, strict: bool) -> str:
    """Hash of everything that the pages are made from: the assembled tree, documented code and the tools."""
    whole = hashlib.sha256(f"{digest} strict={strict}".encode())
    for file in sorted(layout.package.rglob("*.py")):
        whole.update(file.relative_to(layout.root).as_posix().encode() + b"\0" + file.read_bytes())
    for name in _PAGE_PACKAGES:
        whole.update(f"{name} {importlib.metadata.version(name)}".encode())
    return whole.hexdigest()


def _jupyter_book(layout: Layout, output: Path, options: list[str]) -> subprocess.CompletedProcess[str]:
    """Run Jupyter Book on the assembled tree."""
    arguments = ["build", str(layout.source), "--path-output", str(output), "--all", "--quiet", *options]
    environment = dict(os.environ, PYTHONHASHSEED="0", NO_COLOR="1", OMP_NUM_THREADS="1", SOURCE_DATE_EPOCH="315532800")
    # Chapters have their own copies of these; the pages must not depend on who builds them.
    environment.pop("PYTHONWARNINGS", None)
    return subprocess.run(
        [sys.executable, "-c", _COMMAND, *arguments],
        cwd=layout.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _run_sphinx(layout: Layout, strict: bool) -> None:
    """Run Jupyter Book on the assembled tree into a scratch folder, then swap the site in whole."""
    scratch = layout.build / "site-new"
    shutil.rmtree(scratch, ignore_errors=True)
    done = _jupyter_book(layout, scratch, ["--warningiserror", "--keep-going"] if strict else [])
    log = layout.build / "site.log"
    log.write_text(done.stdout + done.stderr, encoding="utf-8")
    complaints = [line for line in done.stderr.split("\n") if _WARNING.search(line)]
    if done.returncode != 0:
        shown = "\n".join("  " + line for line in complaints[:40]) or "  " + done.stderr.strip()[-3000:]
        raise BuildError(f"the pages could not be built; {len(complaints)} warnings or errors (all in {log}):\n{shown}")
    if complaints:
        print(f"{len(complaints)} warnings while building the pages, in {log}", file=sys.stderr)
    old = layout.build / "site-old"
    shutil.rmtree(old, ignore_errors=True)
    if layout.site.exists():
        layout.site.rename(old)
    (scratch / "_build" / "html").rename(layout.site)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(scratch, ignore_errors=True)
    (layout.site / ".nojekyll").touch()


def build_site(layout: Layout, parameters: Parameters, chapters: list[Chapter], strict: bool = True) -> Site:
    """Build the pages from what has been executed, unless they already show exactly that.

    Args:
        layout: Where the book lies.
        parameters: Which variant to show.
        chapters: All chapters of the book.
        strict: Treat warnings, pages that do not exist and chapters that were not executed as errors.

    Raises:
        BuildError: If the pages cannot be built.
    """
    staged = stage(layout, parameters, chapters)
    if strict and (staged.missing or staged.unexecuted):
        absent = ", ".join([*staged.missing, *staged.unexecuted])
        raise BuildError(f"the table of contents names what does not exist or was not executed: {absent}")
    stamp_file = layout.build / "site.json"
    stamp = _stamp(layout, staged.digest, strict)
    try:
        current = json.loads(stamp_file.read_text(encoding="utf-8"))["stamp"] == stamp
    except (OSError, ValueError, KeyError):
        current = False
    rebuild = not current or not (layout.site / "index.html").is_file()
    if rebuild:
        stamp_file.unlink(missing_ok=True)
        _run_sphinx(layout, strict)
        write_json(stamp_file, {"stamp": stamp})
    return Site(layout.site, rebuild, staged.missing, staged.unexecuted)


def broken_links(layout: Layout) -> list[str]:
    """Ask every external link of the assembled pages whether it answers.

    Returns:
        One line per link that does not: page, line, address, reason.

    Raises:
        BuildError: If nothing is assembled yet, or the check itself fails.
    """
    if not (layout.source / "_toc.yml").is_file():
        raise BuildError(f"no pages in {layout.source}; build the book first: make book")
    output = layout.build / "links"
    shutil.rmtree(output, ignore_errors=True)
    done = _jupyter_book(layout, output, ["--builder", "linkcheck"])
    report = output / "_build" / "linkcheck" / "output.json"
    if not report.is_file():
        raise BuildError(f"the links could not be checked:\n{(done.stdout + done.stderr).strip()[-3000:]}")
    found = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    return [
        f"{link['filename']}:{link['lineno']}: {link['uri']}: {link['info']}"
        for link in found
        if link["status"] in ("broken", "timeout")
    ]
