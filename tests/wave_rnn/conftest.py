"""What the tests of Part III share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., pd.DataFrame]:
    """Rows of settings, (names, {quantity: one value or curve per seed}) each; a curve has a value every 10 updates."""

    def make(*groups: tuple[Mapping[str, object], Mapping[str, Sequence[Any]]]) -> pd.DataFrame:
        return pd.DataFrame(
            {**names, "seed": seed, "iteration": 10 * (i + 1), "quantity": quantity, "value": value}
            for names, quantities in groups
            for quantity, seeds in quantities.items()
            for seed, curve in enumerate(seeds)
            for i, value in enumerate(np.atleast_1d(curve))
        )

    return make
