r"""Mamba in plain PyTorch (Gu & Dao, 2024): a short convolution, then a selective state space, then a gate.

For the tokens of one sequence, with x the normalised residual stream:

    (u, z) = W_in x                                                          in_proj
    u ← SiLU(Σ_j C_j h_j + b),  h = the register of the last n inputs         register
    (δ, B, C) = W_x u,   Δ = softplus(W_Δ δ + b_Δ)                            x_proj, dt_proj
    s(t) = exp(Δ A) s(t-1) + Δ B u,   y = C · s + D u                         selective_scan
    x ← x + W_out (y · SiLU(z))                                               out_proj

| variable | shape | meaning |
|---|---|---|
| `K`, `B`, `L`, `D` | | runs, batch, time, width of the residual stream |
| `E` | | inner width, expand · D |
| `n` | | neurons of the register: the taps of Mamba's convolution (4) |
| `N` | | states per channel (16) |
| `R` | | rank of the step size's map, ⌈D/16⌉ |
| `A_log` | (K, E, N) or (K, E, N/2) | A = -exp(A_log), started at -1, -2, … |
| `D_skip` | (K, E) | D, started at 1 |

The convolution is written as the register that it is (chapter 17): A = shift, B = e_0, one read-out C per channel. What a
register of another velocity changes is in `wavemem.ssm.wave_mamba`.

Deviations from the public implementation: the read-out is not tied to the embedding, as in the transformers it is compared
with; the norm is an RMSNorm as there. Initial values are those of the public implementation.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from wavemem.checks import positive_int, require, shape_is
from wavemem.kernels.register import register_scan, register_scan_with_state, register_states, register_step
from wavemem.kernels.selective import (
    selective_scan,
    selective_scan_reference,
    selective_scan_with_state,
    selective_step,
)
from wavemem.ssm.token_model import (
    Block,
    RMSNorm,
    StackedEmbedding,
    StackedLinear,
    State,
    TokenModel,
    draw_uniform,
    generators,
)


class Register(nn.Module, ABC):
    """The n neurons per channel through which a Mamba block's inputs pass, read out by one C per channel, then SiLU.

    Args:
        C: Read-out, (K, E, n).
        bias: b, (K, E).

    Raises:
        ValueError: If the shapes do not fit.
    """

    def __init__(self, C: Float[Tensor, "K E n"], bias: Float[Tensor, "K E"]) -> None:
        super().__init__()
        shape_is("C", C, ("K", "E", "n"))
        shape_is("bias", bias, tuple(C.shape[:2]))
        self.C = nn.Parameter(C)
        self.bias = nn.Parameter(bias)

    @property
    def n(self) -> int:
        """Neurons per channel."""
        return int(self.C.shape[2])

    def empty(self, B: int) -> Float[Tensor, "K B E n"]:
        """Neurons that have seen nothing."""
        K, E, n = self.C.shape
        return self.C.new_zeros(K, B, E, n)

    @abstractmethod
    def forward(self, x: Float[Tensor, "K B L E"]) -> Float[Tensor, "K B L E"]:
        """SiLU of the read-out of whole sequences, from empty neurons."""

    @abstractmethod
    def continued(
        self, x: Float[Tensor, "K B L E"], h: Float[Tensor, "K B E n"]
    ) -> tuple[Float[Tensor, "K B L E"], Float[Tensor, "K B E n"]]:
        """The same from a state, which is returned as it is then."""

    @abstractmethod
    def step(
        self, x: Float[Tensor, "K B E"], h: Float[Tensor, "K B E n"]
    ) -> tuple[Float[Tensor, "K B E"], Float[Tensor, "K B E n"]]:
        """One token."""

    @abstractmethod
    def states(self, x: Float[Tensor, "K B L E"]) -> Float[Tensor, "L K B E n"]:
        """All states: activity (time, …, channel, position), inputs entering at position 0."""

    @abstractmethod
    def velocity(self) -> Float[Tensor, "K E"]:
        """Neurons per step at which each channel's activity moves away from its input."""


