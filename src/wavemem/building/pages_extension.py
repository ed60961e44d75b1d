"""A Sphinx extension that takes out of the pages what Jupyter Book puts in and this book does not use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup", "without_thebe"]


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


def _on_page(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    if "script_files" in context:
        context["script_files"] = without_thebe(context["script_files"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    # After every extension that adds scripts to a page.
    app.connect("html-page-context", _on_page, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
