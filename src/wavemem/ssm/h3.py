r"""The H3 block (Fu et al., 2023): a shift SSM that looks back, a diagonal SSM that keeps, and products between them.

| variable | shape | meaning |
|---|---|---|
| `C` | (K, D, n) | readout of the shift SSM, one weight per neuron of a channel's register |
| `key`, `value`, `query`, `out` | `StackedLinear` | the four maps, D → D |
| `memory` | `DiagonalSSM` | the diagonal SSM |

With q, k, v the three projections of x, channel by channel:

$$y = W_o\,\bigl(q \odot \mathrm{SSM_{diag}}(\mathrm{SSM_{shift}}(k) \odot v)\bigr).$$

The shift SSM, $h_0 \leftarrow x,\ h_j \leftarrow h_{j-1},\ y = \sum_j C_j h_j$, is the one-way wave equation at velocity 1.
Its output at t can hold the key of an earlier token next to the value of the present one: a comparison across time. What is
found is summed up, or kept fading, by the diagonal SSM and asked for by the query. Both states are of fixed size.

Source: D. Y. Fu et al., Hungry Hungry Hippos: Towards Language Modeling with State Space Models, ICLR 2023, section 3 (heads of
size 1). The shift SSM reads after the input of the same step was written, so that a skip of its own would only add to C_0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, shape_is
from wavemem.ssm.diagonal_ssm import DiagonalSSM
from wavemem.ssm.mamba import ShiftRegister
from wavemem.ssm.token_model import Block, Residual, RMSNorm, StackedLinear, State, draw_uniform


class H3(Block):
    """The mixing of H3 without norm and residual connection.

    Args:
        key: Projection to the keys, which go through the shift SSM.
        value: Projection to the values.
        query: Projection to the queries.
        out: Projection of the result.
        shift: The shift SSM.
        memory: The diagonal SSM.

    Raises:
        ValueError: If runs or widths differ.
    """

    def __init__(
        self,
        key: StackedLinear,
        value: StackedLinear,
        query: StackedLinear,
        out: StackedLinear,
        shift: ShiftRegister,
        memory: DiagonalSSM,
    ) -> None:
        super().__init__()
        K, D, _ = shift.C.shape
        for name, layer in (("key", key), ("value", value), ("query", query)):
            shape_is(f"{name}.weight", layer.weight, (K, D, "inputs"))
        shape_is("out.weight", out.weight, (K, "outputs", D))
        shape_is("memory.skip", memory.skip, (K, D))
        self.key, self.value, self.query, self.out = key, value, query, out
        self.shift, self.memory = shift, memory

    @classmethod
    def draw(cls, draws: Sequence[torch.Generator], width: int, neurons: int = 4, modes: int = 16) -> H3:
        """One layer per run, of equal width inside and outside; C starts as a depthwise convolution's in PyTorch, ±1/√n.

        Args:
            draws: One generator per run.
            width: D.
            neurons: n, length of the registers.
            modes: Conjugate pairs per channel of the diagonal SSM.

        Raises:
            ValueError: If a size is not positive.
        """
        key, value, query, out = (StackedLinear.draw(draws, width, width) for _ in range(4))
        n = positive_int("neurons", neurons)
        shift = ShiftRegister(draw_uniform(draws, (width, n), n**-0.5))
        return cls(key, value, query, out, shift, DiagonalSSM.draw(draws, width, modes))

    def forward(self, x: Float[Tensor, "K B L i"]) -> Float[Tensor, "K B L o"]:
        """Whole sequences at once."""
        found = self.memory(self.shift(self.key(x)) * self.value(x))
        y: Tensor = self.out(self.query(x) * found)
        return y

    def start(self, B: int) -> State:
        """``{"register": (K, B, D, n), "modes": (K, B, D, M)}``, both empty."""
        return {"register": self.shift.start(B), "modes": self.memory.start(B)}

    def prefill(self, x: Float[Tensor, "K B L i"], state: State) -> tuple[Float[Tensor, "K B L o"], State]:
        """Go on from a state by L tokens."""
        looked, register = self.shift.prefill(self.key(x), state["register"])
        found, modes = self.memory.prefill(looked * self.value(x), state["modes"])
        return self.out(self.query(x) * found), {"register": register, "modes": modes}

    def step(self, x: Float[Tensor, "K B i"], state: State) -> tuple[Float[Tensor, "K B o"], State]:
        """Go on by one token."""
        looked, register = self.shift.step(self.key(x), state["register"])
        found, modes = self.memory.step(looked * self.value(x), state["modes"])
        return self.out(self.query(x) * found), {"register": register, "modes": modes}

    def state_count(self, length: int) -> int:
        """n neurons and 2 M modes per channel, however long the past."""
        return self.shift.C[0].numel() + self.memory.state_count(length)

    def state_products(self, length: int) -> int:
        """n per channel for the read-out of the register, and the modes'."""
        return self.shift.C[0].numel() + self.memory.state_products(length)


def h3_block(draws: Sequence[torch.Generator], width: int, neurons: int = 4, modes: int = 16) -> Residual:
    """x + H3(norm x); see `H3.draw`."""
    return Residual(RMSNorm(len(draws), width), H3.draw(draws, width, neurons, modes))
