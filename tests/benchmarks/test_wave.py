"""The Wave-RNN's benchmark: competitors compute the same, counts are exact, and the cost page shows what it writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from wavemem.benchmarks import __main__ as benchmarks
from wavemem.benchmarks import wave
from wavemem.benchmarks.counts import fitted_growth, wave_multiply_adds
from wavemem.benchmarks.wave import (
    SCALING,
    TARGETS,
    ConvolutionLoop,
    TaskName,
    WaveCase,
    alternatives,
    at_best_rate,
    draw,
    gradients,
    measure,
    that_fits,
)
from wavemem.benchmarks.wave_steps import STEPS
from wavemem.cli import app
from wavemem.records.cost_page import render, write
from wavemem.records.markdown import milliseconds

COPY = WaveCase("copy", 12, 3, 22, 5, 2, threads=1)
IMAGES = WaveCase("psmnist", 9, 2, 7, 4, 2, threads=1)
NAMES = {"V": "V.weight", "b_V": "V.bias", "u": "U.weight", "b_u": "U.bias", "W": "out.weight", "b_y": "out.bias"}


@pytest.fixture(autouse=True)
def _small_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wave, "_PRODUCT", 64)


@pytest.mark.parametrize("case", [COPY, IMAGES])
@pytest.mark.parametrize("competitor", ["loop", *STEPS])
def test_competitors_find_the_same_gradients(case: WaveCase, competitor: str) -> None:
    problem = draw(case)
    ours, theirs = gradients(problem, "ours"), gradients(problem, competitor)
    assert set(ours) == set(NAMES)
    for name, gradient in ours.items():
        other = theirs[NAMES[name] if competitor == "loop" else name]
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))
        assert float(gradient.abs().max()) > 0


def test_a_kernel_of_one_tap_has_no_neighbours() -> None:
    generator = torch.Generator().manual_seed(0)
    u, V = torch.randn(2, 3, 3, 1, generator=generator), torch.randn(2, 12, 2, generator=generator)
    b, inputs = torch.randn(2, 12, generator=generator), torch.randn(5, 2, 4, 2, generator=generator)
    expected = STEPS["matrix"](u, V, b, inputs)
    for step in STEPS.values():
        torch.testing.assert_close(step(u, V, b, inputs), expected, rtol=1e-4, atol=1e-4)


def test_multiply_adds_are_those_of_the_products() -> None:
    """Counted again, product by product: rows times columns times what is summed over."""
    n, c, k, steps, batch, d, outputs = 7, 3, 5, 4, 2, 6, 8
    recurrent = batch * n * (c * k) * c
    weights = c * (c * k) * (batch * n)
    forward = (steps - 1) * recurrent + steps * batch * (c * n) * d + steps * batch * outputs * (c * n)
    back = (steps - 1) * (recurrent + weights) + steps * (c * n) * d * batch
    back += steps * batch * (c * n) * outputs + steps * outputs * (c * n) * batch
    assert wave_multiply_adds(n, c, k, steps, batch, d, outputs, steps) == forward + back
    with pytest.raises(ValueError, match="steps"):
        wave_multiply_adds(n, c, k, 0, batch, d, outputs, 0)


def test_the_papers_sizes_are_the_targets() -> None:
    copy, images = TARGETS
    assert (copy.task, copy.n, copy.c, copy.steps, copy.batch) == ("copy", 100, 6, 30 + 20, 128)
    assert (images.task, images.n, images.c, images.steps, images.batch) == ("psmnist", 256, 16, 28 * 28, 128)
    assert copy.multiply_adds == 3 * 49 * 128 * 100 * 36 * 3 + 2 * 50 * 128 * 600 + 3 * 50 * 128 * 600 * 10
    assert images.multiply_adds == 3 * 783 * 128 * 256 * 256 * 3 + 2 * 784 * 128 * 4096 + 3 * 128 * 4096 * 10
    # Every other case differs from the first in one size.
    for case in SCALING:
        assert sum(case.__dict__[name] != value for name, value in copy.__dict__.items()) == 1


def test_a_step_of_the_loop_is_the_papers_cell() -> None:
    problem = draw(COPY)
    loop = ConvolutionLoop(problem.network, 1)
    assert loop.U.padding_mode == "circular"
    x = problem.inputs[:2, 1]
    states = problem.network.states(problem.inputs[:2])[-1, 1]
    expected = states.flatten(1) @ problem.network.W[1].mT + problem.network.b_y[1]
    torch.testing.assert_close(loop(x, False), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loop(x, True)[-1], loop(x, False))


def test_the_batch_shrinks_until_it_fits() -> None:
    assert that_fits(COPY) == COPY
    states = 4 * COPY.K * COPY.steps * COPY.c * COPY.n
    case = replace(COPY, batch=8)
    assert that_fits(case, 2 * 6 * states * 8) == case
    assert that_fits(case, 2 * 6 * states * 4) == replace(case, batch=4)
    assert that_fits(case, 1).batch == 1


def test_growth_is_fitted_over_all_sizes() -> None:
    def result(median: float, **sizes: int) -> dict[str, object]:
        return {"case": {"n": 64, "K": 1, **sizes}, "ours": {"median": median}}

    results = [result(2.0 * n**1.5, n=n) for n in (16, 32, 64, 128)]
    found = fitted_growth([*results, result(9.0, n=99, K=4)], "n", "ours")
    assert found is not None
    assert (found["from"], found["to"], found["sizes"]) == (16, 128, 4)
    assert found["exponent"] == pytest.approx(1.5)
    assert found["residual"] == pytest.approx(1.0)
    bent = fitted_growth([result(1.0, n=1), result(1.0, n=2), result(4.0, n=4)], "n", "ours")
    assert bent is not None
    assert bent["exponent"] == pytest.approx(1.0)
    assert bent["residual"] == pytest.approx(2 ** (2 / 3))
    assert fitted_growth(results[:1], "n", "ours") is None


def test_measurements_say_what_was_measured() -> None:
    before = torch.get_num_threads()
    result = measure(COPY, rounds=2, per_round=2, patience=0)
    assert torch.get_num_threads() == before
    assert result["loop"]["repetitions"] == result["ours"]["repetitions"] == 4
    assert result["speed_up"] == result["loop"]["median"] / result["ours"]["median"]
    assert result["multiply_adds"] == COPY.multiply_adds
    assert result["floor"] == pytest.approx(1e3 * COPY.multiply_adds / result["multiply_adds_per_second"])
    assert result["over_floor"] == result["ours"]["median"] / result["floor"]
    faster = {**result, "multiply_adds_per_second": 1e15}
    slower = {**faster, "case": {**result["case"], "threads": 3}, "multiply_adds_per_second": 1.0}
    renewed = at_best_rate([result, faster, slower])
    assert [r["multiply_adds_per_second"] for r in renewed] == [1e15, 1e15, 1.0]
    assert renewed[0]["over_floor"] == pytest.approx(result["ours"]["median"] / (COPY.multiply_adds / 1e12))
    assert renewed[2]["floor"] == COPY.multiply_adds * 1e3
    ways = alternatives(IMAGES, rounds=1, per_round=1, patience=0)
    assert {"ours", *STEPS} <= set(ways)
    large = alternatives(WaveCase("psmnist", 200, 6, 2, 1, 1, 1), rounds=1, per_round=1, patience=0)
    assert {"ours", "convolution", "windows"} <= set(large)
    assert "matrix" not in large


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="rounds"):
        measure(IMAGES, rounds=0)
    with pytest.raises(ValueError, match="per_round"):
        measure(IMAGES, per_round=0)
    with pytest.raises(ValueError, match="threads"):
        measure(replace(IMAGES, threads=0))
    with pytest.raises(ValueError, match="steps = 19"):
        draw(replace(COPY, steps=19))
    name: TaskName = "songs"
    with pytest.raises(ValueError, match="songs"):
        draw(replace(COPY, task=name))
    with pytest.raises(ValueError, match="competitor"):
        gradients(draw(IMAGES), "faster")


def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    # PyTorch's threads wait for each other too long where other tests run beside.
    monkeypatch.setattr(benchmarks, "cores", lambda: 1)
    monkeypatch.setattr(wave, "TARGETS", (COPY, IMAGES))
    monkeypatch.setattr(wave, "SCALING", (replace(COPY, n=24), replace(COPY, K=1)))


def test_the_command_writes_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _small(monkeypatch)
    command = [
        "bench",
        "--model",
        "wave",
        "--rounds",
        "1",
        "--per-round",
        "1",
        "--patience",
        "0",
        "--out",
        str(tmp_path),
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.exception
    assert [path.name for path in tmp_path.iterdir()] == ["wave.json"]
    stored = json.loads((tmp_path / "wave.json").read_text())
    assert len(stored["alternatives"]) == len(stored["headline"])
    assert len(stored["scaling"]) == 2
    write(tmp_path / "cost.md", tmp_path)
    page = (tmp_path / "cost.md").read_text()
    assert "T = 2, and permuted sequential MNIST" in page
    assert stored["machine"]["processor"] in page
    assert f"| {stored['headline'][0]['speed_up']:.1f} |" in page
    assert milliseconds(stored["alternatives"][1]["windows"]) in page
    assert "n (units of a ring) | 12 → 24" in page
    for others, warned in ((0.1, False), (1.7, True), (None, False)):
        for result in stored["headline"]:
            result["others"] = others
        assert ("other programs took up to 1.7 cores" in render(None, wave=stored)) is warned
    assert "steps (steps) | not measured" in page
    assert "no GPU was at hand" in page


def test_the_same_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor stands in for the device; the number of cores and the alternatives are no matter there."""
    _small(monkeypatch)
    device = type("Device", (), {"type": "cuda", "__str__": lambda _self: "cpu"})()
    monkeypatch.setattr("wavemem.training.device.choose_device", lambda _name: device)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "abacus 9000")
    properties = type("Properties", (), {"total_memory": 10**9})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
    (tmp_path / "wave-gpu.json").write_text(json.dumps(benchmarks.run_wave(1, 1, True, 0.0, "cuda")))
    write(tmp_path / "cost.md", tmp_path)
    page = (tmp_path / "cost.md").read_text()
    assert "on abacus 9000" in page
    assert "| K (runs) | 1 → " in page
    stored = json.loads((tmp_path / "wave-gpu.json").read_text())
    assert [result["case"]["K"] for result in stored["headline"]] == [1, 3, 1, 3]
    assert stored["alternatives"] == []


def test_the_page_refuses_other_files_and_says_what_is_missing() -> None:
    assert "`records/bench/wave.json`" in render(None)
    for name in ("wave", "wave_gpu"):
        with pytest.raises(ValueError, match="machine"):
            render(None, **{name: {"headline": []}})


def test_times_have_three_digits_or_no_fraction() -> None:
    def shown(value: float) -> str:
        return milliseconds({"median": value, "lower": value, "upper": value}).split()[0]

    assert [shown(v) for v in (0.012345, 1.5, 45.678, 999.4, 999.6, 12345.6)] == [
        "0.0123",
        "1.5",
        "45.7",
        "999",
        "1000",
        "12346",
    ]
    assert milliseconds(None) == "–"
