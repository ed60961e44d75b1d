"""The CUDA kernels, carried out by Triton's interpreter, against the references in float64; and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.kernels import elman, elman_triton, selective, selective_triton, wave, wave_triton
from wavemem.kernels.elman import elman_scan_reference, loss_and_gradients
from wavemem.kernels.selective import selective_scan_reference
from wavemem.kernels.wave import wave_outputs, wave_scan_reference

STEPS = selective_triton.STEPS
Drawn = Callable[..., Tensor]
DRAW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def drawing(seed: int) -> Drawn:
    """Draws numbers between -1 and 1: where tanh saturates, 1 - h² has no digits in float32, whoever computes it."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: 2 * torch.rand(shape, generator=generator) - 1


def assert_near(mine: Tensor, theirs: Tensor, tolerance: float, name: str = "") -> None:
    theirs = theirs.detach()
    assert mine.shape == theirs.shape, name
    assert float((mine.double() - theirs).norm() / theirs.norm().clamp(min=1e-6)) < tolerance, name


def assert_equal(
    interpreter: Any,
    path: str,
    reference: Callable[..., Any],
    arguments: dict[str, Any],
    tolerance: float = 1e-4,
    **options: Any,
) -> None:
    """Results of a function, and gradients with respect to all tensors, are those of its reference in float64."""
    exact = {name: x.double().requires_grad_() if isinstance(x, Tensor) else x for name, x in arguments.items()}
    wanted = reference(**exact, **options)
    wanted = [wanted] if isinstance(wanted, Tensor) else list(wanted)
    draw = drawing(1)
    weights = [draw(*value.shape) for value in wanted]
    found, gradients = interpreter.call("differentiate", path=path, weights=weights, **arguments, **options)
    for mine, theirs in zip(found, wanted, strict=True):
        assert_near(mine, theirs, tolerance)
    leaves = {name: x for name, x in exact.items() if isinstance(x, Tensor)}
    doubled = [weight.double() for weight in weights]
    for name, theirs in zip(leaves, torch.autograd.grad(wanted, list(leaves.values()), doubled), strict=True):
        assert_near(gradients[name], theirs, tolerance, name)


# Elman


# K, B, s, d, N, seed
ELMAN = st.tuples(*(st.integers(1, most) for most in (3, 6, 4, 4, 40)), st.integers(0, 2**16))
ACTIVATIONS = st.sampled_from(["tanh", "linear"])


def elman_weights(draw: Drawn, K: int, N: int, d: int) -> dict[str, Tensor]:
    return {"W_hh": draw(K, N, N) / N**0.5, "W_uh": draw(K, N, d) / d}


