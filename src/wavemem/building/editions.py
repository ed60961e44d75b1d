"""Editions of the book: chapters with or without solutions, parts with what is left out named in the place of links to it.

What is left out is known by its labels, with the titles and numbers that it has in the full book; pages show these where they
refer to it (see :mod:`wavemem.building.extension`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from wavemem.building.chapters import SOLUTION, Chapter, parsed
from wavemem.building.layout import BuildError, Edition

LEFT_OUT = "left-out.json"
"""The file that tells the pages the address of the full book, and what is left out."""
LeftOut = dict[str, tuple[str, str, str]]
"""Label of what an edition leaves out, in small letters → its place in the full book, its title, its number or nothing."""

_PART = re.compile(r"Part ([IVXLC]+)\b")
_CODE_CELL = re.compile(r"^(`{3,}|~{3,})\{code-cell\}.*?^\1[ \t]*$", re.DOTALL | re.MULTILINE)
_UNCUT = re.compile(r"^[ \t>*+-]*(?:`{3,}|:{3,}|~{3,})[ \t]*\{solution.*", re.IGNORECASE | re.MULTILINE)
_FOLDED = re.compile(r"^:class:.*\bdropdown\b.*\n", re.MULTILINE)
# What other pages can refer to: targets, equations, and directives with their options.
_NAMED = re.compile(
    r"^\((?P<target>[^)\s]+)\)=[ \t]*$(?:\s*^#+[ \t]+(?P<heading>.+)$)?"
    r"|^\$\$[ \t]*\((?P<equation>[^)\s]+)\)[ \t]*$"
    r"|^(?:`{3,}|:{3,}|~{3,})\{(?P<kind>[\w:]+)\}.*\n(?P<options>(?::[\w-]+:.*\n)*)",
    re.MULTILINE,
)


def edited(text: str, kind: str, where: str) -> str:
    """A chapter's text, or that of a cell of prose, as an edition has it; what looks like a solution in code stays.

    Args:
        text: MyST text.
        kind: Kind of the edition: "full", "student" (without solutions) or "instructor" (with solutions unfolded).
        where: Name of the chapter, for the message.

    Raises:
        BuildError: If a student edition would hold a solution that is not written as a block that can be cut.
    """
    if kind == "full":
        return text

    def prose(part: str) -> str:
        part = SOLUTION.sub(lambda found: "" if kind == "student" else _FOLDED.sub("", found[0]), part)
        uncut = _UNCUT.search(part) if kind == "student" else None
        if uncut:
            raise BuildError(
                f"{where}: {uncut[0].strip()!r} cannot be cut from the student edition; a solution begins at the left "
                "margin, with ```{solution} LABEL, and ends with the same fence"
            )
        return part

    done, position = "", 0
    for cell in _CODE_CELL.finditer(text):
        done += prose(text[position : cell.start()]) + cell[0]
        position = cell.end()
    return done + prose(text[position:])


def numbered(parts: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The parts of a table of contents that have a Roman number, by it."""
    return {match[1]: part for part in parts if (match := _PART.match(str(part.get("caption", ""))))}


def chosen(parts: list[dict[str, Any]], wanted: Collection[str]) -> list[dict[str, Any]]:
    """Some parts of a table of contents, by their Roman numbers; those without a number always stay."""
    dropped = [part for name, part in numbered(parts).items() if name not in wanted]
    return [part for part in parts if part not in dropped]


def _plain(title: str) -> str:
    return re.sub(r"[$`*]", "", title).strip()


def heading(cells: Iterable[Any], otherwise: str) -> str:
    """The title of a page by its cells, or another text if it has none."""
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    found = re.search(r"^# (.+)$", prose, re.MULTILINE)
    return found[1] if found else otherwise


