"""A Sphinx extension: the library's docstrings as they are written, pages without what this book does not use, and what Sphinx
lacks to build only the pages that changed.

Docstrings are meant to be read in an editor: names stand in single backticks, shapes look like ``(*batch, s, d)``,
moduli like ``|x|``, and a module may open with a Markdown table of its symbols. reStructuredText means other things
by each of these. Here they are translated before napoleon and autodoc see them; emphasis, roles and everything
between double backticks stay as they are.
"""

from __future__ import annotations

import json
import posixpath
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles

from wavemem.building.dark import in_both_themes
from wavemem.building.editions import LEFT_OUT
from wavemem.building.layout import digest
from wavemem.plotting.tables import typeset

# What must not be touched: double backticks, roles with their content, references with an underscore.
_KEPT = re.compile(r"``.+?``|:[\w:+-]+:`[^`]+`|`[^`]+`__?(?!\w)")
_CODE = re.compile(r"`([^`]+)`")
_EMPHASIS = re.compile(r"(?<![\w*\\])(\*{1,2})(?=[^\s*])([^*]+?)(?<=[^\s*(\[])\1(?![\w*])")
_TABLE_ROW = re.compile(r"^\s*\|.*\|\s*$")
_TABLE_RULE = re.compile(r"^\s*\|[\s:|-]+\|\s*$")
# Text of a cell of a table, or that a chapter glued into a sentence.
_COMPUTED = re.compile(r'(<t[dh]\b[^>]*>(?:<p>)?|<span class="pasted-text">)([^<]+)')


def _mapped(
    pattern: re.Pattern[str], text: str, match: Callable[[re.Match[str]], str], rest: Callable[[str], str]
) -> str:
    """A text with what a pattern finds, and what is between, replaced by functions of these."""
    done, position = "", 0
    for found in pattern.finditer(text):
        done += rest(text[position : found.start()]) + match(found)
        position = found.end()
    return done + rest(text[position:])


def _escaped(text: str) -> str:
    """Escape what reStructuredText would take for markup."""
    text = re.sub(r"(?<!\\)([*|])", r"\\\1", text)
    text = re.sub(r"\btcp://", r"tcp\\://", text)  # an address that no browser opens is no link
    return re.sub(r"(\w)_(?![\w\\])", r"\1\\_", text)


def _plain(text: str) -> str:
    return _mapped(_EMPHASIS, text, lambda m: f"{m[1]}{m[2].replace('|', chr(92) + '|')}{m[1]}", _escaped)


def _inline(text: str) -> str:
    return _mapped(_KEPT, text, lambda m: m[0], lambda rest: _mapped(_CODE, rest, lambda m: f"``{m[1]}``", _plain))


def _cells(row: str) -> list[str]:
    # A bar may stand escaped, or inside backticks, without ending its cell.
    parts = re.findall(r"(?:`[^`]*`|\\\||[^|`])+", row.strip().strip("|"))
    return [_inline(part.strip()) or "\\ " for part in parts]


def _table(rows: list[str]) -> list[str]:
    body = [_cells(row) for row in rows if not _TABLE_RULE.match(row)]
    width = max(len(row) for row in body)
    lines = ["", ".. list-table::", "   :header-rows: 1", ""]
    for row in body:
        for index, cell in enumerate([*row, *["\\ "] * (width - len(row))]):
            lines.append(f"   {'* -' if index == 0 else '  -'} {cell}")
    return [*lines, ""]


def translate(lines: list[str]) -> list[str]:
    """A docstring's lines as reStructuredText.

    Args:
        lines: the docstring, indentation removed.

    Returns:
        The translated lines; code blocks (after ``::`` or in doctests) are left alone.
    """
    done: list[str] = []
    table: list[str] = []
    literal: int | None = None  # indentation of the paragraph that announced a literal block
    for line in [*lines, ""]:
        indent = len(line) - len(line.lstrip())
        if literal is not None:
            if not line.strip() or indent > literal:
                done.append(line)
                continue
            literal = None
        if _TABLE_ROW.match(line):
            table.append(line)
            continue
        if table:
            left = " " * (len(table[0]) - len(table[0].lstrip()))
            done += [left + row if row else row for row in _table(table)]
            table = []
        done.append(line if line.lstrip().startswith((">>>", "...", "..")) else _inline(line))
        if line.rstrip().endswith("::"):
            literal = indent
    return done[:-1] if not lines or lines[-1] else done


