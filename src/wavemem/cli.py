"""The command line ``wavemem``: what there is, run one thing, build the book, check the set-up.

Whatever needs Jupyter or PyTorch is imported inside the command that uses it, so that the library's commands work
without the one and listings do not wait for the other.
"""

from __future__ import annotations

import contextlib
import io
import os
import reprlib
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from wavemem.building.layout import BuildError, Layout, Parameters, UsageError, choose, find_root

_HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_HELP,
    help="Waves of Working Memory: its chapters, its experiments, and the book made from them.",
)
book = typer.Typer(no_args_is_help=True, context_settings=_HELP, help="Execute chapters, build the site, serve it.")
app.add_typer(book, name="book")
course = typer.Typer(no_args_is_help=True, context_settings=_HELP, help="A course's book, and its problem sets.")
app.add_typer(course, name="course")

_RANGES = {
    "seed": (0, 10**15),  # see wavemem.streams.MOST_SEED; some experiments take the next one, too
    "jobs": (1, 1024),
    "threads": (1, 1024),
    "timeout": (0, 10**6),
    "port": (0, 65535),
}
"""Option → smallest and largest whole number."""


def _number(name: str, text: str) -> Any:
    """An option that takes a whole number."""
    low, high = _RANGES[name]

    def whole(typed: Any) -> int:
        digits = str(typed).strip()
        if digits.isascii() and digits.isdigit() and len(digits) < 100 and low <= int(digits) <= high:
            return int(digits)
        raise typer.BadParameter(f"{name} is {reprlib.repr(typed)}; allowed: a whole number from {low:,} to {high:,}")

    return typer.Option(f"--{name}", help=f"{text} ({low:,} to {high:,})", metavar="NUMBER", parser=whole)


Profile = Annotated[str, typer.Option(help="quick: minutes on two CPU cores; paper: the papers' sizes.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Seed = Annotated[int, _number("seed", "Seed of everything random.")]
Jobs = Annotated[int, _number("jobs", "How many chapters run at a time.")]
Timeout = Annotated[int | None, _number("timeout", "Seconds that one cell may take; 0 for no limit.")]
Threads = Annotated[int, _number("threads", "Threads that each chapter gets, however many run at a time.")]
Force = Annotated[bool, typer.Option("--force", help="Execute even what is up to date.")]


class _RunCommand(TyperCommand):
    """`wavemem run`, whose help lists the fields of the experiment that is named, too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["typed"] = tuple(args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from wavemem.records.experiment import PROFILES, experiment_names, get_experiment
        from wavemem.records.run import describe_settings

        first = next(iter(ctx.meta.get("typed", ())), "-")
        name = None if first.startswith("-") else choose("experiment", first, experiment_names())
        super().format_help(ctx, formatter)
        if name is not None:
            fields = describe_settings(get_experiment(name).Config, PROFILES)
            formatter.write(
                f"\nFields of {name} for --set FIELD=VALUE, and their values in each profile:\n\n{fields}\n"
            )


@app.command()
def chapters() -> None:
    """List the chapters."""
    from wavemem.building.chapters import discover

    for chapter in discover(Layout(find_root())):
        print(f"{chapter.name:32} {chapter.minutes:>3} min  {chapter.title}")


@app.command()
def experiments() -> None:
    """List the experiments that regenerate the papers' figures and tables."""
    from wavemem.records.experiment import PROFILES, description, experiment_names

    for name in experiment_names():
        print(f"{name:24} {description(name)}")
    print(f"\nprofiles: {', '.join(PROFILES)}; run one: wavemem run NAME --profile PROFILE")


@app.command(cls=_RunCommand)
def run(
    experiment: Annotated[str, typer.Argument(help="Name of an experiment, as `wavemem experiments` lists them.")],
    profile: Profile = "quick",
    device: Device = "auto",
    seed: Seed = 0,
    records: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write the record to; by default records/, or _build/records/ where --set changes the protocol."
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Measure again what is stored already.")] = False,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Store in records/ even where --set makes it another protocol than the profile's."),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="FIELD=VALUE, or FIELD=VALUE,VALUE: another value in the configuration; repeatable. "
            "`wavemem run EXPERIMENT --help` lists the fields.",
        ),
    ] = None,
    jobs: Annotated[int, _number("jobs", "Processes among which the experiment's pieces are divided.")] = 1,
    scheduler: Annotated[
        str, typer.Option(help="Address of a Dask scheduler whose workers do the pieces, e.g. tcp://host:8786.")
    ] = "",
) -> None:
    """Run an experiment and store what it measured as a record.

    Killed at any moment, the same command goes on where it was; started twice at once, the two share the work.
    """
    from wavemem.records.experiment import experiment_names, get_experiment

    name = choose("experiment", experiment, experiment_names())
    parameters = Parameters(profile, device, seed)
    if scheduler and jobs > 1:
        raise UsageError(f"jobs is {jobs} beside a scheduler; allowed: one of them, a cluster has its own workers")
    chosen = parameters.on_this_machine().device
    if records is not None and records.exists() and not records.is_dir():
        raise UsageError(f"records is {str(records)!r}, a file; allowed: a folder, or one to be made")
    from wavemem.records.run import (
        ExistingRecord,
        on_cluster,
        parse_settings,
        run_experiment,
        side_by_side,
        with_settings,
    )
    from wavemem.records.sizes import differences
    from wavemem.records.store import config_json, open_record, working_root

    started = time.monotonic()
    with contextlib.ExitStack() as workers:
        try:
            base = get_experiment(name).Config.profile(profile)
            replaced = parse_settings(base, settings or [])
            other = differences(type(base), config_json(with_settings(base, replaced)), profile)
            if records is None:
                records = working_root() / ("_build/records" if other and not keep else "records")
            workers.enter_context(on_cluster(scheduler) if scheduler else side_by_side(jobs))
        except ValueError as error:
            raise UsageError(str(error)) from error
        try:
            folder = run_experiment(name, profile, seed, chosen, records, replace, replaced)
        except ExistingRecord as error:  # an experiment's own error keeps its traceback
            raise UsageError(str(error)) from error
    rows = open_record(folder).rows
    print(get_experiment(name).summarise(rows).to_string())
    print(f"\n{folder}  ({len(rows)} rows, {time.monotonic() - started:.0f} s)")
    if other:
        print(f"another protocol than profile {profile}: {', '.join(other)}; chapters do not take it for the profile's")


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="chapter, task, model, experiment or problem.")],
    name: Annotated[str, typer.Argument(help="my-chapter or 22-my-chapter; my_task; ps5-my-problems.")],
    part: Annotated[
        str, typer.Option(help="Part of the book, by its Roman number; of all else the folder: elman, wave_rnn or ssm.")
    ] = "",
) -> None:
    """Write a tested skeleton of something to add, and say what comes next; nothing is overwritten."""
    from wavemem.building import skeletons

    root = find_root()
    found = skeletons.new(root, kind, name, part)
    for verb, files in (("wrote", found.files), ("changed", found.changed)):
        for file in files:
            print(f"{verb:8}{os.path.relpath(file, root)}")
    print("\nnext:\n" + "\n".join(f"  {line}" for line in found.following.splitlines()))


