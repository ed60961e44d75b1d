"""Seeds of independent runs, and random number streams that depend on a run's seed and on what they are for."""

from __future__ import annotations

import zlib

import numpy as np
import torch

MOST_RUNS = 1000
"""How many runs one base seed has seeds for."""

MOST_SEED = 9 * 10**15
"""The largest base seed: the seeds of its runs fit a column of 64-bit integers."""


def run_seeds(seed: int, runs: int) -> list[int]:
    """Seeds of the independent runs of an experiment: ``seed * MOST_RUNS + k`` for run k.

    Two base seeds never share a run, so that a search with one and a test with another are independent.

    Args:
        seed: The base seed, a non-negative integer.
        runs: How many.

    Raises:
        ValueError: If the seed is not in 0 … `MOST_SEED`, or there are no runs or more than `MOST_RUNS`.
    """
    if not 0 <= seed <= MOST_SEED:
        raise ValueError(f"seed is {seed}; allowed: whole numbers from 0 to {MOST_SEED}. Give another base seed.")
    if not 1 <= runs <= MOST_RUNS:
        raise ValueError(f"runs is {runs}; allowed: 1 to {MOST_RUNS}. Use several base seeds for more.")
    return [seed * MOST_RUNS + k for k in range(runs)]


def stream(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator of one run for one purpose.

    Two purposes of one seed ("weights", "data", …) give unrelated streams, so that drawing more data never changes
    the initial weights. Neither depends on how many runs are trained together.

    Args:
        seed: The run's seed, a non-negative integer.
        purpose: What the numbers are for; any text.
        device: Where the generator lives.

    Returns:
        A freshly seeded `torch.Generator`.

    Raises:
        ValueError: If the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; allowed: integers >= 0. Give each run a non-negative seed.")
    words = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]).generate_state(2, np.uint32)
    # 63 bits: torch.Generator takes a signed 64-bit seed.
    value = (int(words[0]) << 31) ^ int(words[1])
    return torch.Generator(device=device).manual_seed(value)
