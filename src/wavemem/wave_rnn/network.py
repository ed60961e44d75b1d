r"""The Wave-RNN: c rings of n units on which activity travels (Wave-RNN Eq. 3, Appendix B).

| variable | shape | symbol |
|---|---|---|
| `u` | (K, c, c, k) | kernels of the circular convolution, shared by all units of a ring |
| `b_u` | (K, c) | bias of the convolution |
| `V`, `b_V` | (K, c·n, d), (K, c·n) | input weights and bias; row o·n + i is unit i of channel o |

The state is the substrate and the input map its boundary: with the shift kernel u = [0, 0, 1] and an input that enters
unit 0 alone, each step moves the ring by one unit and the input is written beside what it wrote before. The wave runs
towards smaller positions, unit 0 handing over to unit n - 1: velocity +1 in the book's convention.

The network without waves that the Wave-RNN is compared with: dense, started from the identity (Le et al., 2015).

| variable | shape | symbol |
|---|---|---|
| `U` | (K, N, N) | recurrent weights |
| `b_U` | (K, N) | recurrent bias |
| `V`, `b_V` | (K, N, d), (K, N) | input weights and bias |

Started from U = 1 with rectified units, what an input leaves in a unit stays there: the paper's "bump system". Its
ablation starts the same network from the shift Σ instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wavemem.checks import number_in, one_of, positive_int, require, shape_is
from wavemem.kernels.wave import WaveActivation
from wavemem.streams import stream
from wavemem.wave_rnn.recurrent import Readout, RecurrentNetwork, draw_readout, uniform

KernelStart = Literal["shift", "dirac", "uniform", "normal"]
InputStart = Literal["sparse", "normal"]

PUBLISHED_SCALE: Final[dict[str, float]] = {"sparse": 1.0, "normal": 0.001}
"""Size of the input weights as the papers start them."""


def shift_kernel(velocities: Float[Tensor, " c"], taps: int = 3) -> Float[Tensor, "c c k"]:
    r"""Kernels that move each ring at its own velocity and do not couple the rings (Wave-RNN Eq. 2).

    A velocity $m + f$ with whole part m and $0 \le f < 1$ has the taps $1 - f$ at distance m and $f$ at distance m + 1:
    for 0 ≤ ν ≤ 1 the kernel [0, 1 - ν, ν]. At ν = 1 it is the shift, at ν = 0 the identity (Dirac) kernel.

    Args:
        velocities: units per step, one per ring, each from -(k - 1)/2 to (k - 1)/2.
        taps: k, odd.

    Returns:
        The kernels, zero off the diagonal of channels.

    Raises:
        ValueError: If k is even or a velocity needs more taps.
    """
    taps = positive_int("taps", taps)
    require(taps % 2 == 1, f"taps = {taps}", "an odd number", "A kernel has a middle tap.")
    shape_is("velocities", velocities, ("c",))
    p = taps // 2
    require(
        bool((velocities.abs() <= p).all()),
        f"velocities = {velocities.tolist()} with {taps} taps",
        f"-{p} to {p}",
        "A wave moves by half the kernel per step at most.",
    )
    # At the fastest velocity the fraction is 0, so that the tap beyond the last is never needed.
    whole = torch.floor(velocities).clamp(max=p - 1 if p else 0)
    fraction = velocities - whole
    u = torch.zeros(len(velocities), len(velocities), taps, dtype=velocities.dtype)
    for j in range(len(velocities)):
        at = p + int(whole[j])
        u[j, j, at] = 1 - fraction[j]
        if at + 1 < taps:
            u[j, j, at + 1] = fraction[j]
    return u


def input_weights(
    start: InputStart, rings: int, units: int, inputs: int, generator: torch.Generator, scale: float | None = None
) -> dict[str, Tensor]:
    """Input weights and bias of one run.

    "sparse": weight `scale` from every input into unit 0 of every ring, all else and the bias 0 (the paper's V-init).
    "normal": weights N(0, scale²), bias as PyTorch's default. The scale is `PUBLISHED_SCALE` if None.
    """
    size = PUBLISHED_SCALE[start] if scale is None else number_in("V_scale", scale, 0.0, 1e3)
    if start == "sparse":
        V = torch.zeros(rings, units, inputs, dtype=torch.float64)
        V[:, 0] = size
        return {"V": V.flatten(0, 1), "b_V": torch.zeros(rings * units, dtype=torch.float64)}
    V = size * torch.randn(rings * units, inputs, generator=generator, dtype=torch.float64)
    return {"V": V, "b_V": uniform((rings * units,), inputs, generator)}


class WaveRNN(RecurrentNetwork):
    r"""K independent Wave-RNNs, $h(t) = \sigma(u \star h(t-1) + V x(t) + b)$ (Wave-RNN Eq. 3)."""

    recurrent = ("u", "b_u")
    u: nn.Parameter
    b_u: nn.Parameter

    def __init__(self, parameters: Mapping[str, Tensor], activation: WaveActivation = "relu") -> None:
        super().__init__(parameters, activation)
        shape_is("u", self.u, (self.K, "c", self.u.shape[1], "k"))
        require(
            self.hidden % self.c == 0,
            f"V has {self.hidden} rows for {self.c} channels",
            f"a multiple of {self.c}",
            "V has one row per channel and unit.",
        )
        shape_is("b_u", self.b_u, (self.K, self.c))

    @property
    def c(self) -> int:
        """Number of rings (channels)."""
        return int(self.u.shape[1])

    @property
    def n(self) -> int:
        """Units of a ring."""
        return self.hidden // self.c

    def kernel(self) -> Float[Tensor, "K c c k"]:
        """The kernels u."""
        return self.u

    def bias(self) -> Float[Tensor, "K N"]:
        """Bias of the input map plus that of the convolution, which is the same for all units of a ring."""
        return self.b_V + self.b_u.repeat_interleave(self.n, 1)

    @classmethod
    def initialise(
        cls,
        seeds: Sequence[int],
        units: int,
        channels: int,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        u_init: KernelStart = "shift",
        V_init: InputStart = "sparse",
        activation: WaveActivation = "relu",
        readout: Readout = "linear",
        velocities: Float[Tensor, " c"] | Sequence[float] | None = None,
        readout_width: int = 100,
        V_scale: float | None = None,
        biases: bool = True,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> WaveRNN:
        """Draw one network per seed, as the paper starts them (section 2, Appendix B).

        Args:
            seeds: One seed per run; a run's weights depend on its own seed alone.
            units: n, units of a ring.
            channels: c, rings.
            inputs: d.
            outputs: o.
            kernel: k, odd.
            u_init: "shift" (the paper's), "dirac" (a bump that stays), "uniform" (PyTorch's default) or "normal",
                N(0, 0.001²), the random start of the paper's ablation. The bias of the convolution has PyTorch's default
                start in all of them, as in the public code.
            V_init: "sparse" (the paper's) or "normal", see `input_weights`.
            activation: σ.
            readout: "linear" or "mlp" (one hidden layer).
            velocities: With u_init "shift", the velocity of each ring; 1 by default.
            readout_width: Units of the readout's hidden layer.
            V_scale: Size of the input weights: the weight of "sparse", the standard deviation of "normal"; None is the
                paper's, `PUBLISHED_SCALE`.
            biases: Whether hidden units start with the random biases of the public code; else with 0. Learned either way.
            dtype: Floating-point type; weights are drawn in float64 first.
            device: Where the networks live; the draw is the same everywhere.

        Returns:
            The networks, K = len(seeds).

        Raises:
            ValueError: If there is no seed, a size is not positive, or a name is unknown.
        """
        require(len(seeds) > 0, "seeds is empty", "at least one seed", "Give one seed per run.")
        n, c = positive_int("units", units), positive_int("channels", channels)
        d, o, k = positive_int("inputs", inputs), positive_int("outputs", outputs), positive_int("kernel", kernel)
        require(k % 2 == 1, f"kernel = {k}", "an odd number", "A kernel has a middle tap.")
        one_of("u_init", u_init, get_args(KernelStart))
        one_of("V_init", V_init, get_args(InputStart))
        one_of("readout", readout, get_args(Readout))
        require(
            velocities is None or u_init == "shift",
            f"velocities with u_init = {u_init!r}",
            "velocities with u_init = 'shift'",
            "Only the shift kernel has a velocity to choose.",
        )
        speed = torch.ones(c, dtype=torch.float64)
        if velocities is not None:
            speed = torch.as_tensor(velocities, dtype=torch.float64)
            shape_is("velocities", speed, (c,))
        if u_init == "dirac":
            speed = torch.zeros(c, dtype=torch.float64)
        runs = []
        for seed in seeds:
            generator = stream(seed, "weights")
            drawn = input_weights(V_init, c, n, d, generator, V_scale)
            if u_init == "uniform":
                drawn["u"] = uniform((c, c, k), c * k, generator)
            elif u_init == "normal":
                drawn["u"] = 0.001 * torch.randn(c, c, k, generator=generator, dtype=torch.float64)
            else:
                drawn["u"] = shift_kernel(speed, k)
            drawn["b_u"] = uniform((c,), c * k, generator)
            if not biases:
                drawn |= {name: torch.zeros_like(drawn[name]) for name in ("b_V", "b_u")}
            runs.append(drawn | draw_readout(readout, c * n, o, generator, readout_width))
        stacked = {name: torch.stack([run[name] for run in runs]).to(device, dtype) for name in runs[0]}
        return cls(stacked, activation)


RecurrentStart = Literal["identity", "uniform", "shift"]


class IdentityRNN(RecurrentNetwork):
    r"""K independent dense networks, $h(t) = \sigma(U h(t-1) + V x(t) + b)$ (Wave-RNN section 2)."""

    recurrent = ("U", "b_U")
    U: nn.Parameter
    b_U: nn.Parameter

    def __init__(self, parameters: Mapping[str, Tensor], activation: WaveActivation = "relu") -> None:
        super().__init__(parameters, activation)
        shape_is("U", self.U, (self.K, self.hidden, self.hidden))
        shape_is("b_U", self.b_U, (self.K, self.hidden))

    @property
    def N(self) -> int:
        """Number of units."""
        return self.hidden

    def kernel(self) -> Float[Tensor, "K N N 1"]:
        """U as N rings of one unit each with a kernel of one tap."""
        return self.U.unsqueeze(-1)

    def bias(self) -> Float[Tensor, "K N"]:
        """Input bias plus recurrent bias."""
        return self.b_V + self.b_U

    def _activity(self, states: Tensor) -> Tensor:
        return states.mT  # (…, N, 1) → one channel of N positions

    @classmethod
    def initialise(
        cls,
        seeds: Sequence[int],
        units: int,
        inputs: int,
        outputs: int,
        U_init: RecurrentStart = "identity",
        V_init: InputStart = "normal",
        activation: WaveActivation = "relu",
        readout: Readout = "linear",
        readout_width: int = 100,
        V_scale: float | None = None,
        biases: bool = True,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> IdentityRNN:
        """Draw one network per seed, as the paper starts its baseline and the ablations of it (Appendix B).

        Args:
            seeds: One seed per run; a run's weights depend on its own seed alone.
            units: N.
            inputs: d.
            outputs: o.
            U_init: "identity", "uniform" (PyTorch's default, recurrent bias included) or "shift": U = Σ, unit i taking over
                what unit i + 1 held. Identity and shift start with recurrent bias 0.
            V_init: "normal" or "sparse" (one channel: every input into unit 0), see `wavemem.wave_rnn.network`.
            activation: σ.
            readout: "linear" or "mlp" (one hidden layer).
            readout_width: Units of the readout's hidden layer.
            V_scale, biases: As in `wavemem.wave_rnn.network.WaveRNN.initialise`.
            dtype: Floating-point type; weights are drawn in float64 first.
            device: Where the networks live; the draw is the same everywhere.

        Returns:
            The networks, K = len(seeds).

        Raises:
            ValueError: If there is no seed, a size is not positive, or a name is unknown.
        """
        require(len(seeds) > 0, "seeds is empty", "at least one seed", "Give one seed per run.")
        N, d, o = positive_int("units", units), positive_int("inputs", inputs), positive_int("outputs", outputs)
        one_of("U_init", U_init, get_args(RecurrentStart))
        one_of("V_init", V_init, get_args(InputStart))
        one_of("readout", readout, get_args(Readout))
        runs = []
        for seed in seeds:
            generator = stream(seed, "weights")
            drawn = input_weights(V_init, 1, N, d, generator, V_scale)
            drawn["b_U"] = torch.zeros(N, dtype=torch.float64)
            if U_init == "uniform":
                drawn["U"] = uniform((N, N), N, generator)
                drawn["b_U"] = uniform((N,), N, generator)
            else:
                eye = torch.eye(N, dtype=torch.float64)
                drawn["U"] = eye if U_init == "identity" else torch.roll(eye, 1, -1)
            if not biases:
                drawn |= {name: torch.zeros_like(drawn[name]) for name in ("b_V", "b_U")}
            runs.append(drawn | draw_readout(readout, N, o, generator, readout_width))
        stacked = {name: torch.stack([run[name] for run in runs]).to(device, dtype) for name in runs[0]}
        return cls(stacked, activation)
