"""Shared by all tests."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from hypothesis import settings

from wavemem.streams import stream

# A drawn example may find a new fault at any time; that belongs to the machine of who works on it, not to a change under review.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def ring() -> dict[str, Any]:
    """What `animate` gets: 12 steps of 20 neurons, and of a pattern (4, 3) on a ring of columns, one entry dropped."""
    content = torch.stack([torch.randn(4, 3, generator=stream(0, "ring")).sign().roll(-t, 0) for t in range(12)])
    content[:, 0, 2] = torch.nan
    neurons = torch.randn(12, 20, generator=stream(0, "neurons")).tanh()
    alt = "Left the neurons flicker, right a pattern moves to the left by one column per step."
    return {"neurons": neurons, "content": content, "title": "A <ring> & more", "alt": alt}
