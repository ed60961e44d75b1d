"""Assemble the tree that Sphinx reads: prose as it is, chapters as executed, pages made from measurements.

Assembling instead of building in place keeps the text sources out of Sphinx's sight (a label in both a text notebook
and its executed twin would be defined twice), and lets every chapter carry the facts of its own execution.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import files
from pathlib import Path
from typing import Any

import nbformat
import yaml

from wavemem.building import cache, editions
from wavemem.building.address import online, repository
from wavemem.building.cache import Entry, files_in, folder_digest, installed, installed_versions, noted
from wavemem.building.chapters import Chapter, as_executed, executable, notebook_bytes, published
from wavemem.building.layout import (
    BuildError,
    Edition,
    Layout,
    Parameters,
    UsageError,
    digest,
    run_apart,
    write_atomically,
)
from wavemem.building.portable import book_of, portable

SUMMARY = r"## (?:What we now know|Summary)\s*$"
"""The heading of a chapter's summary."""
BLOCKS = "blocks.json"
"""What stands in a chapter, by its name; under the empty name, on the welcome page."""

_MATHJAX = "tex-svg-full.js"
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

    def add(folder: Path, prefix: str, without: str = "") -> None:
        for file in sorted(folder.glob("[!_]*.py")):
            if file.stem != without:
                name = f"{prefix}{file.stem}"
                text.append(f"### `{name}`\n\n```{{eval-rst}}\n.. automodule:: wavemem.{name}\n```\n")

    for package in sorted(folder.parent for folder in source.glob("*/__init__.py")):
        if package.name == "building":  # what makes the book, not what it is about
            continue
        summary = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
        text.append(f"## {package.name}\n\n{summary.splitlines()[0]}\n")
        add(package, f"{package.name}.")
    text.append("## Shared by all\n")
    add(source, "", without="cli")
    path.write_text("\n".join(text), encoding="utf-8")


def write_pages() -> None:
    """Entry point of the process that writes the pages made from measurements and from the library.

    Its arguments: the top of the book, the folder of what the chapters measured, the folder to write to, and the chapters
    that the edition leaves out.
    """
    from wavemem.plotting import welcome
    from wavemem.records import claims_page, report_page
    from wavemem.records.status import gather

    root, results, folder = map(Path, sys.argv[1:4])
    gathered = gather(results, root / "records", sys.argv[4:])
    (folder / BLOCKS).write_text(json.dumps(claims_page.blocks(gathered)), encoding="utf-8")
    (folder / "claims.md").write_text(claims_page.render(gathered), encoding="utf-8")
    (folder / "reproduction.md").write_text(report_page.render(gathered), encoding="utf-8")
    write_reference(folder / "api.md", Path(__file__).resolve().parents[1])
    welcome.write(folder / "welcome.svg")