class ShiftRegister(Register):
    """The ordinary short convolution: v = 1, y(t) = Σ_j C_j x(t - j) + b."""

    def _v(self) -> Float[Tensor, "K E"]:
        return torch.ones_like(self.bias)

    def forward(self, x: Float[Tensor, "K B L E"]) -> Float[Tensor, "K B L E"]:
        """SiLU of the read-out of whole sequences, from empty neurons."""
        return register_scan(x, self.C, self._v(), self.bias, silu=True, method="shift")

    def continued(
        self, x: Float[Tensor, "K B L E"], h: Float[Tensor, "K B E n"]
    ) -> tuple[Float[Tensor, "K B L E"], Float[Tensor, "K B E n"]]:
        """The same from a state, which is returned as it is then."""
        return register_scan_with_state(x, self.C, self._v(), self.bias, h0=h, silu=True, method="shift")

    def step(
        self, x: Float[Tensor, "K B E"], h: Float[Tensor, "K B E n"]
    ) -> tuple[Float[Tensor, "K B E"], Float[Tensor, "K B E n"]]:
        """One token."""
        return register_step(x, self.C, self._v(), self.bias, h, silu=True)

    def states(self, x: Float[Tensor, "K B L E"]) -> Float[Tensor, "L K B E n"]:
        """All states: activity (time, …, channel, position), inputs entering at position 0."""
        return register_states(x, self._v(), self.n)

    def velocity(self) -> Float[Tensor, "K E"]:
        """One neuron per step."""
        return self._v().detach()


class MakeRegister(Protocol):
    """Makes the register of one block; it may draw from the generators."""

    def __call__(
        self, C: Float[Tensor, "K E n"], bias: Float[Tensor, "K E"], draws: Sequence[torch.Generator]
    ) -> Register:
        """Return a register that reads out with C and bias."""
        ...


def _shift_register(C: Tensor, bias: Tensor, draws: Sequence[torch.Generator]) -> Register:
    return ShiftRegister(C, bias)


