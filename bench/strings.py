"""Mamba, v-Wave Mamba and transformers while they train and while they write; the selective scan and the register alone.

A training step is forward, loss, backward and an update by AdamW, on tokens that are already there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor

from bench.measure import Contest, cases, repeat, too_large, vary
from wavemem.kernels.compiled import own_threads
from wavemem.kernels.register import register_scan
from wavemem.kernels.selective import selective_scan
from wavemem.ssm.mamba import Mamba
from wavemem.ssm.string_tasks import masked_loss
from wavemem.ssm.token_model import State, TokenModel
from wavemem.ssm.transformer import Transformer
from wavemem.streams import stream
from wavemem.training.fit import EnsembleAdam

MODELS = ("Mamba", "v-Wave", "ALiBi", "RoPE")
VOCABULARY = 30  # letters and symbols of the string tasks
PIECE = 256  # tokens read at once: a transformer's bias then grows with the context, not with its square
MANY, LONG = 2**24, 2048  # numbers of states, and steps, beyond which a loop over time would keep or take too much


def make(name: str, K: int, width: int, layers: int, n: int, states: int, heads: int) -> TokenModel:
    """One of `MODELS`."""
    if name in ("Mamba", "v-Wave"):
        return Mamba.initialise(range(K), VOCABULARY, width, layers, n, states, "shift" if name == "Mamba" else "wave")
    return Transformer.initialise(range(K), VOCABULARY, width, layers, heads, "alibi" if name == "ALiBi" else "rope")


def training(device: torch.device, length: int, batch: int, K: int, **shape: int) -> Contest:
    """A training step of each model. ALiBi keeps arrays that grow with the square of the length, and may not fit."""
    contestants: dict[str, Any] = {}
    also: list[tuple[str, str, float]] = []
    tokens = torch.randint(VOCABULARY, (K, batch, length + 1), generator=stream(0, f"strings {length}")).to(device)
    mask = (torch.arange(length, device=device) >= length // 2).expand(K, batch, length)

    def step(model: TokenModel, optimiser: EnsembleAdam) -> None:
        with contextlib.nullcontext() if isinstance(model, Transformer) else own_threads():
            losses = masked_loss(model(tokens[..., :-1]), tokens[..., 1:], mask)
            gradients = torch.autograd.grad(losses.sum(), list(model.parameters()))
            optimiser.step([gradient.clone() for gradient in gradients], losses.detach())

    for name in MODELS:
        model = make(name, K, **shape).to(device)
        also.append((name, "parameters", model.parameter_count()))
        optimiser = EnsembleAdam(list(model.parameters()), 1e-3, 0.1, 1.0, decoupled=True)
        # A bias per layer, three while the last is made; ages as whole numbers, and the mask.
        squares = length**2 * (4 * shape["heads"] * (shape["layers"] + 3) + 9) if name == "ALiBi" else 0
        contestants[name] = too_large(squares, device) or repeat(partial(step, model, optimiser))
    return Contest(contestants, K, also)


@torch.no_grad()
def read(model: TokenModel, tokens: Tensor, piece: int = PIECE) -> list[State]:
    """What a model keeps of every sequence after it has read tokens (1, B, L)."""
    states = [block.start(tokens.shape[1]) for block in model.layers]
    for part in tokens.split(piece, 2):
        x = model.embedding(part)
        for i, block in enumerate(model.layers):
            x, states[i] = block.prefill(x, states[i])
    return states


def generation(device: torch.device, context: int, batch: int, steps: int, **shape: int) -> Contest:
    """Writing some symbols after a context, again and again from the same states; and the bytes that are kept."""
    tokens = torch.randint(VOCABULARY, (1, batch, context), generator=stream(0, "context")).to(device)
    contestants, kept = {}, []

    @torch.no_grad()
    def write(model: TokenModel, states: list[State]) -> None:
        token = tokens[..., 0] * 0
        for _ in range(steps):
            logits, states = model.step(token, states)
            token = logits.argmax(-1)

    for name in MODELS:
        model = make(name, 1, **shape).to(device)
        states = read(model, tokens)
        held = sum(tensor.nbytes for state in states for tensor in state.values() if tensor.ndim)
        kept.append((name, "bytes kept", held // batch))
        contestants[name] = repeat(partial(write, model, states))
    return Contest(contestants, steps, kept)


def _differentiated(function: Callable[..., Tensor], wanted: dict[str, Tensor], **others: Any) -> Callable[[], Tensor]:
    """A call that computes the outputs, which it returns, and the gradients of everything wanted."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in wanted.items()}

    def call() -> Tensor:
        y = function(**leaves, **others)
        torch.autograd.grad(y, list(leaves.values()), torch.ones_like(y))
        return y.detach()

    return call


def scans(device: torch.device, length: int, batch: int, channels: int, states: int) -> dict[str, Callable[[], Tensor]]:
    """The ways to compute a selective scan with softplus, bias, D and gate, on the same numbers."""
    L, B, E, N = length, batch, channels, states
    g = stream(0, f"selective scan {(L, B, E, N)}")
    shapes = {"u": (B, L, E), "delta": (B, L, E), "B": (B, L, N), "C": (B, L, N), "z": (B, L, E), "delta_bias": (E,)}
    wanted = {name: torch.randn(1, *shape, generator=g).to(device) for name, shape in shapes.items()}
    wanted["delta_bias"] -= 3
    wanted["A"] = -torch.arange(1.0, N + 1, device=device).expand(1, E, N)
    wanted["D"] = torch.ones(1, E, device=device)
    methods = {"loop": "reference", "in chunks": "chunked"}
    methods |= {"compiled": "compiled"} if device.type == "cpu" else {"Triton": "triton"}
    if length > LONG or B * L * E * N > MANY:
        del methods["loop"]
    calls = {name: partial(_first, selective_scan, softplus=True, method=how) for name, how in methods.items()}
    return {name: _differentiated(call, wanted) for name, call in calls.items()}