def _process(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = translate(lines)


def skip_field(_app: Any, _what: str, _name: str, member: Any, _skip: bool, _options: Any) -> bool | None:
    """Leave out the fields of named tuples: the docstring of the class describes them already."""
    return True if type(member).__name__ == "_tuplegetter" else None


def without_thebe(scripts: list[Any]) -> list[Any]:
    """Drop the scripts of sphinx-thebe.

    Jupyter Book loads that extension whether or not a page can start a kernel, and registers its inline script twice: the
    second declaration of the same name is an error in every page.

    Args:
        scripts: Entries of a page's ``script_files``: plain names or objects with ``attributes`` and ``filename``.

    Returns:
        The entries that have nothing to do with thebe, in order.
    """

    def text(script: Any) -> str:
        attributes = getattr(script, "attributes", {})
        return f"{getattr(script, 'filename', script)} {attributes.get('body', '')}".lower()

    return [script for script in scripts if "thebe" not in text(script)]


def _on_page(app: Any, _page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    if "script_files" in context:
        context["script_files"] = without_thebe(context["script_files"])
    if "body" in context:
        drawings = {name: Path(app.srcdir, source) for source, name in app.builder.images.items()}
        body = in_both_themes(context["body"], drawings, Path(app.outdir, app.builder.imagedir))
        body = _COMPUTED.sub(lambda match: match[1] + typeset(match[2]), body)
        # In the list that they stand in, docutils' role for the entries of a bibliography is none that is allowed.
        context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def _written_again(app: Any, env: Any) -> list[str]:
    """Every page, if what pages say of one another has changed: titles, numbers, captions and other names of labels."""
    domains, before = env.domaindata, getattr(env, "wavemem_names", None)
    tables = [domains["std"][kind] for kind in ("labels", "anonlabels", "objects")]
    tables += [domains["math"]["objects"], env.toc_secnumbers, env.toc_fignumbers, env.titles]
    tables.append({c.key: c.formatted_entry.label for c in domains.get("cite", {}).get("citations", [])})
    tables.append({name: (p["docname"], p["realtype"]) for name, p in getattr(env, "proof_list", {}).items()})
    exercises = getattr(env, "sphinx_exercise_registry", {}).items()
    tables.append({name: (exercise["docname"], str(exercise["node"][0])) for name, exercise in exercises})
    env.wavemem_names = digest([sorted(f"{key} {value}" for key, value in table.items()) for table in tables])
    if env.wavemem_names == before:
        return []
    shutil.rmtree(Path(app.outdir, "_modules"), ignore_errors=True)
    return sorted(env.found_docs)


def _go_on(app: Any) -> list[Any]:
    """Keep the source listings, if there are some, and leave out of the search index what Sphinx would not keep right.

    To look at the listings' age, Sphinx would import every module. In the index, the entries of the general index would be
    lost, whose terms and functions are found as such, and words left that no page has.
    """
    if Path(app.outdir, "_modules").is_dir():
        app.env._viewcode_modules = {}
    if app.builder.indexer is not None:
        app.builder.indexer._index_entries.clear()
        for words in (app.builder.indexer._mapping, app.builder.indexer._title_mapping):
            for word in [word for word, pages in words.items() if not pages]:
                del words[word]
    return []


def _clear(app: Any, error: Exception | None) -> None:
    """Remove the images that no page shows any more."""
    if error is not None:
        return
    shown = {name for _, name in app.env.images.values()}
    for file in Path(app.outdir, "_images").glob("*"):
        if file.name not in shown and file.name.replace("-dark.svg", ".svg") not in shown:
            file.unlink()


class NamedInstead(SphinxPostTransform):
    """What an edition leaves out, named where a page refers to it: with a link to the full book if that has an address."""

    default_priority = 1  # ahead of everything that looks for the target

    def run(self, **_: Any) -> None:
        """Replace the references of a page."""
        known = Path(self.app.srcdir, LEFT_OUT)
        if not known.is_file():
            return
        address, gone = json.loads(known.read_text(encoding="utf-8"))
        for reference in list(self.document.findall(pending_xref)):
            # A label, or the path of a chapter from this page, with or without a label in it.
            path, _, label = reference["reftarget"].lower().partition("#")
            file = posixpath.normpath(posixpath.join("/", posixpath.dirname(self.env.docname), path))
            found = gone.get(label) or gone.get(path) or gone.get(posixpath.splitext(file)[0].lstrip("/"))
            if found is None:
                continue
            place, title, number = found
            words = reference.astext()
            named: list[Any]
            if not reference["refexplicit"]:
                named = [nodes.emphasis("", title)]
            elif reference["reftype"] == "numref":
                named = [nodes.emphasis("", re.sub(r"%s|\{number\}", str(number), words).replace("{name}", title))]
            else:
                named = [nodes.emphasis("", "", *(child for part in reference.children for child in part.children))]
            linked = nodes.reference("", "", *named, refuri=f"{address}{place}", internal=False)
            reference.replace_self(linked if address else named)


def _keep_numbers() -> None:
    """Give each chapter the number in its name, whatever an edition leaves out before it.

    Sphinx numbers figures, theorems and exercises right after the sections, with no event in between.
    """
    numbering: Any = TocTreeCollectorWithStyles
    assigned = numbering.assign_section_numbers

    def assign(collector: Any, env: Any) -> list[str]:
        before = env.toc_secnumbers
        assigned(collector, env)
        for page, numbers in env.toc_secnumbers.items():
            chapter = re.match(r"chapters/0*(\d+)-", page)
            if chapter is None:
                continue
            for anchor, number in numbers.items():
                numbers[anchor] = number and (int(chapter[1]), *number[1:])
            for node in [env.titles[page], *env.tocs[page].findall(nodes.reference)]:
                if node.get("secnumber"):
                    node["secnumber"] = [int(chapter[1]), *node["secnumber"][1:]]
        return [page for page, numbers in env.toc_secnumbers.items() if numbers != before.get(page)]

    numbering.assign_section_numbers = assign


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    _keep_numbers()
    app.add_post_transform(NamedInstead)
    app.connect("env-get-updated", _written_again, priority=900)  # after the figures and sections are numbered
    app.connect("html-collect-pages", _go_on, priority=400)  # ahead of the listings
    app.connect("build-finished", _clear)
    app.connect("autodoc-process-docstring", _process, priority=400)  # ahead of napoleon
    app.connect("autodoc-skip-member", skip_field)
    app.connect("html-page-context", _on_page, priority=900)  # after every extension that adds scripts to a page
    return {"parallel_read_safe": True, "parallel_write_safe": True}
