"""Figures are drawn without a screen, in nobody's settings, and closed."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def _drawing() -> Iterator[None]:
    with mpl.rc_context({"backend": "agg", "figure.constrained_layout.use": True}):
        yield
        plt.close("all")
