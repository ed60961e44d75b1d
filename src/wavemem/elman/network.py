"""Ensembles of Elman networks: K independent runs with stacked parameters (TWM Eq. 9 and Eq. 48).

| variable | shape | symbol |
|---|---|---|
| `W_hh` | (K, N, N) | recurrent weights, one matrix per run |
| `W_uh` | (K, N, d) | input weights |
| `W_r` | (K, d, N) | readout |
| `states` | (T, K, B, N) | h(1) … h(T) |

Unlike Eq. 48 there is no bias: the networks of the paper's Table 1 had none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wavemem.checks import one_of, positive_int
from wavemem.kernels.elman import Activation, elman_scan
from wavemem.training.ensemble import Ensemble, draw_runs

Initialisation = Literal["uniform", "gaussian"]


class ElmanEnsemble(Ensemble):
    r"""K independent Elman networks, $h(t) = \sigma(W_{hh} h(t-1) + W_{uh} u(t))$, $y(t) = W_r h(t)$ (TWM Eq. 9).

    The runs never exchange anything: they are stacked so that one call of the kernel serves them all.

    Args:
        W_hh: Recurrent weights, shape (K, N, N).
        W_uh: Input weights, shape (K, N, d).
        W_r: Readout, shape (K, d, N).
        activation: σ, "tanh" or "linear".

    Raises:
        ValueError: If the shapes do not fit together or the activation is unknown.
    """

    W_hh: nn.Parameter
    W_uh: nn.Parameter
    W_r: nn.Parameter

    def __init__(
        self,
        W_hh: Float[Tensor, "K N N"],
        W_uh: Float[Tensor, "K N d"],
        W_r: Float[Tensor, "K d N"],
        activation: Activation = "tanh",
    ) -> None:
        super().__init__()
        self.activation: Activation = one_of("activation", activation, get_args(Activation))
        axes = {"W_hh": "K N N", "W_uh": "K N d", "W_r": "K d N"}
        self.set_parameters({"W_hh": W_hh, "W_uh": W_uh, "W_r": W_r}, axes)

    @classmethod
    def initialise(
        cls,
        seeds: Sequence[int],
        hidden_size: int,
        d: int,
        init: Initialisation = "uniform",
        activation: Activation = "tanh",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Self:
        r"""Draw one network per seed (TWM App. B.3).

        Args:
            seeds: One seed per run; a run's weights depend on its own seed alone.
            hidden_size: N.
            d: Input and output dimensions.
            init: "uniform" draws every weight from U(-1/√N, 1/√N), which is PyTorch's default for `nn.RNN` and for the
                readout of an N-dimensional state; "gaussian" draws from N(0, 1/N).
            activation: σ, "tanh" or "linear".
            dtype: Floating-point type. Weights are drawn in float64 first, so that the type does not change the draw.
            device: Where the ensemble lives; the draw is made on the CPU and is the same everywhere.

        Returns:
            The ensemble, with K = len(seeds).

        Raises:
            ValueError: If there is no seed, a size is not positive, or `init` is unknown.
        """
        N, d = positive_int("hidden_size", hidden_size), positive_int("d", d)
        one_of("init", init, get_args(Initialisation))
        bound = 1.0 / math.sqrt(N)

        def draw(generator: torch.Generator) -> dict[str, Tensor]:
            drawn = {}
            for name, shape in {"W_hh": (N, N), "W_uh": (N, d), "W_r": (d, N)}.items():
                if init == "uniform":
                    drawn[name] = torch.rand(shape, generator=generator, dtype=torch.float64) * (2.0 * bound) - bound
                else:
                    drawn[name] = torch.randn(shape, generator=generator, dtype=torch.float64) * bound
            return drawn

        return cls(**draw_runs(seeds, draw, dtype, device), activation=activation)

    @property
    def N(self) -> int:
        """Number of hidden units of each run."""
        return self.W_hh.shape[1]

    @property
    def d(self) -> int:
        """Number of input and output dimensions."""
        return self.W_uh.shape[2]

    def states(
        self, inputs: Float[Tensor, "S K B d"], h0: Float[Tensor, "K B N"] | None = None, steps: int | None = None
    ) -> Float[Tensor, "T K B N"]:
        """Run the recurrence from h(0) and return h(1) … h(T).

        Args:
            inputs: u(1) … u(S), shape (S, K, B, d): every run has its own batch.
            h0: Initial state, shape (K, B, N); zeros by default, as in the paper.
            steps: T; the inputs are taken as zero from step S + 1 to T. By default T = S.

        Returns:
            States of shape (T, K, B, N); differentiable in weights, inputs and h0.

        Raises:
            ValueError: If the shapes do not fit.
        """
        return elman_scan(self.W_hh, self.W_uh, inputs, h0=h0, steps=steps, activation=self.activation)

    def outputs(self, states: Float[Tensor, "T K B N"]) -> Float[Tensor, "T K B d"]:
        """Read y(t) = W_r h(t) out of states of shape (T, K, B, N); shape (T, K, B, d)."""
        return torch.einsum("tkbn,kdn->tkbd", states, self.W_r)

    def forward(
        self, inputs: Float[Tensor, "S K B d"], h0: Float[Tensor, "K B N"] | None = None, steps: int | None = None
    ) -> Float[Tensor, "T K B d"]:
        """Return the outputs y(1) … y(T); arguments as in `states`."""
        return self.outputs(self.states(inputs, h0=h0, steps=steps))