def named(cells: Iterable[Any], title: str, prefix: str, counts: Counter[str]) -> Iterator[tuple[str, str, str, str]]:
    """What pages can refer to on one of them: label (empty for what has none), anchor, title and number.

    Args:
        cells: The page.
        title: Of the page.
        prefix: What numbers on it begin with, such as "4.".
        counts: What has been numbered before with this prefix, by its kind; counted on.
    """

    def counted(label: str, kind: str, form: str) -> tuple[str, str, str, str]:
        counts[kind] += 1
        number = f"{prefix}{counts[kind]}"
        return label, f"equation-{label}" if kind == "equation" else label, form.format(number), number

    for cell in cells:
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if cell.cell_type == "code" and "name" in figure:
            yield counted(figure["name"], "figure", "Fig. {}")
        for found in _NAMED.finditer(cell.source) if cell.cell_type == "markdown" else ():
            kind = (found["kind"] or "").removeprefix("prf:")
            options = dict(re.findall(r"^:([\w-]+):[ \t]*(.*)$", found["options"] or "", re.MULTILINE))
            label = options.get("label") or options.get("name", "")
            if found["target"]:
                yield found["target"], found["target"], found["heading"] or title, ""
            elif found["equation"] or (kind == "math" and label):
                yield counted(found["equation"] or label, "equation", "({})")
            elif found["kind"] in ("figure", "exercise") or found["kind"].startswith("prf:"):
                if "nonumber" in options or kind == "proof" or (kind == "figure" and not label):
                    yield label, label, kind.capitalize(), ""
                else:
                    yield counted(label, kind, "Fig. {}" if kind == "figure" else f"{kind.capitalize()} {{}}")
            elif label:
                yield label, label, title, ""


def left_out(chapters: Iterable[Chapter]) -> LeftOut:
    """What pages may refer to in chapters that an edition leaves out.

    Returns:
        By label, in small letters: the place (``chapters/NN-name.html#anchor``), the title, and the number in the full book,
        empty for what has none. A chapter stands under ``chapters/NN-name``.
    """
    found: LeftOut = {}
    for chapter in chapters:
        cells, page = parsed(chapter.text, chapter.name).cells, f"chapters/{chapter.name}.html"
        whole = heading(cells, chapter.title)
        found[f"chapters/{chapter.name}"] = (page, _plain(whole), "")
        for label, anchor, title, number in named(cells, whole, f"{chapter.number}.", Counter()):
            found[label.lower()] = (f"{page}#{anchor}", _plain(title), number)
    found.pop("", None)
    return found


def unlinked(text: str, gone: LeftOut, address: str) -> str:
    """A page whose links in HTML to what is left out lead to the full book, or nowhere if it has no address."""

    def link(found: re.Match[str]) -> str:
        if f"chapters/{found['name']}" not in gone:
            return found[0]
        return f' href="{address}{found["place"]}"' if address else ""

    return re.sub(r' href="(?:\.\./)?(?P<place>chapters/(?P<name>[\w-]+)\.html(?:#[^"]*)?)"', link, text)


def _enumerated(parts: Sequence[str]) -> str:
    several = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)
    return f"Part{'s' if len(parts) > 1 else ''} {several}"


def welcoming(text: str, edition: Edition, gone: bool) -> str:
    """The welcome page with the edition's title, and under it a line that says what the edition is.

    Args:
        text: MyST text.
        edition: The edition.
        gone: Whether it leaves out chapters.
    """
    said = {
        "full": "",
        "student": "This edition is for students: the exercises stand without their solutions.",
        "instructor": "This edition is for instructors: the solutions of the exercises are unfolded.",
    }[edition.kind]
    if gone:
        linked = f", with links to the [full book]({edition.full_book}book/intro.html)" if edition.full_book else ""
        said += f" It has {_enumerated(edition.parts or ())} of the book. Chapters of other parts are named in italics{linked}."
    heading = re.search(r"^# .+$", text, re.MULTILINE)
    if heading is None:
        return text
    title = f"# {edition.title}" if edition.title else heading[0]
    note = f"\n\n:::{{div}} edition\n{said.strip()}\n:::" if said else ""
    return text[: heading.start()] + title + note + text[heading.end() :]