class MambaBlock(Block):
    """One residual Mamba block.

    Args:
        norm: The norm in front.
        in_proj, x_proj, dt_proj, out_proj: The maps; only dt_proj has a bias.
        register: The short convolution.
        A_log: log(-A).
        D_skip: D.

    Raises:
        ValueError: If sizes do not fit together.
    """

    def __init__(
        self,
        norm: RMSNorm,
        in_proj: StackedLinear,
        register: Register,
        x_proj: StackedLinear,
        dt_proj: StackedLinear,
        out_proj: StackedLinear,
        A_log: Float[Tensor, "K E N"],
        D_skip: Float[Tensor, "K E"],
    ) -> None:
        super().__init__()
        K, E = D_skip.shape
        require(
            in_proj.weight.shape[1] == 2 * E and register.C.shape[1] == E,
            f"in_proj has {in_proj.weight.shape[1]} outputs, the register {register.C.shape[1]} channels",
            f"{2 * E} and {E}",
            "in_proj makes the inner width twice: input and gate.",
        )
        shape_is("A_log", A_log, (K, E, "N"))
        self.norm, self.in_proj, self.register = norm, in_proj, register
        self.x_proj, self.dt_proj, self.out_proj = x_proj, dt_proj, out_proj
        self.A_log, self.D_skip = nn.Parameter(A_log), nn.Parameter(D_skip)
        self.R = int(dt_proj.weight.shape[2])
        self.N = (int(x_proj.weight.shape[1]) - self.R) // 2

    @classmethod
    def draw(
        cls,
        draws: Sequence[torch.Generator],
        width: int,
        layers: int,
        n: int = 4,
        N: int = 16,
        expand: int = 2,
        make_register: MakeRegister = _shift_register,
    ) -> MambaBlock:
        """Draw a block as the public implementation starts it.

        Args:
            draws: One generator per run.
            width: D.
            layers: Blocks of the whole model: out_proj starts smaller by their square root.
            n: Neurons of the register.
            N: States per channel.
            expand: E / D.
            make_register: What makes the register from its read-out.

        Returns:
            The block, in float64.

        Raises:
            ValueError: If a size is not positive.
        """
        for name, value in (("width", width), ("layers", layers), ("n", n), ("N", N), ("expand", expand)):
            positive_int(name, value)
        K, E, R = len(draws), expand * width, math.ceil(width / 16)
        in_proj = StackedLinear.draw(draws, width, 2 * E, bias=False)
        bound = n**-0.5  # PyTorch's default start of a depthwise convolution with n taps
        register = make_register(draw_uniform(draws, (E, n), bound), draw_uniform(draws, (E,), bound), draws)
        x_proj = StackedLinear.draw(draws, E, R + 2 * N, bias=False)
        dt_proj = StackedLinear(draw_uniform(draws, (E, R), R**-0.5), cls._start_of_steps(draws, E))
        out_proj = StackedLinear.draw(draws, E, width, bias=False, scale=layers**-0.5)
        return cls(
            RMSNorm(K, width),
            in_proj,
            register,
            x_proj,
            dt_proj,
            out_proj,
            cls._start_of_A(N).expand(K, E, -1).clone(),
            torch.ones(K, E, dtype=torch.float64),
        )

    @staticmethod
    def _start_of_A(N: int) -> Float[Tensor, " N"]:
        return torch.arange(1, N + 1, dtype=torch.float64).log()

    @staticmethod
    def _start_of_steps(draws: Sequence[torch.Generator], E: int) -> Float[Tensor, "K E"]:
        """Bias for which the step Δ is log-uniform between 0.001 and 0.1."""
        low, high = math.log(1e-3), math.log(1e-1)
        rate = torch.stack([torch.rand(E, generator=g, dtype=torch.float64) for g in draws])
        step = (low + (high - low) * rate).exp().clamp(min=1e-4)
        return step + (-(-step).expm1()).log()  # the inverse of softplus

    def A(self) -> Float[Tensor, "K E N"]:
        """A = -exp(A_log)."""
        return -self.A_log.exp()

    def _moved(self, B: Tensor, C: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """B and C as the scan takes them; time (L,) or () counts tokens. A state that does not move takes them as they are."""
        return B, C

    def _projected(self, u: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Δ before bias and softplus, B and C, from the register's output (K, …, E)."""
        parts = self.x_proj(u)
        step, B, C = parts.split([self.R, self.N, self.N], dim=-1)
        delta = step.flatten(1, -2) @ self.dt_proj.weight.mT
        return delta.view(u.shape), *self._moved(B, C, time)

    def _inputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u, z = self.in_proj(self.norm(x)).chunk(2, dim=-1)
        return u, z

    def forward(self, x: Float[Tensor, "K B L D"]) -> Float[Tensor, "K B L D"]:
        """Whole sequences at once, from an empty past."""
        u, z = self._inputs(x)
        u = self.register(u)
        delta, B, C = self._projected(u, torch.arange(x.shape[2], device=x.device))
        bias = self.dt_proj.bias
        y = selective_scan(u, delta, self.A(), B, C, self.D_skip, z, bias, softplus=True)
        out: Tensor = x + self.out_proj(y)
        return out

    def start(self, B: int) -> State:
        """Empty register, empty state, no token seen."""
        K, E = self.D_skip.shape
        return {
            "register": self.register.empty(B),
            "state": self.D_skip.new_zeros(K, B, E, self.N),
            "tokens": torch.zeros((), dtype=torch.int64, device=self.D_skip.device),
        }

    def prefill(self, x: Float[Tensor, "K B L D"], state: State) -> tuple[Float[Tensor, "K B L D"], State]:
        """Go on from a state by L tokens at once."""
        u, z = self._inputs(x)
        u, register = self.register.continued(u, state["register"])
        time = state["tokens"] + torch.arange(x.shape[2], device=x.device)
        delta, B, C = self._projected(u, time)
        bias = self.dt_proj.bias
        y, h = selective_scan_with_state(
            u, delta, self.A(), B, C, self.D_skip, z, bias, softplus=True, h0=state["state"]
        )
        return x + self.out_proj(y), {"register": register, "state": h, "tokens": state["tokens"] + x.shape[2]}

    def step(self, x: Float[Tensor, "K B D"], state: State) -> tuple[Float[Tensor, "K B D"], State]:
        """Go on from a state by one token."""
        u, z = self._inputs(x)
        u, register = self.register.step(u, state["register"])
        delta, B, C = self._projected(u, state["tokens"])
        bias = self.dt_proj.bias
        y, h = selective_step(u, delta, self.A(), B, C, self.D_skip, z, bias, softplus=True, h=state["state"])
        return x + self.out_proj(y), {"register": register, "state": h, "tokens": state["tokens"] + 1}

    def state_count(self, length: int) -> int:
        """Numbers kept per sequence: the register's and the selective state's, whatever the length.

        A register at v = 1 keeps n - 1 inputs, the newest being at hand; it is counted as n here.
        """
        return int(self.D_skip.shape[1]) * (self.register.n + self.N)

    @torch.no_grad()
    def register_activity(self, x: Float[Tensor, "K B L D"]) -> Float[Tensor, "L K B E n"]:
        """The register's states while the block reads x: activity (time, …, channel, position)."""
        return self.register.states(self._inputs(x)[0])

    @torch.no_grad()
    def state_activity(self, x: Float[Tensor, "K B L D"]) -> Float[Tensor, "L K B E N"]:
        """The selective states s(t) as the scan computes them."""
        u = self.register(self._inputs(x)[0])
        delta, B, C = self._projected(u, torch.arange(x.shape[2], device=x.device))
        _, states = selective_scan_reference(u, delta, self.A(), B, C, delta_bias=self.dt_proj.bias, softplus=True)
        return states


class Mamba(TokenModel):
    """K independent Mamba models of token sequences."""

    @classmethod
    def initialise(
        cls,
        seeds: Sequence[int],
        vocabulary: int,
        width: int,
        layers: int,
        n: int = 4,
        N: int = 16,
        expand: int = 2,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Mamba:
        """Draw one model per seed.

        Args:
            seeds: One seed per run; a run's weights depend on its own seed alone.
            vocabulary: V, number of tokens.
            width: D.
            layers: Number of blocks.
            n: Neurons of the register, the taps of Mamba's convolution.
            N: States per channel.
            expand: E / D.
            dtype: Floating-point type; weights are drawn in float64 first.
            device: Where the models live.

        Returns:
            The models.

        Raises:
            ValueError: If a size is not positive.
        """
        draws = generators(seeds, "mamba/weights")
        positive_int("layers", layers)
        embedding = StackedEmbedding.draw(draws, vocabulary, width)
        blocks = [MambaBlock.draw(draws, width, layers, n, N, expand) for _ in range(layers)]
        head = StackedLinear.draw(draws, width, vocabulary, bias=False)
        return cls(embedding, blocks, head, dtype, device)

    @torch.no_grad()
    def activity(self, tokens: Int[Tensor, "*K B L"], layer: int = 0) -> Float[Tensor, "L K B E n"]:
        """What the register of a layer holds while tokens are read: activity (time, …, channel, position)."""
        x = self.block_input(tokens, layer)
        return self._block(layer).register_activity(x)

    @torch.no_grad()
    def state_activity(self, tokens: Int[Tensor, "*K B L"], layer: int = 0) -> Float[Tensor, "L K B E N"]:
        """The selective states of a layer while tokens are read."""
        x = self.block_input(tokens, layer)
        return self._block(layer).state_activity(x)

    def _block(self, layer: int) -> MambaBlock:
        block = self.blocks[layer]
        assert isinstance(block, MambaBlock)
        return block

    def velocities(self) -> Float[Tensor, "K layers E"]:
        """Velocity of every channel's register, neurons per step."""
        return torch.stack([self._block(i).register.velocity() for i in range(len(self.blocks))], dim=1)
