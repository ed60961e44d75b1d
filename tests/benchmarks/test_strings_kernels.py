"""The benchmark of the selective scan and the register: all ways compute the same, and the floor is counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from wavemem.benchmarks import strings_kernels
from wavemem.benchmarks.counts import Ceilings, selective_scan_counts
from wavemem.benchmarks.strings_kernels import (
    GPU_SCANS,
    REGISTERS,
    SCANS,
    RegisterCase,
    ScanCase,
    measure_register,
    measure_scan,
    register_competitors,
    scan_competitors,
)
from wavemem.benchmarks.turns import compare

SCAN = ScanCase(9, 2, 5, 3, 1)
REGISTER = RegisterCase(12, 2, 5, 3, 1)


def test_all_ways_to_scan_compute_the_same() -> None:
    found = {name: call() for name, call in scan_competitors(SCAN).items()}
    assert {"reference", "chunked"} <= set(found)
    for y in found.values():
        torch.testing.assert_close(y, found["reference"], rtol=1e-4, atol=1e-5)


def test_all_ways_to_move_at_one_speed_compute_the_same() -> None:
    found = {name: call() for name, call in register_competitors(REGISTER).items()}
    torch.testing.assert_close(found["conv1d"], found["shift"], rtol=1e-4, atol=1e-5)
    for name in set(found) - {"conv1d", "shift"}:
        torch.testing.assert_close(found[name], found["reference"], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found["shift"], found["reference"])


def test_plain_loops_are_left_out_where_they_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strings_kernels, "_LONG", 8)
    assert "reference" not in scan_competitors(SCAN)
    assert "reference" in scan_competitors(replace(SCAN, length=8))
    monkeypatch.setattr(strings_kernels, "_MANY", 10)
    assert "reference" not in scan_competitors(replace(SCAN, length=8))
    assert "reference" not in register_competitors(replace(REGISTER, length=8))


def test_counts_are_those_of_the_equations() -> None:
    """Counted again: forward Δ A, exp, a h, Δ u B (a product and a sum), C h (two); back in the order of the adjoint."""
    exponential = 16
    forward = 1 + exponential + 1 + 2 + 2
    again = 1 + exponential + 1 + 2
    adjoint = 2 + 2 + 2 + 2 + 1 + 1 + 2 + 2  # g += , dC, dB, Σ g B, g a, g a h, Σ (·) A, dA
    counts = selective_scan_counts(2, 3, 5, 7, 11)
    assert counts.operations == 2 * 3 * 5 * 7 * 11 * (forward + again + adjoint)
    series, numbers = 2 * 3 * 5 * 7, 2 * 3 * 5 * 11
    assert counts.bytes == 4 * (11 * series + 6 * numbers + 4 * 2 * 7 * 11)
    with pytest.raises(ValueError, match="states"):
        selective_scan_counts(1, 1, 1, 1, 0)


def test_measurements_say_what_was_measured() -> None:
    before = torch.get_num_threads()
    result = measure_scan(SCAN, Ceilings(1e9, 1e9), rounds=2, per_round=2, patience=0.0)
    assert torch.get_num_threads() == before
    assert result["case"]["states"] == 3
    fastest = min(timing["median"] for timing in result["times"].values())
    assert result["over_floor"] == fastest / result["floor"]
    counts = selective_scan_counts(1, 2, 9, 5, 3)
    assert result["floor"] == pytest.approx(max(counts.operations, counts.bytes) / 1e6)
    assert all(timing["repetitions"] == 4 for timing in result["times"].values())
    other = measure_register(REGISTER, rounds=1, patience=0.0)
    assert {"conv1d", "shift", "fft", "reference"} <= set(other["times"])


def test_slow_competitors_are_called_once() -> None:
    calls = {"quick": 0, "slow": 0}

    def called(name: str) -> None:
        calls[name] += 1

    result = compare({"quick": lambda: called("quick"), "slow": lambda: called("slow")}, 2, 3, slow=10.0)
    assert calls == {"quick": 1 + 2 * 4, "slow": 1 + 2 * 4}
    result = compare({"slow": lambda: called("slow")}, 2, 3, slow=-1.0)
    assert calls["slow"] == 10
    assert result["times"]["slow"]["repetitions"] == 1


def test_the_sizes_differ_in_one_respect() -> None:
    assert {case.length * case.batch for case in SCANS} == {16_384}
    assert {case.length for case in SCANS} == {64, 1024, 16_384}
    assert all((case.channels, case.states, case.batch) == (1024, 16, 1) for case in GPU_SCANS)
    assert {case.n for case in REGISTERS} == {4, 16, 64, 256}


def test_numbers_that_are_not_positive_are_refused() -> None:
    with pytest.raises(ValueError, match="length"):
        scan_competitors(replace(SCAN, length=0))
    with pytest.raises(ValueError, match="n = 0"):
        register_competitors(replace(REGISTER, n=0))
    with pytest.raises(ValueError, match="threads"):
        measure_register(replace(REGISTER, threads=0))
    for numbers in ({"rounds": 0}, {"per_round": 0}):
        with pytest.raises(ValueError, match=next(iter(numbers))):
            measure_scan(SCAN, Ceilings(1e9, 1e9), **numbers)
