"""What the Wave-RNN and the network without waves have in common: ensembles of K runs, input weights, biases, readout.

| variable | shape | symbol |
|---|---|---|
| `V` | (K, N, d) | input weights, N = c·n hidden units |
| `b_V`, `b_*` | (K, N), … | biases of the input map and of the recurrent map: two, as in the papers' public code |
| `W`, `b_y` | (K, o, N), (K, o) | linear readout |
| `W1`, `b1`, `W2`, `b2` | (K, m, N), … | readout with one hidden layer of m rectified units |

Source: Keller et al., ICLR 2024, section 2 and Appendix B, and the public code for what these leave open.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wavemem.checks import one_of, require, shape_is
from wavemem.kernels.wave import WaveActivation, wave_final_state, wave_outputs, wave_scan

Readout = Literal["linear", "mlp"]

_LINEAR = ("W", "b_y")
_MLP = ("W1", "b1", "W2", "b2")


def uniform(shape: tuple[int, ...], inputs: int, generator: torch.Generator) -> Tensor:
    """PyTorch's default start of linear and convolutional layers: U(-1/√inputs, 1/√inputs), drawn in float64."""
    bound = 1.0 / inputs**0.5
    return (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) * bound


def draw_readout(kind: Readout, hidden: int, outputs: int, generator: torch.Generator, width: int) -> dict[str, Tensor]:
    """Draw a readout of one run.

    Args:
        kind: "linear" or "mlp".
        hidden: number of hidden units N.
        outputs: o.
        generator: source of the random numbers.
        width: units of the hidden layer of an "mlp".

    Returns:
        Name → weights without the axis of runs.
    """
    sizes = [(outputs, hidden)] if kind == "linear" else [(width, hidden), (outputs, width)]
    names = _LINEAR if kind == "linear" else _MLP
    drawn: dict[str, Tensor] = {}
    for i, (rows, columns) in enumerate(sizes):
        drawn[names[2 * i]] = uniform((rows, columns), columns, generator)
        drawn[names[2 * i + 1]] = uniform((rows,), columns, generator)
    return drawn


