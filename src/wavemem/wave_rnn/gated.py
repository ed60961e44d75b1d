r"""Gated networks for comparison: K independent LSTMs (Hochreiter & Schmidhuber, 1997) or GRUs (Cho et al., 2014).

The cells are PyTorch's own. The class has the calls of `wavemem.wave_rnn.network.WaveRNN`, so that an experiment can train any
of them in the same way; its parameters are stacked over runs, each run being computed by itself.

| variable | shape | symbol |
|---|---|---|
| `W_ih`, `b_ih` | (K, g·N, d), (K, g·N) | input weights and bias of the g = 4 (LSTM) or 3 (GRU) gates |
| `W_hh`, `b_hh` | (K, g·N, N), (K, g·N) | recurrent weights and bias |
| `W`, `b_y` | (K, o, N), (K, o) | linear readout |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Self, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wavemem.checks import one_of, positive_int, require, shape_is
from wavemem.streams import stream
from wavemem.wave_rnn.network import IdentityRNN, WaveRNN
from wavemem.wave_rnn.recurrent import draw_readout, uniform

Cell = Literal["LSTM", "GRU"]

_GATES: Final = {"LSTM": 4, "GRU": 3}
_RECURRENT: Final = ("W_ih", "W_hh", "b_ih", "b_hh")
"""In the order in which PyTorch's functions take them."""


class GatedRNN(nn.Module):
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
        wanted = {*_RECURRENT, "W", "b_y"}
        require(
            set(parameters) == wanted,
            f"parameters named {', '.join(sorted(parameters))}",
            ", ".join(sorted(wanted)),
            "Give every weight once, stacked over the runs.",
        )
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value.detach().clone()))
        shape_is("W_hh", self.W_hh, ("K", "g*N", "N"))
        K, rows, N = self.W_hh.shape
        require(
            rows == _GATES[cell] * N,
            f"W_hh of shape {tuple(self.W_hh.shape)} for a {cell}",
            f"{_GATES[cell]} rows per hidden unit",
            "The gates' weights stand one below the other.",
        )
        shape_is("W_ih", self.W_ih, (K, rows, "d"))
        shape_is("b_ih", self.b_ih, (K, rows))
        shape_is("b_hh", self.b_hh, (K, rows))
        shape_is("W", self.W, (K, "o", N))
        shape_is("b_y", self.b_y, (K, self.W.shape[1]))

    @property
    def K(self) -> int:
        """Number of runs."""
        return int(self.W_hh.shape[0])

    @property
    def N(self) -> int:
        """Hidden units of a run."""
        return int(self.W_hh.shape[2])

    @property
    def hidden(self) -> int:
        """The same as N."""
        return self.N

    @property
    def d(self) -> int:
        """Dimension of the inputs."""
        return int(self.W_ih.shape[2])

    @property
    def o(self) -> int:
        """Dimension of the outputs."""
        return int(self.W.shape[1])

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
        require(len(seeds) > 0, "seeds is empty", "at least one seed", "Give one seed per run.")
        N, d, o = positive_int("units", units), positive_int("inputs", inputs), positive_int("outputs", outputs)
        rows = _GATES[one_of("cell", cell, get_args(Cell))] * N
        shapes = {"W_ih": (rows, d), "W_hh": (rows, N), "b_ih": (rows,), "b_hh": (rows,)}
        runs = []
        for seed in seeds:
            generator = stream(seed, "weights")
            drawn = {name: uniform(shape, N, generator) for name, shape in shapes.items()}
            runs.append(drawn | draw_readout("linear", N, o, generator, 0))
        stacked = {name: torch.stack([run[name] for run in runs]).to(device, dtype) for name in runs[0]}
        return cls(stacked, cell)

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Tensor], cell: Cell = "LSTM") -> Self:
        """A network with these weights; the inverse of `parameters_dict`."""
        return cls(parameters, cell)

    def parameters_dict(self) -> dict[str, Tensor]:
        """Name → weights (K, …), detached: what `wavemem.training.fit.fit` starts from."""
        return {name: value.detach().clone() for name, value in self.named_parameters()}

    def run(self, k: int) -> Self:
        """Run k alone, as an ensemble of one.

        Raises:
            ValueError: If there is no such run.
        """
        require(0 <= k < self.K, f"k = {k}", f"0 to {self.K - 1}", "Choose one of the runs.")
        return type(self)({name: value[k : k + 1] for name, value in self.named_parameters()}, self.cell)

    def states(self, inputs: Float[Tensor, "T *K B d"]) -> Float[Tensor, "T K B 1 N"]:
        """Hidden states h(1) … h(T), the cells' outputs: one channel of N positions.

        Args:
            inputs: x(1) … x(T), (T, K, B, d), or (T, B, d) if all runs see the same.

        Raises:
            ValueError: If the inputs do not fit.
        """
        if inputs.ndim == 3:
            inputs = inputs.unsqueeze(1).expand(-1, self.K, -1, -1)
        shape_is("inputs", inputs, ("T", self.K, "B", self.d))
        # The functions that `torch.nn.LSTM` and `torch.nn.GRU` call: to lend one layer's module the weights of run after run
        # would give two threads each other's.
        start = inputs.new_zeros(1, inputs.shape[2], self.N)
        options = (True, 1, 0.0, self.training, False, False)  # biases, layers, dropout, –, both ways, batch first
        states = []
        for k in range(self.K):
            x, weights = inputs[:, k].contiguous(), [getattr(self, name)[k] for name in _RECURRENT]
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

    def outputs(self, inputs: Float[Tensor, "T *K B d"], every_step: bool = False) -> Float[Tensor, "*T K B o"]:
        """The same as calling the network."""
        outputs: Tensor = self(inputs, every_step=every_step)
        return outputs

    def parameter_count(self, biases: bool = True) -> int:
        """Parameters of one run.

        Args:
            biases: Whether biases count. The numbers that the Wave-RNN paper prints for LSTMs and GRUs come out with them.
        """
        return sum(value[0].numel() for name, value in self.named_parameters() if biases or not name.startswith("b"))


def network_of(parameters: Mapping[str, Tensor]) -> WaveRNN | IdentityRNN | GatedRNN:
    """The networks whose stacked parameters these are, whatever their kind."""
    if "u" in parameters:
        return WaveRNN.from_parameters(parameters)
    if "W_hh" not in parameters:
        return IdentityRNN.from_parameters(parameters)
    _, gates, N = parameters["W_hh"].shape
    return GatedRNN.from_parameters(parameters, "LSTM" if gates == 4 * N else "GRU")


def side_by_side(parts: Sequence[Mapping[str, Tensor]]) -> WaveRNN | IdentityRNN | GatedRNN:
    """The networks of several stacks of parameters of one shape as one ensemble, stack after stack."""
    return network_of({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
