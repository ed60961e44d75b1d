"""The CUDA kernels of the Wave-RNN, carried out by Triton's interpreter, against the float64 reference; and compiled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.kernels.wave import wave_outputs
from wavemem.kernels.wave_triton import choose_tile


def _relative(mine: Tensor, theirs: Tensor) -> float:
    return float((mine.double() - theirs).norm() / theirs.norm().clamp(min=1e-6))


def _problem(seed: int, K: int, B: int, T: int, c: int, n: int, k: int) -> dict[str, Tensor]:
    """Numbers between -1 and 1 (where tanh saturates, 1 - h² has no digits in float32, whoever computes it)."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return 2 * torch.rand(shape, generator=generator) - 1

    return {
        "u": drawn(K, c, c, k) / (c * k) ** 0.5,
        "drive": drawn(K, T, B, c, n),
        "h0": drawn(K, B, c, n),
        "gradient": drawn(K, T, B, c, n),
    }


def _reference(
    u: Tensor, drive: Tensor, h0: Tensor, gradient: Tensor, activation: str
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """States by circular convolutions in float64, run by run, and the gradients of their weighted sum (drive, u)."""
    u, drive = u.double().requires_grad_(), drive.double().requires_grad_()
    sigma = {"relu": torch.relu, "tanh": torch.tanh, "linear": lambda z: z}[activation]
    half = u.shape[3] // 2
    runs = []
    for run in range(len(u)):
        states = [h0[run].double()]
        for t in range(drive.shape[1]):
            # A ring shorter than the padding is laid around itself more than once.
            ring = states[-1][..., torch.arange(-half, drive.shape[4] + half) % drive.shape[4]]
            states.append(sigma(nnf.conv1d(ring, u[run]) + drive[run, t]))
        runs.append(torch.stack(states))
    sequence = torch.stack(runs)
    return sequence.detach(), torch.autograd.grad((sequence[:, 1:] * gradient).sum(), (drive, u))


def _check(interpreter: Any, activation: str, arguments: dict[str, Tensor]) -> None:
    mine = interpreter.call("wave", activation=activation, **arguments)
    states, (delta, weights) = _reference(**arguments, activation=activation)
    assert _relative(mine["states"], states) < 1e-4
    assert _relative(mine["delta"], delta) < 1e-4
    assert _relative(mine["u"], weights) < 1e-4


SIZES = st.fixed_dictionaries(
    {
        "K": st.integers(1, 3),
        "B": st.integers(1, 5),
        "T": st.integers(1, 4),
        "c": st.integers(1, 18),
        "n": st.integers(2, 40),
        "k": st.sampled_from([1, 3, 5]),
        "seed": st.integers(0, 2**16),
    }
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=SIZES, activation=st.sampled_from(["relu", "tanh", "linear"]))
@example(sizes={"K": 1, "B": 20, "T": 2, "c": 3, "n": 9, "k": 3, "seed": 0}, activation="relu")
@example(sizes={"K": 2, "B": 3, "T": 3, "c": 40, "n": 1, "k": 1, "seed": 1}, activation="relu")
def test_states_and_gradients_equal_the_float64_reference(
    interpreter: Any, sizes: dict[str, int], activation: str
) -> None:
    _check(interpreter, activation, _problem(**sizes))


@pytest.mark.parametrize(("c", "n"), [(6, 100), (16, 256), (27, 100)])
def test_sizes_of_the_papers_networks(interpreter: Any, c: int, n: int) -> None:
    _check(interpreter, "relu", _problem(1, K=1, B=2, T=3, c=c, n=n, k=3))


def test_a_shift_moves_the_state_by_one_unit_per_step(interpreter: Any) -> None:
    h0 = torch.zeros(1, 1, 2, 5)
    h0[0, 0, :, 0] = torch.tensor([1.0, 2.0])
    u = torch.zeros(1, 2, 2, 3)
    u[0, [0, 1], [0, 1], 2] = 1.0
    drive = torch.zeros(1, 4, 1, 2, 5)
    states = interpreter.call("wave", u=u, drive=drive, h0=h0, gradient=drive, activation="linear")["states"]
    for t in range(5):
        assert torch.equal(states[:, t], h0.roll(-t, -1))


def test_numbers_that_are_not_finite_stay_in_their_run_and_row(interpreter: Any) -> None:
    arguments = _problem(2, K=2, B=3, T=4, c=3, n=6, k=3)
    arguments["drive"][1, 0, 2, 0, 0] = float("nan")
    mine = interpreter.call("wave", activation="relu", **arguments)
    wrong = mine["states"].isnan().flatten(3).any(3)
    assert wrong[1, 1:, 2].all()
    assert int(wrong.sum()) == 4
    assert bool(mine["u"][0].isfinite().all())
    assert bool(mine["u"][1].isnan().any())


def test_the_check_on_a_device_finds_right_and_wrong_numbers(interpreter: Any) -> None:
    for channels in (2, 9):
        assert interpreter.call("check_wave", channels=channels, taps=3, wrong="") == {"found": True, "warnings": []}
    for name in ("scan_states", "scan_deltas", "kernel_gradient"):
        found = interpreter.call("check_wave", channels=2, taps=3, wrong=name)
        assert not found["found"]
        assert "differ from the reference" in found["warnings"][0]


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize("every_step", [True, False])
def test_the_whole_network_equals_the_float64_loop(interpreter: Any, every_step: bool, activation: str) -> None:
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> Tensor:
        return 2 * torch.rand(shape, generator=generator) - 1

    K, c, n, k, d, o, T, B = 2, 3, 5, 3, 2, 4, 4, 3
    arguments = {
        "u": drawn(K, c, c, k) / (c * k) ** 0.5,
        "V": drawn(K, c * n, d),
        "b": drawn(K, c * n),
        "W": drawn(K, o, c * n),
        "b_y": drawn(K, o),
        "inputs": drawn(T, K, B, d),
        "h0": drawn(K, B, c, n),
    }
    weight = drawn(T, K, B, o) if every_step else drawn(K, B, o)
    ours = interpreter.call("wave_network", weight=weight, every_step=every_step, activation=activation, **arguments)
    double: dict[str, Any] = {name: value.double().requires_grad_() for name, value in arguments.items()}
    outputs = wave_outputs(**double, every_step=every_step, activation=activation)
    gradients = torch.autograd.grad((outputs * weight).sum(), list(double.values()))
    for name, theirs in {"outputs": outputs.detach(), **dict(zip(double, gradients, strict=True))}.items():
        assert _relative(ours[name], theirs) < 1e-5, name


def test_what_does_not_fit_is_refused(interpreter: Any) -> None:
    assert interpreter.call("refuse_wave", channels=128, dtype="float32")["message"] == ""
    assert "129 channels" in interpreter.call("refuse_wave", channels=129, dtype="float32")["message"]
    assert "float64" in interpreter.call("refuse_wave", channels=6, dtype="float64")["message"]


def test_kernels_compile_and_keep_to_their_registers(compiled: Any) -> None:
    common: dict[str, Any] = {
        "module": "wavemem.kernels._wave_triton_kernels",
        "kinds": {"B": "i32", "T": "i32", "PROGRAMS": "i32"},
    }
    cases = []
    for c, n in ((6, 100), (16, 256), (27, 100)):
        tile = choose_tile(c, n)
        sizes = {"C": c, "UNITS": n, "TAPS": 3}
        cut = {"ROWS": tile.rows, "PLACES": tile.places, "OUT": tile.out, "IN": tile.inputs, "DOT": tile.dot}
        constants: dict[str, Any] = {**sizes, **cut, "ACTIVATION": "relu"}
        for kernel in ("scan_forward", "scan_back"):
            cases.append({**common, "kernel": kernel, "warps": tile.warps, "constants": constants})
        pairs = min(1 << (3 * c - 1).bit_length(), 2048 // tile.out)
        constants = {**sizes, "PLACES": 16, "OUT": tile.out, "PAIRS": pairs}
        cases.append({**common, "kernel": "sum_products", "warps": 4, "constants": constants})
    found = compiled(cases)
    assert len(found) == 18
    for built in found:
        assert built["spilt"] == 0, built
        # At most 48 KiB of shared memory, which every device gives without being asked; 65536 registers.
        assert built["shared"] <= 48 * 1024, built
        assert built["registers"] * built["threads"] <= 65536, built
        if built["kernel"] != "sum_products":
            after = built["ptx"].rpartition("st.global")[2]
            assert after.index("bar.sync") < after.index(" bra"), "no barrier between writing and reading a state"
