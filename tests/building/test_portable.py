"""The notebooks that pages offer: words that any notebook shows, and code that runs where nothing of the book is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from nbformat import v4
from packaging.requirements import Requirement

from wavemem.building.chapters import CHAPTER_FILES, Chapter, discover, executable, published
from wavemem.building.layout import Edition, Layout, Parameters
from wavemem.building.portable import Book, book_of, library, places, portable

ROOT = Path(__file__).resolve().parents[2]
QUICK = Parameters("quick", "cpu", 0)
FRONT = "```{code-cell} ipython3\n:tags: [parameters]\nprofile, device, seed = 1, 1, 1\nprofile = 1\ndevice = 1\nseed = 1\n```\n"


def chapter(text: str, name: str = "04-linear") -> Chapter:
    return Chapter(name, FRONT + text, "A title", (), 900)


def executed(source: Chapter, **values: str):
    """The chapter's executed notebook, whose first cell glued some values."""
    notebook = published(executable(source.text, source.name))
    notebook.cells[0].outputs = [
        v4.new_output("display_data", {"text/plain": text}, metadata={"scrapbook": {"name": name}})
        for name, text in values.items()
    ]
    return notebook


def prose(text: str, address: str = "", pages: dict[str, str] | None = None, **values: str) -> str:
    """What becomes of a chapter's text, without the first cell; the chapter has a number on its page."""
    source = chapter(text)
    other = chapter("(sec-other)=\n## Seas & lakes\n\n```{prf:theorem}\n:label: thm-far\n\nYes.\n```\n", "07-other")
    found = places([source, other], pages or {}, {"04-linear", "07-other"})
    cited = {"one": ("Elman", "1990"), "many": ("Keller *et al.*", "2024")}
    notebook = portable(source, executed(source, **values), Book("Waves", address, "", found, cited), QUICK)
    nbformat.validate(notebook)
    return "\n\n".join(cell.source for cell in notebook.cells[1:] if cell.cell_type == "markdown")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("{glue:text}`n` of {glue:text}`share:.2f`", "4 of 0.33"),
        ("At {glue:text}`tiny`, {glue:text}`below:.1f`, {glue:text}`odd`.", "At 3 × 10⁻⁷, −1.5, a\\_b\\|c."),
        ("{glue:text}`never:.2f`", "…"),
        ("{ref}`sec-other`; {ref}`the\nlakes <sec-other>`", "*Seas & lakes*, chapter 7; the lakes"),
        ("{prf:ref}`thm-far`, {ref}`nowhere`, {ref}`it <nowhere>`", "Theorem 7.1, nowhere, it"),
        ("[lakes](sec-other), [lakes](#sec-other), [else](https://a.b)", "lakes, lakes, [else](https://a.b)"),
        ("{cite:p}`one,many`; {cite:t}`many`", "\\[Elman, 1990; Keller *et al.*, 2024\\]; Keller *et al.* [2024]"),
        ("{py:mod}`wavemem.streams`", "`wavemem.streams`"),
        ("(sec-here)=\n## Here\n\n{ref}`sec-here`", "## Here\n\nHere"),
        ("$$\nx\n$$ (eq-x)\n\nby {eq}`eq-x`", "$$\nx \\tag{4.1}\n$$\n\nby (4.1)"),
        ("```{math}\n:label: eq-x\n\nx\n```", "$$\nx \\tag{4.1}\n$$"),
        ("```python\n{ref}`sec-other`\n```", "```python\n{ref}`sec-other`\n```"),
        (":::{admonition} The *sea*\n:class: note\nWet.\n:::", "> **The *sea***\n>\n> Wet."),
        ("```{exercise} Swim\n:label: ex\n\nGo.\n```", "> **Exercise 4.1 (Swim)**\n>\n> Go."),
        ("```{prf:proof}\nIt is\n$$\na\nb\n$$\n```", "> **Proof**\n>\n> It is\n> $$ a b $$"),
        (
            "```{exercise}\n:label: ex\nGo.\n```\n````{solution} ex\n:class: dropdown\n```python\n1\n```\n````\nEnd",
            "> **Exercise 4.1**\n>\n> Go.\n\n<details>\n<summary><b>Solution of Exercise 4.1</b></summary>\n\n"
            "```python\n1\n```\n\n</details>\n\nEnd",
        ),
        ("````{note}\n```{tip} Inner\nDeep.\n```\n````", "> **Note**\n>\n> > **Tip (Inner)**\n> >\n> > Deep."),
        (":::{note}\nNever closed", "> **Note**\n>\n> Never closed"),
    ],
)
def test_words(text: str, plain: str) -> None:
    values = {"n": "4", "share": "0.3333", "tiny": "'3e-07'", "below": "-1.54", "odd": "'a_b|c'"}
    assert prose(text, **values) == plain


