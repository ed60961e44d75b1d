"""The notebook that a chapter's page offers: numbers in its sentences and plain Markdown, so that it can be read and executed
where nothing of the book is.

What refers to another place leads to the published book, or names the place where the book has no address.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import yaml
from pybtex.database import Entry, parse_file

from wavemem.building.address import online, repository
from wavemem.building.chapters import Chapter, executable, parsed
from wavemem.building.editions import heading, named
from wavemem.building.layout import Edition, Layout, Parameters
from wavemem.plotting.tables import typeset

_FENCE = re.compile(r"[ \t]*(`{3,}|:{3,}|~{3,})(?:\{([\w:-]+)\}[ \t]*(.*)|[\w+-]*)")
_OPTION = re.compile(r":([\w-]+):[ \t]*(.*)")
_LABEL = re.compile(r"^\(([^)\s]+)\)=[ \t]*$", re.MULTILINE)
_EQUATION = re.compile(r"\$\$((?:(?!\$\$).)+?)\s*\$\$[ \t]*\(([^)\s]+)\)", re.DOTALL)
_FORMULA = re.compile(r"\$\$.+?\$\$|(?<![\\$])\$[^$]+\$", re.DOTALL)
_ROLE = re.compile(r"\{([\w:-]+)\}`([^`]+)`")
_LINK = re.compile(r"\[([^\]\[]+)\]\(([^()\s]+)\)")
_WITH_TEXT = re.compile(r"(.+?)\s*<([^<>]+)>", re.DOTALL)
_FOLDED = {"hide-cell", "hide-input", "remove-cell", "remove-input"}


@dataclass(frozen=True)
class Place:
    """What a sentence can refer to.

    Attributes:
        path: Its page and anchor in the published book.
        title: Of a section; of everything else its kind and number, such as "Fig. 4.2".
        number: Its number; "" for a section.
        chapter: Number of its chapter, "" outside the chapters.
    """

    path: str
    title: str
    number: str
    chapter: str


def places(chapters: list[Chapter], pages: Mapping[str, str], numbered: Collection[str]) -> dict[str, Place]:
    """What the book's sentences can refer to, by label in small letters.

    Args:
        chapters: The chapters.
        pages: The text of the other pages by their path without suffix, such as ``book/errata``.
        numbered: Names of the chapters of which the book prints the number; all others count on from one another.
    """
    found, loose = {}, Counter[str]()
    prose = [(path, [nbformat.v4.new_markdown_cell(text)], "", "", loose) for path, text in pages.items()]
    parts: list[tuple[str, list[Any], str, str, Counter[str]]] = prose
    for chapter in chapters:
        prefix, counts = (f"{chapter.number}.", Counter[str]()) if chapter.name in numbered else ("", loose)
        cells = parsed(chapter.text, chapter.name).cells
        parts.append((f"chapters/{chapter.name}", cells, str(chapter.number), prefix, counts))
    for path, cells, number, prefix, counts in parts:
        for label, anchor, title, own in named(cells, heading(cells, path), prefix, counts):
            found[label.lower()] = Place(f"{path}.html#{anchor.lower()}", title, own, number)
    found.pop("", None)
    return found


def citations(file: Path) -> dict[str, tuple[str, str]]:
    """Authors and year of each entry of a bibliography, as the book prints them."""

    def authors(entry: Entry) -> str:
        names = [" ".join(person.last_names) for person in entry.persons["author"]]
        return f"{names[0]} *et al.*" if len(names) > 2 else " and ".join(names)

    entries = parse_file(str(file), "bibtex").entries if file.is_file() else {}
    return {key: (authors(entry), entry.fields["year"]) for key, entry in entries.items()}


@dataclass(frozen=True)
class Book:
    """What the notebooks of a book have in common.

    Attributes:
        title: Of the book.
        address: Where it is published, with a slash at the end; "" if nowhere.
        library: What pip installs the library from; "" if it is nowhere to be had.
        places: What sentences can refer to, by label.
        citations: Authors and year of what they can cite, by key.
    """

    title: str
    address: str
    library: str
    places: Mapping[str, Place]
    citations: Mapping[str, tuple[str, str]]

    def link(self, text: str, path: str) -> str:
        """A link into the published book, or its text alone."""
        return f"[{text}]({self.address}{path})" if self.address else text


def library(root: Path) -> str:
    """What pip installs the library from: the repository at the last commit that changed it; "" without an address."""
    address = repository(root)
    if not address:
        return ""
    command = ["git", "-C", str(root), "log", "-1", "--format=%H", "--", "pyproject.toml", "src", "records"]
    done = subprocess.run(command, capture_output=True, text=True) if (root / ".git").exists() else None
    commit = done.stdout.strip() if done else ""
    return f"wavemem @ git+{address}{'@' * bool(commit)}{commit}"


@dataclass
class _Prose:
    """A chapter's Markdown."""

    book: Book
    chapter: str
    values: Mapping[str, str] = field(default_factory=dict)

    def convert(self, text: str) -> str:
        """Directives, roles, labels and references in plain Markdown."""
        lines, parts, prose = text.split("\n"), [], []
        while lines:
            line = lines.pop(0)
            opened = _FENCE.fullmatch(line)
            if opened is None:
                prose.append(line)
                continue
            fence, kind, argument = opened.groups()
            closing = re.compile(rf"[ \t]*{fence[0]}{{{len(fence)},}}[ \t]*")
            end = next((k for k, inner in enumerate(lines) if closing.fullmatch(inner)), len(lines))
            inner, lines = lines[:end], lines[end + 1 :]
            made = self._directive(kind, argument, inner) if kind else "\n".join([line, *inner, fence])
            parts += [self._inline("\n".join(prose)), made]
            prose = []
        parts.append(self._inline("\n".join(prose)))
        return "\n\n".join(part for part in parts if part)

    def _directive(self, kind: str, argument: str, lines: list[str]) -> str:
        options = {}
        while lines and (option := _OPTION.fullmatch(lines[0])):
            options[option[1]] = option[2]
            lines = lines[1:]
        name, label = kind.removeprefix("prf:"), options.get("label", "")
        if name == "math":
            return self._inline("\n".join(["$$", "\n".join(lines).strip(), "$$" + (f" ({label})" if label else "")]))
        body, argument = self.convert("\n".join(lines).strip()), self._inline(argument.strip())
        if name == "div":
            return body
        if name == "solution":
            place = self.book.places.get(argument.lower())
            title = "Solution" + (f" of {place.title}" if place else "")
            return f"<details>\n<summary><b>{title}</b></summary>\n\n{body}\n\n</details>"
        place = self.book.places.get(label.lower())
        title = place.title if place else name.capitalize()
        if name == "admonition":
            title = argument
        elif argument:
            title += f" ({argument})"
        # Notebooks look for formulas line by line, and would show the mark of the quotation in them.
        body = _FORMULA.sub(lambda match: match[0].replace("\n", " "), f"**{title}**\n\n{body}")
        return "\n".join(f"> {line}".rstrip() for line in body.split("\n"))

    def _inline(self, text: str) -> str:
        def tagged(match: re.Match[str]) -> str:
            return f"$${match[1]} \\tag{{{self.book.places[match[2].lower()].number}}}\n$$"

        text = _EQUATION.sub(tagged, _LABEL.sub("", text))
        text = _LINK.sub(self._link, _ROLE.sub(self._role, text))
        return re.sub(r"\n{3,}", "\n\n", text).strip("\n")

    def _link(self, match: re.Match[str]) -> str:
        label = match[2].removeprefix("#")
        return self._refer("ref", f"{match[1]} <{label}>") if label.lower() in self.book.places else match[0]

    def _role(self, match: re.Match[str]) -> str:
        kind, content = match[1], " ".join(match[2].split())
        if kind.startswith("glue"):
            return self._glued(content)
        if kind.startswith("cite"):
            return self._cited(content, textual=kind.endswith(":t"))
        if kind == "py:mod":
            return self.book.link(f"`{content}`", f"pages/api.html#module-{content}")
        return self._refer(kind, content)

    def _refer(self, kind: str, content: str) -> str:
        own = _WITH_TEXT.fullmatch(content)
        text, label = (own[1], own[2]) if own else ("", content)
        place = self.book.places.get(label.lower())
        if place is None:
            return text or label
        if kind == "numref":
            text = re.sub(r"%s|\{number\}", place.number, text)
        if not text:
            text, elsewhere = place.title, place.chapter != self.chapter
            if elsewhere and not (place.number or self.book.address):
                text = f"*{text}*" + (f", chapter {place.chapter}" if place.chapter else "")
        return self.book.link(text, place.path)

    def _glued(self, content: str) -> str:
        name, _, form = content.partition(":")
        value = self.values.get(name, "…").strip("'\"")
        if form and value != "…":
            value = format(float(value), form)
        return re.sub(r"([*_|$`<\\])", r"\\\1", typeset(value))

    def _cited(self, content: str, textual: bool) -> str:
        form = "{} [{}]" if textual else "{}, {}"
        known = [(key.strip(), self.book.citations.get(key.strip())) for key in content.split(",")]
        said = "; ".join(form.format(*found) if found else key for key, found in known)
        said = self.book.link(said if textual else f"\\[{said}\\]", "book/bibliography.html")
        return said.replace("] [", "\\] [")


