"""Where this copy of the book is on the web, if it is there: its repository, and the pages that it publishes.

Asked for in this order: the variable, if it is set (empty: nowhere); what `_config.yml` says, if it says something; what follows
by itself, which is the checkout's remote `origin` for the repository, and GitHub Pages of the repository for the book.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import yaml

from wavemem.building.layout import BuildError, UsageError

_GITHUB = re.compile(
    r"(?:(?:https?|ssh|git)://(?:[^/@\s]+@)?(?:www\.|ssh\.)?github\.com(?::\d+)?/|(?:[^/@\s]+@)?github\.com:)"
    r"([a-z0-9][a-z0-9_-]*)/([a-z0-9._-]*?[a-z0-9_-][a-z0-9._-]*?)(?:\.git)?/?",
    re.IGNORECASE,
)

_PUBLISHED = re.compile(r"https?://[a-z0-9.-]+(?::\d+)?(?:/[^\s?#<>\"']*)?", re.IGNORECASE)


def _said(root: Path, variable: str, part: str, key: str) -> tuple[str, str] | None:
    """What somebody says of an address, and where; None if nobody does."""
    if variable in os.environ:
        return os.environ[variable].strip(), f"the variable {variable}"
    file = root / "_config.yml"
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BuildError(f"{file} is no YAML: {error}") from error
    section = settings.get(part) if isinstance(settings, dict) else None
    found = str((section.get(key) if isinstance(section, dict) else "") or "").strip()
    return (found, f"{part}: {key}: of _config.yml") if found else None


def _on_github(text: str) -> str:
    """The address in a browser of a repository on GitHub, as git or a browser names it; "" for anything else."""
    match = _GITHUB.fullmatch(text)
    return f"https://github.com/{match[1]}/{match[2]}" if match else ""


def _origin(root: Path) -> str:
    if not (root / ".git").exists():  # or git would tell of a repository around the book
        return ""
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or no such remote
        return ""


def repository(root: Path) -> str:
    """Address of the repository on GitHub, such as ``https://github.com/owner/name``; "" if it has none.

    Args:
        root: The top of the book.

    Raises:
        UsageError: If the variable REPOSITORY or ``_config.yml`` gives something else.
        BuildError: If ``_config.yml`` cannot be read.
    """
    said = _said(root, "REPOSITORY", "repository", "url")
    if said is None:
        return _on_github(_origin(root))
    text, where = said
    found = _on_github(text)
    if text and not found:
        raise UsageError(
            f"{where} is {text!r}; allowed: https://github.com/OWNER/NAME, or nothing for a book without an address"
        )
    return found


def online(root: Path) -> str:
    """Address of the published book, with a slash at its end; "" if it has none.

    Args:
        root: The top of the book.

    Raises:
        UsageError: If the variable BOOK_URL or ``_config.yml`` gives something else, or :func:`repository` raises it.
        BuildError: If ``_config.yml`` cannot be read.
    """
    said = _said(root, "BOOK_URL", "html", "baseurl")
    if said is None:
        owner, _, name = repository(root).removeprefix("https://github.com/").partition("/")
        host = f"{owner.lower()}.github.io"
        return "" if not owner else f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"
    text, where = said
    if text and not _PUBLISHED.fullmatch(text):
        raise UsageError(
            f"{where} is {text!r}; allowed: where the book is published, such as https://OWNER.github.io/NAME/, or nothing"
        )
    return f"{text.rstrip('/')}/" if text else ""
