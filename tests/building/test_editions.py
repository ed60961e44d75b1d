"""Editions of a book and choices of its parts: nothing leaks, nothing dangles, numbers stay, nothing is executed for it."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from nbformat import v4

from wavemem.building import cache, editions, site, stage
from wavemem.building.cache import chapter_key
from wavemem.building.chapters import discover, executable, notebook_bytes, published
from wavemem.building.layout import BuildError, Edition, Layout, Parameters
from wavemem.course.commands import with_problems
from wavemem.records import claims_page, report_page
from wavemem.records.status import gather

COURSE = Path(__file__).resolve().parents[2] / "course"
SETS = [
    f"problems/{path.stem}.html"
    for path in COURSE.glob("problems/*.md")
    if re.search(r"part: I(II)?,", path.read_text())
]
QUICK = Parameters("quick", "cpu", 0)
CANARY = "canarywords"
SOLUTION = f"""
````{{solution}} ex-%s
:class: dropdown
{CANARY} of %s.

```python
print("{CANARY}")
```
````
"""
CHAPTER = """
(ch-%(name)s)=
# The %(name)s

%(words)s

```{prf:theorem} Small
:label: thm-%(name)s
It is small.
```

$$
x = 1
$$ (eq-%(name)s)

(sec-%(name)s)=
## Section $x$ of the %(name)s

