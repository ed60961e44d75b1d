r"""Mamba in plain PyTorch (Gu & Dao, 2024), with a wave of any velocity in the place of its convolution, or in its state.

A block is a short convolution, then a selective state space, then a gate. For the tokens of one sequence, with x the
normalised residual stream:

    (u, z) = W_in x                                                          in_proj
    u ← SiLU(Σ_j C_j h_j + b),  h = a register of n neurons that u enters     register
    (δ, B, C) = W_x u,   Δ = softplus(W_Δ δ + b_Δ)                            x_proj, dt_proj
    s(t) = exp(Δ A) s(t-1) + Δ B u,   y = C · s + D u                         selective_scan
    x ← x + W_out (y · SiLU(z))                                               out_proj

| variable | shape | meaning |
|---|---|---|
| `K`, `B`, `L`, `D` | | runs, batch, time, width of the residual stream |
| `E` | | inner width, 2 D |
| `n` | | neurons of the register: the taps of Mamba's convolution (4) |
| `N` | | states per channel (16) |
| `R` | | rank of the step size's map, ⌈D/16⌉ |
| `A_log` | (K, E, N) or (K, E, N/2) | A = -exp(A_log), started at -1, -2, … |
| `D_skip` | (K, E) | D, started at 1 |

The convolution is written as the register that it is (chapter 17): A = shift, B = e_0, the one-way wave equation at v = 1.
The reading that is faithful to the v-Wave abstract (chapter 18) gives every channel a velocity v = σ(θ) ∈ (0, 1]:

    h_0 ← (1 - v) h_0 + v x,    h_j ← (1 - v) h_j + v h_{j-1}.

Four further options are ours, none of them in the abstract:

- `register="ring"`: the n neurons are a ring that the wave moves around exactly, in Fourier space: any velocity, no diffusion.
- `register="selective"`: the velocity depends on the token, v(t) = σ(θ + g · w x(t)), as the step Δ of Mamba's state does.
- `learn_velocity=False`: θ is no parameter.
- `state_velocity`: a wave on the selective state. Its N numbers per channel are read as N/2 complex amplitudes, the Fourier
  modes of a ring of N/2 positions; per token the ring is turned by `state_velocity` positions. Turning the state is the same
  as turning B(t) and C(t) by the phase accumulated so far, so it costs nothing in the scan. Both halves of a mode must decay
  alike, hence A has N/2 values per channel.

Deviations from the public implementation: the read-out is not tied to the embedding, as in the transformers it is compared
with; the norm is an RMSNorm as there. Initial values are those of the public implementation. The abstract (Keller, v-Wave
State Space Models) names no velocities, sizes or starting values; those here are ours.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, Self, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from wavemem.checks import number_in, one_of, positive_int, require, shape_is
from wavemem.kernels.register import Method, register_scan, register_scan_with_state, register_states, register_step
from wavemem.kernels.register_ring import ring_scan, ring_scan_with_state, ring_states, ring_step
from wavemem.kernels.selective import (
    selective_scan,
    selective_scan_reference,
    selective_step,
)
from wavemem.ssm.token_model import Block, RMSNorm, StackedLinear, State, TokenModel, draw_uniform, generators

RegisterKind = Literal["shift", "wave", "ring", "selective"]


def _add(module: nn.Module, name: str, value: Tensor, learn: bool) -> None:
    if learn:
        module.register_parameter(name, nn.Parameter(value))
    else:
        module.register_buffer(name, value, persistent=False)


class Register(nn.Module, ABC):
    """n neurons per channel through which sequences pass: written at neuron 0, moved, and read by one C per channel.

    Args:
        C: Read-out, (K, E, n).
        bias: b, (K, E), of Mamba's registers, behind which comes SiLU; without it, as in H3, the read-out is bare.

    Raises:
        ValueError: If the shapes do not fit.
    """

    method: Method = "auto"
    bias: Tensor | None

    def __init__(self, C: Float[Tensor, "K E n"], bias: Float[Tensor, "K E"] | None = None) -> None:
        super().__init__()
        shape_is("C", C, ("K", "E", "n"))
        self.C = nn.Parameter(C)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))

    @property
    def n(self) -> int:
        """Neurons per channel."""
        return int(self.C.shape[2])

    @abstractmethod
    def _v(self, x: Tensor | None = None) -> Float[Tensor, "K E"] | Float[Tensor, "K ... E"]:
        """Velocity, neurons per step; where it depends on the token, with these inputs or with none."""

    def velocity(self) -> Float[Tensor, "K E"]:
        """Neurons per step at which each channel's activity moves away from its input; that of a token of no weight."""
        return self._v().detach()

    def start(self, B: int) -> Float[Tensor, "K B E n"]:
        """Neurons of B sequences that have seen nothing."""
        K, E, n = self.C.shape
        return self.C.new_zeros(K, B, E, n)

    def forward(self, x: Float[Tensor, "K B L E"]) -> Float[Tensor, "K B L E"]:
        """The read-out of whole sequences, from empty neurons."""
        return register_scan(x, self.C, self._v(x), self.bias, silu=self.bias is not None, method=self.method)

    def prefill(
        self, x: Float[Tensor, "K B L E"], h: Float[Tensor, "K B E n"]
    ) -> tuple[Float[Tensor, "K B L E"], Float[Tensor, "K B E n"]]:
        """The same from a state, which is returned as it is then."""
        silu = self.bias is not None
        return register_scan_with_state(x, self.C, self._v(x), self.bias, h0=h, silu=silu, method=self.method)

    def step(
        self, x: Float[Tensor, "K B E"], h: Float[Tensor, "K B E n"]
    ) -> tuple[Float[Tensor, "K B E"], Float[Tensor, "K B E n"]]:
        """One token."""
        return register_step(x, self.C, self._v(x), self.bias, h, silu=self.bias is not None)

    def states(self, x: Float[Tensor, "K B L E"]) -> Float[Tensor, "L K B E n"]:
        """All states: activity (time, …, channel, position), inputs entering at position 0."""
        return register_states(x, self._v(x), self.n)


