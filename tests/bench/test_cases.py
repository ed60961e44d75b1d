"""The cases: contestants compute the same, counts are those of the operations, and every table runs at toy sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench import elman, strings, wave
from bench.__main__ import CASES
from bench.measure import Contest
from wavemem.kernels.elman import elman_scan_reference
from wavemem.wave_rnn.network import WaveRNN

CPU = torch.device("cpu")
ELMAN = {"N": 8, "K": 2, "batch": 4, "s": 2, "d": 2, "horizon": 3}
COPY = {"task": "copy", "n": 12, "c": 2, "steps": 22, "batch": 4, "K": 2}
SHAPE = {"width": 16, "layers": 1, "n": 4, "states": 16, "heads": 2}
TOYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "elman": (elman.training, ELMAN),
    "copying": (wave._both, COPY),
    "images": (wave._alternatives, COPY | {"task": "psmnist"}),
    "linear": (wave.linear, {"n": 6, "c": 1, "d": 2, "o": 1, "batch": 2, "T": 20}),
    "training": (strings.training, {"length": 12, "batch": 3, "K": 2, **SHAPE}),
    "generation": (strings.generation, {"context": 10, "batch": 2, "steps": 3, **SHAPE}),
    "scan": (strings.scan, {"length": 8, "batch": 2, "channels": 4, "states": 3}),
    "register": (strings.register, {"length": 8, "batch": 2, "channels": 4, "n": 3}),
}


def also(contest: Contest, quantity: str) -> dict[str, float | None]:
    """What a contest notes of a quantity, by contestant."""
    return {name: value for name, what, value in contest.also if what == quantity}


@pytest.mark.parametrize("name", TOYS)
def test_every_contestant_runs(name: str) -> None:
    make, sizes = TOYS[name]
    contest = make(CPU, **sizes)
    for contestant in contest.contestants.values():
        assert contestant(1) > 0


def test_cases_are_different_and_give_their_sizes() -> None:
    names = [(case.name, case.devices) for case in CASES]
    # One run of 64 units is in the table of growth and in the headline.
    assert len(set(names)) == len(names)
    assert {case.suite for case in CASES} == {"elman", "elman-tf32", "wave", "wave-linear", "strings"}
    for case in CASES:
        assert "threads" in case.sizes
        assert set(case.devices) <= {"cpu", "cuda"}


def test_the_operations_of_elman_are_those_of_its_products() -> None:
    N, K, B, s, d, H = ELMAN.values()
    N, s, H = 12, 4, 7
    weights = [torch.randn(shape, requires_grad=True) for shape in ((K, N, N), (K, N, d), (K, d, N))]
    with FlopCounterMode(display=False) as counter:
        states = elman_scan_reference(*weights[:2], torch.ones(s, K, B, d), steps=s + H)[s:]
        (states @ weights[2].mT).square().sum().backward()
    operations, moved = elman.counts(N, B, s, d, H)
    assert counter.get_total_flops() == K * operations
    least = 4 * (B * N * (s + (s + H)) + N * N)  # forward alone: drive, states, weights
    assert moved > 2 * least


def test_networks_start_orthogonal() -> None:
    W_hh = elman.near_critical(8, 2, 3).W_hh.detach()
    torch.testing.assert_close(W_hh @ W_hh.mT, torch.eye(8).expand(2, 8, 8), atol=1e-5, rtol=0)


def test_arithmetics_differ_by_what_they_round_off() -> None:
    x = torch.tensor([1.0, 1 + 2**-10, 1 + 2**-12, -3.3])
    assert elman.rounded(x)[:3].tolist() == [1.0, 1 + 2**-10, 1.0]
    contest = elman.arithmetic(CPU, task="T1", s=2, d=2, N=8, runs=2, iterations=3, longest=10)
    changes = also(contest, "largest change")
    assert list(changes) == ["ieee", "tf32", "tf32x3"]
    assert changes["ieee"] == 0.0
    assert 0.0 <= changes["tf32x3"] < changes["tf32"] < 1e-2
    assert [what for name, what, _ in contest.also if name == "tf32"].count("accuracy") == 2


@pytest.mark.parametrize("task", ["copy", "psmnist"])
def test_ways_to_step_a_wave_give_the_same_gradients(task: str) -> None:
    network = WaveRNN.initialise(range(2), 12, 2, 10 if task == "copy" else 1, 10)
    with torch.no_grad():  # the published start couples no channels
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    inputs, classes = wave.draw(task, network, 22, 4)
    every = classes.ndim == 3
    names, parameters = zip(*network.named_parameters(), strict=True)

    def gradients(outputs: Tensor) -> dict[str, Tensor]:
        return dict(zip(names, torch.autograd.grad(outputs.square().sum(), parameters), strict=True))

    expected = gradients(network(inputs, every))
    for way in (wave.by_convolution, wave.by_windows, wave.by_matrix):
        states = way(network, inputs)
        read = (states if every else states[-1]).flatten(-2)
        found = gradients(read @ network.W.mT + network.b_y[:, None])
        for name in names:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-3)
    single = wave.ConvolutionLoop(network, 1)
    torch.testing.assert_close(single(inputs[:, 1], every), network(inputs, every)[..., 1, :, :], rtol=1e-4, atol=1e-3)


def test_the_convolution_of_a_linear_wave_is_right() -> None:
    error = also(wave.linear(CPU, n=12, c=2, d=2, o=1, batch=2, T=40), "error")["convolution"]
    assert error is not None
    assert error < 1e-5


@pytest.mark.parametrize("ways", [strings.scans, strings.registers])
def test_ways_to_scan_and_to_register_agree(ways: Any) -> None:
    outputs = {name: call() for name, call in ways(CPU, 40, 2, 4, 3).items()}
    for name, y in outputs.items():
        at_one = name in ("conv1d", "shift")  # of the registers, these move at v = 1
        torch.testing.assert_close(y, outputs["shift" if at_one else "loop"], rtol=1e-4, atol=1e-5)
    assert "loop" not in ways(CPU, strings.LONG + 1, 1, 1, 1)


def test_what_models_keep_of_a_context() -> None:
    sizes = {"batch": 2, "steps": 1, **SHAPE}
    kept = {context: also(strings.generation(CPU, context=context, **sizes), "bytes kept") for context in (10, 20)}
    for name in ("Mamba", "v-Wave"):
        assert kept[10][name] == kept[20][name] == 4 * 32 * (4 + 16)
    for name in ("ALiBi", "RoPE"):
        assert 2 * kept[10][name] == kept[20][name] == 4 * 2 * 16 * 20


def test_models_differ_in_their_blocks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    contest = strings.training(CPU, 12, 3, 2, **SHAPE)
    count = also(contest, "parameters")
    assert count["v-Wave"] - count["Mamba"] == 32  # one velocity per channel
    assert count["ALiBi"] == count["RoPE"]
    monkeypatch.setattr(strings, "too_large", lambda needed, _device: "too large" if needed else "")
    contestants = strings.training(CPU, 32, 3, 2, **SHAPE).contestants
    assert [name for name, one in contestants.items() if one == "too large"] == ["ALiBi"]


@pytest.mark.parametrize("name", strings.MODELS)
def test_reading_in_pieces_leaves_what_reading_at_once_leaves(name: str) -> None:
    model = strings.make(name, 1, **SHAPE)
    tokens = torch.randint(strings.VOCABULARY, (1, 2, 10))
    for one, other in zip(strings.read(model, tokens), strings.read(model, tokens, piece=3), strict=True):
        for key, value in one.items():
            torch.testing.assert_close(other[key], value, rtol=1e-4, atol=1e-5)
