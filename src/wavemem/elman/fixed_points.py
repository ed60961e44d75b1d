"""A recurrent map near its states: Jacobians, the linearised system, and its fixed points and slow points.

The map is that of an Elman network, F(h, u) = σ(W_hh h + W_uh u + b), and

    F(h + δ, u + υ) = F(h, u) + J δ + J_u υ + O(‖δ‖² + ‖υ‖²),   J = diag(σ'(z)) W_hh,   J_u = diag(σ'(z)) W_uh

with z = W_hh h + W_uh u + b. Where h is a fixed point, F(h, u) = h, this is a linear recurrence for the deviations from it.

Many starts lead to the fixed points. Minimised is q(h) = ½‖F(h) - h‖², the squared distance that the map moves a state. Its
zeros are the fixed points. Its other minima are slow points: nothing stays there, but everything passes slowly. The
minimisation is Levenberg and Marquardt's, for all starts at once, which ends in Newton steps and so finds stable and unstable
points alike.

A signed selection moves its contents round closed paths through the substrate (`wavemem.theory.selection.recurrence`). If a
network squashes every site on its own, so that a site holds -1, 0 or +1, then Fᵖ leaves alone exactly the contents that Φᵖ
leaves alone. Which of them there are, and in how many directions each is unstable, is a matter of counting
(`expected_fixed_points`).

Source: Karuvally et al., ICML 2024, appendices A.5 (Eqs. 39-41; Eq. 39 is printed with h(t+1) on both sides, see the errata)
and A.5.1 (Eq. 42), after Sussillo and Barak, Neural Computation 2013. Counting is this book's addition.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from wavemem.checks import finite, number_in, positive_int, require, shape_is
from wavemem.theory.selection import Cycle


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

    def run(self, deviation: Float[Tensor, "*batch N"], steps: int) -> Float[Tensor, "time *batch N"]:
        """Deviations h'(0) … h'(steps) of the linear system without input, Eq. 41.

        Raises:
            ValueError: if ``steps`` is negative or the last axis does not fit.
        """
        deviations = [torch.as_tensor(deviation).double()]
        shape_is("deviation", deviations[0], ("...", self.J.shape[-1]))
        for _ in range(positive_int("steps", steps, minimum=0)):
            deviations.append((self.J @ deviations[-1][..., None])[..., 0])
        return torch.stack(deviations)


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


_DISTANCE = 1e-5
"""End points closer than this are the same."""


class Minima(NamedTuple):
    """Where the minimisation ended, one line per start.

    Attributes:
        h: end points, (B, N).
        q: ½‖F(h) - h‖² there, (B,).
        gradient: ‖∇q‖ there, (B,).
    """

    h: Float[Tensor, "B N"]
    q: Float[Tensor, " B"]
    gradient: Float[Tensor, " B"]


@dataclass(frozen=True)
class FixedPoints:
    """Distinct minima of one kind: all fixed points, or all slow points.

    Attributes:
        h: the points, (n, N), by increasing norm.
        residual: ‖F(h) - h‖, (n,).
        eigenvalues: of the Jacobian, (n, N), by decreasing modulus.
        unstable: how many of them have a modulus above 1, (n,).
        starts: how many starts ended there, (n,).
    """

    h: Float[Tensor, "n N"]
    residual: Float[Tensor, " n"]
    eigenvalues: Complex[Tensor, "n N"]
    unstable: Int[Tensor, " n"]
    starts: Int[Tensor, " n"]

    def __len__(self) -> int:
        return int(self.h.shape[0])

    @property
    def stable(self) -> Bool[Tensor, " n"]:
        """Which of them attract everything in their neighbourhood: all |λ| < 1."""
        return self.unstable == 0

    @property
    def unseen(self) -> float:
        """Estimated probability that one more start of the same kind ends at a point that is not in the list.

        Good and Turing's estimate: the share of the starts that are alone at their end point. Near 0 the list is
        complete as far as such starts can tell; 1 where nothing was found.
        """
        return int((self.starts == 1).sum()) / max(int(self.starts.sum()), 1) if len(self) else 1.0


def starting_points(
    N: int,
    count: int,
    generator: torch.Generator,
    visited: Float[Tensor, "*batch N"] | None = None,
    longest: float = 1.0,
) -> Float[Tensor, "count N"]:
    """Where to start: states that the network visits, and random ones of all sizes.

    Half of the starts are visited states drawn at random (none if there are none). The others point in random directions;
    their root mean square entry is spread evenly on a logarithmic scale over three decades below ``longest``.

    Args:
        N: neurons.
        count: how many starts.
        generator: source of the random numbers.
        visited: states from simulations.
        longest: root mean square entry of the longest random start.

    Returns:
        The starts, in double precision.

    Raises:
        ValueError: if a number is not positive or the visited states do not have N entries.
    """
    N, count = positive_int("N", N), positive_int("count", count)
    number_in("longest", longest, 1e-12, 1e12)
    from_visits = torch.zeros(0, N, dtype=torch.float64)
    if visited is not None:
        shape_is("visited", visited, ("...", N))
        pool = visited.detach().double().cpu().reshape(-1, N)
        require(len(pool) > 0, "visited is empty", "at least one state", "Simulate some, or leave it out.")
        from_visits = pool[torch.randint(len(pool), (count // 2,), generator=generator)]
    rest = count - len(from_visits)
    directions = torch.randn(rest, N, generator=generator, dtype=torch.float64)
    directions = directions / directions.square().mean(1, keepdim=True).sqrt()
    sizes = longest * 10.0 ** (-3.0 * torch.rand(rest, 1, generator=generator, dtype=torch.float64))
    return torch.cat([from_visits, sizes * directions])


def minimise_speed(network: RecurrentMap, starts: Float[Tensor, "B N"], iterations: int = 300) -> Minima:
    """Minimise q(h) = ½‖F(h) - h‖² from every start (Eq. 42), all starts at once.

    A step solves (AᵀA + κ·1) δ = -Aᵀ(F(h) - h) with A = ∂(F(h) - h)/∂h. It is taken if q falls, and κ is lowered; else κ
    is raised and the state stays. Starts that have arrived drop out.

    Args:
        network: the map.
        starts: (B, N).
        iterations: at most so many steps per start.

    Returns:
        The end points.

    Raises:
        ValueError: if a number is not positive, or the starts are not (B, N) or not finite.
    """
    iterations = positive_int("iterations", iterations)
    h = torch.as_tensor(starts).detach().double().clone()
    shape_is("starts", h, ("B", network.N))
    finite("starts", h)
    B, N = h.shape
    moved = network(h) - h
    q = 0.5 * moved.square().sum(1)
    gradient = torch.full_like(q, torch.inf)
    damping = torch.full_like(q, 1e-2)
    active = torch.arange(B, device=h.device)
    identity = torch.eye(N, dtype=torch.float64, device=h.device)
    for _ in range(iterations):
        A = network.jacobian(h[active]) - identity
        slope = (A.mT @ moved[active][..., None])[..., 0]
        gradient[active] = slope.norm(dim=1)
        # Arrived: q at the level of rounding, or no direction in which it falls, or no step that would be accepted.
        going = (q[active] > 1e-28) & (gradient[active] > 1e-14) & (damping[active] < 1e12)
        if not bool(going.any()):
            break
        active, A, slope = active[going], A[going], slope[going]
        matrix = A.mT @ A + damping[active, None, None] * identity
        step = torch.linalg.solve(matrix, -slope)
        trial = h[active] + step
        trial_moved = network(trial) - trial
        trial_q = 0.5 * trial_moved.square().sum(1)
        better = trial_q < q[active]
        taken = active[better]
        h[taken], moved[taken], q[taken] = trial[better], trial_moved[better], trial_q[better]
        damping[active] = torch.where(better, damping[active] * 0.1, damping[active] * 10.0).clamp(min=1e-16)
    return Minima(h, q, gradient)


def _distinct(h: Tensor) -> tuple[Tensor, Tensor]:
    """One representative of each group of equal points, and how many are in it."""
    h = h[torch.argsort(h.norm(dim=1), stable=True)]
    kept: list[int] = []
    counts: list[int] = []
    for i in range(len(h)):
        if kept:
            apart = (h[kept] - h[i]).norm(dim=1)
            nearest = int(apart.argmin())
            if float(apart[nearest]) <= _DISTANCE:
                counts[nearest] += 1
                continue
        kept.append(i)
        counts.append(1)
    return h[kept], torch.tensor(counts, dtype=torch.long)


def _describe(network: RecurrentMap, h: Tensor) -> FixedPoints:
    chosen, counts = _distinct(h)
    values = torch.linalg.eigvals(network.jacobian(chosen).cpu()) if len(chosen) else chosen.cpu() + 0j
    values = values.gather(1, values.abs().argsort(dim=1, descending=True, stable=True))
    residual = (network(chosen) - chosen).norm(dim=1)
    return FixedPoints(chosen, residual, values, (values.abs() > 1.0).sum(dim=1), counts)


def find_fixed_points(
    W_hh: Float[Tensor, "N N"] | RecurrentMap, starts: Float[Tensor, "B N"], iterations: int = 300
) -> tuple[FixedPoints, FixedPoints, int]:
    """All fixed points of h → tanh(W_hh h + W_uh u + b) that the starts lead to (Eq. 42), and all slow points.

    Args:
        W_hh: recurrent weights, or the map with its input and biases.
        starts: (B, N), see :func:`starting_points`.
        iterations: at most so many steps per start.

    Returns:
        The fixed points, ‖F(h) - h‖ <= 1e-10, those closer than 1e-5 being the same; the slow points, where the
        gradient of q vanishes but q does not; and how many starts had reached neither when the iterations ended.

    Raises:
        ValueError: if shapes do not fit, an entry is not finite, or a number is not positive.
    """
    network = W_hh if isinstance(W_hh, RecurrentMap) else RecurrentMap(W_hh)
    ends = minimise_speed(network, starts, iterations)
    residual = (2 * ends.q).sqrt()
    arrived = residual <= 1e-10
    # At a minimum with q > 0 the gradient is zero up to rounding, which is relative to the residual.
    slow = ~arrived & (ends.gradient <= 1e-6 * residual)
    return _describe(network, ends.h[arrived]), _describe(network, ends.h[slow]), int((~arrived & ~slow).sum())


def expected_fixed_points(cycles: Sequence[Cycle], period: int = 1) -> dict[int, int]:
    """How many fixed points Fᵖ should have, by their number of unstable directions, if sites are squashed independently.

    Within p steps a cycle of L sites falls apart into g = gcd(L, p) cycles of L/g sites and sign ε^(p/g). One of sign +1 holds
    -1, 0 or +1; one of sign -1 must be empty. An empty one is unstable in its L/g directions, since the gain at small
    activity exceeds one; a full one is stable.

    Args:
        cycles: of the task, from `wavemem.theory.selection.recurrence`.
        period: p; 1 asks for fixed points of the network itself.

    Returns:
        Number of unstable directions → number of fixed points, in increasing order. The entry of 0, if there is one, counts
        the stable ones.

    Raises:
        ValueError: if ``period`` is not a positive whole number.
    """
    period = positive_int("period", period)
    counts: Counter[int] = Counter({0: 1})
    for cycle in cycles:
        pieces = math.gcd(cycle.length, period)
        size = cycle.length // pieces
        for _ in range(pieces):
            following: Counter[int] = Counter()
            for unstable, number in counts.items():
                following[unstable + size] += number
                if cycle.sign ** (period // pieces) > 0:
                    following[unstable] += 2 * number
            counts = following
    return dict(sorted(counts.items()))
