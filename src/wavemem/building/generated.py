"""The pages made from measurements and from the library, written by a process that knows nothing of whoever builds the book."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from wavemem.building.cache import Entry, installed_versions
from wavemem.building.chapters import Chapter
from wavemem.building.layout import BuildError, Layout, Parameters, clean_environment
from wavemem.processes import child_command

BLOCKS = "blocks.json"
"""What stands in a chapter, by its name; under the empty name, on the welcome page."""


_REFERENCE = """\
(page-api)=
# Library reference

Generated from the docstrings of `wavemem`. Shapes are written as in the code: `Float[Tensor, "*batch s d"]` is a floating-point
tensor whose last two axes have sizes $s$ and $d$, with any number of axes before them. Public functions raise `ValueError` with
what they got, what they allow, and what to do. Symbols are explained on the {ref}`notation page <page-notation>`.
"""


def write_reference(path: Path, source: Path) -> None:
    """The library reference: every public module, under the packages in alphabetical order.

    Args:
        path: Where to write.
        source: The folder ``wavemem``.
    """
    text = [_REFERENCE]
    for package in sorted(folder.parent for folder in source.glob("*/__init__.py")):
        if package.name == "building":  # what makes the book, not what it is about
            continue
        summary = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
        text.append(f"## {package.name}\n\n{summary.splitlines()[0]}\n")
        text += [
            f"### `{package.name}.{file.stem}`\n\n```{{eval-rst}}\n.. automodule:: wavemem.{package.name}.{file.stem}\n```\n"
            for file in sorted(package.glob("[!_]*.py"))
        ]
    text.append("## Shared by all\n")
    text += [
        f"### `{file.stem}`\n\n```{{eval-rst}}\n.. automodule:: wavemem.{file.stem}\n```\n"
        for file in sorted(source.glob("[!_]*.py"))
        if file.stem != "cli"
    ]
    path.write_text("\n".join(text), encoding="utf-8")


def write_pages(root: Path, results: Path, folder: Path) -> None:
    """Write every page.

    Args:
        root: Top of the book.
        results: What the chapters measured.
        folder: Where to write.
    """
    from wavemem.plotting import welcome
    from wavemem.records import claims_page, report_page
    from wavemem.records.status import gather

    gathered = gather(results, root / "records")
    (folder / BLOCKS).write_text(json.dumps(claims_page.blocks(gathered)), encoding="utf-8")
    (folder / "claims.md").write_text(claims_page.render(gathered), encoding="utf-8")
    (folder / "reproduction.md").write_text(report_page.render(gathered), encoding="utf-8")
    write_reference(folder / "api.md", Path(__file__).resolve().parents[1])
    welcome.write(folder / "welcome.svg")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def execution_page(chapters: list[Chapter], entries: Mapping[str, Entry], parameters: Parameters) -> str:
    """MyST text of the page.

    Args:
        chapters: All chapters of the book.
        entries: The published notebook of each executed one, by name.
        parameters: The variant that the pages show.
    """
    rows = []
    for chapter in chapters:
        entry = entries.get(chapter.name)
        took = _duration(entry.seconds) if entry else "not executed"
        modules = sum(name.startswith("module ") for name in entry.ingredients) if entry else 0
        rows.append(f"| [](../chapters/{chapter.name}.ipynb) | {chapter.minutes} min | {took} | {modules} |")
    total = _duration(sum(entry.seconds for entry in entries.values()))
    versions = ", ".join(f"{name} {version}" for name, version in installed_versions().items())
    lines = [
        "(page-execution)=",
        "# How long the chapters take",
        "",
        f"Every chapter of this copy was executed with profile `{parameters.profile}`, device `{parameters.device}` and "
        f"seed `{parameters.seed}`. The times are wall-clock times of whole chapters, from the start of a kernel to its "
        "end, with chapters running side by side where the machine has the cores. The last column counts the modules of "
        "`wavemem` that a chapter imports, directly or through one another: a change in one of these, and in no other, "
        "makes the next build execute the chapter again.",
        "",
        "| Chapter | Reading | Execution | Modules |",
        "| :-- | --: | --: | --: |",
        *rows,
        f"| All | {sum(chapter.minutes for chapter in chapters)} min | {total} |  |",
        "",
        f"Versions: {versions}.",
        "",
    ]
    return "\n".join(lines)


def generate(layout: Layout, parameters: Parameters) -> dict[str, bytes]:
    """The pages by file name, with ``BLOCKS``.

    Raises:
        BuildError: If they cannot be written.
    """
    folder = layout.build / "pages"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arguments = [str(path) for path in (layout.root, layout.results(parameters), folder)]
    settings = {
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": str(layout.build / "matplotlib"),
        "WAVEMEM_ROOT": str(layout.root),
    }
    done = subprocess.run(
        child_command("wavemem.building.generated:main", *arguments),
        cwd=folder,
        env=clean_environment() | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[-3000:]
        raise BuildError(f"the pages of measurements could not be written:\n{said}")
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def main() -> None:
    """Entry point of the process."""
    write_pages(*map(Path, sys.argv[1:]))
