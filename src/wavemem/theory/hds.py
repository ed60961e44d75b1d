"""History-dependent dynamical systems (HDS), Eq. 1 of the travelling-wave paper: the tasks of Parts I and II, and their episodes.

An HDS with a history of s vectors of dimension d is given s initial vectors and then produces
x_i = f(x_{i-1}, ..., x_{i-s}). A history is stored oldest vector first: ``h[..., 0, :]`` is x_{i-s} and
``h[..., s-1, :]`` is x_{i-1}, the order in which the vectors lie on the substrate (column 1 to column s).

A linear HDS advances its flattened history by the operator Φ (Eq. 6 in the standard basis): a shift of the columns, and the
boundary that computes the next vector.

A recurrent network meets such a system in episodes. In the input phase (s steps) it receives the vectors of a random binary
history, oldest first; in the output phase it receives zeros and must produce the states that follow.

Source: Karuvally, Sejnowski, Siegelmann, "Hidden Traveling Waves bind Working Memory Variables in Recurrent Neural
Networks", ICML 2024, sections 2 to 4, Eqs. 1, 4, 26, 29.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import finite, positive_int, require, shape_is


class HDS:
    """A history-dependent dynamical system, Eq. 1: x_i = f(x_{i-1}, ..., x_{i-s}) for i > s.

    Args:
        s: length of the history, in vectors.
        d: dimension of each vector.
        f: the evolution function, from histories of shape (..., s, d), oldest vector first, to the next vectors of
            shape (..., d).
        name: what to call the system in messages and figures.

    Raises:
        ValueError: if s or d is not a positive whole number, or f is not callable.
    """

    def __init__(self, s: int, d: int, f: Callable[[Tensor], Tensor], name: str = "HDS") -> None:
        self.s = positive_int("s", s)
        self.d = positive_int("d", d)
        self.name = name
        require(callable(f), f"f = {f!r}", "a function from (..., s, d) to (..., d)", "Pass a callable for f.")
        self.f = f

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, s={self.s}, d={self.d})"

    def next(self, h: Float[Tensor, "*batch s d"]) -> Float[Tensor, "*batch d"]:
        """f(h), the vector that follows each history (Eq. 1, second line).

        Raises:
            ValueError: if h does not end in (s, d), or f returned something of another shape.
        """
        shape_is("h", h, ("...", self.s, self.d))
        x = self.f(h)
        shape_is("f(h)", x, (*h.shape[:-2], self.d))
        return x

    def rollout(self, u: Float[Tensor, "*batch s d"], horizon: int) -> Float[Tensor, "*batch horizon d"]:
        """The first ``horizon`` states after the initial history, one step at a time (Eq. 1).

        Args:
            u: initial histories x_1, ..., x_s, oldest first.
            horizon: how many states to produce.

        Returns:
            x_{s+1}, ..., x_{s+horizon}.

        Raises:
            ValueError: if u does not end in (s, d) or the horizon is not positive.
        """
        h, states = u, []
        for _ in range(positive_int("horizon", horizon)):
            x = self.next(h)
            states.append(x)
            h = torch.cat([h[..., 1:, :], x.unsqueeze(-2)], dim=-2)
        return torch.stack(states, dim=-2)

    def targets(self, u: Float[Tensor, "*batch s d"], horizon: int) -> Float[Tensor, "*batch horizon d"]:
        """What a model should produce in an output phase of ``horizon`` steps; here the same as :meth:`rollout`."""
        return self.rollout(u, horizon)


def shift_operator(s: int, d: int, dtype: torch.dtype = torch.float64) -> Float[Tensor, "sd sd"]:
    """The travelling part of Φ in the standard basis: Σ_{μ=1}^{(s-1)d} |e_μ⟩⟨e^{μ+d}| (first sum of Eq. 6).

    Ones on the d-th superdiagonal: column i of the substrate receives column i + 1.

    Raises:
        ValueError: if s or d is not a positive whole number.
    """
    s, d = positive_int("s", s), positive_int("d", d)
    return torch.diag(torch.ones((s - 1) * d, dtype=dtype), d)


def history_length(F: Float[Tensor, "d sd"]) -> int:
    """s of a linear boundary's matrix F (d, s·d).

    Raises:
        ValueError: if F is no matrix, or its width is not a multiple of its height.
    """
    shape_is("F", F, ("d", "s*d"))
    d, width = (int(size) for size in F.shape)
    fits = d > 0 and width > 0 and width % d == 0
    require(fits, f"F of shape {(d, width)}", "(d, s*d)", "The width of F must be a multiple of its height.")
    return width // d


def boundary_operator(F: Float[Tensor, "d sd"]) -> Float[Tensor, "sd sd"]:
    """The boundary part of Φ in the standard basis (second sum of Eq. 6): F in the last d rows, zeros above.

    Args:
        F: the linear boundary f as a matrix acting on the flattened substrate.

    Raises:
        ValueError: if the width of F is not a multiple of its height.
    """
    s, width = history_length(F), int(F.shape[1])
    return torch.cat([F.new_zeros(width - width // s, width), F])


def linear_boundary_operator(F: Float[Tensor, "d sd"]) -> Float[Tensor, "sd sd"]:
    """Φ of a linear boundary F (d, s·d) in the standard basis (Eq. 6): shift plus boundary.

    With it ``flatten(step(h)) == Phi @ flatten(h)``.

    Raises:
        ValueError: if the width of F is not a multiple of its height.
    """
    boundary = boundary_operator(F)
    return shift_operator(history_length(F), int(F.shape[0]), dtype=F.dtype).to(F.device) + boundary


class LinearHDS(HDS):
    """An HDS whose evolution function is a matrix acting on the flattened history: x_i = F h, F of shape (d, s·d).

    Entry k = i·d + j of the flattened history is dimension j of vector i, oldest vector first. The operator is kept in
    float64; results have the type and device of the histories they are computed from.

    Args:
        F: the evolution matrix, (d, s·d).
        name: what to call the system.

    Raises:
        ValueError: if F is not a matrix of finite numbers whose width is a multiple of its height.
    """

    def __init__(self, F: Float[Tensor, "d sd"], name: str = "linear HDS") -> None:
        s = history_length(F)
        finite("F", F, "Check how F was made.")
        self.F: Tensor = F.detach().to(device="cpu", dtype=torch.float64).clone()
        self._operators: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        super().__init__(s, int(F.shape[0]), self._apply, name)

    def _apply(self, h: Tensor) -> Tensor:
        return h.flatten(-2) @ self.F.to(dtype=h.dtype, device=h.device).T

    def Phi(self) -> Float[Tensor, "sd sd"]:
        """The operator Φ that advances the flattened history by one step (Eq. 6 in the standard basis), float64."""
        return linear_boundary_operator(self.F)

    def horizon_operator(self, horizon: int) -> Float[Tensor, "horizon_d sd"]:
        """The unrolled system: all outputs of a horizon as one matrix acting on the initial history, float64.

        Block t (rows t·d to (t+1)·d - 1) is F Φ^t, t = 0, ..., horizon-1.

        Raises:
            ValueError: if the horizon is not positive.
        """
        horizon = positive_int("horizon", horizon)
        block, blocks = self.F, [self.F]
        for _ in range(horizon - 1):
            # block @ Phi without building Phi: the shift moves columns, only the last d of them meet F.
            shifted = torch.zeros_like(block)
            shifted[:, self.d :] = block[:, : -self.d]
            block = shifted + block[:, -self.d :] @ self.F
            blocks.append(block)
        return torch.cat(blocks)

    def targets(self, u: Float[Tensor, "*batch s d"], horizon: int) -> Float[Tensor, "*batch horizon d"]:
        """The same as :meth:`rollout`, as one product with :meth:`horizon_operator`.

        Raises:
            ValueError: if u does not end in (s, d) or the horizon is not positive.
        """
        horizon = positive_int("horizon", horizon)
        shape_is("u", u, ("...", self.s, self.d))
        key = (u.dtype, u.device)
        operator = self._operators.get(key)
        if operator is None or operator.shape[0] < horizon * self.d:
            # Training asks for the same few horizons thousands of times; shorter ones are leading rows of longer ones.
            operator = self.horizon_operator(horizon).to(dtype=u.dtype, device=u.device)
            self._operators[key] = operator
        flat = u.flatten(-2) @ operator[: horizon * self.d].T
        return flat.unflatten(-1, (horizon, self.d))


def generalized_fibonacci(s: int, d: int) -> LinearHDS:
    """The Generalized Fibonacci system, Eqs. 4 and 26: the next vector is the sum of the last s vectors.

    Args:
        s: how many vectors are summed (2: the Fibonacci numbers).
        d: dimension of the vectors; each is an independent series.

    Raises:
        ValueError: if s or d is not a positive whole number.
    """
    s, d = positive_int("s", s), positive_int("d", d)
    return LinearHDS(torch.eye(d, dtype=torch.float64).repeat(1, s), name=f"Generalized Fibonacci (s={s}, d={d})")


def repeat_copy(s: int, d: int) -> LinearHDS:
    """Repeat copy (task T1, Eq. 29): the next vector is the oldest one, so the history repeats with period s.

    Raises:
        ValueError: if s or d is not a positive whole number.
    """
    s, d = positive_int("s", s), positive_int("d", d)
    return LinearHDS(torch.eye(d, s * d, dtype=torch.float64), name=f"repeat copy (s={s}, d={d})")


def linear_floor(task: LinearHDS, horizon: int) -> Float[Tensor, " d"]:
    """Smallest mean squared error of each output that a linear network can have, over independent ±1 histories.

    The output of a linear Elman network is y(t) = Σ_k R_k u(t - k) with R_k = W_r W_hh^k W_uh: what it makes of an input
    depends on how long ago it came, not on where in the history it stood. The task asks for y*(s + m) = Σ_i A_{m,i} u(i), where
    A_{m,i} need not be a function of m - i; the part that is not cannot be learned without a non-linearity.

    For entries of zero mean and unit variance the expected squared error is the sum of the squared differences of the
    coefficients. Each R_k is fitted to all the A_{m,i} with s + m - i = k, so the best one is their mean. It is attained:
    a delay line holds every u(t - k) that counts.

    Args:
        task: The linear history-dependent system.
        horizon: Steps of the output phase.

    Returns:
        One loss per output, averaged over the horizon; their mean is the smallest training loss.

    Raises:
        ValueError: If the horizon is not a positive whole number.
    """
    A = task.horizon_operator(horizon).reshape(horizon, task.d, task.s, task.d)
    total = torch.zeros(task.d, dtype=torch.float64)
    for delay in range(1, task.s + horizon):
        # 0-based: output step m, history entry i, and s + m - i = delay.
        pairs = [(m, task.s + m - delay) for m in range(horizon) if 0 <= task.s + m - delay < task.s]
        same = torch.stack([A[m, :, i] for m, i in pairs])
        total += ((same - same.mean(0)) ** 2).sum((0, 2))
    return total / horizon


def random_histories(
    batch: int,
    s: int,
    d: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "batch s d"]:
    """Histories with independent, uniformly drawn entries in {-1, +1}, oldest vector first.

    Args:
        batch: number of histories.
        s: length of a history.
        d: dimension of its vectors.
        generator: source of the random numbers; histories depend on its state alone, not on ``device``.
        dtype: type of the result.
        device: where the result shall live.

    Raises:
        ValueError: if a size is not a positive whole number.
    """
    shape = (positive_int("batch", batch), positive_int("s", s), positive_int("d", d))
    bits = torch.randint(0, 2, shape, generator=generator, device=generator.device)
    return (2 * bits - 1).to(dtype=dtype, device=device)


def elman_inputs(u: Float[Tensor, "*batch s d"], horizon: int) -> Float[Tensor, "time *batch d"]:
    """What a recurrent network receives: the history, oldest vector first, then zeros; time first, (s + horizon, ..., d).

    Raises:
        ValueError: if u has fewer than two axes or the horizon is not positive.
    """
    horizon = positive_int("horizon", horizon)
    shape_is("u", u, ("...", "s", "d"))
    shown = u.movedim(-2, 0)
    return torch.cat([shown, shown.new_zeros((horizon, *shown.shape[1:]))])


def accuracy(y: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"], per: int | None = None) -> Tensor:
    """Share of outputs with the right sign (chance level 1/2 on random histories). An output of exactly 0 counts half.

    Args:
        y: outputs.
        target: targets in {-1, +1}, same shape.
        per: axis to keep, for one accuracy per run or per time step; by default all are averaged.

    Returns:
        A scalar tensor, or a vector along the axis ``per``.

    Raises:
        ValueError: if the shapes differ or the axis does not exist.
    """
    shape_is("y", y, tuple(target.shape))
    # A network whose weights have decayed to 0 says nothing: it is neither right nor wrong, but at chance.
    right = (y * target > 0).to(torch.float64) + 0.5 * (y == 0)
    if per is None:
        return right.mean()
    require(-y.ndim <= per < y.ndim, f"per = {per}", f"an axis of a tensor with {y.ndim}", "Choose another axis.")
    return right.movedim(per, 0).flatten(1).mean(dim=1)