def generate(layout: Layout, parameters: Parameters, without: Sequence[str] = ()) -> dict[str, bytes]:
    """The generated pages by file name, with ``BLOCKS``; written anew if what they are made from has changed.

    Args:
        layout: Where the book lies.
        parameters: Which variant of the executed chapters they are about.
        without: Chapters that the edition leaves out, and with them what only they treat.

    Raises:
        BuildError: If they cannot be written.
    """
    results, registry = layout.results(parameters), layout.root / "records" / "registry"
    # Of the chapters' words, the lines where :mod:`wavemem.records.status` finds targets and names.
    texts = {path.name: path.read_text(encoding="utf-8", errors="replace") for path in layout.notebooks.glob("*.md")}
    labels = {name: [x for x in text.split("\n") if x.startswith("(") or "name" in x] for name, text in texts.items()}
    code = [folder_digest(layout.root / name, "*.py") for name in ("src", "tests")]
    found = [str(results), folder_digest(results), folder_digest(registry), labels, code, installed(), list(without)]
    made_from, folder, note = digest(found), layout.pages / "pages", layout.pages / "pages.txt"
    if noted(note) != [made_from, folder_digest(folder)]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        arguments = [*(str(path) for path in (layout.root, results, folder)), *without]
        done = run_apart(layout, folder, "wavemem.building.stage:write_pages", *arguments)
        if done.returncode != 0:
            raise BuildError(f"the pages of measurements could not be written:\n{done.stderr.strip()[-3000:]}")
        write_atomically(note, f"{made_from} {folder_digest(folder)}".encode())
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _execution_page(chapters: list[Chapter], entries: Mapping[str, Entry], parameters: Parameters) -> str:
    """How long the chapters take, where one was executed, by name."""
    rows = []
    for chapter in chapters:
        entry = entries.get(chapter.name)
        took = _duration(entry.seconds) if entry else "not executed"
        modules = sum(name.startswith("module ") for name in entry.ingredients) if entry else 0
        rows.append(f"| [](../chapters/{chapter.name}.ipynb) | {chapter.minutes} min | {took} | {modules} |\n")
    total = _duration(sum(entry.seconds for entry in entries.values()))
    versions = ", ".join(f"{name} {version}" for name, version in installed_versions().items())
    return f"""\
(page-execution)=
# How long the chapters take

Every chapter of this copy was executed with profile `{parameters.profile}`, device `{parameters.device}` and \
seed `{parameters.seed}`. The times are wall-clock times of whole chapters, from the start of a kernel to its \
end, with chapters running side by side where the machine has the cores. The last column counts the modules of \
`wavemem` that a chapter imports, directly or through one another: a change in one of these, and in no other, \
makes the next build execute the chapter again.

| Chapter | Reading | Execution | Modules |
| :-- | --: | --: | --: |
{"".join(rows)}| All | {sum(chapter.minutes for chapter in chapters)} min | {total} |  |

Versions: {versions}.
"""


def _mathjax() -> bytes:
    """The MathJax bundle that the book extra installs."""
    for file in files("sphinx-mathjax-offline") or []:
        if file.name == _MATHJAX and "mathjax" in file.parts:
            return Path(str(file.locate())).read_bytes()
    raise BuildError("no MathJax to put beside the pages; install the book's tools: pip install -e '.[book]'")


def _facts(chapter: Chapter, parameters: Parameters, executed: bool) -> str:
    """The line under a chapter's title."""
    facts = f"executed with profile `{parameters.profile}` · device `{parameters.device}`, seed `{parameters.seed}`"
    state = facts if executed else "not executed in this build"
    return f":::{{div}} chapter-facts\n{chapter.minutes} minutes' read · {state}\n:::"


def _footer(chapter: Chapter, parameters: Parameters) -> str:
    """The box at a chapter's end: how to run it, and its files."""
    name = chapter.name
    return (
        ":::{div} chapter-run\n"
        "**Run it yourself.** "
        f"`wavemem book run {name} --profile {parameters.profile}` executes this chapter. "
        f"Its files: {{download}}`notebook <../downloads/{name}.ipynb>`, "
        f"{{download}}`text source <../downloads/{name}.md>`.\n"
        ":::"
    )


def _insert(notebook: Any, heading: str, text: str, before: str = "") -> bool:
    """Put text under a heading, at once or in front of the next line of its cell that matches; whether it was found."""
    for cell in notebook.cells:
        lines = cell.source.split("\n") if cell.cell_type == "markdown" else []
        title = next((index for index, line in enumerate(lines) if re.match(heading, line)), None)
        if title is not None:
            rest = range(title + 1, len(lines)) if before else ()
            place = next((i for i in rest if re.match(before, lines[i])), len(lines) if before else title + 1)
            lines[place:place] = ["", text, ""]
            cell.source = "\n".join(lines)
            return True
    return False


def _frame(notebook: Any, facts: str, claims: str, footer: str) -> None:
    """Put a line under a notebook's title, the papers' claims after its summary and a box at its end."""
    _insert(notebook, "# ", facts)
    ends = {"chapter-footer": footer}
    if claims and not _insert(notebook, SUMMARY, claims, before="## "):
        ends = {"chapter-claims": claims} | ends
    notebook.cells += [nbformat.v4.new_markdown_cell(text, id=name) for name, text in ends.items()]