@DRAW
@given(sizes=ELMAN, activation=ACTIVATIONS, horizons=st.lists(st.integers(1, 6), min_size=3, max_size=3))
def test_loss_and_gradients_of_elman_networks(
    interpreter: Any, sizes: tuple[int, ...], activation: Any, horizons: list[int]
) -> None:
    K, B, s, d, N, seed = sizes
    steps, draw = torch.tensor(horizons[:K]), drawing(seed)
    arguments: dict[str, Any] = {
        **elman_weights(draw, K, N, d),
        "W_r": draw(K, d, N) / N**0.5,
        "u": draw(K, B, s, d).sign(),
        "targets": draw(K, B, int(steps.max()), d).sign(),
    }
    exact = {name: value.double() for name, value in arguments.items()}  # in float64 it takes the plain loop itself
    loss, right, wanted = loss_and_gradients(**exact, activation=activation, horizons=steps)
    options = {"activation": activation, "horizons": None if K == 1 else steps}
    found = interpreter.call("results", path="kernels.elman:loss_and_gradients", **arguments, **options)
    torch.testing.assert_close(found.pop(1).double(), right, rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(found, (loss, *wanted), strict=True):
        assert_near(mine, theirs, 1e-4)


@DRAW
@given(sizes=ELMAN, activation=ACTIVATIONS, quiet=st.integers(0, 3))
@example(sizes=(2, 6, 8, 8, 64, 1), activation="tanh", quiet=20)
@example(sizes=(2, 6, 8, 8, 128, 1), activation="tanh", quiet=20)
def test_elman_scan(interpreter: Any, sizes: tuple[int, ...], activation: Any, quiet: int) -> None:
    K, B, S, d, N, seed = sizes
    draw = drawing(seed)
    arguments = {**elman_weights(draw, K, N, d), "inputs": draw(S, K, B, d), "h0": draw(K, B, N)}
    options = {"steps": S + quiet, "activation": activation}
    assert_equal(interpreter, "kernels.elman:elman_scan", elman_scan_reference, arguments, **options)


def test_training_follows_the_same_course(interpreter: Any) -> None:
    sizes = {"K": 3, "N": 8, "s": 2, "d": 2, "iterations": 12}
    ours, theirs = interpreter.call("train", **sizes), interpreter.here("train", **sizes)
    assert len(theirs["log"]["horizon"].unique()) > 1
    for name, column in ours["log"].items():
        torch.testing.assert_close(column, theirs["log"][name], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours["W_hh"], theirs["W_hh"], rtol=1e-3, atol=1e-3)


# Wave-RNN


# K, B, T, c, n, k, seed
WAVE = st.tuples(
    *(st.integers(1, most) for most in (3, 5, 4, 18)),
    st.integers(2, 40),
    st.sampled_from([1, 3, 5]),
    st.integers(0, 2**16),
)


def wave_arguments(K: int, B: int, T: int, c: int, n: int, k: int, seed: int) -> dict[str, Tensor]:
    draw = drawing(seed)
    u, V, b = draw(K, c, c, k) / (c * k) ** 0.5, draw(K, c * n, 2), draw(K, c * n)
    return {"u": u, "V": V, "b": b, "inputs": draw(T, K, B, 2), "h0": draw(K, B, c, n)}


@DRAW
@given(sizes=WAVE, activation=st.sampled_from(["relu", "tanh", "linear"]))
@example(sizes=(1, 20, 2, 3, 9, 3, 0), activation="relu")
@example(sizes=(2, 3, 3, 40, 1, 1, 1), activation="relu")
@example(sizes=(1, 2, 3, 6, 100, 3, 1), activation="relu")
@example(sizes=(1, 2, 3, 16, 256, 3, 1), activation="relu")
@example(sizes=(1, 2, 3, 27, 100, 3, 1), activation="relu")
def test_wave_scan(interpreter: Any, sizes: tuple[int, ...], activation: str) -> None:
    arguments = wave_arguments(*sizes)
    assert_equal(interpreter, "kernels.wave:wave_scan", wave_scan_reference, arguments, activation=activation)


@pytest.mark.parametrize("every_step", [True, False])
def test_wave_outputs(interpreter: Any, every_step: bool) -> None:
    draw = drawing(3)
    arguments = {**wave_arguments(2, 3, 4, 3, 5, 3, 2), "W": draw(2, 4, 15), "b_y": draw(2, 4)}
    # In float64 it takes the plain loop itself.
    assert_equal(interpreter, "kernels.wave:wave_outputs", wave_outputs, arguments, every_step=every_step)


# The selective scan


NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "h0")
# K, B, L, E, N, seed
SELECTIVE = st.tuples(*(st.integers(1, most) for most in (2, 2, STEPS + 3, 9, 9)), st.integers(0, 2**16))


def selective_arguments(K: int, B: int, L: int, E: int, N: int, seed: int) -> dict[str, Any]:
    draw, x, read, channel = drawing(seed), (K, B, L, E), (K, B, L, N), (K, E)
    shapes = (x, x, (K, E, N), read, read, channel, x, channel, (K, B, E, N))
    found = {name: draw(*shape) for name, shape in zip(NAMES, shapes, strict=True)}
    return {**found, "A": -torch.exp(found["A"]), "z": 3 * found["z"]}


def selective_reference(method: str, **arguments: Any) -> tuple[Tensor, Tensor]:
    y, states = selective_scan_reference(**arguments)
    return y, states[-1]


@settings(DRAW, max_examples=6)
@given(
    sizes=SELECTIVE,
    without=st.sets(st.sampled_from(["D", "z", "delta_bias", "h0"])),
    softplus=st.booleans(),
    method=st.sampled_from(["auto", "triton"]),
)
@example((2, 2, 2 * STEPS + 1, 5, 3, 0), set(), True, "auto")
@example((1, 1, 3, 70, 4, 1), {"D", "h0"}, True, "auto")
@example((1, 2, 8, 20, 16, 3), set(), True, "auto")
@example((1, 2, 8, 5, 64, 3), set(), True, "auto")
def test_selective_scan(
    interpreter: Any, sizes: tuple[int, ...], without: set[str], softplus: bool, method: str
) -> None:
    arguments = {name: None if name in without else value for name, value in selective_arguments(*sizes).items()}
    assert_selective(interpreter, arguments, softplus, method)


def assert_selective(interpreter: Any, arguments: dict[str, Any], softplus: bool, method: str) -> None:
    path, options = "kernels.selective:selective_scan", {"softplus": softplus, "method": method}
    assert_equal(interpreter, path, selective_reference, arguments, 1e-5, **options)


