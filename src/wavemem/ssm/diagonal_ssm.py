r"""State space models whose state matrix is diagonal, modes that turn and fade: S4D (Gu et al., 2022), and H3 (Fu et al., 2023).

| variable | shape | symbol |
|---|---|---|
| `log_decay`, `frequency` | (K, D, M) | A = −exp(log_decay) + i frequency, the modes of every channel |
| `B`, `C` | (K, D, M, 2) | input and output weights, real and imaginary part |
| `log_step` | (K, D) | log Δ, the time that one step takes |
| `skip` | (K, D) | weight of the input in the output |

Every channel is a continuous system, $\dot h = A h + B x$, $y = 2\,\mathrm{Re}\,(C h) + \mathrm{skip}\cdot x$; one of every
pair of conjugate modes is stored, hence the factor 2. With x held constant over a step (zero-order hold) it becomes

$$h(t) = \bar A\, h(t-1) + \bar B\, x(t), \qquad \bar A = e^{\Delta A}, \qquad \bar B = A^{-1}(\bar A - 1)\,B .$$

The recurrence is the convolution with $K(\tau) = 2\,\mathrm{Re}\sum_m C_m \bar A_m^{\tau} \bar B_m$; training uses that.
Parameters are real throughout, so that a model can be moved from one floating-point type to another.

Source: A. Gu, A. Gupta, K. Goel, C. Ré, On the Parameterization and Initialization of Diagonal State Space Models, NeurIPS 2022.
Deviations: B is trained (there it may be fixed to 1), and each run has weights of its own.

H3: a shift SSM that looks back, a diagonal SSM that keeps, and products between them.

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

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as nnf
from jaxtyping import Complex, Float
from torch import Tensor, nn

from wavemem.checks import one_of, positive_int, shape_is
from wavemem.kernels.register import causal_convolution
from wavemem.ssm.mamba import ShiftRegister
from wavemem.ssm.token_model import Block, Residual, RMSNorm, StackedLinear, State, draw_uniform

Spectrum = Literal["lin", "inv"]


def spectrum(kind: Spectrum, modes: int) -> Complex[Tensor, " modes"]:
    """The continuous eigenvalues with which S4D starts, one of every conjugate pair, complex128.

        lin:  A_m = −1/2 + i π m                           (S4D-Lin)
        inv:  A_m = −1/2 + i (N/π) (N/(2m + 1) − 1)        (S4D-Inv), N = 2 modes

    Args:
        kind: Which of the two.
        modes: Number of conjugate pairs, m = 0, …, modes − 1.

    Raises:
        ValueError: If the kind is unknown or there is no mode.
    """
    one_of("kind", kind, get_args(Spectrum))
    m = torch.arange(positive_int("modes", modes), dtype=torch.float64)
    N = 2 * modes
    omega = math.pi * m if kind == "lin" else N / math.pi * (N / (2 * m + 1) - 1)
    return torch.complex(torch.full_like(omega, -0.5), omega)


def powers(a: Complex[Tensor, "*any"], length: int) -> Complex[Tensor, "*any length"]:
    """1, a, a², …, a^(length−1) on a new last axis, by doubling: the rounding error grows with log(length) only.

    Raises:
        ValueError: If length is not positive.
    """
    positive_int("length", length)
    result, step = torch.ones_like(a).unsqueeze(-1), a.unsqueeze(-1)
    while result.shape[-1] < length:
        result = torch.cat([result, result * step], -1)
        step = step * step
    return result[..., :length]


class DiagonalSSM(nn.Module):
    """K × D independent channels of M modes each: a sequence (K, B, L, D) to one of the same shape.

    Args:
        log_decay: log of minus the real part of A, (K, D, M).
        frequency: Imaginary part of A, radians per unit of time, (K, D, M).
        B: Input weights, (K, D, M, 2).
        C: Output weights, (K, D, M, 2).
        log_step: log Δ, (K, D).
        skip: Weight of the input itself, (K, D).

    Raises:
        ValueError: If the shapes do not fit together.
    """

    def __init__(
        self,
        log_decay: Float[Tensor, "K D M"],
        frequency: Float[Tensor, "K D M"],
        B: Float[Tensor, "K D M 2"],
        C: Float[Tensor, "K D M 2"],
        log_step: Float[Tensor, "K D"],
        skip: Float[Tensor, "K D"],
    ) -> None:
        super().__init__()
        shape_is("log_decay", log_decay, ("K", "D", "M"))
        K, D, M = log_decay.shape
        shape_is("frequency", frequency, (K, D, M))
        for name, value, shape in (("B", B, (M, 2)), ("C", C, (M, 2)), ("log_step", log_step, ()), ("skip", skip, ())):
            shape_is(name, value, (K, D, *shape))
        self.log_decay, self.frequency = nn.Parameter(log_decay), nn.Parameter(frequency)
        self.B, self.C = nn.Parameter(B), nn.Parameter(C)
        self.log_step, self.skip = nn.Parameter(log_step), nn.Parameter(skip)

    @classmethod
    def draw(cls, draws: Sequence[torch.Generator], width: int, modes: int) -> DiagonalSSM:
        """Start as S4D-Lin does: `spectrum`, B = 1, C normal with E|C|² = 1, Δ log-uniform in 0.001 to 0.1, skip normal.

        Args:
            draws: One generator per run.
            width: D.
            modes: M.

        Raises:
            ValueError: If a size is not positive.
        """
        A, (low, high) = spectrum("lin", modes), (1e-3, 1e-1)
        K, D, M = len(draws), positive_int("width", width), modes
        C, log_step, skip = [], [], []
        for generator in draws:
            C.append(torch.randn(D, M, 2, generator=generator, dtype=torch.float64) * 0.5**0.5)
            spread = torch.rand(D, generator=generator, dtype=torch.float64)
            log_step.append(math.log(low) + spread * (math.log(high) - math.log(low)))
            skip.append(torch.randn(D, generator=generator, dtype=torch.float64))
        one = torch.tensor([1.0, 0.0], dtype=torch.float64)
        return cls(
            torch.log(-A.real).expand(K, D, M).clone(),
            A.imag.expand(K, D, M).clone(),
            one.expand(K, D, M, 2).clone(),
            torch.stack(C),
            torch.stack(log_step),
            torch.stack(skip),
        )

    def discrete(self) -> tuple[Complex[Tensor, "K D M"], Complex[Tensor, "K D M"]]:
        """Ā and B̄ by zero-order hold."""
        delta = self.log_step.exp().unsqueeze(-1)
        decay, angle = -self.log_decay.exp() * delta, self.frequency * delta
        grown = torch.complex(decay, angle)
        A_bar = torch.polar(decay.exp(), angle)
        # e^z − 1 without cancellation for the small z of short steps.
        less_one = torch.complex(
            torch.expm1(decay) * torch.cos(angle) - 2 * torch.sin(angle / 2).square(), decay.exp() * torch.sin(angle)
        )
        return A_bar, less_one / grown * delta * torch.view_as_complex(self.B)

    def kernel(self, length: int) -> Float[Tensor, "K D length"]:
        """K(τ) for τ = 0, …, length − 1, the skip included at τ = 0."""
        A_bar, B_bar = self.discrete()
        weights = torch.view_as_complex(self.C) * B_bar
        kernel = 2 * torch.einsum("kdm,kdml->kdl", weights, powers(A_bar, length)).real
        return torch.cat([kernel[..., :1] + self.skip.unsqueeze(-1), kernel[..., 1:]], -1)

    def forward(self, x: Float[Tensor, "K B L D"]) -> Float[Tensor, "K B L D"]:
        """The whole sequence from an empty state, as a convolution.

        Raises:
            ValueError: If x does not have the layer's runs and width.
        """
        shape_is("x", x, (self.skip.shape[0], "B", "L", self.skip.shape[1]))
        return causal_convolution(x, self.kernel(x.shape[2]))

    def start(self, B: int) -> Complex[Tensor, "K B D M"]:
        """The empty state of B sequences."""
        K, D, M = self.log_decay.shape
        return torch.view_as_complex(self.C.new_zeros(K, positive_int("B", B), D, M, 2))

    def step(
        self, x: Float[Tensor, "K B D"], h: Complex[Tensor, "K B D M"]
    ) -> tuple[Float[Tensor, "K B D"], Complex[Tensor, "K B D M"]]:
        """One step of the recurrence: memory and time do not depend on how much came before."""
        A_bar, B_bar = self.discrete()
        h = A_bar.unsqueeze(1) * h + B_bar.unsqueeze(1) * x.unsqueeze(-1)
        y = 2 * (torch.view_as_complex(self.C).unsqueeze(1) * h).real.sum(-1)
        return y + self.skip.unsqueeze(1) * x, h

    def prefill(
        self, x: Float[Tensor, "K B L D"], h: Complex[Tensor, "K B D M"]
    ) -> tuple[Float[Tensor, "K B L D"], Complex[Tensor, "K B D M"]]:
        """L steps at once from any state: the convolution, plus what the state itself goes on to say."""
        A_bar, B_bar = self.discrete()
        grown = powers(A_bar, x.shape[2] + 1)
        C = torch.view_as_complex(self.C)
        heard = 2 * torch.einsum("kdm,kbdm,kdml->kbld", C, h, grown[..., 1:]).real
        entered = torch.einsum("kbld,kdml->kbdm", x.to(grown.dtype), grown[..., :-1].flip(-1))
        last = grown[..., -1].unsqueeze(1) * h + B_bar.unsqueeze(1) * entered
        return self.forward(x) + heard, last

    def state_count(self, length: int) -> int:
        """2 M numbers per channel, however long the past."""
        return 2 * self.log_decay[0].numel()

    def state_products(self, length: int) -> int:
        """8 M per channel: 4 for the product of two complex numbers in Ā h, 2 each for B̄ x and the real part of C h."""
        return 8 * self.log_decay[0].numel()


class S4D(Block):
    """Diagonal SSM, GELU, and a gated mixing of the channels, without norm and residual connection.

    Args:
        draws: One generator per run.
        width: D.
        modes: M, conjugate pairs per channel.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(self, draws: Sequence[torch.Generator], width: int, modes: int) -> None:
        super().__init__()
        self.ssm = DiagonalSSM.draw(draws, width, modes)
        self.mix = StackedLinear.draw(draws, width, 2 * width)

    def _mixed(self, y: Tensor) -> Tensor:
        return nnf.glu(self.mix(nnf.gelu(y)), -1)

    def forward(self, x: Float[Tensor, "K B L D"]) -> Float[Tensor, "K B L D"]:
        """Whole sequences at once."""
        return self._mixed(self.ssm(x))

    def start(self, B: int) -> State:
        """The empty state: ``{"modes": (K, B, D, M)}``, complex."""
        return {"modes": self.ssm.start(B)}

    def prefill(self, x: Float[Tensor, "K B L D"], state: State) -> tuple[Float[Tensor, "K B L D"], State]:
        """Go on from a state by L tokens."""
        y, h = self.ssm.prefill(x, state["modes"])
        return self._mixed(y), {"modes": h}

    def step(self, x: Float[Tensor, "K B D"], state: State) -> tuple[Float[Tensor, "K B D"], State]:
        """Go on by one token."""
        y, h = self.ssm.step(x, state["modes"])
        return self._mixed(y), {"modes": h}

    def state_count(self, length: int) -> int:
        """The SSM's."""
        return self.ssm.state_count(length)

    def state_products(self, length: int) -> int:
        """The SSM's."""
        return self.ssm.state_products(length)


def s4d_block(draws: Sequence[torch.Generator], width: int, modes: int = 16) -> Residual:
    """x + S4D(norm x), one per generator."""
    return Residual(RMSNorm(len(draws), width), S4D(draws, width, modes))


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
