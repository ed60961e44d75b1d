"""What a page says to search engines and networks, its buttons, and that a book without an address has none of it."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from docutils.core import publish_doctree
from PIL import Image

from wavemem.building import online
from wavemem.building.online import buttons, description, preview

HEAD = "Title\n=====\n\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("First sentence of the *page*, with ``code``. A second.", "First sentence of the page, with code."),
        ("It says Fig. 2 is wrong, e.g. here. A second.", "It says Fig. 2 is wrong, e.g. here."),
        ("No full stop", "No full stop"),
        ("Words. This asks: **is** :math:`\\Phi` **not asked?**", "Not asked?"),
        ("Words.\n\n**What is asked here?** More.\n\n**Or here?**", "What is asked here?"),
        (":math:`\\Phi_{hh} \\cdot \\nu` is a matrix that has moved. More.", "Φ_hh ν is a matrix that has moved."),
        (".. note:: Not this.\n\nSection\n-------\n\nbut this.", "But this."),
        (".. note:: Only this.", ""),
    ],
)
def test_description(text: str, said: str) -> None:
    page = publish_doctree(HEAD + text, settings_overrides={"doctitle_xform": False})
    assert description(page) == said


def test_buttons_lead_to_sources_not_to_the_assembled_tree() -> None:
    def links(page: str, published: bool = True) -> dict[str, str]:
        groups = buttons("https://github.com/some/waves", "a/b", published, page, "What & why?")
        return {link["text"]: link["url"] for group in groups for link in group["buttons"]}

    chapter = links("chapters/04-linear")
    assert chapter["Suggest an edit"] == "https://github.com/some/waves/edit/a/b/notebooks/04-linear.md"
    assert chapter["Binder"] == "https://mybinder.org/v2/gh/some/waves/a%2Fb?urlpath=lab/tree/notebooks/04-linear.md"
    assert chapter["Colab"] == ("https://colab.research.google.com/github/some/waves/blob/downloads/04-linear.ipynb")
    issue = urlsplit(chapter["Open an issue"].replace("&amp;", "&"))
    assert issue.path == "/some/waves/issues/new"
    assert parse_qs(issue.query) == {"title": ["On the page “What & why?”"], "body": ["(notebooks/04-linear.md)\n\n"]}
    assert "Colab" not in links("chapters/04-linear", published=False)
    prose = links("book/errata")
    assert prose["Suggest an edit"] == "https://github.com/some/waves/edit/a/b/book/errata.md"
    assert prose.keys() == {"Repository", "Suggest an edit", "Open an issue"}
    assert links("pages/claims").keys() == {"Repository", "Open an issue"}


def test_preview(tmp_path: Path) -> None:
    drawing, photo = tmp_path / "a.svg", tmp_path / "b.png"
    drawing.write_text(
        '<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">\n'
        '<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="90pt" viewBox="0 0 9 90">'
        '<path d="M0 0H9V90H0z" fill="#f00"/></svg>'
    )
    Image.new("L", (40, 40), 0).save(photo)
    for picture, colour in ((drawing, (255, 0, 0)), (photo, (0, 0, 0))):
        made = preview(picture)
        assert made == preview(picture)
        image = Image.open(io.BytesIO(made))
        assert (image.format, image.size, image.mode) == ("PNG", (1200, 630), "RGB")
        assert image.getpixel((600, 315)) == colour
        assert image.getpixel((600, 40)) == image.getpixel((100, 315)) == (255, 255, 255)


def test_the_preview_of_a_page_without_a_figure_is_that_of_the_first_page(tmp_path: Path) -> None:
    Image.new("L", (40, 40), 0).save(tmp_path / "b.png")
    shown = publish_doctree(f"{HEAD}.. image:: ../_images/b1.png\n   :alt: Black.")
    bare = publish_doctree(HEAD + "Words.")
    app = SimpleNamespace(
        outdir=tmp_path / "out",
        srcdir=tmp_path,
        builder=SimpleNamespace(images={"b.png": "b1.png"}),
        env=SimpleNamespace(get_doctree=lambda page: shown if page == "book/intro" else None),
        config=SimpleNamespace(root_doc="book/intro", html_baseurl="https://a.org/"),
    )
    own = online._shown(app, "book/a", shown)
    assert own["og:image"] == "https://a.org/previews/book/a.png"
    assert own["og:image:alt"] == "Black."
    assert (tmp_path / "out/previews/book/a.png").is_file()
    # The same page, its figure gone.
    assert online._shown(app, "book/a", bare)["og:image"] == "https://a.org/previews/book/intro.png"
    assert not (tmp_path / "out/previews/book/a.png").exists()
    app.env.get_doctree = lambda page: bare
    assert online._shown(app, "book/a", bare) == {}
