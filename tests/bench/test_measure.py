"""The one way to measure, on contestants whose times are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from bench import __main__ as command
from bench import measure as module
from bench.measure import Case, Contest, cases, measure, repeat, run, too_large, undisturbed, vary, with_ratios

CPU = torch.device("cpu")
SIZES = {"n": 3, "threads": 1}


def known(**seconds: float | str) -> Callable[..., Contest]:
    """A case whose contestants take what they are said to take, for two runs."""

    def make(_device: torch.device, n: int) -> Contest:
        contestants = {
            name: time if isinstance(time, str) else (lambda _count, time=time: time) for name, time in seconds.items()
        }
        return Contest(
            contestants, 2, [("floor", "operations", 1000 * n), ("floor", "bytes", 10), ("a", "bytes kept", 7)]
        )

    return make


def row(rows: list[dict[str, Any]], contestant: str, quantity: str = "ms") -> dict[str, Any]:
    """The only row of its kind."""
    (found,) = [one for one in rows if (one["contestant"], one["quantity"]) == (contestant, quantity)]
    return found


def test_ratios_and_floors_come_from_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([(1e6, 1e6), (2e6, 1e3)])
    monkeypatch.setattr(module, "rates", lambda *_: next(rates))
    table = cases(
        "s", "t", known(a=0.006, b=0.002), vary(SIZES, n=(3, 4)), {"gain": ("a", "b"), "over floor": ("b", "floor")}
    )
    found = run(table, CPU, rounds=4, limit=0.0, patience=0.0)
    first = [one for one in found["rows"] if one["n"] == 3]
    assert row(first, "a") | {"others": 0} == {
        "table": "t", "n": 3, "threads": 1, "contestant": "a", "quantity": "ms", "value": 3.0, "lower": 3.0, "upper": 3.0,
        "repetitions": 2, "others": 0,
    }  # fmt: skip
    assert row(first, "a / b", "gain")["value"] == pytest.approx(3.0)
    assert row(first, "a", "bytes kept")["value"] == 7
    # The best rates of the whole run count: 3000 operations at 2e6 per second, 10 bytes at 1e6.
    assert row(first, "floor")["value"] == pytest.approx(1.5)
    assert row(first, "b / floor", "over floor")["value"] == pytest.approx(1.0 / 1.5)
    assert row([one for one in found["rows"] if one["n"] == 4], "floor")["value"] == pytest.approx(2.0)


def test_what_fails_or_is_left_out_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_count: int) -> float:
        raise RuntimeError("no compiler")

    def make(*_: Any, **__: Any) -> Contest:
        return Contest({"good": lambda _: 0.1, "broken": broken, "large": "needs 12 GiB"})

    monkeypatch.setattr(module, "rates", lambda *_: (1e9, 1e9))
    found = run([Case("s", "t", make, SIZES, {"gain": ("broken", "good")})], CPU, rounds=2, limit=0.0, patience=0.0)
    assert row(found["rows"], "broken")["value"] is row(found["rows"], "large")["value"] is None
    assert row(found["rows"], "broken")["note"] == "RuntimeError: no compiler"
    assert "needs 12 GiB" in row(found["rows"], "large")["note"]
    assert all(one["quantity"] != "gain" for one in found["rows"])
    nowhere = Case("s", "t", lambda *_, **__: broken(1), SIZES)
    assert "no compiler" in row(measure(nowhere, CPU, 2, 0.0, 0.0)[1], "all")["note"]
    said = capsys.readouterr().out
    assert "s/t n=3 threads=1" in said
    assert "no compiler" in said


def test_turns_end_with_the_time_and_what_is_slow_has_one() -> None:
    counts: list[int] = []

    def contestant(seconds: float) -> Callable[[int], float]:
        return lambda count: counts.append(count) or seconds  # type: ignore[func-returns-value]

    def repetitions(rounds: int, limit: float, **seconds: float) -> list[int]:
        contest = Contest({name: contestant(time) for name, time in seconds.items()})
        rows = measure(Case("s", "t", lambda *_, **__: contest, SIZES), CPU, rounds, limit, patience=0.0)[1]
        return [one["repetitions"] for one in rows]

    assert repetitions(9, 1e9, a=0.1) == [9]
    assert set(counts) == {1, 3}
    assert repetitions(9, 2.0, a=0.1) == [5]
    assert repetitions(9, 0.0, a=0.1, b=9.0) == [2, 1]


def test_threads_are_those_of_the_case_and_put_back() -> None:
    before, seen = torch.get_num_threads(), []

    def make(*_: Any, **__: Any) -> Contest:
        return Contest({"a": lambda _: seen.append(torch.get_num_threads()) or 1e-3})  # type: ignore[func-returns-value]

    threads, rows = measure(Case("s", "t", make, {"threads": 10**6}), CPU, 2, 0.0, 0.0)
    assert threads == module.cores() == rows[0]["threads"]
    assert set(seen) == {threads}
    assert torch.get_num_threads() == before


def test_the_least_disturbed_turn_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    # Processors busy, this process busy, the clock: before and after turns that others take 1, 0.2 and 0 cores of.
    moments = iter([(0, 0, 0), (3, 1, 2), (3, 1, 2), (4.4, 2, 4), (4.4, 2, 4), (6.4, 4, 6)])
    monkeypatch.setattr(module, "_busy", lambda: next(moments))
    turns = iter([5.0, 4.0, 3.0])
    seconds, others = undisturbed(lambda _: next(turns), 1, patience=60.0)
    assert seconds == 3.0
    assert others == pytest.approx(0.0)
    monkeypatch.undo()
    assert undisturbed(lambda _: 2.0, 1, patience=0.0)[1] >= 0.0


def test_iterations_are_counted_after_one_to_warm_up() -> None:
    calls = []
    assert repeat(lambda: calls.append(1))(3) >= 0.0
    assert len(calls) == 4
    assert min(module.rates(CPU, 1)) > 0


def test_memory_and_nothing_to_compare() -> None:
    assert too_large(1, CPU) == ""
    assert "needs 1048576 GiB of" in too_large(2**50, CPU)
    assert with_ratios(Case("s", "t", known(), SIZES, {"gain": ("a", "b")}), [], (1.0, 1.0)) == []


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """The command, with two suites of toys and a root of its own."""
    toys = [
        *cases("one", "t", known(a=0.1), vary(SIZES, n=(3, 4))),
        *cases("two", "t", known(a=0.1), [SIZES]),
        *cases("two", "t", known(a=0.1), [SIZES], devices=("cuda",)),
    ]
    monkeypatch.setattr(command, "CASES", toys)
    monkeypatch.setattr(command, "__file__", str(tmp_path / "bench" / "__main__.py"))
    monkeypatch.setattr(module, "rates", lambda *_: (1e9, 1e9))
    app = typer.Typer()
    app.command()(command.main)
    quick = ("--rounds", "2", "--limit", "0", "--patience", "0")
    return lambda *arguments: CliRunner().invoke(app, [*quick, *arguments])


def read(folder: Path) -> dict[str, Any]:
    """The files in a folder, by name."""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.iterdir())}


def test_whole_suites_are_written_with_the_machines_name(bench: Callable[..., Any], tmp_path: Path) -> None:
    done = bench()
    assert done.exit_code == 0, done.exception
    written = read(tmp_path / "records" / "bench")
    assert list(written) == ["one.json", "two.json"]
    assert [one["n"] for one in written["one.json"]["rows"] if one["quantity"] == "ms"] == [3, 3, 4, 4]
    machine = written["one.json"]["machine"]
    assert machine["processor"]
    assert machine["cores"] >= 1
    assert machine["torch"] == torch.__version__
    assert machine["rates"] == {"1": {"operations per second": 1e9, "bytes per second": 1e9}}
    assert "cores, torch" in done.output


def test_a_part_is_written_only_where_it_is_told_to(bench: Callable[..., Any], tmp_path: Path) -> None:
    assert "not written" in bench("one/t n=4").output
    assert not (tmp_path / "records").exists()
    assert bench("one/t n=4", "--out", str(tmp_path / "here")).exit_code == 0
    assert list(read(tmp_path / "here")) == ["one.json"]


@pytest.mark.parametrize(
    ("arguments", "message"), [(["three"], "there are one/t, two/t"), (["--device", "cuda"], "no CUDA device")]
)
def test_what_cannot_be_measured_is_told(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = bench(*arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())


def test_the_peak_memory_of_a_gpu_is_noted(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The processor stands in for the device."""
    device = type("Device", (), {"type": "cuda"})()
    monkeypatch.setattr(command, "choose_device", lambda _name: device)
    monkeypatch.setattr(module, "device_name", lambda _device: "abacus 9000")
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _device: 123)
    done = bench("--device", "cuda")
    assert done.exit_code == 0, done.exception
    assert "on abacus 9000" in done.output
    written = read(tmp_path / "records" / "bench")
    assert list(written) == ["one-gpu.json", "two-gpu.json"]
    found = written["two-gpu.json"]
    assert found["machine"]["gpu"] == "abacus 9000"
    assert [one["value"] for one in found["rows"] if one["quantity"] == "peak bytes"] == [123, 123]