class ShiftRegister(Register):
    """The ordinary short convolution: v = 1, y(t) = Σ_j C_j x(t - j) + b."""

    method: Method = "shift"

    def _v(self, x: Tensor | None = None) -> Float[Tensor, "K E"]:
        return torch.ones_like(self.C[..., 0])


class WaveRegister(Register):
    """The v-Wave register: velocity v = σ(θ) per channel.

    Args:
        C, bias: As in every register.
        theta: θ, (K, E).
        learn: Whether it is a parameter.
    """

    theta: Tensor

    def __init__(self, C: Tensor, bias: Tensor, theta: Float[Tensor, "K E"], learn: bool) -> None:
        super().__init__(C, bias)
        _add(self, "theta", theta, learn)

    def _v(self, x: Tensor | None = None) -> Float[Tensor, "K E"] | Float[Tensor, "K ... E"]:
        return torch.sigmoid(self.theta)


class SelectiveRegister(WaveRegister):
    """Ours: a velocity that depends on the token, v(t) = σ(θ + g · w x(t)), one number w x(t) per token and layer.

    Args:
        C, bias, theta, learn: As in `WaveRegister`.
        w: (K, 1, E). g, (K, E), starts at 0: at first every token moves the wave alike.
    """

    def __init__(self, C: Tensor, bias: Tensor, theta: Tensor, learn: bool, w: Float[Tensor, "K 1 E"]) -> None:
        super().__init__(C, bias, theta, learn)
        self.w = nn.Parameter(w)
        self.g = nn.Parameter(torch.zeros_like(bias))

    def _v(self, x: Tensor | None = None) -> Float[Tensor, "K E"] | Float[Tensor, "K ... E"]:
        if x is None:
            return torch.sigmoid(self.theta)
        K, E = self.g.shape
        signal = (x.reshape(K, -1, E) @ self.w.mT).view(*x.shape[:-1], 1)
        shape = (K, *[1] * (x.ndim - 2), E)
        return torch.sigmoid(self.theta.view(shape) + self.g.view(shape) * signal)


class RingRegister(WaveRegister):
    """Ours: n neurons on a ring that moves by θ neurons per step exactly and keeps the share σ(ρ) of itself.

    Args:
        C, bias, learn: As in `WaveRegister`.
        theta: The velocity itself: a ring may move at any.
        rho: ρ, (K, E): without damping the past of many turns would pile up.
    """

    def __init__(self, C: Tensor, bias: Tensor, theta: Tensor, learn: bool, rho: Float[Tensor, "K E"]) -> None:
        super().__init__(C, bias, theta, learn)
        self.rho = nn.Parameter(rho)

    def _v(self, x: Tensor | None = None) -> Float[Tensor, "K E"]:
        return self.theta

    def forward(self, x: Float[Tensor, "K B L E"]) -> Float[Tensor, "K B L E"]:
        """The read-out of whole sequences, from empty neurons."""
        return ring_scan(x, self.C, self.theta, self.bias, damping=torch.sigmoid(self.rho), silu=True)

    def prefill(
        self, x: Float[Tensor, "K B L E"], h: Float[Tensor, "K B E n"]
    ) -> tuple[Float[Tensor, "K B L E"], Float[Tensor, "K B E n"]]:
        """The same from a state, which is returned as it is then."""
        damping = torch.sigmoid(self.rho)
        return ring_scan_with_state(x, self.C, self.theta, self.bias, damping=damping, h0=h, silu=True)

    def step(
        self, x: Float[Tensor, "K B E"], h: Float[Tensor, "K B E n"]
    ) -> tuple[Float[Tensor, "K B E"], Float[Tensor, "K B E n"]]:
        """One token."""
        return ring_step(x, self.C, self.theta, self.bias, h, damping=torch.sigmoid(self.rho), silu=True)

    def states(self, x: Float[Tensor, "K B L E"]) -> Float[Tensor, "L K B E n"]:
        """All states: activity (time, …, channel, position), inputs entering at position 0."""
        return ring_states(x, self.theta, self.n, damping=torch.sigmoid(self.rho))


