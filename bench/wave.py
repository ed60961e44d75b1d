"""The Wave-RNN: the library, a loop over `torch.nn.Conv1d`, other ways to compute a step, and the linear one in parallel.

An iteration is forward, loss and backward on a batch that is already there; there is no optimiser in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor, nn

from bench.measure import Contest, cases, repeat, too_large, vary
from wavemem.kernels.compiled import own_threads
from wavemem.kernels.wave import wave_outputs, wave_scan_reference
from wavemem.kernels.wave_linear import wave_linear_outputs
from wavemem.streams import stream
from wavemem.wave_rnn.copy_task import CopyTask
from wavemem.wave_rnn.network import WaveRNN

Inputs = Float[Tensor, "T K B d"]
States = Float[Tensor, "T K B c n"]


def _drive(network: WaveRNN, inputs: Inputs) -> Float[Tensor, "T K B c n"]:
    """V x(t) + b for all steps at once."""
    return (inputs @ network.V.mT + network.bias()[:, None]).unflatten(3, (network.c, network.n))


def by_convolution(network: WaveRNN, inputs: Inputs) -> States:
    """One `conv1d` per step, the runs as its groups; the ring is laid out with its ends repeated."""
    K, c, _, k = network.u.shape
    p, kernel, states = k // 2, network.u.flatten(0, 1), []
    drive = _drive(network, inputs).transpose(1, 2).flatten(2, 3)
    h = torch.zeros_like(drive[0])
    for driven in drive:
        ring = torch.cat([h[..., network.n - p :], h, h[..., :p]], -1)
        h = torch.relu(nnf.conv1d(ring, kernel, groups=K) + driven)
        states.append(h)
    return torch.stack(states).unflatten(2, (K, c)).transpose(1, 2)


def by_windows(network: WaveRNN, inputs: Inputs) -> States:
    """One batched product per step: every unit's window of k neighbours and c channels is a row."""
    K, c, _, k = network.u.shape
    p, n, B = k // 2, network.n, inputs.shape[2]
    weights, states = network.u.permute(0, 3, 2, 1).reshape(K, k * c, c), []
    drive = _drive(network, inputs).transpose(3, 4).contiguous()
    h = torch.zeros_like(drive[0])
    for driven in drive:
        ring = torch.cat([h[:, :, n - p :], h, h[:, :, :p]], 2)
        windows = ring.unfold(2, k, 1).transpose(3, 4).reshape(K, B * n, k * c)
        h = torch.relu(torch.baddbmm(driven.flatten(1, 2), windows, weights)).view(K, B, n, c)
        states.append(h)
    return torch.stack(states).transpose(3, 4)


