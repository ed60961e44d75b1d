"""A recurrent map close to one of its states: Jacobians, the linearised system, and products along an orbit.

The map is that of an Elman network, F(h, u) = σ(W_hh h + W_uh u + b), and

    F(h + δ, u + υ) = F(h, u) + J δ + J_u υ + O(‖δ‖² + ‖υ‖²),   J = diag(σ'(z)) W_hh,   J_u = diag(σ'(z)) W_uh

with z = W_hh h + W_uh u + b. Where h is a fixed point, F(h, u) = h, this is a linear recurrence for the deviations from it.

Source: Karuvally et al., ICML 2024, appendix A.5, Eqs. 39-41 (Eq. 39 is printed with h(t+1) on both sides; see the errata).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import finite, positive_int, require, shape_is


class RecurrentMap:
    """The map h → tanh(W_hh h + W_uh u + b) of one network, with u held fixed, in double precision.

    Args:
        W_hh: recurrent weights, (N, N).
        W_uh: input weights, (N, d); may be left out where there is no input.
        u: the input, (d,); zero by default.
        b: biases, (N,); zero by default.

    Raises:
        ValueError: if the shapes do not fit together, an entry is not finite, or an input is given without its weights.
    """

    def __init__(
        self,
        W_hh: Float[Tensor, "N N"],
        W_uh: Float[Tensor, "N d"] | None = None,
        u: Float[Tensor, " d"] | None = None,
        b: Float[Tensor, " N"] | None = None,
    ) -> None:
        require(u is None or W_uh is not None, "u without W_uh", "an input together with its weights", "Pass W_uh too.")
        N = int(W_hh.shape[-1])
        self.W_hh = _given("W_hh", W_hh, (N, N))
        self.W_uh = self.W_hh.new_zeros(N, 0) if W_uh is None else _given("W_uh", W_uh, (N, "d"))
        self.drive = self.W_hh.new_zeros(N)
        if u is not None:
            self.drive = self.drive + self.W_uh @ _given("u", u, (self.W_uh.shape[1],))
        if b is not None:
            self.drive = self.drive + _given("b", b, (N,))

    @property
    def N(self) -> int:
        """Number of neurons."""
        return int(self.W_hh.shape[0])

    @property
    def odd(self) -> bool:
        """Whether F(-h) = -F(h): no input and no bias. Fixed points and cycles then come in pairs ±h."""
        return not bool(self.drive.any())

    def __call__(self, h: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch N"]:
        """The next state."""
        return torch.tanh(h @ self.W_hh.mT + self.drive)

    def slopes(self, h: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch N"]:
        """σ'(z) = 1 - tanh²(z), the diagonal of the Jacobian of the activation at these states."""
        return 1.0 - self(h).square()

    def jacobian(self, h: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch N N"]:
        """J = diag(σ'(z)) W_hh at these states."""
        return self.slopes(h)[..., None] * self.W_hh

    def orbit(self, h: Float[Tensor, "*batch N"], steps: int) -> Float[Tensor, "time *batch N"]:
        """The states h, F(h), …, F applied ``steps`` times.

        Raises:
            ValueError: if ``steps`` is negative or the states do not have N entries.
        """
        positive_int("steps", steps, minimum=0)
        states = [_states(h, self.N)]
        for _ in range(steps):
            states.append(self(states[-1]))
        return torch.stack(states)


def _given(name: str, values: Tensor, shape: tuple[int | str, ...]) -> Tensor:
    values = torch.as_tensor(values).detach().double()
    shape_is(name, values, shape)
    finite(name, values)
    return values


def _states(h: Tensor, N: int) -> Tensor:
    states = torch.as_tensor(h).detach().double()
    shape_is("h", states, ("...", N))
    return states


@dataclass(frozen=True)
class Linearisation:
    """First-order picture of the map around a state, Eqs. 40 and 41.

    Attributes:
        h: the state, (*batch, N).
        image: F(h, u), (*batch, N).
        J: Jacobian with respect to the state, (*batch, N, N).
        J_u: Jacobian with respect to the input, (*batch, N, d); d = 0 if the map has no input.
    """

    h: Float[Tensor, "*batch N"]
    image: Float[Tensor, "*batch N"]
    J: Float[Tensor, "*batch N N"]
    J_u: Float[Tensor, "*batch N d"]

    @property
    def speed(self) -> Float[Tensor, "*batch"]:
        """‖F(h, u) - h‖: zero at a fixed point, and the constant term that Eqs. 39 to 41 leave out elsewhere."""
        return (self.image - self.h).norm(dim=-1)

    def predict(
        self, deviation: Float[Tensor, "*batch N"], input_deviation: Float[Tensor, "*batch d"] | None = None
    ) -> Float[Tensor, "*batch N"]:
        """The next state to first order, F(h, u) + J δ + J_u υ.

        Args:
            deviation: δ, from h.
            input_deviation: υ, from u; zero by default.

        Raises:
            ValueError: if the last axes do not fit.
        """
        change = _apply(self.J, deviation, "deviation")
        if input_deviation is not None:
            change = change + _apply(self.J_u, input_deviation, "input_deviation")
        return self.image + change

    def run(self, deviation: Float[Tensor, "*batch N"], steps: int) -> Float[Tensor, "time *batch N"]:
        """Deviations h'(0) … h'(steps) of the linear system without input, Eq. 41.

        Raises:
            ValueError: if ``steps`` is negative or the last axis does not fit.
        """
        positive_int("steps", steps, minimum=0)
        deviations = [torch.as_tensor(deviation).double()]
        for _ in range(steps):
            deviations.append(_apply(self.J, deviations[-1], "deviation"))
        return torch.stack(deviations)


def _apply(matrix: Tensor, vector: Tensor, name: str) -> Tensor:
    vector = torch.as_tensor(vector).double()
    shape_is(name, vector, ("...", int(matrix.shape[-1])))
    return (matrix @ vector[..., None])[..., 0]


def linearise(
    W_hh: Float[Tensor, "N N"],
    W_uh: Float[Tensor, "N d"] | None,
    h: Float[Tensor, "*batch N"],
    u: Float[Tensor, " d"] | None = None,
    b: Float[Tensor, " N"] | None = None,
) -> Linearisation:
    """Linearise h → tanh(W_hh h + W_uh u + b) around one or many states (Eqs. 39 to 41).

    The states, (*batch, N), need not be fixed points: :attr:`Linearisation.speed` says how far they are from being one. The
    other arguments are those of `RecurrentMap`.

    Raises:
        ValueError: if the shapes do not fit together, or an entry is not finite.
    """
    network = RecurrentMap(W_hh, W_uh, u, b)
    states = _states(h, network.N)
    slopes = network.slopes(states)[..., None]
    return Linearisation(states, network(states), slopes * network.W_hh, slopes * network.W_uh)


def orbit_jacobian(network: RecurrentMap, h: Float[Tensor, "*batch N"], steps: int = 1) -> Float[Tensor, "*batch N N"]:
    """Jacobian of the map applied ``steps`` times: the product of the Jacobians along the orbit, the last on the left.

    On a cycle of this length its eigenvalues (the Floquet multipliers) tell whether the cycle is stable.

    Args:
        network: the map.
        h: where the orbits start.
        steps: how often the map is applied.

    Raises:
        ValueError: if ``steps`` is not a positive whole number or the states do not have N entries.
    """
    steps = positive_int("steps", steps)
    state = _states(h, network.N)
    product = network.jacobian(state)
    for _ in range(steps - 1):
        state = network(state)
        # diag(σ') W_hh times the product so far, without building the Jacobian itself.
        product = network.slopes(state)[..., None] * (network.W_hh @ product)
    return product
