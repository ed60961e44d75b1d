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
from jaxtyping import Complex, Float
from torch import Tensor, nn

from wavemem.checks import positive_int, shape_is
from wavemem.kernels.register import register_scan, register_scan_with_state, register_step
from wavemem.ssm.diagonal_ssm import DiagonalSSM, Spectrum
from wavemem.ssm.token_model import Block, RMSNorm, StackedLinear, State, draw_uniform


class ShiftSSM(nn.Module):
    """One register of n neurons per channel, shifted by one neuron per step and read by C.

    Args:
        C: Weight of the input of j steps ago, j = 0, …, n − 1, per run and channel: (K, D, n).

    Raises:
        ValueError: If C has another number of axes.
    """

    def __init__(self, C: Float[Tensor, "K D n"]) -> None:
        super().__init__()
        shape_is("C", C, ("K", "D", "n"))
        self.C = nn.Parameter(C)

    @classmethod
    def draw(cls, draws: Sequence[torch.Generator], width: int, neurons: int) -> ShiftSSM:
        """C uniform in ±1/√n, the start of a depthwise convolution in PyTorch.

        Raises:
            ValueError: If a size is not positive.
        """
        n = positive_int("neurons", neurons)
        return cls(draw_uniform(draws, (positive_int("width", width), n), n**-0.5))

    @property
    def neurons(self) -> int:
        """n."""
        return int(self.C.shape[-1])

    def _velocity(self) -> Tensor:
        return torch.ones_like(self.C[..., 0])

    def forward(self, x: Float[Tensor, "K B L D"]) -> Float[Tensor, "K B L D"]:
        """The whole sequence from an empty register."""
        return register_scan(x, self.C, self._velocity(), method="shift")

    def start(self, B: int) -> Float[Tensor, "K B D n"]:
        """The empty registers of B sequences."""
        K, D, n = self.C.shape
        return self.C.new_zeros(K, positive_int("B", B), D, n)

    def prefill(
        self, x: Float[Tensor, "K B L D"], h: Float[Tensor, "K B D n"]
    ) -> tuple[Float[Tensor, "K B L D"], Float[Tensor, "K B D n"]]:
        """L steps at once from any content of the registers."""
        return register_scan_with_state(x, self.C, self._velocity(), h0=h, method="shift")

    def step(
        self, x: Float[Tensor, "K B D"], h: Float[Tensor, "K B D n"]
    ) -> tuple[Float[Tensor, "K B D"], Float[Tensor, "K B D n"]]:
        """One step: write, move, read."""
        return register_step(x, self.C, self._velocity(), None, h)


class H3(nn.Module):
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
        shift: ShiftSSM,
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
    def draw(
        cls,
        draws: Sequence[torch.Generator],
        width: int,
        neurons: int = 4,
        modes: int = 16,
        kind: Spectrum = "lin",
    ) -> H3:
        """One layer per run, of equal width inside and outside.

        Args:
            draws: One generator per run.
            width: D.
            neurons: n, length of the registers.
            modes: Conjugate pairs per channel of the diagonal SSM.
            kind: Start of its spectrum, "lin" or "inv".

        Raises:
            ValueError: If a size is not positive or the kind unknown.
        """
        key, value, query, out = (StackedLinear.draw(draws, width, width) for _ in range(4))
        shift = ShiftSSM.draw(draws, width, neurons)
        return cls(key, value, query, out, shift, DiagonalSSM.draw(draws, width, modes, kind))

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
        modes: Complex[Tensor, "K B D M"]
        found, modes = self.memory.step(looked * self.value(x), state["modes"])
        return self.out(self.query(x) * found), {"register": register, "modes": modes}


class H3Block(Block):
    """A residual block: x + H3(norm x).

    Args:
        norm: The norm.
        h3: The layer; it has to return the width it gets.
    """

    def __init__(self, norm: RMSNorm, h3: H3) -> None:
        super().__init__()
        K, D = norm.gain.shape
        shape_is("h3.key.weight", h3.key.weight, (K, "inner width", D))
        shape_is("h3.out.weight", h3.out.weight, (K, D, "inner width"))
        self.norm, self.h3 = norm, h3

    @classmethod
    def draw(
        cls,
        draws: Sequence[torch.Generator],
        width: int,
        neurons: int = 4,
        modes: int = 16,
        kind: Spectrum = "lin",
    ) -> H3Block:
        """One block per run; see `H3.draw`."""
        return cls(RMSNorm(len(draws), width), H3.draw(draws, width, neurons, modes, kind))

    def forward(self, x: Float[Tensor, "K B L D"]) -> Float[Tensor, "K B L D"]:
        """Whole sequences at once."""
        return x + self.h3(self.norm(x))

    def start(self, B: int) -> State:
        """The empty state of B sequences."""
        return self.h3.start(B)

    def prefill(self, x: Float[Tensor, "K B L D"], state: State) -> tuple[Float[Tensor, "K B L D"], State]:
        """Go on from a state by L tokens."""
        y, state = self.h3.prefill(self.norm(x), state)
        return x + y, state

    def step(self, x: Float[Tensor, "K B D"], state: State) -> tuple[Float[Tensor, "K B D"], State]:
        """Go on by one token."""
        y, state = self.h3.step(self.norm(x), state)
        return x + y, state

    def state_count(self, length: int) -> int:
        """n neurons and 2 M modes per channel, however long the past."""
        positive_int("length", length)
        return int(self.h3.shift.C.shape[1]) * (self.h3.shift.neurons + 2 * self.h3.memory.modes)
