"""Find the browser that the page tests drive."""

from __future__ import annotations

import os
import shutil

__all__ = ["BROWSER_ARGUMENTS", "BROWSER_NAMES", "find_browser"]

BROWSER_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

BROWSER_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Start as root without a display, and without the browser's own requests to its maker."""


def find_browser() -> str | None:
    """Path of a Chromium or Chrome: what ``WAVEMEM_CHROMIUM`` names, else the first on the search path."""
    named = os.environ.get("WAVEMEM_CHROMIUM")
    if named:
        return shutil.which(named)
    return next((path for path in map(shutil.which, BROWSER_NAMES) if path), None)