def contents(layout: Layout, chapters: list[Chapter]) -> dict[str, Any]:
    """The table of contents, after a look whether it names some chapters.

    Raises:
        BuildError: If it cannot be read.
        UsageError: If it does not name one of the chapters.
    """
    file = layout.root / "_toc.yml"
    try:
        toc: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        entries = [entry["file"] for part in toc.get("parts", []) for entry in part["chapters"]]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise BuildError(f"{file} is no table of contents of parts with chapters: {error}") from error
    absent = [chapter.name for chapter in chapters if f"chapters/{chapter.name}" not in entries]
    if absent:
        lines = "".join(f"\n      - file: chapters/{name}" for name in absent)
        raise UsageError(
            f"_toc.yml does not name {', '.join(absent)}; give each chapter a line in one of its parts:{lines}"
        )
    return toc


def settings(layout: Layout) -> bytes:
    """The book's settings, with the addresses of this copy, if it has some, or with what makes them those of an edition.

    Where an edition is published is not known here, so it has no addresses of its pages; that of the repository, where solutions
    are, belongs to no student edition.

    Raises:
        BuildError: If they cannot be read.
        UsageError: If an address is none.
    """
    content = (layout.root / "_config.yml").read_bytes()
    config, edition = yaml.safe_load(content), layout.edition
    address, book = repository(layout.root), online(layout.root)
    if edition != Edition():
        address, book = "" if edition.kind == "student" else address, ""
        config["title"] = edition.title or config.get("title", "")
    html, branch = config.get("html") or {}, (config.get("repository") or {}).get("branch") or "main"
    if edition == Edition() and not (address or book or html.get("baseurl")):
        return content
    sphinx = config.get("sphinx") or {}
    told = (sphinx.get("config") or {}) | {"wavemem_repository": address, "wavemem_branch": branch}
    if edition.kind == "instructor":
        marked = {"announcement": "Instructor's edition: with solutions, not for students"}
        told["html_theme_options"] = (told.get("html_theme_options") or {}) | marked
    config |= {"html": html | {"baseurl": book}, "sphinx": sphinx | {"config": told}}
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode()


def chosen(layout: Layout, chapters: list[Chapter]) -> tuple[dict[str, Any], list[Chapter]]:
    """The table of contents of the layout's edition, and those of the chapters that it has.

    Raises:
        BuildError: If the table of contents cannot be read.
    """
    toc = contents(layout, [])
    if layout.edition.parts is None:
        return toc, chapters
    toc["parts"] = editions.chosen(toc.get("parts", []), layout.edition.parts)
    named = {entry["file"] for part in toc["parts"] for entry in part["chapters"]}
    return toc, [chapter for chapter in chapters if f"chapters/{chapter.name}" in named]


def _write(tree: Mapping[str, bytes], target: Path) -> None:
    """Let a folder hold these files and no others; those that are there already are not touched."""
    for file in sorted(target.rglob("*"), reverse=True):
        if file.is_dir() and not any(file.iterdir()):
            file.rmdir()
        elif file.is_file() and file.relative_to(target).as_posix() not in tree:
            file.unlink()
    for path, content in tree.items():
        file = target / path
        if not file.is_file() or file.read_bytes() != content:
            write_atomically(file, content)


def _edit(tree: dict[str, bytes], edition: Edition, welcome: str, gone: editions.LeftOut) -> None:
    """Make what is not a chapter that of an edition: the welcome page, and links to what is left out."""
    tree[welcome] = editions.welcoming(tree[welcome].decode(), edition, bool(gone)).encode()
    if gone:
        for name in [name for name in tree if name.startswith("book/") and name.endswith(".md")]:
            tree[name] = editions.unlinked(tree[name].decode(), gone, edition.full_book).encode()
        tree[editions.LEFT_OUT] = json.dumps([edition.full_book, gone], sort_keys=True).encode()


@dataclass(frozen=True)
class Staged:
    """An assembled tree.

    Attributes:
        digest: Hash over every path and content in it.
        frame: The same over what is no page: settings, contents, styles, references.
        missing: Pages that the table of contents names and that do not exist.
        unexecuted: Chapters shown without their outputs.
    """

    digest: str
    frame: str
    missing: list[str]
    unexecuted: list[str]


