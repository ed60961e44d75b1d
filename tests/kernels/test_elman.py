"""The Elman network: scan, loss and gradients of every way to compute them, against plain loops in float64."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wavemem.kernels.elman import Activation, elman_scan, elman_scan_reference, loss_and_gradients

SIZES = [  # K, N, B, s, d, steps after the inputs
    (1, 1, 1, 1, 1, 1),
    (3, 6, 5, 4, 2, 3),
    (2, 17, 33, 2, 5, 6),
    (2, 48, 1, 3, 17, 4),
    (1, 100, 70, 1, 3, 9),
    (2, 64, 64, 8, 8, 20),
    (1, 128, 16, 4, 4, 60),
]


def _drawn(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def _scan_arguments(K: int, N: int, B: int, S: int, d: int) -> list[Tensor]:
    W_hh, *others = _drawn((K, N, N), (K, N, d), (S, K, B, d), (K, B, N))
    return [W_hh / N**0.5, *others]


def _differentiated(call: Callable[..., Tensor], arguments: list[Tensor], weight: Tensor) -> list[Tensor]:
    leaves = [value.clone().requires_grad_() for value in arguments]
    states = call(*leaves)
    return [states.detach(), *torch.autograd.grad((states * weight).sum(), leaves)]


def _close(mine: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    assert mine.shape == theirs.shape
    assert float((mine.double() - theirs).norm()) <= tolerance * float(theirs.norm())


@pytest.mark.parametrize("activation", ["tanh", "linear"])
@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize(("K", "N", "B", "S", "d", "quiet"), SIZES)
def test_scan_and_its_gradients_are_those_of_the_loop(
    way: str, K: int, N: int, B: int, S: int, d: int, quiet: int, initial: bool, activation: Activation
) -> None:
    arguments = _scan_arguments(K, N, B, S, d)[: 4 if initial else 3]
    (weight,) = _drawn((S + quiet, K, B, N), seed=1)

    def run(scan: Callable[..., Tensor], dtype: torch.dtype) -> list[Tensor]:
        return _differentiated(
            lambda *leaves: scan(*leaves, steps=S + quiet, activation=activation),
            [value.to(dtype) for value in arguments],
            weight.to(dtype),
        )

    exact = run(elman_scan_reference, torch.float64)
    for mine, theirs in zip(run(elman_scan, torch.float32), exact, strict=True):
        _close(mine, theirs)


def test_tanh_is_exact_to_three_units_in_the_last_place(way: str) -> None:
    x = torch.cat([torch.linspace(-12, 12, 40_001), torch.logspace(-38, 2, 40_001), torch.tensor([torch.inf, 0.0])])
    one = torch.ones(1, 1, 1)
    found = elman_scan(one, one, x.view(1, 1, -1, 1)).flatten()
    exact = x.double().tanh()
    unit = torch.nextafter(exact.float().abs(), torch.tensor(torch.inf)) - exact.float().abs()
    assert bool(((found - exact).abs() <= 3 * unit).all())
    assert float(found.abs().max()) <= 1
    assert bool(elman_scan(one, one, torch.full((1, 1, 1, 1), torch.nan)).isnan())


def _loss_by_the_loop(
    weights: list[Tensor], u: Tensor, targets: Tensor, activation: Activation, horizons: Tensor
) -> list[Tensor]:
    """Run by run: loss and accuracy by step, and gradients by autograd, in float64."""
    found: list[list[Tensor]] = []
    for k, steps in enumerate(horizons.tolist()):
        W_hh, W_uh, W_r = (W[k].double().requires_grad_() for W in weights)
        h, losses, right = u.new_zeros(u.shape[1], len(W_hh), dtype=torch.float64), [], []
        for t in range(u.shape[2] + steps):
            h = h @ W_hh.T + (u[k, :, t].double() @ W_uh.T if t < u.shape[2] else 0.0)
            h = h.tanh() if activation == "tanh" else h
            if t >= u.shape[2]:
                y, goal = h @ W_r.T, targets[k, :, t - u.shape[2]].double()
                losses.append((y - goal).square().mean())
                right.append((y * goal > 0).double().mean())
        loss = torch.stack(losses)
        gradients = torch.autograd.grad(loss.mean(), (W_hh, W_uh, W_r))
        unseen = loss.new_zeros(targets.shape[2] - steps)
        found.append([torch.cat([loss.detach(), unseen]), torch.cat([torch.stack(right), unseen]), *gradients])
    loss, accuracy, *gradients = (torch.stack(values) for values in zip(*found, strict=True))
    return [loss.T, accuracy.T, *gradients]


def _problem(K: int, N: int, B: int, s: int, d: int, H: int) -> tuple[list[Tensor], Tensor, Tensor]:
    W_hh, W_uh, W_r, u, targets = _drawn((K, N, N), (K, N, d), (K, d, N), (K, B, s, d), (K, B, H, d))
    weights = [(W_hh / N**0.5).float(), (W_uh / 3).float(), (W_r / N**0.5).float()]
    return weights, u.sign().float(), targets.sign().float()


@pytest.mark.parametrize("activation", ["tanh", "linear"])
@pytest.mark.parametrize(("K", "N", "B", "s", "d", "H"), SIZES)
def test_loss_and_gradients_are_those_of_the_loop(
    way: str, K: int, N: int, B: int, s: int, d: int, H: int, activation: Activation
) -> None:
    weights, u, targets = _problem(K, N, B, s, d, H)
    horizons = torch.tensor([H, max(1, H // 2), 1][:K])
    result = loss_and_gradients(*weights, u, targets, activation, horizons)
    exact = _loss_by_the_loop(weights, u, targets, activation, horizons)
    for mine, theirs in zip((*result[:2], *result.gradients), exact, strict=True):
        _close(mine, theirs)
    if K == 1:
        whole = loss_and_gradients(*weights, u, targets, activation)
        assert torch.equal(whole.loss_by_step, result.loss_by_step)


def test_tensors_may_lie_in_memory_as_they_like(way: str) -> None:
    weights, u, targets = _problem(2, 20, 5, 3, 2, 6)
    plain = loss_and_gradients(*weights, u, targets)
    given = [
        weights[0].mT.contiguous().mT,
        weights[1].repeat_interleave(2, 2)[..., ::2],
        torch._neg_view(-weights[2]),
        u.transpose(0, 1).contiguous().transpose(0, 1),
        torch.cat([targets, targets], 2)[:, :, :6],
    ]
    for mine, theirs in zip(loss_and_gradients(*given).gradients, plain.gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_number_of_threads_changes_no_bit(same_with_any_threads: Callable[..., None]) -> None:
    weights, u, targets = _problem(3, 40, 70, 3, 2, 6)
    arguments = [value.float() for value in _scan_arguments(3, 40, 70, 3, 2)]
    (weight,) = _drawn((3, 3, 70, 40), seed=1)

    def compute() -> list[Tensor]:
        swept = loss_and_gradients(*weights, u, targets, horizons=torch.tensor([2, 6, 4]))
        return [*swept[:2], *swept.gradients, *_differentiated(elman_scan, arguments, weight.float())]

    same_with_any_threads(compute)


def test_numbers_that_are_not_finite_stay_in_their_run(way: str) -> None:
    weights, u, targets = _problem(2, 20, 5, 3, 2, 6)
    weights[0][1, 3, 2] = torch.nan
    result = loss_and_gradients(*weights, u, targets, horizons=torch.tensor([3, 6]))
    assert bool(result.loss_by_step[:, 0].isfinite().all())
    assert bool(result.loss_by_step[:, 1].isnan().all())
    assert all(bool(gradient[0].isfinite().all()) for gradient in result.gradients)


@pytest.mark.parametrize(
    ("call", "change", "message"),
    [
        (elman_scan, {"activation": "relu"}, "activation"),
        (elman_scan, {"steps": 2}, "steps"),
        (elman_scan, {"h0": torch.zeros(2, 5, 9)}, "h0"),
        (elman_scan, {"inputs": torch.zeros(3, 1, 5, 2)}, "inputs"),
        (elman_scan, {"W_uh": torch.zeros(2, 9, 2)}, "W_uh"),
        (elman_scan, {"W_hh": torch.zeros(2, 10, 6)}, "W_hh"),
        (loss_and_gradients, {"targets": torch.zeros(1, 5, 6, 2)}, "targets"),
        (loss_and_gradients, {"W_r": torch.zeros(2, 10, 2)}, "W_r"),
        (loss_and_gradients, {"u": torch.zeros(2, 5, 3, 2, dtype=torch.float64)}, "float32"),
        (loss_and_gradients, {"activation": "relu"}, "activation"),
        (loss_and_gradients, {"horizons": torch.tensor([7, 1])}, "horizons"),
        (loss_and_gradients, {"horizons": torch.tensor([0, 1])}, "horizons"),
        (loss_and_gradients, {"horizons": torch.tensor([2])}, "horizons"),
    ],
)
def test_wrong_arguments_are_named(call: Callable[..., object], change: dict[str, object], message: str) -> None:
    (W_hh, W_uh, W_r), u, targets = _problem(2, 10, 5, 3, 2, 6)
    own = {"inputs": u.permute(2, 0, 1, 3)} if call is elman_scan else {"W_r": W_r, "u": u, "targets": targets}
    with pytest.raises(ValueError, match=message):
        call(**{"W_hh": W_hh, "W_uh": W_uh, **own, **change})


def test_importing_the_library_does_not_import_triton() -> None:
    modules = "wavemem.elman.training, wavemem.kernels.selective, wavemem.kernels.wave"
    code = f"import sys, {modules}; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