def test_extreme_step_sizes_and_gates_stay_exact(interpreter: Any) -> None:
    arguments = selective_arguments(K=1, B=1, L=6, E=4, N=2, seed=4)
    for name, values in (("delta", [-60.0, -9.0, -3.4, 0.0, 9.0, 60.0]), ("z", [60.0, -60.0, 9.0, -9.0, 0.0, 1.0])):
        arguments[name] = torch.tensor(values)[None, None, :, None].expand(1, 1, 6, 4).clone()
    assert_selective(interpreter, arguments, True, "auto")


def test_nothing_is_kept_where_no_gradient_is_wanted(interpreter: Any) -> None:
    arguments = selective_arguments(K=2, B=1, L=STEPS + 1, E=3, N=2, seed=5)
    path = "kernels.selective:selective_scan"
    y, _ = interpreter.call("results", path=path, **arguments, softplus=True)
    assert_near(y, selective_scan_reference(**arguments, softplus=True)[0].double(), 1e-5)


# All of them


def test_numbers_that_are_not_finite_stay_in_their_run_and_row(interpreter: Any) -> None:
    draw = drawing(2)
    networks: dict[str, Any] = {**elman_weights(draw, 2, 8, 2), "W_r": draw(2, 2, 8)}
    networks |= {"u": draw(2, 5, 2, 2), "targets": draw(2, 5, 4, 2), "horizons": torch.tensor([2, 4])}
    networks["W_hh"][1] = float("nan")
    loss, _, *gradients = interpreter.call("results", path="kernels.elman:loss_and_gradients", **networks)
    assert bool(loss[:, 0].isfinite().all())
    assert bool(loss[:, 1].isnan().all())
    assert all(bool(gradient[0].isfinite().all()) for gradient in gradients)

    rings = wave_arguments(K=2, B=3, T=4, c=3, n=6, k=3, seed=2)
    rings["inputs"][0, 1, 2] = float("nan")
    weights = [torch.ones(4, 2, 3, 3, 6)]
    (states,), found = interpreter.call("differentiate", path="kernels.wave:wave_scan", weights=weights, **rings)
    wrong = states.isnan().flatten(3).all(3)
    assert wrong[:, 1, 2].all()
    assert int(states.isnan().sum()) == 4 * 18
    assert bool(found["u"][0].isfinite().all())
    assert bool(found["u"][1].isnan().any())

    scans = selective_arguments(K=2, B=3, L=4, E=3, N=2, seed=2)
    scans["u"][1, 2, 1, 0] = float("nan")
    path, weights = "kernels.selective:selective_scan", [torch.ones(2, 3, 4, 3), torch.zeros(2, 3, 3, 2)]
    (y, _), found = interpreter.call("differentiate", path=path, weights=weights, softplus=True, **scans)
    assert y[1, 2, 1:, 0].isnan().all()
    assert int(y.isnan().sum()) == 3
    assert bool(found["A"][0].isfinite().all())
    assert bool(found["A"][1, 0].isnan().all())
    assert bool(found["A"][1, 1:].isfinite().all())


@pytest.mark.parametrize(
    ("name", "sizes", "wrong", "reason"),
    [
        ("elman", (11,), "", ""),
        ("elman", (32,), "scan_states", "differ from the reference"),
        ("elman", (32,), "scan_deltas", "differ from the reference"),
        ("wave", (2, 3), "", ""),
        ("wave", (9, 3), "", ""),
        ("wave", (2, 3), "scan_states", "differ from the reference"),
        ("wave", (2, 3), "scan_deltas", "differ from the reference"),
        ("wave", (2, 3), "kernel_gradient", "differ from the reference"),
        ("selective", (3,), "", ""),
        ("selective", (3,), "scan", "differ from the reference"),
        ("selective", (3,), "scan_backward", "differ from the reference"),
        ("selective", (0,), "", "failed with ValueError"),
    ],
)
def test_the_check_on_a_device_finds_right_and_wrong_numbers(
    interpreter: Any, name: str, sizes: tuple[int, ...], wrong: str, reason: str
) -> None:
    right, warnings = interpreter.call("check", name=name, sizes=sizes, wrong=wrong)
    assert right == (reason == "")
    assert len(warnings) == (0 if right else 1)
    assert all(reason in warning for warning in warnings)


@pytest.mark.parametrize("module", [elman, wave, selective])
def test_what_does_not_fit_is_refused(interpreter: Any, module: Any) -> None:
    name, largest = module.__name__.rpartition(".")[2], module.TRITON.largest
    assert interpreter.call("refuse", name=name, size=largest, dtype="float32") == ["", ""]
    for size, dtype, reason in ((largest + 1, "float32", f"{largest + 1} "), (8, "float64", "float64")):
        for message in interpreter.call("refuse", name=name, size=size, dtype=dtype):
            assert reason in message.partition("; allowed")[0]


