r"""Variable memories: the directions of a trained network's hidden space that hold the substrate's entries, after Algorithm 1.

A trained network is said to carry a substrate if there are vectors $\psi_k$, one per entry of the substrate, with

$$ h(t) \approx \Psi\,x(t), \qquad W_{hh}\Psi \approx \Psi\Phi, \qquad W_r\Psi \approx [0 \cdots 0\; 1], $$

where $x(t)$ is the flattened content of the substrate, oldest vector first: entry k = i·d + j is dimension j of column i + 1, and
column s (the last d entries) is where the boundary writes. An estimate may be limited to the entries that a task needs (`keep`,
from `wavemem.theory.spectrum.reduced_basis`). `algorithm_1` trusts that powers of W_hh shift and that W_r† is column s; other
estimates stand in `wavemem.elman.estimates`.

In the basis of Algorithm 1 column i - 1 is *defined* as what W_hh makes of column i. In that basis the operator of any network
moves column i to column i - 1, and whatever state enters the substrate travels. What is not built in is what becomes of an
entry at the end of its way, which states occur, and how long they last. `operator_share`, `agreement`, `step_correlation` and
`line_share` tell the two apart.

Source: Karuvally, Sejnowski and Siegelmann, ICML 2024, section 4.2 and Algorithm 1; details of how the algorithm was run from the
authors' public code; the evidence of travel is our own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import finite, number_in, one_of, positive_int, require, shape_is
from wavemem.theory.hds import HDS

Keep = Sequence[int] | Int[Tensor, " m"] | None
"""Entries of the flattened substrate, increasing; None for all of them."""


@dataclass(frozen=True, eq=False)
class VariableMemories:
    """Vectors in hidden space, one for each kept entry of the substrate.

    Attributes:
        Psi: (N, m), one column per kept entry.
        keep: (m,), which entries of the flattened substrate they stand for, increasing.
        s: columns of the substrate.
        d: dimensions of the substrate.
        complement: (N, c) orthonormal directions outside the span of Psi, or None.
        transient: (N, q) directions that an input moves for a few steps and that reading ignores, or None, see
            `with_transients`.

    Raises:
        ValueError: if the shapes do not fit together or an entry is named that the substrate does not have.
    """

    Psi: Float[Tensor, "N m"]
    keep: Int[Tensor, " m"]
    s: int
    d: int
    complement: Float[Tensor, "N c"] | None = None
    transient: Float[Tensor, "N q"] | None = None

    def __post_init__(self) -> None:
        """Check the shapes and entries; refuse vectors that are not finite."""
        shape_is("Psi", self.Psi, ("N", len(self.keep)))
        finite("Psi", self.Psi, "Did the training diverge, or do powers of W_hh overflow?")
        kept_entries(self.keep, self.s, self.d)
        for name in ("complement", "transient"):
            others = getattr(self, name)
            if others is not None:
                shape_is(name, others, (self.Psi.shape[0], "c"))

    @property
    def N(self) -> int:
        """Neurons."""
        return int(self.Psi.shape[0])

    @property
    def m(self) -> int:
        """Kept entries."""
        return int(self.Psi.shape[1])

    @cached_property
    def dual(self) -> Float[Tensor, "m N"]:
        """The covectors Ψ†: what reads the entries out of a state by least squares.

        Moore-Penrose; with `transient` directions B, the first m rows of [Ψ B]†, which B does not reach: Ψ†Ψ = 1, Ψ†B = 0.
        """
        if self.transient is None:
            return torch.linalg.pinv(self.Psi)
        return torch.linalg.pinv(torch.cat([self.Psi, self.transient], dim=1))[: self.m]

    def coordinates(self, h: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch m"]:
        """Ψ†h: the content of the kept entries.

        Raises:
            ValueError: if the last axis of h is not N.
        """
        shape_is("h", h, ("...", self.N))
        return h.to(self.Psi.dtype) @ self.dual.mT

    def substrate(self, h: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch s d"]:
        """Ψ†h laid out as a substrate, oldest column first; NaN where an entry was dropped.

        Raises:
            ValueError: if the last axis of h is not N.
        """
        content = self.coordinates(h)
        full = content.new_full((*content.shape[:-1], self.s * self.d), float("nan"))
        full[..., self.keep] = content
        return full.unflatten(-1, (self.s, self.d))

    def project(self, h: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch N"]:
        """ΨΨ†h: the part of a state that the waves explain, one number per neuron.

        Raises:
            ValueError: if the last axis of h is not N.
        """
        return self.coordinates(h) @ self.Psi.mT

    def operator(self, W: Float[Tensor, "N N"]) -> Float[Tensor, "m m"]:
        """Ψ†WΨ: a matrix among neurons, seen among the entries of the substrate.

        Raises:
            ValueError: if W is not (N, N).
        """
        shape_is("W", W, (self.N, self.N))
        return self.dual @ W.to(self.Psi.dtype) @ self.Psi

    def full_operator(self, W: Float[Tensor, "N N"]) -> Float[Tensor, "n n"]:
        """[Ψ Ψ⊥]† W [Ψ Ψ⊥]: the same with the complement's directions behind the substrate's; `operator` if there is none.

        Raises:
            ValueError: if W is not (N, N).
        """
        if self.complement is None:
            return self.operator(W)
        shape_is("W", W, (self.N, self.N))
        vectors = torch.cat([self.Psi, self.complement], dim=1)
        return torch.linalg.pinv(vectors) @ W.to(self.Psi.dtype) @ vectors

    def theory(self, Phi: Float[Tensor, "sd sd"]) -> Float[Tensor, "m m"]:
        """Φ restricted to the kept entries: what `operator` should be.

        Raises:
            ValueError: if Phi is not (s·d, s·d).
        """
        shape_is("Phi", Phi, (self.s * self.d, self.s * self.d))
        return Phi.to(self.Psi.dtype)[self.keep][:, self.keep]

    def scaled(self, gains: Float[Tensor, " m"]) -> VariableMemories:
        """The same directions with every vector multiplied by a number; the content read is divided by it.

        Raises:
            ValueError: if there is not one number per vector, or one of them is 0 or not finite.
        """
        shape_is("gains", gains, (self.m,))
        require(bool(gains.all()), "gains with 0", "numbers other than 0", "Check what they were divided by.")
        return replace(self, Psi=self.Psi * gains)


def kept_entries(keep: Keep, s: int, d: int) -> Int[Tensor, " m"]:
    """The kept entries as increasing indices; all of them for None.

    Raises:
        ValueError: if they are not increasing or not entries of an s × d substrate.
    """
    s, d = positive_int("s", s), positive_int("d", d)
    if keep is None:
        return torch.arange(s * d)
    kept = torch.as_tensor(keep, dtype=torch.long).flatten().cpu()
    good = len(kept) > 0 and bool((kept[1:] > kept[:-1]).all()) and int(kept[0]) >= 0 and int(kept[-1]) < s * d
    require(
        good,
        f"keep = {kept.tolist()}",
        f"increasing entries from 0 to s*d - 1 = {s * d - 1}, at least one",
        "Use reduced_basis(Phi).keep, or None for all entries.",
    )
    return kept


def true_histories(task: HDS, u: Float[Tensor, "*batch s d"], steps: int) -> Float[Tensor, "steps *batch s d"]:
    r"""What the substrate should hold after each step t = 1 … steps of the input and output phases.

    After step t ≤ s the t newest columns hold u(1) … u(t), the older ones nothing (0); after step t > s the columns hold the
    last s states of the system.

    Args:
        task: the system.
        u: histories that are shown in the input phase, oldest vector first.
        steps: how many steps, input phase included.

    Returns:
        One substrate per step, time first; row t − 1 belongs to h(t).

    Raises:
        ValueError: if u does not end in (s, d) or steps is not positive.
    """
    steps = positive_int("steps", steps)
    shape_is("u", u, ("...", task.s, task.d))
    sequence = [torch.zeros_like(u), u]
    if steps > task.s:
        sequence.append(task.targets(u, steps - task.s))
    whole = torch.cat(sequence, dim=-2)
    return torch.stack([whole[..., t + 1 : t + 1 + task.s, :] for t in range(steps)])


Projection = Literal["orthogonal", "spectral"]


def real_matrix(W: Float[Tensor, "N N"]) -> Float[Tensor, "N N"]:
    """The same in float64 on the CPU.

    Raises:
        ValueError: if W is not square and finite.
    """
    shape_is("W", W, ("N", W.shape[0]))
    finite("W", W)
    return torch.as_tensor(W).detach().to(device="cpu", dtype=torch.float64)


def real_weights(
    W_hh: Float[Tensor, "N N"], W_r: Float[Tensor, "d N"]
) -> tuple[Float[Tensor, "N N"], Float[Tensor, "d N"]]:
    """Recurrent weights and readout in float64 on the CPU.

    Raises:
        ValueError: if they do not fit together or are not finite.
    """
    W = real_matrix(W_hh)
    shape_is("W_r", W_r, ("d", len(W)))
    finite("W_r", W_r)
    return W, W_r.detach().to(W)


def invariant_subspace(W: Float[Tensor, "N N"], chosen: Callable[[complex], bool]) -> Float[Tensor, "N k"]:
    """Real orthonormal basis of the invariant subspace that belongs to some eigenvalues.

    Args:
        W: a real matrix.
        chosen: which eigenvalues. Both of a complex pair must be chosen or neither; then the projector onto the complex Schur
            vectors is real and its range has a real basis.

    Returns:
        As many columns as eigenvalues are chosen, float64.

    Raises:
        ValueError: if W is not square and finite.
    """
    matrix = real_matrix(W)
    # The stubs of SciPy take no function of a complex number here; SciPy does.
    schur: Any = scipy.linalg.schur
    _, vectors, count = schur(matrix.numpy(), output="complex", sort=chosen)
    if count == 0:
        return matrix.new_zeros((matrix.shape[0], 0))
    leading = vectors[:, :count]
    stacked = np.concatenate([leading.real, leading.imag], axis=1)
    left, _, _ = np.linalg.svd(stacked, full_matrices=False)
    return torch.from_numpy(np.ascontiguousarray(left[:, :count]))


def transient_projector(
    W_hh: Float[Tensor, "N N"], alpha: float, projection: Projection = "orthogonal"
) -> Float[Tensor, "N N"]:
    """What removes the transient directions E, those of the eigenvalues of modulus below α.

    Args:
        W_hh: recurrent weights.
        alpha: 0 to 1; 0 removes nothing, 1 is the λ(E) < 1 that Algorithm 1 prints.
        projection: "orthogonal" is Algorithm 1's 1 − EE†, with E a basis of the whole transient invariant subspace. Where W_hh
            is not normal it removes too much: a persistent direction that is not at right angles to E loses its shadow on E,
            and what is left is no longer invariant. "spectral" removes E *along* the persistent directions, leaves those as
            they are, and commutes with W_hh.

    Returns:
        The projector, float64.

    Raises:
        ValueError: if W_hh is not square and finite, α lies outside [0, 1] or the projection is unknown.
    """
    W = real_matrix(W_hh)
    alpha = number_in("alpha", alpha, 0.0, 1.0)
    one_of("projection", projection, ("orthogonal", "spectral"))
    identity = torch.eye(W.shape[0], dtype=torch.float64)
    if alpha == 0.0:
        return identity
    # A perfect wave has |λ| = 1 up to rounding: it must not fall to α = 1.
    limit = alpha * (1 - 1e-9)
    if projection == "orthogonal":
        E = invariant_subspace(W, lambda value: abs(value) < limit)
        return identity - E @ E.mT
    right = invariant_subspace(W, lambda value: abs(value) >= limit)
    left = invariant_subspace(W.mT.contiguous(), lambda value: abs(value) >= limit)
    return right @ torch.linalg.solve(left.mT @ right, left.mT)


def algorithm_1(
    W_hh: Float[Tensor, "N N"],
    W_r: Float[Tensor, "d N"],
    s: int,
    keep: Keep = None,
    *,
    alpha: float = 0.0,
    projection: Projection = "orthogonal",
    normalise: bool = True,
    transposed: bool = False,
    states: Float[Tensor, "*batch N"] | None = None,
    components: int = 10,
) -> VariableMemories:
    r"""Algorithm 1: column s is $W_r^\dagger$, and column s − k is $W_{hh}^k W_r^\dagger$.

    As the authors ran it: powers of W_hh itself (the paper prints its transpose), every column of the result normalised, the
    columns outside `keep` dropped, and the 10 leading principal components of the hidden states that are left over appended.
    The paper declares a number 0 ≤ α ≤ 1 and does not use it; here it is the modulus below which an eigenvalue counts as
    transient. α = 1 is the printed condition λ(E) < 1; α = 0 removes nothing.

    Args:
        W_hh: recurrent weights of one network.
        W_r: its readout.
        s: steps of the input phase.
        keep: entries of the flattened substrate to keep; all by default.
        alpha: see above. The removal is applied to the powers k = 1 … s − 1, as printed, not to $W_r^\dagger$.
        projection: how transients are removed, see `transient_projector`.
        normalise: give every vector length 1.
        transposed: as printed: column k is the k-th power of W_hhᵀ on $W_r^\dagger$. Right for repeat copy in an orthonormal
            basis, where the transpose runs the wave backwards.
        states: hidden states from simulations, for the complement.
        components: how many principal components the complement gets.

    Returns:
        The variable memories, float64.

    Raises:
        ValueError: if shapes do not fit, weights are not finite, α lies outside [0, 1], or a power vanishes.
    """
    W, readout = real_weights(W_hh, W_r)
    positive_int("components", components, minimum=0)
    kept = kept_entries(keep, s, W_r.shape[0])
    P = transient_projector(W, alpha, projection)
    power = W.mT if transposed else W
    newest = torch.linalg.pinv(readout)
    block, blocks = newest, [newest]
    for _ in range(s - 1):
        block = power @ block
        blocks.append(P @ block)
    columns = [*blocks[1:], newest] if transposed else blocks[::-1]
    Psi = torch.cat(columns, dim=1)[:, kept]
    if normalise:
        length = torch.linalg.vector_norm(Psi, dim=0)
        require(
            bool((length > 0).all()),
            "a variable memory of length 0",
            "vectors that can be normalised",
            "A power of W_hh vanishes on W_r†: keep fewer entries, lower alpha, or pass normalise=False.",
        )
        Psi = Psi / length
    found = VariableMemories(Psi, kept, s, W_r.shape[0])
    if states is None or components == 0:
        return found
    flat = states.detach().to(W).reshape(-1, found.N)
    return replace(found, complement=_principal_components(flat - found.project(flat), components))


def _principal_components(rest: Float[Tensor, "n N"], components: int) -> Float[Tensor, "N c"]:
    """The leading principal directions of what is left of the states, fewer if less is left."""
    covariance = rest.mT @ rest
    values, vectors = torch.linalg.eigh(covariance)
    order = torch.argsort(values, descending=True)[:components]
    there = values[order] > 1e-12 * max(float(values.abs().max()), 1e-300)
    chosen = vectors[:, order[there]]
    # eigh leaves the signs open; the largest entry of every direction is made positive.
    largest = chosen.abs().argmax(dim=0)
    return chosen * torch.sign(chosen[largest, torch.arange(chosen.shape[1])])


class OperatorShare(NamedTuple):
    """Share of the squared weight of Ψ†W_hhΨ that lies where Φ is not zero.

    Attributes:
        all: over all columns.
        inherited: over the columns that Algorithm 1 fixes (NaN if there are none).
        free: over the columns that it does not.
    """

    all: float
    inherited: float
    free: float


def operator_share(memories: VariableMemories, W: Float[Tensor, "N N"], Phi: Float[Tensor, "sd sd"]) -> OperatorShare:
    """How much of a network's operator lies where the theory has it, with and without what is built in.

    Args:
        memories: the basis.
        W: recurrent weights.
        Phi: the task's operator.

    Returns:
        The shares, from 0 to 1.

    Raises:
        ValueError: if the shapes do not fit.
    """
    weight, there = memories.operator(W) ** 2, memories.theory(Phi) != 0
    kept = set(memories.keep.tolist())
    # Of an entry whose next place towards the oldest column is kept as well Algorithm 1 fixes the column, for any W_hh.
    built_in = torch.tensor([k - memories.d in kept for k in memories.keep.tolist()])

    def share(columns: Tensor) -> float:
        part = weight[:, columns]
        return float((part * there[:, columns]).sum() / part.sum()) if columns.any() else float("nan")

    return OperatorShare(share(torch.ones_like(built_in)), share(built_in), share(~built_in))


def agreement(content: Float[Tensor, "*batch m"], truth: Float[Tensor, "*batch m"]) -> Float[Tensor, " m"]:
    """Correlation of what is read with what should be there, per entry, over all other axes; NaN where one does not vary.

    Args:
        content: from `VariableMemories.coordinates`.
        truth: from `true_histories`, flattened and restricted to the kept entries.

    Raises:
        ValueError: if the shapes differ.
    """
    shape_is("truth", truth, tuple(content.shape))
    x, y = (values.double().reshape(-1, values.shape[-1]) for values in (content, truth))
    x, y = x - x.mean(0), y - y.mean(0)
    power = ((x**2).sum(0) * (y**2).sum(0)).sqrt()
    return torch.where(power > 0, (x * y).sum(0) / power.clamp_min(1e-300), torch.nan)


def step_correlation(content: Float[Tensor, "time *batch s d"]) -> tuple[float, float]:
    """Correlation of the content with itself one step later, one column on: towards the oldest and towards the newest.

    Works with columns of different extent: pairs of which one entry was dropped (NaN) are left out. A wave of velocity 1 has 1
    and, on random histories, about 0.

    Args:
        content: from `VariableMemories.substrate`.

    Returns:
        Mean over entries of the correlation along the way of the waves, and of that against it.

    Raises:
        ValueError: if there are fewer than two steps or two columns.
    """
    require(
        content.ndim >= 3 and content.shape[0] >= 2 and content.shape[-2] >= 2,
        f"content of shape {tuple(content.shape)}",
        "(time, ..., s, d) with at least two steps and two columns",
        "Record more of the episode.",
    )
    before, after = content[:-1].double(), content[1:].double()
    pairs = ((before[..., 1:, :], after[..., :-1, :]), (before[..., :-1, :], after[..., 1:, :]))
    means = []
    for x, y in pairs:
        values = agreement(x.flatten(-2), y.flatten(-2))
        means.append(float(values[torch.isfinite(values)].mean()))
    return means[0], means[1]


def line_share(activity: Float[Tensor, "time *rest position"]) -> float:
    """Share of the power of the space-time spectrum on the line ω = k of velocity 1; means over time are removed.

    The number of steps should be a multiple of the number of positions, so that the line meets the frequencies. Activity that
    travels at 1 has 1. Activity without order has 1 / steps.

    Args:
        activity: (time, ..., channel, position).

    Returns:
        The share; NaN for activity that does not change.

    Raises:
        ValueError: if there are fewer than two positions, the steps are no multiple of the positions, or values are missing.
    """
    shape_is("activity", activity, ("...", "position"))
    time, position = int(activity.shape[0]), int(activity.shape[-1])
    require(
        activity.ndim >= 2 and position >= 2 and time % position == 0 and bool(torch.isfinite(activity).all()),
        f"an activity of shape {tuple(activity.shape)}",
        "(time, ..., position), finite, two positions or more, a number of steps that is a multiple of the number of positions",
        "Cut the episode, and choose channels whose positions are all kept.",
    )
    x = activity.double().reshape(time, -1, position)
    power = torch.fft.fft2(x - x.mean(0), dim=(0, 2)).abs().pow(2).sum(1)
    k = torch.arange(position, dtype=torch.float64) / position
    row = torch.round(k * time).long() % time
    total = float(power.sum())
    return float(power[row, torch.arange(position)].sum()) / total if total > 0 else float("nan")


def standardised(
    content: Float[Tensor, "time *batch s d"], reference: Float[Tensor, "T *more s d"], skip: int = 0
) -> Float[Tensor, "time *batch s d"]:
    """Content in units of its standard deviation, entry by entry, as the paper's figures have it.

    Args:
        content: what is shown, maybe one episode.
        reference: many episodes of the same network. One episode will not do: an entry that happens to hold the same value all
            the time has no deviation.
        skip: steps at the beginning of the reference that do not count, e.g. the input phase.

    Returns:
        The content divided by the deviation of the reference; entries that never vary are left as they are.

    Raises:
        ValueError: if the substrates differ or no step is left.
    """
    skip = positive_int("skip", skip, minimum=0)
    s, d = (int(n) for n in content.shape[-2:])
    shape_is("reference", reference, ("T", "...", s, d))
    require(reference.shape[0] > skip, f"skip = {skip} of {reference.shape[0]} steps", "fewer steps", "Record longer.")
    deviation = reference[skip:].double().reshape(-1, s, d).std(0, correction=0)
    return content.double() / torch.where(deviation == 0, torch.ones_like(deviation), deviation)
