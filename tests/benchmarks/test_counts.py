"""Operations and bytes of an iteration, against a count of what PyTorch is asked to do."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from wavemem.benchmarks.counts import Ceilings, Counts, floor_seconds, growth, iteration_counts, scan_counts
from wavemem.benchmarks.elman import Case
from wavemem.kernels.elman import elman_scan_reference

CASE = Case(N=12, K=3, batch=5, s=4, d=2, horizon=7)


def test_operations_are_those_of_the_products() -> None:
    K, B, N, d, s, H = CASE.K, CASE.batch, CASE.N, CASE.d, CASE.s, CASE.horizon
    W_hh, W_uh, W_r = (
        torch.randn(shape, requires_grad=True, generator=torch.Generator().manual_seed(0))
        for shape in ((K, N, N), (K, N, d), (K, d, N))
    )
    with FlopCounterMode(display=False) as counter:
        states = elman_scan_reference(W_hh, W_uh, torch.ones(s, K, B, d), steps=s + H)[s:]
        (states @ W_r.mT).square().sum().backward()
    assert counter.get_total_flops() == iteration_counts(CASE).operations


def test_bytes_of_the_scans_are_those_of_their_tensors() -> None:
    K, B, N, s, H = CASE.K, CASE.batch, CASE.N, CASE.s, CASE.horizon
    drive, states, deltas = torch.empty(K, s, B, N), torch.empty(K, s + H, B, N), torch.empty(K, s + H, B, N)
    sent, weights = torch.empty(K, H, B, N), torch.empty(K, N, N)
    forward = drive.nbytes + states.nbytes + weights.nbytes
    back = states.nbytes + sent.nbytes + deltas.nbytes + weights.nbytes
    assert scan_counts(CASE).bytes == forward + back
    assert scan_counts(CASE, item=8).bytes == 2 * (forward + back)
    assert iteration_counts(CASE).bytes > 2 * scan_counts(CASE).bytes


def test_the_floor_is_the_longer_of_arithmetic_and_memory() -> None:
    counts = Counts(600, 100) + Counts(400, 100)
    assert floor_seconds(counts, Ceilings(10.0, 1e9)) == 100.0
    assert floor_seconds(counts, Ceilings(1e9, 10.0)) == 20.0
    for ceilings in (Ceilings(0.0, 1.0), Ceilings(1.0, math.nan)):
        with pytest.raises(ValueError, match="per_second"):
            floor_seconds(counts, ceilings)


def test_growth_compares_cases_that_differ_in_one_size() -> None:
    def result(median: float, **sizes: int) -> dict[str, object]:
        return {"case": {"N": 64, "K": 2, "s": 8, **sizes}, "ensemble": {"median": median}}

    results = [result(1.0), result(4.0, N=128), result(99.0, N=32, K=1), result(0.5, K=8), result(16.0, N=256)]
    found = growth(results, "N")
    assert found == {"from": 64, "to": 256, "ratio": 16.0, "exponent": 2.0}
    runs = growth(results, "K")
    assert runs is not None
    assert runs["ratio"] == 2.0
    assert growth(results, "s") is None
