"""A Sphinx extension: what a page says of itself to search engines and to those who link to it, and the buttons that lead from it
to its repository.

Without an address (see :mod:`wavemem.building.address`) a page has a description, and nothing else of this.
"""

from __future__ import annotations

import html
import io
import re
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from docutils import nodes
from PIL import Image, ImageOps

DOWNLOADS = "downloads"
"""The branch that holds the chapters' notebooks, which the workflow that publishes the book writes: Colab opens a notebook only
from a repository, and in the others there are text sources alone."""

_REDIRECTION = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8" />
<title>{title}</title>
<link rel="canonical" href="{address}" />
{tags}
<meta http-equiv="Refresh" content="0; url={page}" />
</head>
</html>
"""


def _read_aloud(node: nodes.Node) -> str:
    """Text as a line of a list of search results shows it: Greek letters for their names, no other markup of formulas."""

    def letter(match: re.Match[str]) -> str:
        size = "CAPITAL" if match[1][0].isupper() else "SMALL"
        try:
            return unicodedata.lookup(f"GREEK {size} LETTER {match[1]}")
        except KeyError:
            return ""

    if isinstance(node, nodes.math):
        return re.sub(r"[{}$]", "", re.sub(r"\\([A-Za-z]+)", letter, node.astext()))
    return "".join(map(_read_aloud, node.children)) if node.children else node.astext()


def description(page: nodes.document) -> str:
    """What a page is about: the question that it asks in bold, else its first sentence; "" if it has no text.

    Args:
        page: The page, its references resolved or not.
    """
    prose = [text for text in page.findall(nodes.paragraph) if isinstance(text.parent, nodes.section)]
    bold = (text for paragraph in prose[:6] for text in paragraph.findall(nodes.strong))
    asked = next((text for text in map(_read_aloud, bold) if text.endswith("?")), "")
    words = " ".join((asked or (_read_aloud(prose[0]) if prose else "")).split())
    # A dot that comes sooner stands behind an abbreviation, or the sentence says too little.
    sentence = re.match(r".{30,}?[.?!](?=\s|$)", words)
    words = sentence[0] if sentence else words
    return words[:1].upper() + words[1:]


def buttons(repository: str, branch: str, published: bool, page: str, title: str) -> list[dict[str, Any]]:
    """The buttons above a page, as the theme describes them: to run it elsewhere, and to what it is made from.

    Args:
        repository: Address of the repository.
        branch: The branch of the sources.
        published: Whether the book is published somewhere, and with it the branch ``DOWNLOADS``.
        page: Name of the page, such as ``chapters/01-name``.
        title: Its title.
    """

    def link(text: str, address: str, icon: str) -> dict[str, str]:
        return {"type": "link", "text": text, "url": html.escape(address), "icon": icon}

    def group(label: str, tooltip: str, icon: str, links: list[dict[str, str]]) -> dict[str, Any]:
        return {"type": "group", "label": label, "tooltip": tooltip, "icon": icon, "buttons": links}

    name, made = repository.removeprefix("https://github.com/"), []
    folder, _, stem = page.partition("/")
    source = {"chapters": f"notebooks/{stem}.md", "book": f"book/{stem}.md"}.get(folder)  # the others are generated
    if folder == "chapters":
        hub = f"https://mybinder.org/v2/gh/{name}/{quote(branch, safe='')}?urlpath={quote(f'lab/tree/{source}')}"
        runs = [link("Binder", hub, "_static/images/logo_binder.svg")]
        if published:
            colab = f"https://colab.research.google.com/github/{name}/blob/{DOWNLOADS}/{stem}.ipynb"
            runs.append(link("Colab", colab, "_static/images/logo_colab.png"))
        made.append(group("launch-buttons", "Run this chapter elsewhere", "fas fa-rocket", runs))
    links = [link("Repository", repository, "fab fa-github")]
    if source:
        links.append(link("Suggest an edit", f"{repository}/edit/{quote(branch)}/{source}", "fas fa-pencil-alt"))
    issue = urlencode({"title": f"On the page “{title}”", "body": f"({source or page})\n\n"}, quote_via=quote)
    links.append(link("Open an issue", f"{repository}/issues/new?{issue}", "fas fa-lightbulb"))
    return [*made, group("source-buttons", "Sources and corrections", "fab fa-github", links)]


def _first_figure(page: nodes.document) -> nodes.image | None:
    return next((image for image in page.findall(nodes.image) if "://" not in image["uri"]), None)


def preview(picture: Path) -> bytes:
    """A picture in the shape in which networks show a link, with air around it; as PNG, since they take no SVG."""
    from resvg_py import svg_to_bytes

    content = picture.read_bytes()
    if picture.suffix == ".svg":
        content = bytes(svg_to_bytes(svg_string=content.decode(), width=1080, dpi=96, background="white"))
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        framed = ImageOps.expand(ImageOps.pad(image.convert("RGB"), (1080, 540), color="white"), (60, 45), "white")
    framed.save(buffer, "PNG")
    return buffer.getvalue()


def _shown(app: Any, page: str, document: nodes.document) -> dict[str, str]:
    """The tags for a page's preview picture: its first figure, else that of the first page."""
    file = Path(app.outdir, "previews", f"{page}.png")
    image = _first_figure(document)
    if image is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        # By now the image names its copy in the site, which is put there at the end.
        source = next(source for source, name in app.builder.images.items() if name == Path(image["uri"]).name)
        file.write_bytes(preview(Path(app.srcdir, source)))
    else:
        file.unlink(missing_ok=True)
        page = app.config.root_doc
        image = _first_figure(app.env.get_doctree(page))
    if image is None:
        return {}
    size = {"og:image:width": "1200", "og:image:height": "630", "og:image:alt": image.get("alt", "")}
    return {"og:image": f"{app.config.html_baseurl}previews/{page}.png"} | size


