r"""What it costs to generate one more token: multiplications, counted, and numbers kept.

Counted from the shapes of the model that is given, so that the counts belong to what runs. One multiplication (with the
addition that goes with it) per weight and token, plus:

| block | per token, beside its weights |
|---|---|
| attention | 2 D per token of the context: D for the scores, D for the weighted sum of values |
| register at v = 1 | n per channel: the read-out |
| register at other velocities | 3 n per channel: each neuron is mixed with its neighbour, and read out |
| selective state | 4 N per channel: ΔA, decay times state, ΔBu, read-out |

Elementwise functions, norms and gates are left out: they are linear in the width, as weights are in its square.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from wavemem.checks import positive_int, require
from wavemem.ssm.mamba import MambaBlock, ShiftRegister
from wavemem.ssm.token_model import StackedLinear, TokenModel
from wavemem.ssm.transformer import TransformerBlock


class GenerationCost(NamedTuple):
    """Of one token and one sequence.

    Attributes:
        weights: multiplications with weights; the same for every context.
        memory: multiplications with what is kept of the past.
        kept: numbers kept of the past.
    """

    weights: int
    memory: int
    kept: int


def _weights(module: nn.Module) -> int:
    return sum(part.weight[0].numel() for part in module.modules() if isinstance(part, StackedLinear))


def generation_cost(model: TokenModel, context: int) -> GenerationCost:
    """Count the cost of the next token after a context.

    Args:
        model: transformer or Mamba of any register.
        context: tokens that have been read, the newest included.

    Raises:
        ValueError: if the context is not positive, or the model has a block that is neither.
    """
    context, memory = positive_int("context", context), 0
    for block in model.layers:
        if isinstance(block, TransformerBlock):
            memory += 2 * int(block.out.weight.shape[1]) * context
        else:
            require(
                isinstance(block, MambaBlock),
                f"a block of type {type(block).__name__}",
                "TransformerBlock, MambaBlock and its kinds",
                "Count other blocks yourself.",
            )
            assert isinstance(block, MambaBlock)
            per_neuron = 1 if isinstance(block.register, ShiftRegister) else 3
            memory += int(block.D_skip.shape[1]) * (per_neuron * block.register.n + 4 * block.N)
    return GenerationCost(_weights(model), memory, model.state_count(context))
