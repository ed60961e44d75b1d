r"""Mamba with waves of any velocity in the place of its convolution, or in its selective state.

The reading that is faithful to the abstract (chapter 18): Mamba's convolution is a register with A = shift and B = e_0, the
one-way wave equation at v = 1. Give every channel a velocity v = σ(θ) ∈ (0, 1]:

    h_0 ← (1 - v) h_0 + v x,    h_j ← (1 - v) h_j + v h_{j-1},    y = Σ_j C_j h_j + b.

Four further options are ours, none of them in the abstract:

- `register="ring"`: the n neurons are a ring that the wave moves around exactly, in Fourier space: any velocity, no diffusion.
- `register="selective"`: the velocity depends on the token, v(t) = σ(θ + g · w x(t)), as the step Δ of Mamba's state does.
- `learn_velocity=False`: θ is no parameter.
- `state_velocity`: a wave on the selective state. Its N numbers per channel are read as N/2 complex amplitudes, the Fourier
  modes of a ring of N/2 positions; per token the ring is turned by `state_velocity` positions. Turning the state is the same
  as turning B(t) and C(t) by the phase accumulated so far, so it costs nothing in the scan. Both halves of a mode must decay
  alike, hence A has N/2 values per channel.

Source: the abstract (Keller, v-Wave State Space Models) names no velocities, sizes or starting values; those here are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wavemem.checks import number_in, one_of, positive_int, require, shape_is
from wavemem.kernels.register import register_scan, register_scan_with_state, register_states, register_step
from wavemem.kernels.register_ring import ring_scan, ring_scan_with_state, ring_states, ring_step
from wavemem.ssm.mamba import MakeRegister, Mamba, MambaBlock, Register, ShiftRegister
from wavemem.ssm.token_model import StackedEmbedding, StackedLinear, draw_uniform, generators

RegisterKind = Literal["wave", "shift", "ring", "selective"]


def _logit(v: float) -> float:
    # σ(θ) = 1 needs θ = ∞; at θ = 40 it is 1 to the last bit of double precision, and the gradient is 0 as it should be.
    return 40.0 if v == 1 else math.log(v / (1 - v))


class _Moving(Register):
    """A register with one number θ per channel that sets its velocity."""

    theta: Tensor

    def __init__(self, C: Tensor, bias: Tensor, theta: Float[Tensor, "K E"], learn: bool) -> None:
        super().__init__(C, bias)
        shape_is("theta", theta, tuple(bias.shape))
        if learn:
            self.theta = nn.Parameter(theta)
        else:
            self.register_buffer("theta", theta)


class WaveRegister(_Moving):
    """The v-Wave register: velocity v = σ(θ) per channel."""

    def velocity(self) -> Float[Tensor, "K E"]:
        """v = σ(θ)."""
        return torch.sigmoid(self.theta).detach()

    def forward(self, x: Float[Tensor, "K B L E"]) -> Float[Tensor, "K B L E"]:
        """SiLU of the read-out of whole sequences, from empty neurons."""
        return register_scan(x, self.C, torch.sigmoid(self.theta), self.bias, silu=True)

    def continued(
        self, x: Float[Tensor, "K B L E"], h: Float[Tensor, "K B E n"]
    ) -> tuple[Float[Tensor, "K B L E"], Float[Tensor, "K B E n"]]:
        """The same from a state, which is returned as it is then."""
        return register_scan_with_state(x, self.C, torch.sigmoid(self.theta), self.bias, h0=h, silu=True)

    def step(
        self, x: Float[Tensor, "K B E"], h: Float[Tensor, "K B E n"]
    ) -> tuple[Float[Tensor, "K B E"], Float[Tensor, "K B E n"]]:
        """One token."""
        return register_step(x, self.C, torch.sigmoid(self.theta), self.bias, h, silu=True)

    def states(self, x: Float[Tensor, "K B L E"]) -> Float[Tensor, "L K B E n"]:
        """All states: activity (time, …, channel, position), inputs entering at position 0."""
        return register_states(x, torch.sigmoid(self.theta), self.n)


class SelectiveRegister(_Moving):
    """Ours: a velocity that depends on the token, v(t) = σ(θ + g · w x(t)), one number w x(t) per token and layer.

    Args:
        C, bias, theta, learn: As in the other registers.
        w: (K, 1, E).
        g: (K, E), started at 0: at first every token moves the wave alike.
    """

    def __init__(self, C: Tensor, bias: Tensor, theta: Tensor, learn: bool, w: Float[Tensor, "K 1 E"]) -> None:
        super().__init__(C, bias, theta, learn)
        self.w = nn.Parameter(w)
        self.g = nn.Parameter(torch.zeros_like(bias))

    def _v(self, x: Float[Tensor, "K ... E"]) -> Float[Tensor, "K ... E"]:
        K, E = self.bias.shape
        signal = (x.reshape(K, -1, E) @ self.w.mT).view(*x.shape[:-1], 1)
        shape = (K, *[1] * (x.ndim - 2), E)
        return torch.sigmoid(self.theta.view(shape) + self.g.view(shape) * signal)

    def velocity(self) -> Float[Tensor, "K E"]:
        """Velocity while w x = 0."""
        return torch.sigmoid(self.theta).detach()

    def forward(self, x: Float[Tensor, "K B L E"]) -> Float[Tensor, "K B L E"]:
        """SiLU of the read-out of whole sequences, from empty neurons."""
        return register_scan(x, self.C, self._v(x), self.bias, silu=True)

    def continued(
        self, x: Float[Tensor, "K B L E"], h: Float[Tensor, "K B E n"]
    ) -> tuple[Float[Tensor, "K B L E"], Float[Tensor, "K B E n"]]:
        """The same from a state, which is returned as it is then."""
        return register_scan_with_state(x, self.C, self._v(x), self.bias, h0=h, silu=True)

    def step(
        self, x: Float[Tensor, "K B E"], h: Float[Tensor, "K B E n"]
    ) -> tuple[Float[Tensor, "K B E"], Float[Tensor, "K B E n"]]:
        """One token."""
        return register_step(x, self.C, self._v(x), self.bias, h, silu=True)

    def states(self, x: Float[Tensor, "K B L E"]) -> Float[Tensor, "L K B E n"]:
        """All states: activity (time, …, channel, position), inputs entering at position 0."""
        return register_states(x, self._v(x), self.n)


class RingRegister(_Moving):
    """Ours: n neurons on a ring that moves by θ neurons per step exactly and keeps the share σ(ρ) of itself.

    Args:
        C, bias, learn: As in the other registers.
        theta: The velocity itself: a ring may move at any.
        rho: ρ, (K, E): without damping the past of many turns would pile up.
    """

    def __init__(self, C: Tensor, bias: Tensor, theta: Tensor, learn: bool, rho: Float[Tensor, "K E"]) -> None:
        super().__init__(C, bias, theta, learn)
        self.rho = nn.Parameter(rho)

    def velocity(self) -> Float[Tensor, "K E"]:
        """θ."""
        return self.theta.detach()

    def forward(self, x: Float[Tensor, "K B L E"]) -> Float[Tensor, "K B L E"]:
        """SiLU of the read-out of whole sequences, from empty neurons."""
        return ring_scan(x, self.C, self.theta, self.bias, damping=torch.sigmoid(self.rho), silu=True)

    def continued(
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


class WaveStateBlock(MambaBlock):
    """Ours: a Mamba block whose selective state is a ring of N/2 positions, turned by `speed` positions per token.

    `speed` is (K,): a parameter if learned, else a buffer. At 0 this is Mamba with A shared by pairs of states.
    """

    speed: Tensor

    def with_wave(self, velocity: float, learn: bool) -> Self:
        """Set the velocity of the state's ring; returns the block itself."""
        require(self.N % 2 == 0, f"N = {self.N}", "an even number", "Two states make one complex amplitude.")
        speed = torch.full((self.A_log.shape[0],), float(velocity), dtype=self.A_log.dtype)
        if learn:
            self.speed = nn.Parameter(speed)
        else:
            self.register_buffer("speed", speed)
        return self

    @staticmethod
    def _start_of_A(N: int) -> Float[Tensor, " N"]:
        return torch.arange(1, N // 2 + 1, dtype=torch.float64).log()

    def A(self) -> Float[Tensor, "K E N"]:
        """A = -exp(A_log), the same for both halves of a complex amplitude."""
        return -self.A_log.exp().repeat_interleave(2, dim=-1)

    def _moved(self, B: Tensor, C: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        M = self.N // 2
        # Signed frequencies: a ring moved by half a position is the smooth one in between.
        m = torch.arange(M, device=B.device)
        frequency = torch.where(m > M // 2, m - M, m).to(B.dtype)
        # In the state's frame the wave stands still and B and C turn backwards.
        angle = (
            2 * math.pi / M * self.speed.view(-1, *[1] * (time.ndim + 1)) * (time.to(B.dtype)[..., None] * frequency)
        )
        turn = torch.stack([angle.cos(), angle.sin()], dim=-1)
        turn = turn.unsqueeze(1)  # (K, 1, [L,] M, 2): the same for the whole batch

        def turned(x: Tensor) -> Tensor:
            pairs = x.unflatten(-1, (M, 2))
            a, b = pairs[..., 0], pairs[..., 1]
            c, s = turn[..., 0], turn[..., 1]
            return torch.stack([a * c - b * s, a * s + b * c], dim=-1).flatten(-2)

        return turned(B), turned(C)


class WaveMamba(Mamba):
    """K independent models: Mamba with waves of any velocity."""

    @classmethod
    def initialise(  # type: ignore[override]  # it takes more than Mamba's does
        cls,
        seeds: Sequence[int],
        vocabulary: int,
        width: int,
        layers: int,
        n: int = 4,
        N: int = 16,
        expand: int = 2,
        register: RegisterKind = "wave",
        velocity: float | Sequence[float] = 0.5,
        learn_velocity: bool = True,
        state_velocity: float | None = None,
        learn_state_velocity: bool = True,
        damping: float = 0.99,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> WaveMamba:
        """Draw one model per seed.

        Args:
            seeds, vocabulary, width, layers, n, N, expand, dtype, device: As in `Mamba.initialise`, whose weights these are:
                the same seed gives the same.
            register: "wave", or "shift" (Mamba's own), or one of ours, "ring" and "selective".
            velocity: Initial velocity of every channel, one for all runs or one per run; in [0, 1] but for the ring. 0 stops
                the wave: nothing is written.
            learn_velocity: Whether θ is trained.
            state_velocity: Velocity of a wave on the selective state (ours); None for Mamba's own state.
            learn_state_velocity: Whether it is trained.
            damping: Share of itself that the ring keeps per step at first.

        Returns:
            The models.

        Raises:
            ValueError: If a size is not positive, or a velocity out of range.
        """
        one_of("register", register, get_args(RegisterKind))
        positive_int("layers", layers)
        K = len(seeds)
        speeds = [float(v) for v in velocity] if isinstance(velocity, Sequence) else [float(velocity)] * K
        require(
            len(speeds) == K,
            f"{len(speeds)} velocities",
            f"one, or one per run ({K})",
            "Match the velocities to the seeds.",
        )
        require(0 < damping < 1, f"damping = {damping}", "a number between 0 and 1", "Choose one near 1, e.g. 0.99.")
        for value in speeds:
            number_in("velocity", value, *((-math.inf, math.inf) if register == "ring" else (0.0, 1.0)))
        start = speeds if register == "ring" else [-40.0 if v == 0 else _logit(v) for v in speeds]

        def make(C: Tensor, bias: Tensor, draws: Sequence[torch.Generator]) -> Register:
            theta = torch.tensor(start, dtype=torch.float64)[:, None].expand(bias.shape).clone()
            if register == "shift":
                return ShiftRegister(C, bias)
            if register == "ring":
                return RingRegister(C, bias, theta, learn_velocity, torch.full_like(bias, _logit(damping)))
            if register == "selective":
                E = bias.shape[1]
                fresh = generators(seeds, "wave_mamba/selective velocity")  # Mamba's own draws stay what they are
                return SelectiveRegister(C, bias, theta, learn_velocity, draw_uniform(fresh, (1, E), E**-0.5))
            return WaveRegister(C, bias, theta, learn_velocity)

        maker: MakeRegister = make
        draws = generators(seeds, "mamba/weights")
        embedding = StackedEmbedding.draw(draws, vocabulary, width)
        blocks: list[MambaBlock] = []
        for _ in range(layers):
            if state_velocity is None:
                blocks.append(MambaBlock.draw(draws, width, layers, n, N, expand, maker))
            else:
                block = WaveStateBlock.draw(draws, width, layers, n, N, expand, maker)
                assert isinstance(block, WaveStateBlock)
                blocks.append(block.with_wave(state_velocity, learn_state_velocity))
        head = StackedLinear.draw(draws, width, vocabulary, bias=False)
        return cls(embedding, blocks, head, dtype, device)

    def state_velocities(self) -> Float[Tensor, "K layers"]:
        """Velocity of the wave on every layer's selective state, positions per token; 0 where there is none."""
        rows = []
        for i in range(len(self.blocks)):
            block = self._block(i)
            none = torch.zeros(self.K)
            rows.append(block.speed.detach().cpu() if isinstance(block, WaveStateBlock) else none)
        return torch.stack(rows, dim=1)
