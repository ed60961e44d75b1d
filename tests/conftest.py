"""Shared by all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# A drawn example may find a new fault at any time; that belongs to the machine of who works on it, not to a change under review.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
