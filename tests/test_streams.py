"""Seeds of independent runs, and streams of random numbers."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wavemem.streams import MOST_RUNS, MOST_SEED, run_seeds, stream

SOURCES = Path(__file__).resolve().parents[1] / "src" / "wavemem"


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, MOST_RUNS), st.integers(1, MOST_RUNS))
def test_base_seeds_share_no_run(a: int, b: int, runs: int, others: int) -> None:
    shared = set(run_seeds(a, runs)) & set(run_seeds(b, others))
    assert len(shared) == (min(runs, others) if a == b else 0)
    assert run_seeds(a, runs)[: min(runs, others)] == run_seeds(a, others)[: min(runs, others)]


@pytest.mark.parametrize(("seed", "runs"), [(-1, 1), (MOST_SEED + 1, 1), (0, 0), (0, MOST_RUNS + 1)])
def test_seeds_out_of_range(seed: int, runs: int) -> None:
    with pytest.raises(ValueError, match="allowed"):
        run_seeds(seed, runs)


def test_no_experiment_counts_its_own_seeds() -> None:
    """A base seed is added to nothing outside `wavemem.streams`, but to name another base seed of `run_seeds`."""
    paths = [path for path in SOURCES.rglob("*.py") if path.stem != "streams"]
    assert len(paths) > 50
    for path in paths:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        bases = [n.args[0] for n in nodes if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "run_seeds"]
        for node in nodes:
            if isinstance(node, ast.BinOp) and node not in bases:
                sides = [getattr(side, "id", "") for side in (node.left, node.right)]
                assert "seed" not in sides, f"{path.name}:{node.lineno}: use run_seeds"


def test_streams_differ_by_seed_and_purpose() -> None:
    of = list(itertools.product((0, 1, 1000), ("weights", "data")))
    first, second = ([torch.rand(4, generator=stream(*one)).tolist() for one in of] for _ in range(2))
    assert first == second
    assert len({tuple(draw) for draw in first}) == len(of)