def make_register(
    C: Float[Tensor, "K E n"],
    bias: Float[Tensor, "K E"],
    kind: RegisterKind,
    seeds: Sequence[int],
    velocity: float | Sequence[float],
    learn: bool,
) -> Register:
    """The register of one block, as training starts it; arguments and errors as of `Mamba.initialise`."""
    if one_of("register", kind, get_args(RegisterKind)) == "shift":
        return ShiftRegister(C, bias)
    (K, E), fits = bias.shape, "Match the velocities to the seeds."
    speeds = [float(v) for v in velocity] if isinstance(velocity, Sequence) else [float(velocity)] * K
    require(len(speeds) == K, f"{len(speeds)} velocities", f"one, or one per run ({K})", fits)
    low, high = (-math.inf, math.inf) if kind == "ring" else (0.0, 1.0)
    speeds = [number_in("velocity", v, low, high) for v in speeds]
    start = torch.tensor(speeds if kind == "ring" else [_logit(v) for v in speeds], dtype=torch.float64)
    theta = start[:, None].expand(K, E).clone()
    if kind == "ring":
        return RingRegister(C, bias, theta, learn, torch.full_like(bias, _logit(0.99)))
    if kind == "selective":
        fresh = generators(seeds, "wave_mamba/selective velocity")  # Mamba's own draws stay what they are
        return SelectiveRegister(C, bias, theta, learn, draw_uniform(fresh, (1, E), E**-0.5))
    return WaveRegister(C, bias, theta, learn)


def _logit(v: float) -> float:
    # σ(θ) = 1 needs θ = ∞; at θ = 40 it is 1 to the last bit of double precision, and the gradient is 0 as it should be.
    return math.copysign(40.0, v - 0.5) if v in (0, 1) else math.log(v / (1 - v))


