r"""The networks that Part III compares, as ensembles: the Wave-RNN, the network without waves, and gated networks.

All have input weights, a recurrence and a readout; N is the number of hidden units, d and o those of inputs and outputs.

| variable | shape | symbol |
|---|---|---|
| `V`, `b_V` | (K, N, d), (K, N) | input weights and bias |
| `W`, `b_y` | (K, o, N), (K, o) | linear readout |
| `W1`, `b1`, `W2`, `b2` | (K, m, N), … | readout with one hidden layer of m rectified units |

**The Wave-RNN**: c rings of n units on which activity travels (Wave-RNN Eq. 3, Appendix B), N = c·n.

| variable | shape | symbol |
|---|---|---|
| `u` | (K, c, c, k) | kernels of the circular convolution, shared by all units of a ring |
| `b_u` | (K, c) | bias of the convolution |

Row o·n + i of `V` is unit i of channel o. The state is the substrate and the input map its boundary: with the shift kernel
u = [0, 0, 1] and an input that enters unit 0 alone, each step moves the ring by one unit and the input is written beside
what it wrote before. The wave runs towards smaller positions, unit 0 handing over to unit n - 1: velocity +1 in the book's
convention.

**The network without waves** that it is compared with: dense, started from the identity (Le et al., 2015).

| variable | shape | symbol |
|---|---|---|
| `U`, `b_U` | (K, N, N), (K, N) | recurrent weights and bias |

Started from U = 1 with rectified units, what an input leaves in a unit stays there: the paper's "bump system". Its
ablation starts the same network from the shift Σ instead.

**Gated networks**: LSTMs (Hochreiter & Schmidhuber, 1997) and GRUs (Cho et al., 2014), PyTorch's own.

| variable | shape | symbol |
|---|---|---|
| `W_ih`, `b_ih` | (K, g·N, d), (K, g·N) | input weights and bias of the g = 4 (LSTM) or 3 (GRU) gates |
| `W_hh`, `b_hh` | (K, g·N, N), (K, g·N) | recurrent weights and bias |

Source: Keller et al., ICLR 2024, section 2 and Appendix B, and the public code for what these leave open, such as two biases,
one of the input map and one of the recurrent map.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, Self, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wavemem.checks import number_in, one_of, positive_int, require, shape_is
from wavemem.kernels.wave import WaveActivation, wave_final_state, wave_outputs, wave_scan
from wavemem.training.ensemble import Ensemble, draw_runs

KernelStart = Literal["shift", "dirac", "uniform", "normal"]
RecurrentStart = Literal["identity", "uniform", "shift"]
InputStart = Literal["sparse", "normal"]
Readout = Literal["linear", "mlp"]
Cell = Literal["LSTM", "GRU"]
Drawn = dict[str, Tensor]

PUBLISHED_SCALE: Final[dict[str, float]] = {"sparse": 1.0, "normal": 0.001}
"""Size of the input weights as the papers start them."""

_READOUT: Final[dict[str, dict[str, str]]] = {
    "linear": {"W": "K o N", "b_y": "K o"},
    "mlp": {"W1": "K m N", "b1": "K m", "W2": "K o m", "b2": "K o"},
}
_GATES: Final = {"LSTM": 4, "GRU": 3}


def uniform(shape: tuple[int, ...], inputs: int, generator: torch.Generator) -> Tensor:
    """PyTorch's default start of linear and convolutional layers: U(-1/√inputs, 1/√inputs), drawn in float64."""
    bound = 1.0 / inputs**0.5
    return (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) * bound


def _draw_readout(kind: Readout, hidden: int, outputs: int, generator: torch.Generator, width: int) -> Drawn:
    """Readout of one run, with `width` units in the hidden layer of an "mlp"."""
    sizes = [(outputs, hidden)] if kind == "linear" else [(width, hidden), (outputs, width)]
    drawn = [uniform(shape, columns, generator) for rows, columns in sizes for shape in ((rows, columns), (rows,))]
    return dict(zip(_READOUT[kind], drawn, strict=True))


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
) -> Drawn:
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