```{exercise} Try it
:label: ex-%(name)s
Do.
```
"""
FIGURE = """---
mystnb: {figure: {name: fig-%s, caption: "A figure."}, image: {alt: A square.}}
tags: [hide-input]
---
draw()"""
DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt"></svg>'
REFERENCES = """
{ref}`ch-second`; {ref}`sec-second`; {ref}`the second one <ch-second>`; {numref}`fig-second`; {numref}`Figure %s <fig-second>`;
{prf:ref}`thm-second`; {ref}`ex-second`; {eq}`eq-second`; [a *link*](02-second.ipynb); [](02-second.ipynb);
[to a section](02-second.ipynb#sec-second); [by label](#sec-second); {ref}`ch-first`; {numref}`fig-third`.
"""
NAMED = (
    "The second; Section x of the second; the second one; Fig. 2.1; Figure 2.1; Theorem 2.1; Exercise 2.1; (2.1); "
    "a link; The second; to a section; by label; The first; Fig. 3.1."
)
INTRO = """# Welcome

The map: <a href="../chapters/01-first.html">1</a> <a href="../chapters/02-second.html">2</a>. See {ref}`ch-second`.
"""


@pytest.fixture
def book(dressed):
    """Three executed chapters, a part each, with the settings of the real book."""
    toy, root = dressed, dressed.layout.root
    (root / "book" / "intro.md").write_text(INTRO)
    (root / "book" / "bibliography.md").write_text("# Bibliography\n\n```{bibliography}\n```\n")
    parts = []
    for number, name in ((1, "first"), (2, "second"), (3, "third")):
        text = toy.chapter(f"{number:02}-{name}", FIGURE % name).text
        words = CHAPTER % {
            "name": name,
            "words": REFERENCES if name == "third" else "Words {cite:p}`elman1990finding`.",
        }
        end = f"\n{SOLUTION % (name, name)}"
        toy.source(f"{number:02}-{name}").write_text(text.replace("\n# A chapter\n", words) + end)
        files = [{"file": f"chapters/{number:02}-{name}"}]
        parts.append({"caption": f"Part {'I' * number}: {name}", "numbered": True, "chapters": files})
    files = [{"file": "pages/execution"}, {"file": "book/bibliography"}]
    toc = {"format": "jb-book", "root": "book/intro", "parts": [*parts, {"caption": "Reference", "chapters": files}]}
    (root / "_toc.yml").write_text(json.dumps(toc))
    execute(toy)
    return toy


def execute(book) -> None:
    """Publish the chapters as if they had been executed."""
    for chapter in discover(book.layout):
        notebook = published(executable(chapter.text, chapter.name))
        for cell in notebook.cells:
            if cell.source == "draw()":
                cell.outputs = [v4.new_output("display_data", data={"image/svg+xml": DRAWING})]
        key = chapter_key(chapter, book.layout, QUICK)
        cache.publish(book.layout, QUICK, chapter.name, key, notebook_bytes(notebook), None, 1.0)


def built(book, edition: Edition) -> tuple[Layout, dict[str, str]]:
    """Build an edition's site, warnings as errors; its text files."""
    layout = Layout(book.layout.root, edition)
    site.build_site(layout, QUICK, discover(layout))
    files = [path for path in layout.site.rglob("*") if path.is_file() and path.suffix != ".png"]
    return layout, {path.relative_to(layout.site).as_posix(): path.read_text(errors="replace") for path in files}


def with_sets(root: Path, real: Layout, edition: Edition) -> Edition:
    """The edition with the real problem sets, where they are: a canary in each solution, hidden test, rubric and wrong answer."""
    shutil.copytree(real.root / "course", root / "course", dirs_exist_ok=True)
    for path in (root / "course" / "problems").glob("*.md"):
        text = re.sub(r"^([ \t]*)(?=### END SOLUTION)", rf"\1# {CANARY}\n\1", path.read_text(), flags=re.MULTILINE)
        text = re.sub(r"(:hidden: .*\n:points: \d+\n)", rf"\1# {CANARY}\n", text)
        path.write_text(text.replace("**Rubric.**", f"{CANARY} **Rubric.**"))
    for path in (root / "course" / "wrong").glob("*/*.py"):
        path.write_text(f"{path.read_text()}\n# {CANARY}\n")
    (root / "course.toml").write_text(f'year = 2028\nedition = "{edition.kind}"\nparts = {list(edition.parts or ())}\n')
    return replace(edition, problems=with_problems(root).problems)


def test_a_student_s_site_of_two_parts(book, real: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPOSITORY", "https://github.com/somebody/waves")  # where solutions are
    edition = with_sets(book.layout.root, real, Edition("student", ("I", "III"), "A course"))
    layout, files = built(book, edition)
    sets = {name for name in files if re.fullmatch(r"problems/[\w-]+\.html", name)}
    assert sets == {f"problems/{name}.html" for name, _ in edition.problems} == {*SETS}
    assert all("NotImplementedError" in files[name] and "2028" in files[name] for name in sets)
    assert layout.site == book.layout.build / "course" / "student-I-III" / "html"
    assert not any("02-second" in name for name in files)
    files["objects.inv"] = zlib.decompress((layout.site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    assert "ex-third" in files["objects.inv"]
    assert [
        name for name, text in files.items() if CANARY in text or ("solution-" in text and name == "objects.inv")
    ] == []
    assert "somebody" not in "".join(files.values())
    assert any("Do." in text for text in files.values())
    page = BeautifulSoup(files["chapters/03-third.html"], "html.parser")
    words = " ".join(page.find("article").get_text().split())
    assert NAMED in words
    assert "Theorem 3.1" in words
    assert "Exercise 3.1" in words
    assert page.find("article").find("h1").get_text().startswith("3. The third")
    links = {tag["href"] for tag in page.find_all("a", href=True)}
    assert not [link for link in links if "second" in link]
    welcome = BeautifulSoup(files["book/intro.html"], "html.parser")
    assert welcome.find("article").find("h1").get_text().startswith("A course")
    assert "A course" in welcome.find("title").get_text()
    line = " ".join(welcome.find(class_="edition").get_text().split())
    assert line == (
        "This edition is for students: the exercises stand without their solutions. It has Parts I and III of the book. "
        "Chapters of other parts are named in italics."
    )
    assert "second" not in welcome.find("nav", class_="bd-links").get_text()
    # The next build goes on from this one, and says the same.
    text = book.source("03-third").read_text()
    book.source("03-third").write_text(text.replace("It is small.", "It is very small."))
    _, again = built(book, edition)
    assert {name for name in files if name.endswith(".html") and again[name] != files[name]} == {
        "chapters/03-third.html"
    }
    assert NAMED in " ".join(BeautifulSoup(again["chapters/03-third.html"], "html.parser").get_text().split())


def test_an_instructor_s_site_with_an_address(book, real: Layout) -> None:
    edition = Edition("instructor", ("I", "III"), "", "https://example.org/book/")
    _, files = built(book, with_sets(book.layout.root, real, edition))
    for name in SETS:
        text = (real.root / "course" / name).with_suffix(".md").read_text()
        marks = [*re.findall(r"### END SOLUTION|^:hidden:|\*\*Rubric\.\*\*", text, re.MULTILINE)]
        wrong = list((real.root / "course" / "wrong" / Path(name).stem).glob("*.py"))
        assert files[name].count(CANARY) == len(marks) + len(wrong)
    third = BeautifulSoup(files["chapters/03-third.html"], "html.parser")
    assert CANARY in third.get_text()
    assert "dropdown" not in third.find(class_="solution")["class"]
    pages = [text for name, text in files.items() if name.startswith(("chapters/", "book/", "pages/"))]
    assert pages
    assert all("Instructor's edition" in text or "Instructor’s edition" in text for text in pages if "<html" in text)
    address = "https://example.org/book/chapters/02-second.html"
    links = {tag["href"]: tag.get_text() for tag in third.find("article").find_all("a", href=True)}
    assert links[address] == "The second"
    assert links[f"{address}#fig-second"] == "Figure 2.1"
    assert f'<a href="{address}">2</a>' in files["book/intro.html"]


def test_editions_share_what_is_executed_and_nothing_else(book, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def run(layout: Layout, *_: object) -> Path:
        runs.append(layout.edition.folder)
        pages = layout.pages / "sphinx" / "html"
        pages.mkdir(parents=True)
        (pages / "index.html").write_text(layout.edition.folder)
        return pages

    monkeypatch.setattr(site, "_run_sphinx", run)
    made = [Edition(), Edition("student"), Edition("student", ("II",))]
    for edition in made * 2:
        layout = Layout(book.layout.root, edition)
        site.build_site(layout, QUICK, discover(layout))
        assert (layout.site / "index.html").read_text() == edition.folder
    assert runs == ["full", "student", "student-II"]
    plain, student = (Layout(book.layout.root, edition) for edition in made[:2])
    assert plain.site == book.layout.build / "html"
    trees = [{path.relative_to(layout.source) for path in layout.source.rglob("*")} for layout in (plain, student)]
    assert trees[0] == trees[1]
    assert (plain.source / "_config.yml").read_bytes() == (plain.root / "_config.yml").read_bytes()
    assert CANARY in (plain.source / "downloads" / "01-first.md").read_text()


def test_an_older_execution_leaks_no_solution(book) -> None:
    text = book.source("01-first").read_text()
    book.source("01-first").write_text(text.replace("draw()", "draw(2)"))
    layout = Layout(book.layout.root, Edition("student"))
    stage.stage(layout, QUICK, discover(layout))
    assert "draw()" in (layout.source / "chapters" / "01-first.ipynb").read_text()
    for path in layout.source.rglob("*"):
        assert path.is_dir() or CANARY not in path.read_text(errors="replace"), path


@pytest.mark.parametrize("fence", ["```", "````", ":::", "~~~"])
def test_solutions_are_cut_from_prose_alone(fence: str) -> None:
    solution = f"{fence}{{solution}} ex-a\n:class: dropdown\n:label: sol\nSecret.\n{fence}\n"
    code = f"`````{{code-cell}}\ntext = '''\n{solution}'''\n`````\n"
    text = f"Before.\n\n{solution}\nBetween.\n\n{code}\nAfter.\n"
    assert editions.edited(text, "full", "01-x") == text
    assert editions.edited(text, "student", "01-x") == f"Before.\n\n\n\nBetween.\n\n{code}\nAfter.\n"
    assert editions.edited(text, "instructor", "01-x") == text.replace(":class: dropdown\n", "", 1)


@pytest.mark.parametrize(
    "solution",
    [
        "- item\n\n  ```{solution} ex-a\n  Secret.\n  ```\n",
        "> ```{solution} ex-a\n> Secret.\n> ```\n",
        "```{solution-start} ex-a\n```\n\nSecret.\n\n```{solution-end}\n```\n",
        "``` {Solution} ex-a\nSecret.\n```\n",
        "```{solution} ex-a\nSecret, not closed.\n",
    ],
)
def test_a_solution_that_cannot_be_cut_stops_the_student_edition(solution: str) -> None:
    with pytest.raises(BuildError, match=r"^01-x: .*\{[Ss]olution.* cannot be cut"):
        editions.edited(f"Words.\n\n{solution}", "student", "01-x")
    assert editions.edited(solution, "instructor", "01-x") == solution


def names(text: str) -> tuple[set[str], set[str]]:
    """What a page refers to, and what it defines, without a look at what Sphinx makes of it."""
    text = re.sub(r"^(`{3,}|~{3,})\w+\n.*?^\1[ \t]*$", "", text, flags=re.DOTALL | re.MULTILINE)
    to = re.findall(r"\{(?:ref|numref|prf:ref|eq)\}`(?:[^`<]*<)?([^`<>]+)>?`", text)
    to += re.findall(r"\]\(#([^)\s]+)\)", text)
    defined = re.findall(
        r"^\(([^)\s]+)\)=|^:(?:label|name): *(\S+)|^\$\$ *\((\S+)\)|\"name\": \"([\w-]+)\"", text, re.MULTILINE
    )
    return {name.lower() for name in to}, {name.lower() for found in defined for name in found if name}


def words(path: Path) -> str:
    """A staged page's prose, with the names of its figures."""
    if path.suffix == ".md":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    figures = [json.dumps(cell["metadata"].get("mystnb", {})) for cell in cells]
    return "\n".join([*(cell["source"] for cell in cells if cell["cell_type"] == "markdown"), *figures])


@pytest.fixture(scope="module")
def chapters(real: Layout):
    return discover(real)


CHOICES = [c for n in (1, 2, 3, 4) for c in itertools.combinations(("I", "II", "III", "IV"), n)]


@pytest.mark.parametrize("parts", CHOICES, ids="-".join)
def test_every_choice_of_parts_names_what_it_leaves_out(
    real: Layout, chapters, parts: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "book"
    root.mkdir()
    for name in ("book", "notebooks", "_toc.yml", "_config.yml"):
        (root / name).symlink_to(real.root / name)
    monkeypatch.setattr(stage, "_mathjax", lambda: b"mathjax")
    monkeypatch.setenv("WAVEMEM_ROOT", str(real.root))

    def generate(layout: Layout, parameters: Parameters, without: list[str]) -> dict[str, bytes]:
        gathered = gather(None, real.root / "records", without)
        pages = {"claims.md": claims_page.render(gathered), "reproduction.md": report_page.render(gathered)}
        return {name: text.encode() for name, text in pages.items()} | {"api.md": b"(page-api)=\n# Reference\n"}

    monkeypatch.setattr(stage, "generate", generate)
    for kind in ("student", "instructor") if parts == ("I", "III") else ("student",):
        layout = Layout(root, Edition(kind, parts))
        made = stage.stage(layout, QUICK, chapters)
        assert made.missing == []
        numbers = {"I": range(1, 7), "II": range(7, 12), "III": range(12, 17), "IV": range(17, 21)}
        there = sorted([n for part in parts for n in numbers[part]] + [21])
        assert [int(path.name[:2]) for path in sorted((layout.source / "chapters").iterdir())] == there
        pages = [path for path in layout.source.glob("[!d]*/*") if path.suffix in (".md", ".ipynb")]
        found = [names(words(path)) for path in pages]
        defined = set().union(*(names for _, names in found))
        file = layout.source / editions.LEFT_OUT
        _, gone = json.loads(file.read_text()) if file.is_file() else ("", {})
        assert bool(gone) == (len(there) < 21)
        assert not gone.keys() & defined
        referred = set().union(*(names for names, _ in found))
        assert len(referred) > 50
        assert sorted(referred - defined - gone.keys()) == []
        text = (layout.source / "book" / "intro.md").read_text()
        assert {int(n) for n in re.findall(r'href="\.\./chapters/(\d\d)', text)} == set(there)
        report = (layout.source / "pages" / "reproduction.md").read_text()
        assert ("Left out, with the parts" in report) == bool(gone)


def test_numbers_of_what_is_left_out_are_those_of_the_full_book(book) -> None:
    text = "```{exercise}\nFirst.\n```\n\n```{prf:theorem}\nBefore.\n```\n\n```{prf:proof}\n:label: proof\nNone.\n```\n"
    text += "```{figure} a.svg\nNo name.\n```\n\n```{prf:theorem}\n:nonumber:\n:label: plain\nMore.\n```\n\n# Not the title\n"
    source = book.source("02-second")
    source.write_text(source.read_text().replace("# The second\n", f"# The second\n\n{text}"))
    found = editions.left_out(chapter for chapter in discover(book.layout) if chapter.number == 2)
    page = "chapters/02-second.html"
    assert found == {
        "chapters/02-second": (page, "The second", ""),
        "ch-second": (f"{page}#ch-second", "The second", ""),
        "sec-second": (f"{page}#sec-second", "Section x of the second", ""),
        "eq-second": (f"{page}#equation-eq-second", "(2.1)", "2.1"),
        "fig-second": (f"{page}#fig-second", "Fig. 2.1", "2.1"),
        "thm-second": (f"{page}#thm-second", "Theorem 2.2", "2.2"),
        "ex-second": (f"{page}#ex-second", "Exercise 2.2", "2.2"),
        "plain": (f"{page}#plain", "Theorem", ""),
        "proof": (f"{page}#proof", "Proof", ""),
    }


def test_entries_and_claims_of_other_parts_are_not_called_unmeasured(real: Layout) -> None:
    whole = gather(None, real.root / "records")
    second = [path.stem for path in real.notebooks.glob("*.md") if 7 <= int(path.stem[:2]) <= 11]
    without = gather(None, real.root / "records", second)
    treated = {entry.id for entry in whole.registry.entries if entry.chapter in second}
    assert {entry.id for entry in whole.registry.entries} - {entry.id for entry in without.registry.entries} == treated
    assert all(
        set(second).isdisjoint(place.split("#")[0] for place in claim.where) for claim in without.registry.claims
    )
    assert len(without.registry.claims) > 20
    lost = len(whole.registry.claims) - len(without.registry.claims)
    sentence = f"Left out, with the parts of the book that treat them: {len(treated)} entries of the registry and {lost} claims."
    assert sentence in claims_page.render(without)
    assert sentence in claims_page.blocks(without)[""]
    assert sentence in report_page.render(without)
    assert whole.left_out == ""