class MambaBlock(Block):
    """One residual Mamba block, as the public implementation starts it.

    With a `state_velocity` the selective state is a ring of N/2 positions that is turned by `speed`, (K,), per token; at 0 it
    is Mamba's with an A that pairs of states share.

    Args:
        draws: One generator per run.
        width: D.
        layers: Blocks of the whole model: out_proj starts smaller by their square root.
        n: Neurons of the register.
        N: States per channel.
        register: Makes the register from its read-out C and bias.
        state_velocity: Positions per token; None for Mamba's own state.
        learn_state_velocity: Whether `speed` is a parameter.

    Raises:
        ValueError: If a size is not positive, or N odd where the state moves.
    """

    speed: Tensor | None

    def __init__(
        self,
        draws: Sequence[torch.Generator],
        width: int,
        layers: int,
        n: int = 4,
        N: int = 16,
        register: Callable[[Tensor, Tensor], Register] = ShiftRegister,
        state_velocity: float | None = None,
        learn_state_velocity: bool = True,
    ) -> None:
        super().__init__()
        n, self.N = positive_int("n", n), positive_int("N", N)
        K, E, self.R = len(draws), 2 * width, math.ceil(width / 16)
        self.norm = RMSNorm(K, width)
        self.in_proj = StackedLinear.draw(draws, width, 2 * E, bias=False)
        bound = n**-0.5  # PyTorch's default start of a depthwise convolution with n taps
        self.register = register(draw_uniform(draws, (E, n), bound), draw_uniform(draws, (E,), bound))
        self.x_proj = StackedLinear.draw(draws, E, self.R + 2 * N, bias=False)
        weight = draw_uniform(draws, (E, self.R), self.R**-0.5)
        low, high = math.log(1e-3), math.log(1e-1)
        rate = torch.stack([torch.rand(E, generator=g, dtype=torch.float64) for g in draws])
        step = (low + (high - low) * rate).exp().clamp(min=1e-4)
        # Δ starts log-uniform between 0.001 and 0.1: the inverse of softplus.
        self.dt_proj = StackedLinear(weight, step + (-(-step).expm1()).log())
        self.out_proj = StackedLinear.draw(draws, E, width, bias=False, scale=layers**-0.5)
        decays = N if state_velocity is None else N // 2
        self.A_log = nn.Parameter(torch.arange(1, decays + 1, dtype=torch.float64).log().expand(K, E, -1).clone())
        self.D_skip = nn.Parameter(torch.ones(K, E, dtype=torch.float64))
        if state_velocity is None:
            self.register_parameter("speed", None)
        else:
            require(N % 2 == 0, f"N = {N}", "an even number", "Two states make one complex amplitude.")
            _add(self, "speed", torch.full((K,), float(state_velocity), dtype=torch.float64), learn_state_velocity)

    def A(self) -> Float[Tensor, "K E N"]:
        """A = -exp(A_log); where the state moves, the same for both halves of a complex amplitude."""
        A = -self.A_log.exp()
        return A if self.speed is None else A.repeat_interleave(2, dim=-1)

    def _turned(self, x: Tensor, speed: Tensor, time: Tensor) -> Tensor:
        """B or C, (K, B, [L,] N), as they look from the moving state, at times (L,) or ()."""
        M = self.N // 2
        # Signed frequencies: a ring moved by half a position is the smooth one in between.
        m = torch.arange(M, device=x.device)
        frequency = torch.where(m > M // 2, m - M, m).to(x.dtype)
        # In the state's frame the wave stands still and B and C turn backwards, the same for the whole batch.
        angle = 2 * math.pi / M * speed.view(-1, *[1] * (time.ndim + 1)) * (time.to(x.dtype)[..., None] * frequency)
        c, s = angle.cos().unsqueeze(1), angle.sin().unsqueeze(1)
        a, b = x.unflatten(-1, (M, 2)).unbind(-1)
        return torch.stack([a * c - b * s, a * s + b * c], dim=-1).flatten(-2)

    def inputs(self, x: Float[Tensor, "K ... D"]) -> tuple[Float[Tensor, "K ... E"], Float[Tensor, "K ... E"]]:
        """What enters the register, and the gate."""
        u, z = self.in_proj(self.norm(x)).chunk(2, dim=-1)
        return u, z

    def projected(self, u: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Δ before bias and softplus, B and C, from the register's output (K, …, E) of tokens of these numbers."""
        step, B, C = self.x_proj(u).split([self.R, self.N, self.N], dim=-1)
        if self.speed is not None:
            B, C = self._turned(B, self.speed, time), self._turned(C, self.speed, time)
        return (step.flatten(1, -2) @ self.dt_proj.weight.mT).view(u.shape), B, C

    def forward(self, x: Float[Tensor, "K B L D"]) -> Float[Tensor, "K B L D"]:
        """Whole sequences at once, from an empty past."""
        u, z = self.inputs(x)
        u = self.register(u)
        delta, B, C = self.projected(u, torch.arange(x.shape[2], device=x.device))
        y, _ = selective_scan(u, delta, self.A(), B, C, self.D_skip, z, self.dt_proj.bias, softplus=True)
        out: Tensor = x + self.out_proj(y)
        return out

    def start(self, B: int) -> State:
        """Empty register, empty state, no token seen."""
        K, E = self.D_skip.shape
        return {
            "register": self.register.start(B),
            "state": self.D_skip.new_zeros(K, B, E, self.N),
            "tokens": torch.zeros((), dtype=torch.int64, device=self.D_skip.device),
        }

    def prefill(self, x: Float[Tensor, "K B L D"], state: State) -> tuple[Float[Tensor, "K B L D"], State]:
        """Go on from a state by L tokens at once."""
        u, z = self.inputs(x)
        u, register = self.register.prefill(u, state["register"])
        delta, B, C = self.projected(u, state["tokens"] + torch.arange(x.shape[2], device=x.device))
        h0, bias = state["state"], self.dt_proj.bias
        y, h = selective_scan(u, delta, self.A(), B, C, self.D_skip, z, bias, softplus=True, h0=h0)
        return x + self.out_proj(y), {"register": register, "state": h, "tokens": state["tokens"] + x.shape[2]}

    def step(self, x: Float[Tensor, "K B D"], state: State) -> tuple[Float[Tensor, "K B D"], State]:
        """Go on from a state by one token."""
        u, z = self.inputs(x)
        u, register = self.register.step(u, state["register"])
        delta, B, C = self.projected(u, state["tokens"])
        bias = self.dt_proj.bias
        y, h = selective_step(u, delta, self.A(), B, C, self.D_skip, z, bias, softplus=True, h=state["state"])
        return x + self.out_proj(y), {"register": register, "state": h, "tokens": state["tokens"] + 1}

    def state_count(self, length: int) -> int:
        """Numbers kept per sequence: the register's and the selective state's, whatever the length.

        A register at v = 1 keeps n - 1 inputs, the newest being at hand; it is counted as n here.
        """
        return int(self.D_skip.shape[1]) * (self.register.n + self.N)

    def state_products(self, length: int) -> int:
        """Per channel 4 N for the selective state: ΔA, decay times state, ΔBu, read-out; and those of the register.

        n for the read-out at v = 1; 3 n at other velocities, where each neuron is mixed with its neighbour, and read out.
        """
        per_neuron = 1 if isinstance(self.register, ShiftRegister) else 3
        return int(self.D_skip.shape[1]) * (per_neuron * self.register.n + 4 * self.N)


class Mamba(TokenModel):
    """K independent Mamba models of token sequences, with a register and a state of any velocity."""

    @classmethod
    def initialise(
        cls,
        seeds: Sequence[int],
        vocabulary: int,
        width: int,
        layers: int,
        n: int = 4,
        N: int = 16,
        register: RegisterKind = "shift",
        velocity: float | Sequence[float] = 0.5,
        learn_velocity: bool = True,
        state_velocity: float | None = None,
        learn_state_velocity: bool = True,
    ) -> Self:
        """Draw one model per seed; what all kinds of registers have is the same for the same seed.

        Args:
            seeds: One seed per run; a run's weights depend on its own seed alone.
            vocabulary: V, number of tokens.
            width: D.
            layers: Number of blocks.
            n: Neurons of the register, the taps of Mamba's convolution.
            N: States per channel.
            register: "shift" (Mamba's own), "wave" (v-Wave's), or one of ours, "ring" and "selective".
            velocity: Initial velocity of every channel, one for all runs or one per run; in [0, 1] but for the ring. 0 stops
                the wave: nothing is written. Of no meaning to "shift".
            learn_velocity: Whether it is trained.
            state_velocity: Velocity of a wave on the selective state (ours); None for Mamba's own state.
            learn_state_velocity: Whether it is trained.

        Returns:
            The models.

        Raises:
            ValueError: If a size is not positive, or a velocity out of range.
        """
        made = partial(make_register, kind=register, seeds=seeds, velocity=velocity, learn=learn_velocity)

        def block(draws: Sequence[torch.Generator]) -> MambaBlock:
            return MambaBlock(draws, width, layers, n, N, made, state_velocity, learn_state_velocity)

        return cls.draw(seeds, "mamba/weights", vocabulary, width, layers, block)

    @property
    def layers(self) -> tuple[MambaBlock, ...]:
        """The blocks."""
        return tuple(block for block in self.blocks if isinstance(block, MambaBlock))

    @torch.no_grad()
    def activity(self, tokens: Int[Tensor, "*K B L"], layer: int = 0) -> Float[Tensor, "L K B E n"]:
        """What the register of a layer holds while tokens are read: activity (time, …, channel, position)."""
        x = self.block_input(tokens, layer)
        return self.layers[layer].register.states(self.layers[layer].inputs(x)[0])

    @torch.no_grad()
    def state_activity(self, tokens: Int[Tensor, "*K B L"], layer: int = 0) -> Float[Tensor, "L K B E N"]:
        """The selective states s(t) of a layer while tokens are read, as the scan computes them."""
        x, block = self.block_input(tokens, layer), self.layers[layer]
        u = block.register(block.inputs(x)[0])
        delta, B, C = block.projected(u, torch.arange(x.shape[2], device=x.device))
        bias = block.dt_proj.bias
        return selective_scan_reference(u, delta, block.A(), B, C, delta_bias=bias, softplus=True)[1]

    def velocities(self) -> Float[Tensor, "K layers E"]:
        """Velocity of every channel's register, neurons per step."""
        return torch.stack([block.register.velocity() for block in self.layers], dim=1)

    def state_velocities(self) -> Float[Tensor, "K layers"]:
        """Velocity of the wave on every layer's selective state, positions per token; 0 where there is none."""
        none = torch.zeros(self.K)
        return torch.stack([none if b.speed is None else b.speed.detach().cpu() for b in self.layers], dim=1)
