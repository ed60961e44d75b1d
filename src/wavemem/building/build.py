"""The whole book: execute what is out of date, build the pages, say where they are."""

from __future__ import annotations

import functools
import http.server
from dataclasses import dataclass
from pathlib import Path

from wavemem.building.chapters import discover, select
from wavemem.building.layout import BuildError, Layout, Parameters, UsageError
from wavemem.building.schedule import Outcome, execute_chapters
from wavemem.building.site import Site, build_site
from wavemem.building.stage import unlisted


@dataclass(frozen=True)
class Order:
    """What a build is asked for; the fields are the options of ``make book``.

    Attributes:
        profile, device, seed: Parameters of the chapters.
        chapters: Names or numbers, separated by commas or blanks; empty for all.
        jobs: How many chapters run at a time.
        force: Execute even what is up to date.
        timeout: Seconds that one cell may take, 0 for no limit; None for each chapter's own limit.
        threads: Threads that each chapter gets.
    """

    profile: str = "quick"
    device: str = "auto"
    seed: int = 0
    chapters: str = ""
    jobs: int = 1
    force: bool = False
    timeout: int | None = None
    threads: int = 1

    def parameters(self) -> Parameters:
        """The papermill parameters, with the device chosen."""
        return Parameters(self.profile, self.device, self.seed).on_this_machine()


def execute(layout: Layout, order: Order) -> tuple[Outcome, Parameters]:
    """Execute the chapters of an order that are out of date."""
    chapters = discover(layout)
    if not chapters:
        raise UsageError(f"no chapters in {layout.notebooks}")
    picked = select(chapters, order.chapters)
    parameters = order.parameters()
    outcome = execute_chapters(picked, layout, parameters, order.jobs, order.force, order.timeout, order.threads)
    return outcome, parameters


def build_book(layout: Layout, order: Order, lenient: bool = False) -> tuple[Outcome, Site | None]:
    """Execute and build.

    Where only some chapters are asked for, the others appear as they were
    executed last, or without outputs, and warnings do not stop the build.

    Args:
        layout: Where the book lies.
        order: What is asked for.
        lenient: Build the pages that exist, warnings or not, even for the whole book.

    Returns:
        What became of the chapters, and the site; None if a chapter failed.

    Raises:
        BuildError: If the pages cannot be built.
        UsageError: If the order names something that does not exist.
    """
    absent = [] if lenient else unlisted(layout, select(discover(layout), order.chapters))
    if absent:
        lines = "".join(f"\n      - file: chapters/{name}" for name in absent)
        raise UsageError(
            f"_toc.yml does not name {', '.join(absent)}; give each chapter a line in one of its parts:{lines}"
        )
    outcome, parameters = execute(layout, order)
    if outcome.failures:
        return outcome, None
    strict = not lenient and not order.chapters.strip()
    return outcome, build_site(layout, parameters, discover(layout), strict=strict)


def timings(outcome: Outcome) -> list[str]:
    """One line per chapter: how long it took, and whether it was executed now."""
    lines = []
    for name in sorted(outcome.seconds):
        state = "executed now" if name in outcome.executed else "up to date"
        lines.append(f"  {name:32} {outcome.seconds[name]:7.1f} s   {state}")
    return lines


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