@app.command()
def doctor() -> None:
    """Check the set-up: versions, device, threads, disk, browser, tools of the book."""
    from wavemem.building.doctor import examine

    try:
        root = find_root()
    except UsageError:
        root = None
    findings = examine(root)
    for finding in findings:
        print(f"{finding.state:5} {finding.subject:9} {finding.text}")
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)


def _execute(layout: Layout, wanted: list[Any], parameters: Parameters, *options: Any) -> None:
    """Execute chapters, say what became of them, and end here if one failed."""
    from wavemem.building.schedule import execute_chapters

    outcome = execute_chapters(wanted, layout, parameters, *options)
    print("chapters:\n" + outcome.timings())
    print(f"executed notebooks: {layout.chapters(parameters)}")
    for failure in outcome.failures:
        print("\n" + failure.describe(), file=sys.stderr)
    if outcome.failures:
        kept = len(outcome.seconds)
        print(f"\n{len(outcome.failures)} failed; {kept} finished and kept", file=sys.stderr)
        raise typer.Exit(1)


@book.command("run")
def book_run(
    names: Annotated[list[str] | None, typer.Argument(help="Chapters, by name or number; all if left out.")] = None,
    profile: Profile = "quick",
    device: Device = "auto",
    seed: Seed = 0,
    jobs: Jobs = 1,
    force: Force = False,
    timeout: Timeout = None,
    threads: Threads = 1,
) -> None:
    """Execute chapters that are out of date; build no pages."""
    from wavemem.building.chapters import discover, select

    layout = Layout(find_root())
    wanted = select(discover(layout), ",".join(names or []))
    _execute(layout, wanted, Parameters(profile, device, seed).on_this_machine(), jobs, force, timeout, threads)


@book.command("build")
def book_build(
    chapters: Annotated[str, typer.Option(help="Chapters to execute, by name or number, comma-separated.")] = "",
    profile: Profile = "quick",
    device: Device = "auto",
    seed: Seed = 0,
    jobs: Jobs = 2,
    force: Force = False,
    timeout: Timeout = None,
    threads: Threads = 1,
    lenient: Annotated[bool, typer.Option("--lenient", help="Let warnings and missing pages pass.")] = False,
) -> None:
    """Execute what is out of date, build the pages, and say where they are.

    Where only some chapters are asked for, the others appear as they were executed last, or without outputs, and warnings do
    not stop the build.
    """
    from wavemem.building.chapters import discover, select
    from wavemem.building.stage import contents

    started = time.monotonic()
    layout = Layout(find_root())
    wanted = select(discover(layout), chapters)
    parameters = Parameters(profile, device, seed).on_this_machine()
    contents(layout, [] if lenient else wanted)
    _execute(layout, wanted, parameters, jobs, force, timeout, threads)
    _build_pages(layout, parameters, not lenient and not chapters.strip(), started)