def test_with_an_address_what_is_elsewhere_is_a_link() -> None:
    base = "https://a.github.io/b/"
    text = prose(
        "{ref}`sec-other`, {ref}`it <Page>`, {prf:ref}`thm-far`", base, pages={"book/errata": "(Page)=\n# E\n"}
    )
    there = f"{base}chapters/07-other.html"
    assert (
        text == f"[Seas & lakes]({there}#sec-other), [it]({base}book/errata.html#page), [Theorem 7.1]({there}#thm-far)"
    )
    assert prose("{cite:p}`one`", base) == f"[\\[Elman, 1990\\]]({base}book/bibliography.html)"
    assert prose("{py:mod}`w.a`", base) == f"[`w.a`]({base}pages/api.html#module-w.a)"


def test_code_stands_without_the_book_and_captions_under_figures() -> None:
    options = "name: fig-a\n    caption: Ours, {glue:text}`n`, see {numref}`fig-a`.\ntags: [hide-input]"
    cell = f"```{{code-cell}} ipython3\n---\nmystnb:\n  figure:\n    {options}\n---\n"
    source = chapter(f"{cell}from myst_nb import glue\nglue('n', 4)\n```\n\n```{{code-cell}} ipython3\n2\n```")
    for numbered, number in (({source.name}, "Fig. 4.1"), (set(), "Fig. 2")):
        book = Book(
            "Waves", "", "", places([source], {"book/intro": "```{figure} a.svg\n:name: fig-i\n```"}, numbered), {}
        )
        notebook = portable(source, executed(source, n="4"), book, QUICK)
        kinds = [cell.cell_type for cell in notebook.cells]
        assert kinds == ["markdown", "code", "code", "code", "markdown", "code"]
        assert notebook.cells[4].source == f"**{number}** Ours, 4, see {number}."
        assert notebook.cells[3].metadata == {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}
        assert not any(cell.get("outputs") for cell in notebook.cells)
    exec(notebook.cells[3].source, {})


def test_the_first_cell_says_where_it_is_from_and_installs_only_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = chapter("Words.")
    book = Book("Waves", "https://a.github.io/b/", "wavemem @ git+https://github.com/a/b@c0ffee", {}, {})
    about, installing = portable(source, executed(source, n="1"), book, QUICK).cells[:2]
    assert "[chapter 4](https://a.github.io/b/chapters/04-linear.html) of *Waves*" in about.source
    assert "profile `quick`, device `cpu`, seed 0" in about.source
    assert '%pip install --quiet "wavemem @ git+https://github.com/a/b@c0ffee"' in installing.source
    about, installing = portable(source, executed(source), Book("Waves", "", "", {}, {}), QUICK).cells[:2]
    assert about.source == "This is the notebook of chapter 4 of *Waves*."
    exec(installing.source, {})  # installs nothing: it is there
    monkeypatch.setitem(sys.modules, "wavemem", None)
    with pytest.raises(SystemExit, match="%pip install PATH_OF_THE_COPY"):
        exec(installing.source, {})


def test_the_library_comes_from_the_commit_that_changed_it_last(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    root = toy.layout.root
    assert library(root) == ""
    monkeypatch.setenv("REPOSITORY", "https://github.com/a/b")
    assert library(root) == "wavemem @ git+https://github.com/a/b"

    def git(*words: str) -> str:
        settings = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *settings, *words], cwd=root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", "src")
    git("commit", "-qm", "library")
    commit = git("rev-parse", "HEAD")
    git("add", "book")
    git("commit", "-qm", "words")
    assert Requirement(library(root)).url == f"git+https://github.com/a/b@{commit}"


def test_a_student_s_notebook_names_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPOSITORY", "https://github.com/a/b")
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    made = [
        book_of(Layout(ROOT, Edition(kind, None, "A course", full_book)), [], {}, toc)
        for kind, full_book in (("student", "https://c.d/"), ("instructor", "https://c.d/"), ("instructor", ""))
    ]
    assert {book.title for book in made} == {"A course"}
    assert [book.address for book in made] == ["", "https://c.d/", ""]
    assert [book.library.partition("@ ")[2].partition("/b")[0] for book in made] == [
        "",
        *["git+https://github.com/a"] * 2,
    ]