def test_tiles_hold_the_sizes_and_fill_their_threads() -> None:
    for N in range(1, elman.TRITON.largest + 1):
        network = elman_triton.choose_tile(N)
        assert N <= network.width <= max(16, 2 * N - 1)
        assert network.width**2 <= 64 * 32 * network.warps  # 64 registers per thread at most for the matrix
    for channels in range(1, wave.TRITON.largest + 1):
        for units in (1, 7, 64, 100, 256, 1000):
            ring = wave_triton.choose_tile(channels, units)
            assert channels <= ring.out <= max(4, 2 * channels - 1)
            assert all(size & (size - 1) == 0 for size in (ring.out, ring.inputs, ring.places))
            # Triton's product sums over 16 numbers at least; a thread holds 16 sums at most.
            assert ring.inputs >= 16 or not ring.dot
            assert ring.out * ring.places <= 16 * 32 * ring.warps
            assert ring.rows * units <= max(ring.places, units)
            assert (ring.rows + 1) * units > ring.places
    for states in range(1, selective.TRITON.largest + 1):
        for channels in (1, 3, 16, 64, 100, 512):
            block = selective_triton.choose_tile(channels, states)
            assert states <= block.states <= max(1, 2 * states - 1)
            assert all(size & (size - 1) == 0 for size in block)
            assert block.channels <= 2 * channels - 1
            assert block.states * block.channels <= 8 * 32 * block.warps


def test_kernels_of_elman_compile_and_their_matrix_stays_in_registers(compiled: Any) -> None:
    tile = elman_triton.choose_tile(128)
    constants = {"N": 128, "WIDTH": tile.width, "ROWS": tile.rows, "TANH": True}
    kinds = dict.fromkeys(("B", "S", "T"), "i32")
    found = compiled(elman_triton, [(name, tile.warps, constants, {}) for name in ("scan_forward", "scan_back")], kinds)
    for built in found:
        assert built["spilt"] == 0, built
        # Two programs at least fit on a multiprocessor of 65536 registers.
        assert 2 * built["registers"] * built["threads"] <= 65536, built


def test_kernels_of_waves_compile_and_keep_to_their_registers(compiled: Any) -> None:
    cases: list[Any] = []
    for c, n in ((6, 100), (16, 256), (27, 100)):
        tile = wave_triton.choose_tile(c, n)
        sizes = {"C": c, "UNITS": n, "TAPS": 3, "OUT": tile.out}
        cut = {"ROWS": tile.rows, "PLACES": tile.places, "IN": tile.inputs, "DOT": tile.dot, "ACTIVATION": "relu"}
        cases += [(name, tile.warps, {**sizes, **cut}, {}) for name in ("scan_forward", "scan_back")]
        pairs = min(1 << (3 * c - 1).bit_length(), 2048 // tile.out)
        cases.append(("sum_products", 4, {**sizes, "PLACES": 16, "PAIRS": pairs}, {}))
    for built in compiled(wave_triton, cases, dict.fromkeys(("B", "T", "PROGRAMS"), "i32")):
        assert built["spilt"] == 0, built
        # At most 48 KiB of shared memory, which every device gives without being asked; 65536 registers.
        assert built["shared"] <= 48 * 1024, built
        assert built["registers"] * built["threads"] <= 65536, built
        if built["kernel"] != "sum_products":
            after = built["ptx"].rpartition("st.global")[2]
            assert after.index("bar.sync") < after.index(" bra"), "no barrier between writing and reading a state"


def test_kernels_of_selective_scans_compile_and_keep_to_their_registers(compiled: Any) -> None:
    flags, cases = dict.fromkeys(("HAS_D", "HAS_Z", "HAS_BIAS", "SOFTPLUS"), True), []
    for N in (1, 16, 256):
        tile = selective_triton.choose_tile(512, N)
        constants = {"CHANNELS": tile.channels, "STATES": tile.states, "STEPS": STEPS, **flags}
        cases.append(("scan_forward", tile.warps, {**constants, "HAS_H0": True, "KEEP": True}, {}))
        options = {"maxnreg": selective_triton.REGISTERS}
        cases.append(("scan_back", tile.warps, {**constants, "HAS_LAST": True}, options))
    kinds = dict.fromkeys(("B", "L", "E", "N", "CHUNKS", "BLOCKS"), "i32")
    for built in compiled(selective_triton, cases, kinds):
        assert built["spilt"] == 0, built
        assert built["shared"] <= 4096, built
        # Twelve groups of threads at least fit on a multiprocessor of 65536 registers.
        assert 12 * 32 * built["registers"] <= 65536, built
        if built["kernel"] == "scan_back":
            assert built["ptx"].count("bar.sync") >= 2, "no barrier between writing and reading a chunk's states"