def stage(layout: Layout, parameters: Parameters, chapters: list[Chapter]) -> Staged:
    """Assemble the tree of the layout's edition, ``_build/source`` for the book as it is.

    Args:
        layout: Where the book lies.
        parameters: Which variant of the executed chapters to take.
        chapters: All chapters of the book; one that was never executed is included without outputs.
    """
    book, edition = layout.root / "book", layout.edition
    toc, kept = chosen(layout, chapters)
    gone = [chapter for chapter in chapters if chapter not in kept]
    tree = {f"book/{file.relative_to(book).as_posix()}": file.read_bytes() for file in files_in(book)}
    address = repository(layout.root) if edition.kind != "student" else ""  # solutions are there
    if address:
        for path in [path for path in tree if path.endswith(".md")]:
            told = tree[path].replace(b"<address of your copy>", address.encode())
            tree[path] = told.replace(b"<the folder>", address.rpartition("/")[2].encode())
    tree["_config.yml"] = settings(layout)
    tree[f"static/mathjax/{_MATHJAX}"] = _mathjax()
    pages = generate(layout, parameters, [chapter.name for chapter in gone])
    blocks: dict[str, str] = json.loads(pages.pop(BLOCKS, b"{}"))
    tree["pages/claims-count.txt"] = blocks.get("", "").encode()
    for name, content in pages.items():
        tree[f"book/{name}" if name == "welcome.svg" else f"pages/{name}"] = content
    texts = {path[:-3]: content.decode() for path, content in tree.items() if path.endswith(".md")}
    shared, entries = book_of(layout, chapters, texts, toc), {}
    for whole in kept:
        name = whole.name
        chapter = replace(whole, text=editions.edited(whole.text, edition.kind, name))
        notebook = executable(chapter.text, name)
        tree[f"downloads/{name}.md"] = chapter.text.encode()
        entry = cache.look_up(layout, parameters, name)
        if entry is not None:
            entries[name] = entry
            notebook = as_executed(chapter, nbformat.reads(entry.notebook.read_text(encoding="utf-8"), as_version=4))
        else:
            notebook = published(notebook)
        tree[f"downloads/{name}.ipynb"] = notebook_bytes(portable(chapter, notebook, shared, parameters))
        facts, footer = _facts(chapter, parameters, entry is not None), _footer(chapter, parameters)
        for cell in notebook.cells:  # an older execution has older words
            if cell.cell_type == "markdown":
                cell.source = editions.edited(cell.source, edition.kind, name)
        _frame(notebook, facts, blocks.get(name, ""), footer)
        tree[f"chapters/{name}.ipynb"] = notebook_bytes(notebook)
    tree["pages/execution.md"] = _execution_page(kept, entries, parameters).encode()
    if edition != Edition():
        _edit(tree, edition, f"{toc['root']}.md", editions.left_out(gone))
    tree |= {f"problems/{name}.ipynb": content for name, content in edition.problems}
    if edition.problems:
        sets = [{"file": f"problems/{name}"} for name, _ in edition.problems]
        toc["parts"].insert(-1, {"caption": "Problem sets", "chapters": sets})  # the last part is the reference
    stems, missing = {str(Path(path).with_suffix("")) for path in tree}, []
    for part in toc.get("parts", []):
        missing += [entry["file"] for entry in part["chapters"] if entry["file"] not in stems]
        part["chapters"] = [entry for entry in part["chapters"] if entry["file"] in stems]
    toc["parts"] = [part for part in toc.get("parts", []) if part["chapters"]]
    tree["_toc.yml"] = yaml.safe_dump(toc, sort_keys=False).encode()
    _write(tree, layout.source)
    unexecuted = [chapter.name for chapter in kept if chapter.name not in entries]
    found = {path: digest(content) for path, content in tree.items()}
    frame = {path: made for path, made in found.items() if not path.endswith((".md", ".ipynb"))}
    return Staged(digest(found), digest(frame), missing, unexecuted)