def by_matrix(network: WaveRNN, inputs: Inputs) -> States:
    """One batched product per step with the whole matrix of c n rows, of which a share of k / n is not zero."""
    K, c, _, k = network.u.shape
    n, units, states = network.n, torch.arange(network.n), []
    near = torch.stack([nnf.one_hot((units + tap - k // 2) % n, n) for tap in range(k)]).to(network.u)
    matrix = torch.einsum("koit,tpq->kiqop", network.u, near).reshape(K, c * n, c * n)
    drive = _drive(network, inputs).flatten(3)
    h = torch.zeros_like(drive[0])
    for driven in drive:
        h = torch.relu(torch.baddbmm(driven, h, matrix))
        states.append(h)
    return torch.stack(states).unflatten(3, (c, n))


class ConvolutionLoop(nn.Module):
    """One run as in the paper's Appendix B: `nn.Linear` in, `nn.Conv1d` with circular padding around, `nn.Linear` out."""

    def __init__(self, network: WaveRNN, run: int) -> None:
        super().__init__()
        self.c, self.n, taps = network.c, network.n, network.u.shape[3]
        self.V = nn.Linear(network.d, self.c * self.n)
        self.U = nn.Conv1d(self.c, self.c, taps, padding=taps // 2, padding_mode="circular")
        self.out = nn.Linear(self.c * self.n, network.W.shape[1])
        theirs = (network.V, network.b_V, network.u, network.b_u, network.W, network.b_y)
        with torch.no_grad():
            for own, whole in zip(self.parameters(), theirs, strict=True):
                own.copy_(whole[run])

    def forward(self, inputs: Float[Tensor, "T B d"], every_step: bool) -> Float[Tensor, "*T B o"]:
        """Outputs of every step, or of the last."""
        h = inputs.new_zeros(inputs.shape[1], self.c, self.n)
        outputs = []
        for x in inputs:
            h = torch.relu(self.V(x).view(-1, self.c, self.n) + self.U(h))
            if every_step:
                outputs.append(self.out(h.flatten(1)))
        return torch.stack(outputs) if every_step else self.out(h.flatten(1))


def draw(task: str, network: WaveRNN, steps: int, batch: int) -> tuple[Tensor, Tensor]:
    """Inputs (T, K, B, d) and classes (T, K, B) of the copy task; or pixels and classes (K, B), as of permuted MNIST."""
    if task == "copy":
        copying = CopyTask(steps - 20)
        batches = [copying.batch(batch, stream(k, "data")) for k in range(network.K)]
        return torch.stack([one.inputs for one in batches], 1), torch.stack([one.targets for one in batches], 1)
    generator = stream(0, "data")
    pixels = torch.rand(steps, network.K, batch, 1, generator=generator)
    return pixels, torch.randint(10, (network.K, batch), generator=generator)


def training(
    ways: tuple[str, ...], device: torch.device, task: str, n: int, c: int, steps: int, batch: int, K: int
) -> Contest:
    """Some of: the library, the loop, and other ways to compute a step, which take V x(t) for all steps at once."""
    network = WaveRNN.initialise(range(K), n, c, 10 if task == "copy" else 1, 10)
    inputs, classes = (tensor.to(device) for tensor in draw(task, network, steps, batch))
    singles = [ConvolutionLoop(network, k).to(device) for k in range(K)]
    network, every_step = network.to(device), classes.ndim == 3

    def differentiate(outputs: Tensor, due: Tensor, weights: list[Tensor]) -> None:
        torch.autograd.grad(nnf.cross_entropy(outputs.flatten(0, -2), due.flatten()), weights)

    def library() -> None:
        with own_threads():
            differentiate(network(inputs, every_step), classes, list(network.parameters()))

    def loop() -> None:
        for k, single in enumerate(singles):
            differentiate(single(inputs[:, k], every_step), classes[..., k, :], list(single.parameters()))

    def step_by_step(states_of: Callable[[WaveRNN, Inputs], States]) -> None:
        states = states_of(network, inputs)
        read = (states if every_step else states[-1]).flatten(-2)
        differentiate(read @ network.W.mT + network.b_y[:, None], classes, list(network.parameters()))

    iterations: dict[str, Callable[[], None]] = {
        "Conv1d loop": loop,
        "library": library,
        "convolution": partial(step_by_step, by_convolution),
        "windows": partial(step_by_step, by_windows),
        "matrix": partial(step_by_step, by_matrix),
    }
    # Autograd keeps some six arrays of the size of all states.
    large = too_large(6 * 4 * K * steps * batch * c * n, device)
    contestants = {name: large or repeat(iterations[name]) for name in ways}
    # Multiply-adds: the recurrence of three taps forward, for δ and for u; V x(t), one entry of which is not zero, and V; W.
    read = steps if every_step else 1
    multiplied = batch * n * c * (3 * (steps - 1) * c * 3 + 2 * steps + 3 * read * 10)
    return Contest(contestants, K, [("floor", "operations", 2 * multiplied)])


def linear(device: torch.device, n: int, c: int, d: int, o: int, batch: int, T: int) -> Contest:
    """A linear Wave-RNN's outputs after every step and the gradients of all weights: step by step, and in parallel over time."""
    g = stream(0, f"linear wave {n} {c}")
    u = torch.zeros(1, c, c, 3)
    u[:, range(c), range(c), 2] = 0.99  # shifts, slightly damped, with weak couplings between the channels
    u += 0.002 * torch.randn(u.shape, generator=g)
    V = torch.zeros(1, c, n, d)
    V[:, :, 0] = 1.0
    W = torch.randn(1, o, c * n, generator=g) / math.sqrt(c * n)
    weights = (u, V.flatten(1, 2), torch.zeros(1, c * n), W, torch.zeros(1, o))
    inputs = torch.randn(T, 1, batch, d, generator=stream(0, f"inputs {T}"))

    def loop(u: Tensor, V: Tensor, b: Tensor, W: Tensor, b_y: Tensor, x: Tensor) -> Tensor:
        return wave_scan_reference(u, V, b, x, activation="linear").flatten(3) @ W.mT + b_y[:, None]

    ways: dict[str, Callable[..., Tensor]] = {
        "Conv1d loop": loop,
        "compiled step": partial(wave_outputs, every_step=True, activation="linear"),
        "scan in chunks": partial(wave_linear_outputs, every_step=True, method="scan"),
        "convolution": partial(wave_linear_outputs, every_step=True, method="convolution"),
    }

    def iterate(way: Callable[..., Tensor]) -> None:
        leaves = [weight.clone().requires_grad_() for weight in weights]
        torch.autograd.grad(way(*leaves, inputs).square().mean(), leaves)

    exact = ways["scan in chunks"](*(tensor.double() for tensor in (*weights, inputs)))
    difference = ways["convolution"](*weights, inputs) - exact
    error = float(difference.abs().max() / exact.abs().max())
    contestants = {name: repeat(partial(iterate, way)) for name, way in ways.items()}
    return Contest(contestants, also=[("convolution", "error", error)])


_COPY: dict[str, int | str] = {"task": "copy", "n": 100, "c": 6, "steps": 50, "batch": 128, "K": 1, "threads": 2}
_IMAGES: dict[str, int | str] = {"task": "psmnist", "n": 256, "c": 16, "steps": 784, "batch": 128, "K": 1, "threads": 2}
_LINEAR = {"n": 100, "c": 6, "d": 2, "o": 1, "batch": 1, "threads": 1}
_RATIOS = {"speed-up": ("Conv1d loop", "library"), "over floor": ("library", "floor")}
_GROWING = {"steps": (20, 30, 100, 200), "n": (25, 50, 200, 400), "c": (1, 3, 12, 24)}

_both = partial(training, ("Conv1d loop", "library"))
_alternatives = partial(training, ("library", "convolution", "windows", "matrix"))
_of_images = partial(training, ("library", "convolution", "windows"))  # the matrix would have 4096 rows

CASES = [
    *cases("wave", "headline", _both, [_COPY, _IMAGES], _RATIOS),
    *cases("wave", "headline", _both, [_COPY | {"threads": 1}, _IMAGES | {"threads": 1}], _RATIOS, ("cpu",)),
    *cases("wave", "headline", _both, [_COPY | {"K": 3}, _IMAGES | {"K": 3}], _RATIOS, ("cuda",)),
    *cases("wave", "alternatives", _alternatives, vary(_COPY, threads=(2, 1)), devices=("cpu",)),
    *cases("wave", "alternatives", _of_images, [_IMAGES], devices=("cpu",)),
    *cases("wave", "scaling", _both, vary(_COPY, **_GROWING, K=(2, 4, 8), batch=(32, 64, 256)), _RATIOS),
    *cases("wave-linear", "lengths", linear, vary(_LINEAR, T=(100, 1_000, 10_000, 100_000)), devices=("cpu",)),
]
