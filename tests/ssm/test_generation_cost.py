"""Counted costs, against PyTorch's own counter and against what the models keep."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from wavemem.ssm.generation_cost import generation_cost
from wavemem.ssm.mamba import Mamba
from wavemem.ssm.token_model import Block, TokenModel
from wavemem.ssm.transformer import Transformer
from wavemem.ssm.wave_mamba import WaveMamba

MODELS: dict[str, TokenModel] = {
    "transformer": Transformer.initialise([0], 20, 16, 2, heads=4),
    "Mamba": Mamba.initialise([0], 20, 16, 2),
    "v-Wave": WaveMamba.initialise([0], 20, 16, 2, n=5),
}


def counted(model: TokenModel, context: int) -> int:
    """Multiplications of matrix products while the token after the context's last but one is read."""
    tokens = torch.zeros(1, context - 1, dtype=torch.int64)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        _, states = model.prefill(tokens)
        with FlopCounterMode(display=False) as counter:
            model.step(torch.zeros(1, dtype=torch.int64), states)
    return int(counter.get_total_flops()) // 2


def test_a_transformer_s_cost_is_pytorch_s_count() -> None:
    model = MODELS["transformer"]
    for context in (2, 7, 30):
        cost = generation_cost(model, context)
        assert cost.weights + cost.memory == counted(model, context)


@pytest.mark.parametrize("name", ["Mamba", "v-Wave"])
def test_a_mamba_s_weights_are_pytorch_s_count_for_every_context(name: str) -> None:
    model = MODELS[name]
    cost = generation_cost(model, 8)
    seen = counted(model, 8)
    # The counter sees matrix products alone: all weights, and of the state what is read out in that form.
    assert cost.weights <= seen <= cost.weights + cost.memory
    assert seen == counted(model, 20)
    assert generation_cost(model, 1000) == cost


@pytest.mark.parametrize("name", list(MODELS))
def test_kept_numbers_are_those_of_the_state(name: str) -> None:
    model, context = MODELS[name], 9
    _, states = model.prefill(torch.zeros(1, context, dtype=torch.int64))
    kept = sum(value[0, 0].numel() for state in states for value in state.values() if value.ndim > 1)
    assert generation_cost(model, context).kept == kept


def test_what_grows() -> None:
    first, second = (generation_cost(MODELS["transformer"], context) for context in (100, 200))
    assert second.memory == 2 * first.memory
    assert second.kept == 2 * first.kept
    wave, shift = (generation_cost(MODELS[name], 100) for name in ("v-Wave", "Mamba"))
    assert wave.memory - shift.memory == 2 * 32 * (3 * 5 - 4)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed"):
        generation_cost(MODELS["Mamba"], 0)
    other = Mamba.initialise([0], 20, 16, 1)
    other.blocks[0] = _Other()
    with pytest.raises(ValueError, match="_Other"):
        generation_cost(other, 3)


class _Other(Block):
    """A block of another kind."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def start(self, B: int) -> dict[str, torch.Tensor]:
        return {}

    def prefill(self, x: torch.Tensor, state: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return x, state

    def step(self, x: torch.Tensor, state: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return x, state

    def state_count(self, length: int) -> int:
        return 0
