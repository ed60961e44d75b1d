"""Model skeleton: say here what the network computes, in the paper's letters, and which paper that is.

h(t) = tanh(U h(t−1) + V x(t) + b),    h(0) = 0,        y(T) = W h(T)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wavemem.checks import positive_int, shape_is
from wavemem.training.ensemble import Ensemble, draw_runs


class SkeletonRNN(Ensemble):
    """K independent networks of one layer with a linear readout.

    Args:
        parameters: Name → weights stacked over runs: U (K, N, N), V (K, N, d), b (K, N), W (K, o, N).

    Raises:
        ValueError: If parameters are missing, unknown or do not fit together.
    """

    U: nn.Parameter
    V: nn.Parameter
    b: nn.Parameter
    W: nn.Parameter

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.set_parameters(parameters, {"U": "K N N", "V": "K N d", "b": "K N", "W": "K o N"})

    @classmethod
    def initialise(
        cls,
        seeds: Sequence[int],
        units: int,
        inputs: int,
        outputs: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Draw one network per seed: weights from a normal distribution of variance 1/(number of inputs), biases 0.

        Args:
            seeds: One seed per run; a run's weights depend on its own seed alone.
            units: N.
            inputs: d.
            outputs: o.
            dtype: Floating-point type; weights are drawn in float64 first.
            device: Where the networks live; the draw is the same everywhere.

        Raises:
            ValueError: If there is no seed or a size is not positive.
        """
        N, d, o = positive_int("units", units), positive_int("inputs", inputs), positive_int("outputs", outputs)

        def draw(generator: torch.Generator) -> dict[str, Tensor]:
            def normal(*shape: int) -> Tensor:
                return torch.randn(shape, generator=generator, dtype=torch.float64) / shape[-1] ** 0.5

            return {"U": normal(N, N), "V": normal(N, d), "b": torch.zeros(N, dtype=torch.float64), "W": normal(o, N)}

        return cls(draw_runs(seeds, draw, dtype, device))

    def forward(self, inputs: Float[Tensor, "T K B d"]) -> Float[Tensor, "K B o"]:
        """What the networks say after the last step.

        Args:
            inputs: x(1) … x(T), (T, K, B, d).

        Raises:
            ValueError: If the inputs do not fit.
        """
        shape_is("inputs", inputs, ("T", self.K, "B", self.V.shape[2]))
        driven = inputs @ self.V.mT + self.b[:, None]
        h = torch.zeros_like(driven[0])
        for now in driven:
            h = torch.tanh(h @ self.U.mT + now)
        return h @ self.W.mT