def _for_every_run(inputs: Tensor, K: int, d: int) -> Float[Tensor, "T K B d"]:
    if inputs.ndim == 3:
        inputs = inputs.unsqueeze(1).expand(-1, K, -1, -1)
    shape_is("inputs", inputs, ("T", K, "B", d))
    return inputs


class RecurrentNetwork(Ensemble, ABC):
    r"""K independent networks $h(t) = \sigma(\text{recurrent}(h(t-1)) + V x(t) + b)$, $y = \text{readout}(h)$.

    Subclasses say what the recurrent weights are (`kernel`) and which biases there are (`bias`).

    Args:
        parameters: Name → weights stacked over runs.
        activation: σ, "relu", "tanh" or "linear".

    Raises:
        ValueError: If parameters are missing, unknown or do not fit together, or the activation is unknown.
    """

    recurrent: ClassVar[dict[str, str]]
    """Names and axes of the recurrent weights and biases."""

    V: nn.Parameter
    b_V: nn.Parameter
    W: nn.Parameter
    b_y: nn.Parameter
    W1: nn.Parameter
    b1: nn.Parameter
    W2: nn.Parameter
    b2: nn.Parameter

    def __init__(self, parameters: Mapping[str, Tensor], activation: WaveActivation = "relu") -> None:
        super().__init__()
        self.activation: WaveActivation = one_of("activation", activation, get_args(WaveActivation))
        self.readout: Readout = "mlp" if "W1" in parameters else "linear"
        axes = {"V": "K N d", "b_V": "K N", **self.recurrent, **_READOUT[self.readout]}
        self.set_parameters(parameters, axes)

    @abstractmethod
    def kernel(self) -> Float[Tensor, "K c c k"]:
        """The recurrent weights as the kernel of `wavemem.kernels.wave`."""

    @abstractmethod
    def bias(self) -> Float[Tensor, "K N"]:
        """Sum of the biases that act on each hidden unit."""

    @property
    def hidden(self) -> int:
        """Number of hidden units of a run, N."""
        return self.V.shape[1]

    @property
    def d(self) -> int:
        """Dimension of the inputs."""
        return self.V.shape[2]

    def states(
        self, inputs: Float[Tensor, "T *K B d"], h0: Float[Tensor, "K B c n"] | None = None
    ) -> Float[Tensor, "T K B c n"]:
        """States at every step: activity with time first, channel and position last.

        Args:
            inputs: x(1) … x(T), (T, K, B, d), or (T, B, d) if all runs see the same.
            h0: h(0); zeros by default.
        """
        x = _for_every_run(inputs, self.K, self.d)
        return wave_scan(self.kernel(), self.V, self.bias(), x, h0, activation=self.activation)

    def forward(self, inputs: Float[Tensor, "T *K B d"], every_step: bool = False) -> Float[Tensor, "*T K B o"]:
        """Outputs of every step, (T, K, B, o), or of the last, (K, B, o)."""
        u, bias, x = self.kernel(), self.bias(), _for_every_run(inputs, self.K, self.d)
        if self.readout == "linear":
            return wave_outputs(u, self.V, bias, self.W, self.b_y, x, every_step=every_step, activation=self.activation)
        scan = wave_scan if every_step else wave_final_state
        states = scan(u, self.V, bias, x, activation=self.activation)
        hidden = torch.relu(states.flatten(-2) @ self.W1.mT + self.b1[:, None])
        return hidden @ self.W2.mT + self.b2[:, None]

    def parameter_count(self, biases: bool = False) -> int:
        """Parameters of one run.

        Args:
            biases: Whether biases count. The numbers that the paper prints come out without them, except for the
                readout with a hidden layer, where they come out with them.
        """
        return super().parameter_count(biases)

    @classmethod
    def _draw(
        cls,
        seeds: Sequence[int],
        size: tuple[int, int, int, int],
        recurrent: Callable[[torch.Generator], Drawn],
        V_init: InputStart,
        V_scale: float | None = None,
        biases: bool = True,
        readout: Readout = "linear",
        readout_width: int = 100,
        activation: WaveActivation = "relu",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Draw one network of some (channels, units, inputs, outputs) per seed: input weights, recurrent ones, readout.

        Further options of `initialise`:
            V_scale: Size of the input weights: the weight of "sparse", the standard deviation of "normal"; None is the
                paper's, `PUBLISHED_SCALE`.
            biases: Whether hidden units start with the random biases of the public code; else with 0. Learned either way.
            readout: "linear" or "mlp", one hidden layer of `readout_width` units.
            activation: σ.
            dtype: Floating-point type; weights are drawn in float64 first.
            device: Where the networks live; the draw is the same everywhere.
        """
        channels, units, inputs, outputs = size
        one_of("V_init", V_init, get_args(InputStart))
        one_of("readout", readout, get_args(Readout))

        def draw(generator: torch.Generator) -> Drawn:
            drawn = input_weights(V_init, channels, units, inputs, generator, V_scale) | recurrent(generator)
            if not biases:
                drawn |= {name: torch.zeros_like(value) for name, value in drawn.items() if name.startswith("b_")}
            return drawn | _draw_readout(readout, channels * units, outputs, generator, readout_width)

        return cls(draw_runs(seeds, draw, dtype, device), activation)


class WaveRNN(RecurrentNetwork):
    r"""K independent Wave-RNNs, $h(t) = \sigma(u \star h(t-1) + V x(t) + b)$ (Wave-RNN Eq. 3)."""

    recurrent: ClassVar = {"u": "K c c k", "b_u": "K c"}
    u: nn.Parameter
    b_u: nn.Parameter

    def __init__(self, parameters: Mapping[str, Tensor], activation: WaveActivation = "relu") -> None:
        super().__init__(parameters, activation)
        require(
            self.hidden % self.c == 0,
            f"V has {self.hidden} rows for {self.c} channels",
            f"a multiple of {self.c}",
            "V has one row per channel and unit.",
        )

    @property
    def c(self) -> int:
        """Number of rings (channels)."""
        return self.u.shape[1]

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
        velocities: Float[Tensor, " c"] | Sequence[float] | None = None,
        **further: Any,
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
            velocities: With u_init "shift", the velocity of each ring; 1 by default.
            further: V_scale, biases, readout, readout_width, activation, dtype, device: see `RecurrentNetwork._draw`.

        Returns:
            The networks, K = len(seeds).

        Raises:
            ValueError: If there is no seed, a size is not positive, or a name is unknown.
        """
        n, c = positive_int("units", units), positive_int("channels", channels)
        d, o, k = positive_int("inputs", inputs), positive_int("outputs", outputs), positive_int("kernel", kernel)
        require(k % 2 == 1, f"kernel = {k}", "an odd number", "A kernel has a middle tap.")
        one_of("u_init", u_init, get_args(KernelStart))
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

        def recurrent(generator: torch.Generator) -> Drawn:
            if u_init == "uniform":
                u = uniform((c, c, k), c * k, generator)
            elif u_init == "normal":
                u = 0.001 * torch.randn(c, c, k, generator=generator, dtype=torch.float64)
            else:
                u = shift_kernel(speed, k)
            return {"u": u, "b_u": uniform((c,), c * k, generator)}

        return cls._draw(seeds, (c, n, d, o), recurrent, V_init, **further)


class IdentityRNN(RecurrentNetwork):
    r"""K independent dense networks, $h(t) = \sigma(U h(t-1) + V x(t) + b)$ (Wave-RNN section 2)."""

    recurrent: ClassVar = {"U": "K N N", "b_U": "K N"}
    U: nn.Parameter
    b_U: nn.Parameter

    def kernel(self) -> Float[Tensor, "K N N 1"]:
        """U as N rings of one unit each with a kernel of one tap."""
        return self.U.unsqueeze(-1)

    def bias(self) -> Float[Tensor, "K N"]:
        """Input bias plus recurrent bias."""
        return self.b_V + self.b_U

    def states(
        self, inputs: Float[Tensor, "T *K B d"], h0: Float[Tensor, "K B N 1"] | None = None
    ) -> Float[Tensor, "T K B 1 N"]:
        """States at every step, as one channel of N positions; arguments as in `RecurrentNetwork.states`."""
        return super().states(inputs, h0).mT

    @classmethod
    def initialise(
        cls,
        seeds: Sequence[int],
        units: int,
        inputs: int,
        outputs: int,
        U_init: RecurrentStart = "identity",
        V_init: InputStart = "normal",
        **further: Any,
    ) -> IdentityRNN:
        """Draw one network per seed, as the paper starts its baseline and the ablations of it (Appendix B).

        Args:
            seeds: One seed per run; a run's weights depend on its own seed alone.
            units: N.
            inputs: d.
            outputs: o.
            U_init: "identity", "uniform" (PyTorch's default, recurrent bias included) or "shift": U = Σ, unit i taking over
                what unit i + 1 held. Identity and shift start with recurrent bias 0.
            V_init: "normal" or "sparse" (one channel: every input into unit 0), see `input_weights`.
            further: V_scale, biases, readout, readout_width, activation, dtype, device: see `RecurrentNetwork._draw`.

        Returns:
            The networks, K = len(seeds).

        Raises:
            ValueError: If there is no seed, a size is not positive, or a name is unknown.
        """
        N, d, o = positive_int("units", units), positive_int("inputs", inputs), positive_int("outputs", outputs)
        one_of("U_init", U_init, get_args(RecurrentStart))

        def recurrent(generator: torch.Generator) -> Drawn:
            if U_init == "uniform":
                U = uniform((N, N), N, generator)
                return {"b_U": uniform((N,), N, generator), "U": U}
            eye = torch.eye(N, dtype=torch.float64)
            U = eye if U_init == "identity" else torch.roll(eye, 1, -1)
            return {"b_U": torch.zeros(N, dtype=torch.float64), "U": U}

        return cls._draw(seeds, (1, N, d, o), recurrent, V_init, **further)


class GatedRNN(Ensemble):
    """K independent LSTMs or GRUs of one layer with a linear readout.

    Args:
        parameters: Name → weights stacked over runs, see the module's table.
        cell: "LSTM" or "GRU".

    Raises:
        ValueError: If parameters are missing, unknown or do not fit together, or there is no such cell.
    """

    W_ih: nn.Parameter
    W_hh: nn.Parameter
    b_ih: nn.Parameter
    b_hh: nn.Parameter
    W: nn.Parameter
    b_y: nn.Parameter

    def __init__(self, parameters: Mapping[str, Tensor], cell: Cell = "LSTM") -> None:
        super().__init__()
        self.cell: Cell = one_of("cell", cell, get_args(Cell))
        recurrent = {"W_ih": "K gN d", "W_hh": "K gN N", "b_ih": "K gN", "b_hh": "K gN"}
        self.set_parameters(parameters, recurrent | _READOUT["linear"])
        require(
            self.W_hh.shape[1] == _GATES[cell] * self.hidden,
            f"W_hh of shape {tuple(self.W_hh.shape)} for a {cell}",
            f"{_GATES[cell]} rows per hidden unit",
            "The gates' weights stand one below the other.",
        )

    @property
    def hidden(self) -> int:
        """Number of hidden units of a run, N."""
        return self.W_hh.shape[2]

    @property
    def d(self) -> int:
        """Dimension of the inputs."""
        return self.W_ih.shape[2]

    @classmethod
    def initialise(
        cls,
        seeds: Sequence[int],
        units: int,
        inputs: int,
        outputs: int,
        cell: Cell = "LSTM",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Draw one network per seed from PyTorch's default, U(−1/√N, 1/√N) for all weights and biases.

        Args:
            seeds: One seed per run; a run's weights depend on its own seed alone.
            units: N.
            inputs: d.
            outputs: o.
            cell: "LSTM" or "GRU".
            dtype: Floating-point type; weights are drawn in float64 first.
            device: Where the networks live; the draw is the same everywhere.

        Returns:
            The networks, K = len(seeds).

        Raises:
            ValueError: If there is no seed, a size is not positive, or there is no such cell.
        """
        N, d, o = positive_int("units", units), positive_int("inputs", inputs), positive_int("outputs", outputs)
        rows = _GATES[one_of("cell", cell, get_args(Cell))] * N
        shapes = {"W_ih": (rows, d), "W_hh": (rows, N), "b_ih": (rows,), "b_hh": (rows,)}

        def draw(generator: torch.Generator) -> Drawn:
            drawn = {name: uniform(shape, N, generator) for name, shape in shapes.items()}
            return drawn | _draw_readout("linear", N, o, generator, 0)

        return cls(draw_runs(seeds, draw, dtype, device), cell)

    def states(self, inputs: Float[Tensor, "T *K B d"]) -> Float[Tensor, "T K B 1 N"]:
        """Hidden states h(1) … h(T), the cells' outputs: one channel of N positions.

        Args:
            inputs: x(1) … x(T), (T, K, B, d), or (T, B, d) if all runs see the same.

        Raises:
            ValueError: If the inputs do not fit.
        """
        inputs = _for_every_run(inputs, self.K, self.d)
        # The functions that `torch.nn.LSTM` and `torch.nn.GRU` call: to lend one layer's module the weights of run after run
        # would give two threads each other's.
        start = inputs.new_zeros(1, inputs.shape[2], self.hidden)
        options = (True, 1, 0.0, self.training, False, False)  # biases, layers, dropout, –, both ways, batch first
        states = []
        for k in range(self.K):
            x, weights = inputs[:, k].contiguous(), [w[k] for w in (self.W_ih, self.W_hh, self.b_ih, self.b_hh)]
            if self.cell == "LSTM":
                states.append(torch.lstm(x, (start, start), weights, *options)[0])
            else:
                states.append(torch.gru(x, start, weights, *options)[0])
        return torch.stack(states, 1).unsqueeze(-2)

    def forward(self, inputs: Float[Tensor, "T *K B d"], every_step: bool = False) -> Float[Tensor, "*T K B o"]:
        """Outputs of every step, (T, K, B, o), or of the last, (K, B, o)."""
        states = self.states(inputs).squeeze(-2)
        read: Tensor = (states if every_step else states[-1]) @ self.W.mT + self.b_y[:, None]
        return read


def initialise(
    model: str, seeds: Sequence[int], units: int, channels: int, inputs: int, outputs: int, start: Any, **further: Any
) -> RecurrentNetwork:
    """Draw a network with or without waves, one per seed.

    Args:
        model: a Wave-RNN where it begins with "wRNN", else an `IdentityRNN` of one channel.
        seeds, units, channels, inputs, outputs: as there.
        start: of the recurrent weights, its ``u_init`` or ``U_init``.
        further: as there.
    """
    if model.startswith("wRNN"):
        return WaveRNN.initialise(seeds, units, channels, inputs, outputs, u_init=start, **further)
    return IdentityRNN.initialise(seeds, units, inputs, outputs, U_init=start, **further)


def network_of(parameters: Mapping[str, Tensor]) -> WaveRNN | IdentityRNN | GatedRNN:
    """The networks whose stacked parameters these are, whatever their kind."""
    if "u" in parameters:
        return WaveRNN(parameters)
    if "W_hh" not in parameters:
        return IdentityRNN(parameters)
    _, rows, N = parameters["W_hh"].shape
    return GatedRNN(parameters, "LSTM" if rows == 4 * N else "GRU")
