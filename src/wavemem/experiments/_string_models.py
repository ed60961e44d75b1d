"""The models of the string-copying comparison by name: how each is built, and the learning rates that a search found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from wavemem.checks import one_of, require
from wavemem.models.diagonal_ssm import DiagonalBlock
from wavemem.models.h3 import H3Block
from wavemem.models.mamba import Mamba
from wavemem.models.stacked import StackedEmbedding, StackedLinear, generators
from wavemem.models.token_model import Block, TokenModel
from wavemem.models.transformer import Transformer
from wavemem.models.wave_mamba import WaveMamba

__all__ = ["CHANGES", "FOUND", "MODELS", "TRANSFORMERS", "build_model"]

TRANSFORMERS = {"ALiBi": "alibi", "RoPE": "rope", "NoPE": "none", "hard-ALiBi": "hard-alibi"}

MODELS = (
    *TRANSFORMERS,
    "Mamba",
    "v-Wave",
    "v-Wave frozen",
    "v = 0",
    "no register",
    "Mamba n + 1",
    "Mamba long",
    "Mamba long (same states)",
    "v-Wave long",
    "ring",
    "selective v",
    "S6 wave",
    "S6 wave (v = 0)",
    "S4D",
    "H3",
)
"""Names of all models that can be trained."""

FOUND: dict[str, dict[str, float]] = {
    "quick": {
        "ALiBi": 0.01,
        "RoPE": 0.01,
        "NoPE": 0.01,
        "hard-ALiBi": 0.01,
        "Mamba": 0.01,
        "v-Wave": 0.03,
        "v-Wave frozen": 0.03,
        "v = 0": 0.03,
        "no register": 0.03,
        "Mamba n + 1": 0.003,
        "Mamba long": 0.03,
        "Mamba long (same states)": 0.03,
        "v-Wave long": 0.03,
        "ring": 0.01,
        "selective v": 0.03,
        "S6 wave": 0.01,
        "S6 wave (v = 0)": 0.01,
        "S4D": 0.03,
        "H3": 0.01,
    },
    "narrow": {
        "ALiBi": 0.01,
        "RoPE": 0.01,
        "Mamba": 0.003,
        "v-Wave": 0.003,
        "Mamba long": 0.03,
        "v-Wave long": 0.03,
        "S6 wave": 0.003,
    },
    "paper": {},
}
"""Learning rates: the best of the search per size and model, by the mean loss of its seeds."""

CHANGES = {
    "v-Wave frozen": "v-Wave",
    "v-Wave long": "v-Wave",
    "ring": "v-Wave",
    "selective v": "v-Wave",
    "v = 0": "v-Wave",
    "no register": "Mamba",
    "Mamba n + 1": "Mamba",
    "Mamba long (same states)": "Mamba long",
    "S6 wave (v = 0)": "S6 wave",
}
"""Which model a control changes: where its own learning rate was not searched it takes that model's."""


def _of_blocks(
    make: Callable[[Sequence[torch.Generator], int], Block],
    seeds: Sequence[int],
    vocabulary: int,
    width: int,
    layers: int,
) -> TokenModel:
    """A model whose blocks need no more than generators and a width."""
    draws = generators(seeds, "strings/weights")
    embedding = StackedEmbedding.draw(draws, vocabulary, width)
    blocks = [make(draws, width) for _ in range(layers)]
    return TokenModel(embedding, blocks, StackedLinear.draw(draws, width, vocabulary, bias=False))


def build_model(
    model: str,
    seeds: Sequence[int],
    sizes: tuple[int, int, int],
    heads: int,
    n: int,
    N: int,
    long: int,
    velocity: float,
) -> TokenModel:
    """One of `MODELS`, one run per seed.

    Args:
        model: its name.
        seeds: one per run.
        sizes: vocabulary, width D and number of blocks.
        heads: of a transformer.
        n: neurons of the register.
        N: selective states per channel.
        long: neurons of the long registers.
        velocity: initial velocity of registers and of the wave on the selective state.

    Raises:
        ValueError: If the model is unknown, or the sizes leave it nothing.
    """
    one_of("model", model, MODELS)
    if model in TRANSFORMERS:
        position: Any = TRANSFORMERS[model]
        return Transformer.initialise(seeds, *sizes, heads, position=position)
    fewer = N - (long - n)
    require(
        model != "Mamba long (same states)" or fewer > 0,
        f"N = {N} states beside a register of {long} neurons",
        f"N > {long - n}",
        "Give the model more states, or leave this control out.",
    )
    mamba: Callable[..., TokenModel] = partial(Mamba.initialise, seeds, *sizes)
    waves: Callable[..., TokenModel] = partial(WaveMamba.initialise, seeds, *sizes, velocity=velocity)
    still: dict[str, Any] = {"state_velocity": 0.0, "learn_state_velocity": False}
    made: dict[str, Callable[[], TokenModel]] = {
        "Mamba": partial(mamba, n, N),
        "v-Wave": partial(waves, n, N),
        "v-Wave frozen": partial(waves, n, N, learn_velocity=False),
        "v = 0": partial(waves, n, N, velocity=0.0, learn_velocity=False),
        "no register": partial(mamba, 1, N),
        "Mamba n + 1": partial(mamba, n + 1, N),
        "Mamba long": partial(mamba, long, N),
        "Mamba long (same states)": partial(mamba, long, max(fewer, 1)),
        "v-Wave long": partial(waves, long, N),
        "ring": partial(waves, n, N, register="ring"),
        "selective v": partial(waves, n, N, register="selective"),
        "S6 wave": partial(waves, n, N, register="shift", state_velocity=velocity),
        "S6 wave (v = 0)": partial(waves, n, N, register="shift", **still),
        "S4D": partial(_of_blocks, partial(DiagonalBlock.draw, modes=N), seeds, *sizes),
        "H3": partial(_of_blocks, partial(H3Block.draw, neurons=n, modes=N), seeds, *sizes),
    }
    return made[model]()
