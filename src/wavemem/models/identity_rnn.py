r"""The network without waves that the Wave-RNN is compared with: dense, started from the identity (Le et al., 2015).

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
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wavemem.checks import one_of, positive_int, require, shape_is
from wavemem.kernels.wave import WaveActivation
from wavemem.models.recurrent import Readout, RecurrentNetwork, draw_readout, uniform
from wavemem.models.wave_rnn import InputStart, input_weights
from wavemem.streams import stream

__all__ = ["IdentityRNN", "RecurrentStart"]

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
            V_init: "normal" or "sparse" (one channel: every input into unit 0), see `wavemem.models.wave_rnn`.
            activation: σ.
            readout: "linear" or "mlp" (one hidden layer).
            readout_width: Units of the readout's hidden layer.
            V_scale, biases: As in `wavemem.models.wave_rnn.WaveRNN.initialise`.
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
