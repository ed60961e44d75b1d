"""Build the pages with Jupyter Book, check their links, and serve them."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from wavemem.building.cache import altered, folder_digest, installed, moments, noted
from wavemem.building.chapters import Chapter, plain
from wavemem.building.layout import BuildError, Layout, Parameters, digest, run_apart, write_atomically
from wavemem.building.stage import Staged, stage
from wavemem.processes import claim

_POLL = 0.5
_WARNING = re.compile(r"\b(WARNING|ERROR|CRITICAL|SEVERE)\b")


def _jupyter_book(
    layout: Layout, output: Path, options: list[str], held: tuple[int, ...]
) -> subprocess.CompletedProcess[str]:
    """Run Jupyter Book on the assembled tree; it holds the given file descriptors as long as it lives."""
    arguments = ["build", str(layout.source), "--path-output", str(output), "--quiet", *options]
    variables = {
        "DOCUTILSCONFIG": "",
        "JUPYTER_CONFIG_DIR": str(layout.build / "jupyter"),
        "NO_COLOR": "1",
        "SOURCE_DATE_EPOCH": "315532800",
    }
    return run_apart(layout, layout.source, "jupyter_book.cli.main:main", *arguments, held=held, **variables)


def _run_sphinx(layout: Layout, strict: bool, held: tuple[int, ...], go_on: bool) -> Path:
    """Run Jupyter Book on the assembled tree, apart from the site.

    Args:
        layout: Where the book lies.
        strict: Treat warnings as errors.
        held: File descriptors that it holds as long as it lives.
        go_on: Whether to begin with the pages of the site and what Sphinx read for them, or with nothing.

    Returns:
        The folder of the pages.
    """
    scratch = layout.pages / "sphinx"
    pages, read = scratch / "_build" / "html", scratch / "_build" / ".doctrees"
    go_on = go_on and read.is_dir()
    shutil.rmtree(pages if go_on else scratch, ignore_errors=True)
    if go_on:
        # Styles that an extension adds only at the end are not there when the first pages are written.
        shutil.copytree(layout.site, pages, ignore=shutil.ignore_patterns("_static"))
    done = _jupyter_book(layout, scratch, ["--warningiserror", "--keep-going"] if strict else [], held)
    log = layout.pages / "site.log"
    errors = plain(done.stderr)
    log.write_text(done.stdout + errors, encoding="utf-8")
    complaints = [line for line in errors.split("\n") if _WARNING.search(line)]
    if done.returncode != 0:
        shown = "\n".join("  " + line for line in complaints[:40]) or "  " + errors.strip()[-3000:]
        raise BuildError(f"the pages could not be built; {len(complaints)} warnings or errors (all in {log}):\n{shown}")
    if complaints:
        print(f"{len(complaints)} warnings while building the pages, in {log}", file=sys.stderr)
        shutil.rmtree(read)  # it would say nothing of a page that it does not read again
    (pages / ".nojekyll").touch()
    return pages


def _swap_in(layout: Layout, pages: Path) -> None:
    """Put new pages in the place of the site, whole."""
    old = layout.pages / "site-old"
    shutil.rmtree(old, ignore_errors=True)
    if layout.site.exists():
        layout.site.rename(old)
    pages.rename(layout.site)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _claimed(layout: Layout) -> Iterator[tuple[int, ...]]:
    """Wait for other builds to be done with the pages, and give the file descriptor that keeps them away."""
    file, holder = claim(layout.pages / "site.lock")
    if file is None:
        print(f"another build makes the pages (process {holder}); waiting for it to end", file=sys.stderr)
    while file is None:
        time.sleep(_POLL)
        file, _ = claim(layout.pages / "site.lock")
    with file:
        yield (file.fileno(),)


def build_site(
    layout: Layout, parameters: Parameters, chapters: list[Chapter], strict: bool = True
) -> tuple[Staged, bool]:
    """Build the pages from what has been executed, unless they already show exactly that.

    Args:
        layout: Where the book lies.
        parameters: Which variant to show.
        chapters: All chapters of the book.
        strict: Treat warnings, pages that do not exist and chapters that were not executed as errors.

    Returns:
        What the pages are made from, and whether they were built now.

    Raises:
        BuildError: If the pages cannot be built, or what they are made from changed meanwhile.
    """
    with _claimed(layout) as held:
        staged = stage(layout, parameters, chapters)
        if strict and (staged.missing or staged.unexecuted):
            absent = ", ".join([*staged.missing, *staged.unexecuted])
            raise BuildError(f"the table of contents names what does not exist or was not executed: {absent}")
        before = moments(layout.package.rglob("*.py"))
        # Everything that the pages are made from: the assembled tree, documented code and the tools. What concerns all
        # pages is the frame; the others are built anew one by one.
        frame = digest([staged.frame, folder_digest(layout.package, "*.py"), installed()])
        note = layout.pages / "site.txt"
        known, made_from = noted(note), [frame, digest([staged.digest, strict])]
        current = known == [folder_digest(layout.site), *made_from]
        if not current:
            # Until the end there is no note: after an error or a kill the next build begins with nothing.
            note.unlink(missing_ok=True)
            pages = _run_sphinx(layout, strict, held, known[:2] == [folder_digest(layout.site), frame])
            changed = altered(before, moments(layout.package.rglob("*.py")))
            if changed:
                raise BuildError(
                    f"changed while the pages were built: {', '.join(changed)}; run the same command again"
                )
            _swap_in(layout, pages)
            write_atomically(note, " ".join([folder_digest(layout.site), *made_from]).encode())
    return staged, not current


def broken_links(layout: Layout) -> list[str]:
    """Ask every external link of the assembled pages whether it answers.

    Returns:
        One line per link that does not: page, line, address, reason.

    Raises:
        BuildError: If nothing is assembled yet, or the check itself fails.
    """
    if not (layout.source / "_toc.yml").is_file():
        raise BuildError(f"no pages in {layout.source}; build the book first: make book")
    output = layout.pages / "links"
    with _claimed(layout) as held:
        shutil.rmtree(output, ignore_errors=True)
        done = _jupyter_book(layout, output, ["--builder", "linkcheck"], held)
    report = output / "_build" / "linkcheck" / "output.json"
    if not report.is_file():
        raise BuildError(f"the links could not be checked:\n{(done.stdout + done.stderr).strip()[-3000:]}")
    found = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    return [
        f"{link['filename']}:{link['lineno']}: {link['uri']}: {link['info']}"
        for link in found
        if link["status"] in ("broken", "timeout")
    ]


def serve(folder: Path, port: int) -> None:
    """Serve a built site on this machine until interrupted.

    Raises:
        BuildError: If there is no site, or the port is taken.
    """
    if not (folder / "index.html").is_file():
        raise BuildError(f"no site in {folder}; build it first: make book")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise BuildError(f"port {port} cannot be used ({error.strerror}); choose another: --port N") from error
    with server:
        print(f"http://127.0.0.1:{server.server_address[1]}/  (stop with Ctrl-C)", flush=True)
        server.serve_forever()