@pytest.fixture(scope="module")
def notebooks() -> dict[str, nbformat.NotebookNode]:
    """The notebooks of this book's chapters, without the numbers in their sentences."""
    layout = Layout(ROOT)
    texts = {f"book/{path.stem}": path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.md")}
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPOSITORY", "")
        book = book_of(layout, discover(layout), texts, toc)
    assert len(book.citations) > 10
    return {c.name: portable(c, published(executable(c.text, c.name)), book, QUICK) for c in discover(layout)}


def source_of(name: str) -> str:
    return (ROOT / "notebooks" / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "notebooks").glob(CHAPTER_FILES)))
def test_a_chapter_holds_no_markup_of_the_book(name: str, notebooks) -> None:
    notebook = notebooks[name]
    nbformat.validate(notebook)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert not re.findall(
        r"\{[\w:-]+\}`.*|^[> ]*(?::{3}|[`~]{3,}\{).*|^\(\S+\)=|\$\$ *\(.*|^:\w+:.*", text, re.MULTILINE
    )
    # A place that a sentence names by its label is one that was not found.
    labels = re.findall(r"^\(([\w-]+)\)=|^:label: (\S+)|name: (fig-\S+)", source_of(name), re.MULTILINE)
    words = set(re.findall(r"[\w-]+", text))
    assert not {label for found in labels for label in found if "-" in label} & words
    assert "myst_nb" not in json.dumps(notebook)


_KERNEL = """
import sys
sys.path[:0] = [{library!r}]

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {{"myst_nb", "jupytext", "papermill", "jupyter_book", "sphinx", "nbformat", "docutils"}}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Nothing())
from ipykernel.kernelapp import IPKernelApp
IPKernelApp.launch_instance()
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel of the library holds."""
    tree, wheels = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheels")
    for name in ("src", "records"):
        ignored = shutil.ignore_patterns("*.egg-info", "__pycache__", ".running-*")
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(wheels)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = wheels.glob("wavemem-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheels / "library")
    shutil.rmtree(tree)
    return wheels / "library"


def test_a_wheel_holds_the_registry_and_the_records(unpacked: Path) -> None:
    packed = unpacked / "wavemem" / "committed" / "records"
    tracked = [path for path in (ROOT / "records").glob("*/**/*") if path.is_file() and ".running-" not in str(path)]
    assert len(tracked) > 100
    assert {p.relative_to(ROOT / "records") for p in tracked} <= {p.relative_to(packed) for p in packed.rglob("*")}


def test_a_chapter_runs_where_nothing_of_the_book_is(notebooks, unpacked: Path, tmp_path, monkeypatch) -> None:
    for name in ("WAVEMEM_ROOT", "WAVEMEM_RUNS", "WAVEMEM_RESULTS_DIR", "WAVEMEM_CHAPTER", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "kernel.py").write_text(_KERNEL.format(library=str(unpacked)))
    (tmp_path / "empty").mkdir()
    spec = {
        "argv": [sys.executable, "-P", str(tmp_path / "kernel.py"), "-f", "{connection_file}"],
        "language": "python",
    }
    (tmp_path / "kernels" / "bare").mkdir(parents=True)
    (tmp_path / "kernels" / "bare" / "kernel.json").write_text(json.dumps(spec | {"display_name": "bare"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    notebook = notebooks["01-histories"].copy()
    look = (
        "from wavemem.records import runs, store\n"
        "(str(store.project_root()), str(runs.runs_root()), len(runs.recorded('table1')))"
    )
    notebook.cells = [*notebook.cells, v4.new_code_cell(look)]
    NotebookClient(
        notebook, timeout=300, kernel_name="bare", resources={"metadata": {"path": str(tmp_path / "empty")}}
    ).execute()
    root, runs, count = eval(notebook.cells[-1].outputs[0].data["text/plain"])
    assert Path(root) == unpacked / "wavemem" / "committed"
    assert Path(runs) == tmp_path / "empty" / "_build" / "runs"
    assert count > 0
    shown = [kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})]
    assert sum(kind.startswith("image/") for kind in shown) >= 4
    assert not (unpacked / "wavemem" / "_build").exists()