def _first(function: Callable[..., tuple[Tensor, Tensor]], **given: Any) -> Tensor:
    return function(**given)[0]


def scan(device: torch.device, length: int, batch: int, channels: int, states: int) -> Contest:
    """Operations: per number of a state and step 22 forward and 34 back, an exponential counted as 16. Bytes: each sequence once
    forward (u, Δ, z, y; B, C) and once back (u, Δ, z, y's gradient, theirs; B, C and theirs); states never leave the chip."""
    tokens = batch * length
    operations = tokens * channels * states * 56
    moved = 4 * (tokens * (11 * channels + 6 * states) + 4 * channels * states)
    contestants = {name: repeat(call) for name, call in scans(device, length, batch, channels, states).items()}
    return Contest(contestants, also=[("floor", "operations", operations), ("floor", "bytes", moved)])


def _conv1d(x: Tensor, C: Tensor, bias: Tensor) -> Tensor:
    """PyTorch's own depthwise convolution, to which the public implementation of Mamba falls back: v = 1."""
    E, n = C.shape[1:]
    y = nnf.conv1d(nnf.pad(x[0].mT, (n - 1, 0)), C[0].flip(-1)[:, None], bias[0], groups=E)
    return nnf.silu(y).mT[None]


def registers(device: torch.device, length: int, batch: int, channels: int, n: int) -> dict[str, Callable[[], Tensor]]:
    """The ways to compute a register with bias and SiLU: two at v = 1, the others at a velocity per channel."""
    g = stream(0, f"register {(length, batch, channels, n)}")
    x = torch.randn(1, batch, length, channels, generator=g)
    C, v = torch.randn(1, channels, n, generator=g) / n**0.5, 0.1 + 0.8 * torch.rand(1, channels, generator=g)
    given = {"x": x.to(device), "C": C.to(device), "bias": torch.zeros(1, channels, device=device)}
    moving = given | {"v": v.to(device)}
    found = {
        "conv1d": _differentiated(_conv1d, given),
        "shift": _differentiated(register_scan, given, v=torch.ones_like(moving["v"]), silu=True, method="shift"),
    }
    methods = {"compiled": "compiled"} if device.type == "cpu" else {}
    methods |= {"Fourier": "fft"}
    if length <= LONG and batch * length * channels * n <= MANY:
        methods["loop"] = "reference"
    return found | {
        name: _differentiated(register_scan, moving, silu=True, method=how) for name, how in methods.items()
    }


def register(device: torch.device, length: int, batch: int, channels: int, n: int) -> Contest:
    """All of `registers`."""
    return Contest({name: repeat(call) for name, call in registers(device, length, batch, channels, n).items()})


_SHAPE = {"width": 32, "layers": 2, "n": 4, "states": 16, "heads": 2}
_BOOK = {"length": 45, "batch": 32, "K": 3, **_SHAPE, "threads": 2}
_CONTEXT = {"context": 64, "batch": 8, "steps": 16, **_SHAPE, "threads": 1}
_SCAN = {"length": 1024, "batch": 16, "channels": 64, "states": 16, "threads": 2}
_PAPER = _SCAN | {"batch": 1, "channels": 1024}  # the sizes of Gu & Dao (2024, Section 4.5)
_REGISTER = {"length": 1024, "batch": 4, "channels": 64, "n": 4, "threads": 2}
_RATIO = {"v-Wave / Mamba": ("v-Wave", "Mamba")}
_SCAN_RATIOS = {
    "compiled over floor": ("compiled", "floor"),
    "Triton over floor": ("Triton", "floor"),
    "chunks over Triton": ("in chunks", "Triton"),
}


def _as_many(base: dict[str, int], tokens: int, *lengths: int) -> list[dict[str, int]]:
    """Equally many tokens in sequences of several lengths."""
    return [base | {"length": length, "batch": max(1, tokens // length)} for length in lengths]


CASES = [
    *cases("strings", "training", training, vary(_BOOK, n=(4, 16, 64)), _RATIO),
    *cases("strings", "training", training, _as_many(_BOOK | {"K": 1}, 2**14, 64, 256, 1024, 4096, 16_384), _RATIO),
    *cases("strings", "generation", generation, vary(_CONTEXT, context=(64, 256, 1024, 4096, 16_384))),
    *cases("strings", "scan", scan, _as_many(_SCAN, 2**14, 64, 1024, 16_384), _SCAN_RATIOS),
    *cases("strings", "scan", scan, vary(_SCAN, states=(4, 64)), _SCAN_RATIOS),
    *cases("strings", "scan", scan, vary(_PAPER, length=(512, 2048, 8192, 32_768)), _SCAN_RATIOS, ("cuda",)),
    *cases("strings", "register", register, vary(_REGISTER, n=(4, 16, 64, 256))),
    *cases("strings", "register", register, _as_many(_REGISTER, 2**12, 64, 4096)),
    *cases("strings", "register", register, _as_many(_REGISTER | {"n": 64}, 2**12, 64, 4096, 16_384)),
]