def _on_page(app: Any, page: str, _template: str, context: dict[str, Any], document: nodes.document | None) -> None:
    if document is None:  # a list made by Sphinx
        return
    config, title, about = app.config, app.env.titles[page].astext(), description(document)
    repository, base = config.wavemem_repository, config.html_baseurl
    if repository:
        context["header_buttons"][:0] = buttons(repository, config.wavemem_branch, bool(base), page, title)
    tags = [f'<meta name="description" content="{html.escape(about)}" />'] if about else []
    if base:
        said = {"title": title, "type": "article", "site_name": config.html_title, "description": about}
        said = {f"og:{name}": text for name, text in said.items()} | {"og:url": context["pageurl"]}
        said |= _shown(app, page, document)
        tags += [f'<meta property="{name}" content="{html.escape(text)}" />' for name, text in said.items() if text]
        tags.append('<meta name="twitter:card" content="summary_large_image" />')
    context["metatags"] = "\n".join([context.get("metatags", ""), *tags])
    if base and page == config.root_doc != "index":  # the address that is passed on is that of the folder
        target, text = app.builder.get_target_uri(page), "\n".join(tags)
        redirection = _REDIRECTION.format(title=html.escape(title), address=context["pageurl"], tags=text, page=target)
        Path(app.outdir, "index.html").write_text(redirection, encoding="utf-8")


def _map(app: Any, error: Exception | None) -> None:
    """A map of the site for search engines: of all its pages, also where only some were built now."""
    if error is None and app.config.html_baseurl and app.builder.format == "html":  # not where links are asked
        pages = [app.config.html_baseurl + app.builder.get_target_uri(page) for page in sorted(app.env.found_docs)]
        lines = "".join(f"<url><loc>{html.escape(page)}</loc></url>\n" for page in pages)
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{lines}</urlset>\n'
        Path(app.outdir, "sitemap.xml").write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_config_value("wavemem_repository", "", "html")
    app.add_config_value("wavemem_branch", "main", "html")
    app.connect("html-page-context", _on_page, priority=800)  # after the theme's own buttons
    app.connect("build-finished", _map)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