def _build_pages(layout: Layout, parameters: Parameters, strict: bool, started: float) -> None:
    """Build the pages of a book or of a course, and say where they are."""
    from wavemem.building.chapters import discover
    from wavemem.building.site import build_site

    staged, rebuilt = build_site(layout, parameters, discover(layout), strict)
    for page in staged.missing:
        print(f"left out, no such page: {page}")
    for name in staged.unexecuted:
        print(f"shown without outputs, not executed: {name}")
    print(f"\nsite:  {layout.site / 'index.html'}  ({'built' if rebuilt else 'up to date'})")
    folder = shlex.quote(str(layout.site))
    print(f"serve: python3 -m http.server --bind 127.0.0.1 --directory {folder} 8000   then open http://localhost:8000")
    print(f"took {time.monotonic() - started:.0f} s")


@book.command("links")
def book_links() -> None:
    """Ask every external link of the built book whether it answers."""
    from wavemem.building.site import broken_links

    broken = broken_links(Layout(find_root()))
    print("\n".join(broken) if broken else "every external link answers")
    if broken:
        raise typer.Exit(1)


@book.command("pdf")
def book_pdf(
    site: Annotated[
        Path | None, typer.Argument(help="Folder of a built site, such as a course's; by default that of the book.")
    ] = None,
) -> None:
    """Print a built site as one PDF, beside its folder; what is folded on the pages, solutions too, is not on paper."""
    from wavemem.building.printed import print_site

    target = print_site(site or Layout(find_root()).site)
    print(f"{target}  ({target.stat().st_size / 1e6:.0f} MB)")


@book.command("serve")
def book_serve(port: Annotated[int, _number("port", "Port on this machine; 0 takes a free one.")] = 8000) -> None:
    """Serve the built site on this machine."""
    from wavemem.building.site import serve

    serve(Layout(find_root()).site, port)


@course.command()
def site(
    profile: Profile = "quick",
    device: Device = "auto",
    seed: Seed = 0,
    jobs: Jobs = 2,
    timeout: Timeout = None,
    threads: Threads = 1,
) -> None:
    """Build the book of a course: the edition and the parts that course.toml asks for.

    Of the chapters that it leaves out none is executed; those that it has are executed once for all editions.
    """
    from wavemem.building.chapters import discover
    from wavemem.building.stage import chosen
    from wavemem.course.commands import with_problems

    started = time.monotonic()
    root = find_root()
    layout = Layout(root, with_problems(root))
    parameters = Parameters(profile, device, seed).on_this_machine()
    _execute(layout, chosen(layout, discover(layout))[1], parameters, jobs, False, timeout, threads)
    _build_pages(layout, parameters, True, started)


Set = Annotated[str, typer.Argument(help="A problem set, by the name of its source.")]


@course.command()
def release(which: Set) -> None:
    """Cut the version for students from a problem set's source."""
    from wavemem.course import commands

    print(f"hand out what lies in {commands.release(find_root(), which)}")


@course.command()
def grade(which: Set) -> None:
    """Grade what was handed in, and write grades.csv; points that a person gave are kept."""
    from wavemem.course import commands

    print(commands.grade(find_root(), which))


@course.command()
def feedback(which: Set) -> None:
    """Write a page for each student: points, and what failed."""
    from wavemem.course import commands

    print(commands.feedback(find_root(), which))


def _explained(error: BaseException) -> tuple[str, int] | None:
    """One line and the exit status for whatever a user can cause; None for a mistake of ours, which keeps its traceback."""
    from wavemem.checks import Unusable

    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # of the parser of the command line
        return error.message if type(error) is typer.BadParameter else error.format_message(), error.exit_code
    if isinstance(error, UsageError):
        return str(error), 2
    if isinstance(error, BuildError | Unusable):
        return str(error), 1
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        where = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        return f"{where or 'the system'}: {reason}. Nothing half written is kept; mend it and give the same command", 1
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    ):
        return f"not enough memory ({str(error).partition(chr(10))[0]}); choose smaller sizes or batches", 1
    return None


def main() -> None:
    """Run the command line; what a user can cause ends in one line and exit status 2 or 1, never in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # Greek letters on an ASCII terminal
    try:
        status = app(standalone_mode=False) or 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # the reader of our output has gone; what is left in the buffer would fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except Exception as error:
        explained = _explained(error)
        if explained is None:
            raise
        text, status = explained
        if text:  # none where the help was shown in its place
            print(text if text.startswith("Usage") else f"wavemem: {text}", file=sys.stderr)
    if status == 130:
        print("wavemem: interrupted", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