class RecurrentNetwork(nn.Module, ABC):
    r"""K independent networks $h(t) = \sigma(\text{recurrent}(h(t-1)) + V x(t) + b)$, $y = \text{readout}(h)$.

    Subclasses say what the recurrent weights are (`kernel`) and which biases there are (`bias`).

    Args:
        parameters: Name → weights stacked over runs.
        activation: σ, "relu", "tanh" or "linear".

    Raises:
        ValueError: If parameters are missing, unknown or do not fit together, or the activation is unknown.
    """

    recurrent: tuple[str, ...] = ()
    """Names of the recurrent weights and biases."""

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
        one_of("activation", activation, get_args(WaveActivation))
        readout = _MLP if "W1" in parameters else _LINEAR
        wanted = {"V", "b_V", *self.recurrent, *readout}
        require(
            set(parameters) == wanted,
            f"parameters named {', '.join(sorted(parameters))}",
            ", ".join(sorted(wanted)),
            "Give every weight once, stacked over the runs.",
        )
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value.detach().clone()))
        self.activation: WaveActivation = activation
        self.readout: Readout = "mlp" if readout == _MLP else "linear"
        shape_is("V", self.V, ("K", "N", "d"))
        K, N, _ = self.V.shape
        shape_is("b_V", self.b_V, (K, N))
        if self.readout == "linear":
            shape_is("W", self.W, (K, "o", N))
            shape_is("b_y", self.b_y, (K, self.W.shape[1]))
        else:
            shape_is("W1", self.W1, (K, "m", N))
            shape_is("b1", self.b1, (K, self.W1.shape[1]))
            shape_is("W2", self.W2, (K, "o", self.W1.shape[1]))
            shape_is("b2", self.b2, (K, self.W2.shape[1]))

    @abstractmethod
    def kernel(self) -> Float[Tensor, "K c c k"]:
        """The recurrent weights as the kernel of `wavemem.kernels.wave`."""

    @abstractmethod
    def bias(self) -> Float[Tensor, "K N"]:
        """Sum of the biases that act on each hidden unit."""

    @property
    def K(self) -> int:
        """Number of runs."""
        return int(self.V.shape[0])

    @property
    def hidden(self) -> int:
        """Number of hidden units of a run, N."""
        return int(self.V.shape[1])

    @property
    def d(self) -> int:
        """Dimension of the inputs."""
        return int(self.V.shape[2])

    @property
    def o(self) -> int:
        """Dimension of the outputs."""
        return int((self.W if self.readout == "linear" else self.W2).shape[1])

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Tensor], activation: WaveActivation = "relu") -> Self:
        """A network with these weights; the inverse of `parameters_dict`."""
        return cls(parameters, activation)

    def parameters_dict(self) -> dict[str, Tensor]:
        """Name → weights (K, …), detached: what `wavemem.training.fit.fit` starts from."""
        return {name: value.detach().clone() for name, value in self.named_parameters()}

    def run(self, k: int) -> Self:
        """Run k alone, as an ensemble of one.

        Raises:
            ValueError: If there is no such run.
        """
        require(0 <= k < self.K, f"k = {k}", f"0 to {self.K - 1}", "Choose one of the runs.")
        return type(self)({name: value[k : k + 1] for name, value in self.parameters_dict().items()}, self.activation)

    def _inputs(self, inputs: Tensor) -> Tensor:
        if inputs.ndim == 3:
            inputs = inputs.unsqueeze(1).expand(-1, self.K, -1, -1)
        shape_is("inputs", inputs, ("T", self.K, "B", self.d))
        return inputs

    def states(
        self, inputs: Float[Tensor, "T *K B d"], h0: Float[Tensor, "K B c n"] | None = None
    ) -> Float[Tensor, "T K B c n"]:
        """States at every step: activity with time first, channel and position last.

        Args:
            inputs: x(1) … x(T), (T, K, B, d), or (T, B, d) if all runs see the same.
            h0: h(0); zeros by default.
        """
        states = wave_scan(self.kernel(), self.V, self.bias(), self._inputs(inputs), h0, activation=self.activation)
        return self._activity(states)

    def _activity(self, states: Tensor) -> Tensor:
        return states

    def forward(self, inputs: Float[Tensor, "T *K B d"], every_step: bool = False) -> Float[Tensor, "*T K B o"]:
        """Outputs of every step, (T, K, B, o), or of the last, (K, B, o)."""
        u, bias, x = self.kernel(), self.bias(), self._inputs(inputs)
        if self.readout == "linear":
            return wave_outputs(u, self.V, bias, self.W, self.b_y, x, every_step=every_step, activation=self.activation)
        if every_step:
            states = wave_scan(u, self.V, bias, x, activation=self.activation)
        else:
            states = wave_final_state(u, self.V, bias, x, activation=self.activation)
        hidden = torch.relu(states.flatten(-2) @ self.W1.mT + self.b1[:, None])
        return hidden @ self.W2.mT + self.b2[:, None]

    def outputs(self, inputs: Float[Tensor, "T *K B d"], every_step: bool = False) -> Float[Tensor, "*T K B o"]:
        """The same as calling the network."""
        outputs: Tensor = self(inputs, every_step=every_step)
        return outputs

    def parameter_count(self, biases: bool = False) -> int:
        """Parameters of one run.

        Args:
            biases: Whether biases count. The numbers that the paper prints come out without them, except for the
                readout with a hidden layer, where they come out with them.
        """
        total = 0
        for name, value in self.named_parameters():
            if biases or not name.startswith("b"):
                total += value[0].numel()
        return total

    def extra_repr(self) -> str:
        """What printing the network shows."""
        described: dict[str, Any] = {"runs": self.K, "hidden": self.hidden, "inputs": self.d, "outputs": self.o}
        return ", ".join(f"{name}={value}" for name, value in described.items()) + f", activation={self.activation!r}"