_INSTALLING = """\
# Needs the book's library, and installs it where it is missing.
try:
    import wavemem
except ModuleNotFoundError:
    {otherwise}"""
_INSTALL = '%pip install --quiet "{library}"'
_REFUSE = """\
raise SystemExit(
        "The library wavemem is not installed here. Take it from a copy of the book, in a cell of its own: "
        "%pip install PATH_OF_THE_COPY; then execute this cell again."
    )"""


def portable(chapter: Chapter, executed: Any, book: Book, parameters: Parameters) -> Any:
    """A chapter's notebook for a reader who takes it elsewhere, without outputs.

    Args:
        chapter: The chapter.
        executed: Its executed notebook, with the numbers of its sentences; one without outputs leaves them out.
        book: What it refers to.
        parameters: What it was executed with.
    """
    values = {}
    for output in (output for cell in executed.cells for output in cell.get("outputs", [])):
        name = output.get("metadata", {}).get("scrapbook", {}).get("name")
        if name:
            values[name] = next((text for kind, text in output.data.items() if kind.endswith("text/plain")), "")
    prose = _Prose(book, str(chapter.number), values)
    page = book.link(f"chapter {chapter.number}", f"chapters/{chapter.name}.html")
    said = f"This is the notebook of {page} of *{book.title}*."
    if values:
        variant = f"profile `{parameters.profile}`, device `{parameters.device}`, seed {parameters.seed}"
        said += f" The numbers in its sentences were computed with {variant}."
    otherwise = _INSTALL.format(library=book.library) if book.library else _REFUSE
    cells = [
        nbformat.v4.new_markdown_cell(said, id="about"),
        nbformat.v4.new_code_cell(_INSTALLING.format(otherwise=otherwise), id="installing"),
    ]
    notebook = executable(chapter.text, chapter.name)
    for cell in notebook.cells:
        figure = cell.metadata.pop("mystnb", {}).get("figure", {})
        if cell.cell_type == "markdown":
            cell.source = prose.convert(cell.source).strip()
            cells += [cell] * bool(cell.source)
            continue
        # In the book a cell hands its numbers to the sentences; here they stand there.
        cell.source = cell.source.replace(
            "from myst_nb import glue", "glue = lambda *_, **__: None  # of the book's pages"
        )
        if _FOLDED & set(cell.metadata.get("tags", [])):
            cell.metadata["jupyter"] = {"source_hidden": True}
        cells.append(cell)
        if "caption" in figure:
            place = book.places.get(figure.get("name", "").lower())
            number = f"**{place.title}** " if place else ""
            cells.append(
                nbformat.v4.new_markdown_cell(number + prose.convert(figure["caption"]), id=f"{cell.id}-caption")
            )
    notebook.cells = cells
    notebook.metadata.pop("jupytext", None)
    notebook.metadata.pop("wavemem", None)
    return notebook


def book_of(layout: Layout, chapters: list[Chapter], pages: Mapping[str, str], toc: Mapping[str, Any]) -> Book:
    """What the notebooks of a copy of the book, or of an edition of it, have in common.

    Those of a student edition name no address, for there are solutions.

    Args:
        layout: Where the book lies.
        chapters: All its chapters.
        pages: The text of its other pages, as in :func:`places`.
        toc: Its table of contents, which says what parts print numbers.
    """
    root, edition = layout.root, layout.edition
    title = edition.title or yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8")).get("title", "the book")
    numbered = [Path(entry["file"]).name for part in toc["parts"] if part.get("numbered") for entry in part["chapters"]]
    addresses = online(root) if edition == Edition() else edition.full_book, library(root)
    address, source = ("", "") if edition.kind == "student" else addresses
    cited = citations(root / "book" / "references.bib")
    return Book(title, address, source, places(chapters, pages, numbered), cited)
