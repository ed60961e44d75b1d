r"""Variable memories: the directions of a trained network's hidden space that hold the substrate's entries.

A trained network is said to carry a substrate if there are vectors $\psi_k$, one per entry of the substrate, with

$$ h(t) \approx \Psi\,x(t), \qquad W_{hh}\Psi \approx \Psi\Phi, \qquad W_r\Psi \approx [0 \cdots 0\; 1], $$

where $x(t)$ is the flattened content of the substrate. The functions below estimate $\Psi$ in four ways:

| function | uses | what it trusts |
|---|---|---|
| `algorithm_1` | W_hh, W_r, s | that powers of W_hh shift, and that W_r† is column s |
| `corrected_power_iteration` | W_hh, W_r, F | the same, with the boundary's writing taken out (App. A.6) |
| `intertwined_memories` | W_hh, W_r, Φ | that a state is what its future outputs are |
| `regressed_memories` | hidden states, true histories | nothing about the weights |

Entries of the substrate are flattened oldest vector first: entry k = i·d + j is dimension j of column i + 1, and column s (the
last d entries) is where the boundary writes. An estimate may be limited to the entries that a task needs (`keep`, from
`wavemem.theory.spectrum.reduced_basis`).

Source: Karuvally, Sejnowski and Siegelmann, ICML 2024, Algorithm 1 and appendix A.6; details of how the algorithm was run from
the authors' public code.

Vectors in hidden space that stand for the entries of a substrate, and what can be read and drawn with them.

How such vectors are found is the business of `wavemem.elman.variable_memories`.

Source: Karuvally, Sejnowski and Siegelmann, ICML 2024, section 4.2.

Invariant subspaces of a recurrent matrix: what persists, what dies out, and how to remove the latter.

Schur vectors are used throughout: they span an invariant subspace even where eigenvectors do not, as in the Jordan blocks of
the Φ of tasks that let entries leave the substrate unread.

Source: Karuvally, Sejnowski and Siegelmann, ICML 2024, Algorithm 1 ("remove the components along transient directions").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import finite, number_in, one_of, positive_int, require, shape_is
from wavemem.theory.boundary import linear_boundary_operator
from wavemem.theory.hds import HDS


def _weights(W_hh: Tensor, W_r: Tensor) -> tuple[Tensor, Tensor, int, int]:
    """Both matrices in float64 with their sizes N and d, checked."""
    shape_is("W_r", W_r, ("d", "N"))
    d, N = (int(n) for n in W_r.shape)
    shape_is("W_hh", W_hh, (N, N))
    both = [torch.as_tensor(W).detach().to(device="cpu", dtype=torch.float64) for W in (W_hh, W_r)]
    for W in both:
        finite("weights", W)
    return both[0], both[1], N, d


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


def _with_complement(memories: VariableMemories, states: Tensor | None, components: int) -> VariableMemories:
    if states is None or components == 0:
        return memories
    shape_is("states", states, ("...", memories.N))
    flat = states.detach().to(device="cpu", dtype=torch.float64).reshape(-1, memories.N)
    rest = flat - memories.project(flat)
    return replace(memories, complement=_principal_components(rest, components))


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
    s = positive_int("s", s)
    W, readout, _, d = _weights(W_hh, W_r)
    positive_int("components", components, minimum=0)
    kept = kept_entries(keep, s, d)
    P = transient_projector(W, alpha, projection)
    power = W.mT if transposed else W
    newest = torch.linalg.pinv(readout)
    block, blocks = newest, [newest]
    for _ in range(s - 1):
        block = power @ block
        blocks.append(P @ block)
    columns = [*blocks[1:], newest] if transposed else blocks[::-1]
    Psi = torch.cat(columns, dim=1)[:, kept]
    return _with_complement(VariableMemories(_unit(Psi) if normalise else Psi, kept, s, d), states, components)


def _unit(Psi: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(Psi, dim=0)
    require(
        bool((length > 0).all()),
        "a variable memory of length 0",
        "vectors that can be normalised",
        "A power of W_hh vanishes on W_r†: keep fewer entries, lower alpha, or pass normalise=False.",
    )
    return Psi / length


def corrected_power_iteration(
    W_hh: Float[Tensor, "N N"],
    W_r: Float[Tensor, "d N"],
    F: Float[Tensor, "d sd"],
    keep: Keep = None,
    *,
    newest: Float[Tensor, "N d"] | None = None,
    normalise: bool = False,
    states: Float[Tensor, "*batch N"] | None = None,
    components: int = 10,
) -> VariableMemories:
    r"""Powers of W_hh with what the boundary writes taken out: $\Psi_{i-1} = W_{hh}\Psi_i - \Psi_s F_i$.

    From $W_{hh}\Psi = \Psi\Phi$: the shift takes column i to column i − 1, and the boundary adds $\Psi_s F_i$, where $F_i$ is the
    (d, d) block of F that acts on column i. Algorithm 1 leaves that addition in (the pollution of App. A.6, Eqs. 46 and 47).

    Args:
        W_hh: recurrent weights of one network.
        W_r: its readout.
        F: the task's evolution matrix, (d, s·d).
        keep: entries to keep; all by default.
        newest: column s, (N, d); $W_r^\dagger$ by default.
        normalise: give every vector length 1 after the iteration.
        states: hidden states for the complement.
        components: how many principal components the complement gets.

    Returns:
        The variable memories, float64.

    Raises:
        ValueError: if shapes do not fit or weights are not finite.
    """
    W, readout, N, d = _weights(W_hh, W_r)
    shape_is("F", F, (d, "s*d"))
    s = linear_boundary_operator(F).shape[0] // d
    kept = kept_entries(keep, s, d)
    blocks_of_F = F.detach().to(device="cpu", dtype=torch.float64).unflatten(1, (s, d))
    if newest is None:
        first = torch.linalg.pinv(readout)
    else:
        shape_is("newest", newest, (N, d))
        first = newest.detach().to(device="cpu", dtype=torch.float64)
    blocks = [first]
    for i in range(s - 1, 0, -1):
        blocks.append(W @ blocks[-1] - first @ blocks_of_F[:, i])
    Psi = torch.cat(blocks[::-1], dim=1)[:, kept]
    return _with_complement(VariableMemories(_unit(Psi) if normalise else Psi, kept, s, d), states, components)


def intertwined_memories(
    W_hh: Float[Tensor, "N N"],
    W_r: Float[Tensor, "d N"],
    Phi: Float[Tensor, "sd sd"],
    keep: Keep = None,
    *,
    horizon: int | None = None,
    states: Float[Tensor, "*batch N"] | None = None,
    components: int = 10,
) -> VariableMemories:
    r"""The vectors whose future outputs are those of the substrate's entries: $W_r W_{hh}^k \Psi = [0 \cdots 1] \Phi^k$.

    If $W_{hh}\Psi = \Psi\Phi$ and $W_r\Psi = [0 \cdots 1]$, these equations hold for k = 0, 1, …; and if Ψ spans the persistent
    invariant subspace of W_hh, they determine Ψ. It is sought inside that subspace (of as many eigenvalues, largest moduli
    first, as there are kept entries), by least squares over ``horizon`` powers. Nothing is assumed about $W_r^\dagger$, and the
    boundary is part of Φ.

    Args:
        W_hh: recurrent weights, or a linear operator that stands for them along a trajectory.
        W_r: the readout.
        Phi: the task's operator in the standard basis.
        keep: entries to keep; all by default.
        horizon: number of powers; 2s by default.
        states: hidden states for the complement.
        components: how many principal components the complement gets.

    Returns:
        The variable memories, float64.

    Raises:
        ValueError: if shapes do not fit, weights are not finite, or the future outputs do not determine the state.
    """
    W, readout, _, d = _weights(W_hh, W_r)
    shape_is("Phi", Phi, ("s*d", Phi.shape[0]))
    require(Phi.shape[0] % d == 0, f"Phi of side {Phi.shape[0]}", f"a multiple of d = {d}", "W_r must have d rows.")
    s = int(Phi.shape[0]) // d
    kept = kept_entries(keep, s, d)
    steps = positive_int("horizon", 2 * s if horizon is None else horizon)
    theory = Phi.detach().to(device="cpu", dtype=torch.float64)[kept][:, kept]
    selects = torch.eye(s * d, dtype=torch.float64)[-d:][:, kept]
    V = persistent_subspace(W, len(kept))
    inside = V.mT @ W @ V
    ours, theirs = [readout @ V], [selects]
    for _ in range(steps - 1):
        ours.append(ours[-1] @ inside)
        theirs.append(theirs[-1] @ theory)
    observed, wanted = torch.cat(ours), torch.cat(theirs)
    require(
        int(torch.linalg.matrix_rank(wanted, rtol=1e-9)) == len(kept),
        f"{len(kept)} kept entries of which the outputs of {steps} steps do not tell all apart",
        "entries that reach the output",
        "Use keep=reduced_basis(Phi).keep, or a longer horizon.",
    )
    Psi = V @ (torch.linalg.pinv(observed, rtol=1e-10) @ wanted)
    return _with_complement(VariableMemories(Psi, kept, s, d), states, components)


def regressed_memories(
    states: Float[Tensor, "*batch N"],
    histories: Float[Tensor, "*batch s d"],
    keep: Keep = None,
    *,
    ridge: float = 0.0,
    complement: bool = True,
    components: int = 10,
) -> VariableMemories:
    r"""The vectors that predict the hidden state from the true history: least squares of $h \approx \Psi x$.

    Args:
        states: hidden states, e.g. of the output phase.
        histories: what the substrate should hold at the same moments, from `true_histories`.
        keep: entries to keep; all by default.
        ridge: penalty on |Ψ|², relative to the mean square of the histories; 0 for plain least squares.
        complement: append the principal components of what is left of these states.
        components: how many.

    Returns:
        The variable memories, float64.

    Raises:
        ValueError: if the axes do not agree, or the histories do not tell the kept entries apart.
    """
    shape_is("histories", histories, ("...", "s", "d"))
    shape_is("states", states, (*histories.shape[:-2], "N"))
    ridge = number_in("ridge", ridge, 0.0, float("inf"))
    s, d = (int(n) for n in histories.shape[-2:])
    kept = kept_entries(keep, s, d)
    h = states.detach().to(device="cpu", dtype=torch.float64).reshape(-1, states.shape[-1])
    x = histories.detach().to(device="cpu", dtype=torch.float64).reshape(-1, s * d)[:, kept]
    gram = x.mT @ x / len(x)
    smallest = float(torch.linalg.eigvalsh(gram)[0])
    require(
        ridge > 0 or smallest > 1e-9 * float(gram.trace()) / len(kept),
        f"histories in which the {len(kept)} kept entries are linearly dependent",
        "entries that vary independently",
        "In an output phase entries may repeat each other: use keep=reduced_basis(Phi).keep, more histories, or ridge > 0.",
    )
    penalty = ridge * float(gram.diagonal().mean()) * torch.eye(len(kept), dtype=torch.float64)
    Psi = torch.linalg.solve(gram + penalty, x.mT @ h / len(x)).mT
    found = VariableMemories(Psi, kept, s, d)
    return _with_complement(found, h if complement else None, components)


def with_transients(
    memories: VariableMemories,
    states: Float[Tensor, "T *batch N"],
    histories: Float[Tensor, "T *batch s d"],
    inputs: Float[Tensor, "T *batch d"],
    ages: int = 1,
) -> VariableMemories:
    r"""Let the reading ignore what an input does beyond the substrate.

    In the input phase $h(t) = \Psi x(t) + \sum_{a<A} B_a u(t-a)$. A network need not write an input into column s alone:
    $W_{uh}u$ also points into directions that die out within a few steps. These are no part of the waves, yet Ψ† mistakes them
    for content. The $B_a$ are found by least squares from what Ψ leaves unexplained in the input phase, with Ψ held fixed.

    Args:
        memories: the waves.
        states: h(1) … h(T), time first.
        histories: what the substrate should hold, from `true_histories`.
        inputs: u(1) … u(T), zeros after the input phase.
        ages: A, how many steps an input's transient is followed (1: the step at which it comes).

    Returns:
        The same vectors with `transient` set to $[B_0 … B_{A-1}]$, so with another dual.

    Raises:
        ValueError: if the shapes do not fit, ages is not between 1 and s, or there is no room for so many directions.
    """
    s, d = memories.s, memories.d
    ages = positive_int("ages", ages)
    require(ages <= s, f"ages = {ages}", f"1 to s = {s}", "An input is older than s steps only in the output phase.")
    require(
        memories.m + ages * d <= memories.N,
        f"{memories.m} waves and {ages * d} transient directions in {memories.N} dimensions",
        "at most as many directions as dimensions",
        "Follow fewer ages.",
    )
    shape_is("histories", histories, ("...", s, d))
    shape_is("states", states, (*histories.shape[:-2], memories.N))
    shape_is("inputs", inputs, (*histories.shape[:-2], d))
    h, x, u = (
        values[:s].detach().to(device="cpu", dtype=torch.float64) for values in (states, histories.flatten(-2), inputs)
    )
    rest = h - x[..., memories.keep] @ memories.Psi.mT
    shown = [torch.cat([torch.zeros_like(u[:age]), u[: len(u) - age]]) for age in range(ages)]
    design = torch.cat(shown, dim=-1).reshape(-1, ages * d)
    gram = design.mT @ design / len(design)
    B = torch.linalg.solve(gram, design.mT @ rest.reshape(-1, memories.N) / len(design)).mT
    return replace(memories, transient=B)


def true_histories(
    task: HDS, u: Float[Tensor, "*batch s d"], steps: int, *, boundary_acts: bool = False
) -> Float[Tensor, "steps *batch s d"]:
    r"""What the substrate should hold after each step t = 1 … steps of the input and output phases.

    After step t ≤ s the t newest columns hold u(1) … u(t), the older ones nothing (0); after step t > s the columns hold the
    last s states of the system.

    Args:
        task: the system; a linear one for ``boundary_acts``.
        u: histories that are shown in the input phase, oldest vector first.
        steps: how many steps, input phase included.
        boundary_acts: instead of what should be there, what a *linear* network with Φ active during the input phase holds:
            x(t) = Φx(t−1) + (u(t) in column s), the pollution of App. A.6.

    Returns:
        One substrate per step, time first; row t − 1 belongs to h(t).

    Raises:
        ValueError: if u does not end in (s, d), steps is not positive, or the boundary of a system that is not linear shall act.
    """
    steps = positive_int("steps", steps)
    shape_is("u", u, ("...", task.s, task.d))
    if boundary_acts:
        require(hasattr(task, "Phi"), f"task = {task!r}", "a LinearHDS", "Leave boundary_acts out for other systems.")
        Phi = task.Phi().to(u)  # type: ignore[attr-defined]
        x, held = u.new_zeros((*u.shape[:-2], task.s * task.d)), []
        for t in range(steps):
            x = x @ Phi.mT
            if t < task.s:
                x = torch.cat([x[..., : -task.d], x[..., -task.d :] + u[..., t, :]], dim=-1)
            held.append(x.unflatten(-1, (task.s, task.d)))
        return torch.stack(held)
    sequence = [torch.zeros_like(u), u]
    if steps > task.s:
        sequence.append(task.targets(u, steps - task.s))
    whole = torch.cat(sequence, dim=-2)
    return torch.stack([whole[..., t + 1 : t + 1 + task.s, :] for t in range(steps)])


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
        positive_int("s", self.s)
        positive_int("d", self.d)
        shape_is("Psi", self.Psi, ("N", len(self.keep)))
        require(
            bool(torch.isfinite(self.Psi).all()),
            "Psi with NaN or infinite entries",
            "finite numbers",
            "Did the training diverge, or do powers of W_hh overflow?",
        )
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
        shape_is("W", W, (self.N, self.N))
        if self.complement is None:
            return self.operator(W)
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
        good = bool((torch.isfinite(gains) & (gains != 0)).all())
        require(
            good, "gains with 0, NaN or infinity", "finite numbers other than 0", "Check what they were divided by."
        )
        return replace(self, Psi=self.Psi * gains)


def kept_entries(keep: Keep, s: int, d: int) -> Int[Tensor, " m"]:
    """The kept entries as increasing indices; all of them for None.

    Raises:
        ValueError: if they are not increasing or not entries of an s × d substrate.
    """
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


Projection = Literal["orthogonal", "spectral"]


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
    matrix = _square(W)
    # The stubs of SciPy take no function of a complex number here; SciPy does.
    schur: Any = scipy.linalg.schur
    _, vectors, count = schur(matrix.numpy(), output="complex", sort=chosen)
    if count == 0:
        return matrix.new_zeros((matrix.shape[0], 0))
    leading = vectors[:, :count]
    stacked = np.concatenate([leading.real, leading.imag], axis=1)
    left, _, _ = np.linalg.svd(stacked, full_matrices=False)
    return torch.from_numpy(np.ascontiguousarray(left[:, :count]))


def _square(W: Tensor) -> Tensor:
    shape_is("W", W, ("N", W.shape[0]))
    matrix = torch.as_tensor(W).detach().to(device="cpu", dtype=torch.float64)
    finite("W", matrix)
    return matrix


def persistent_subspace(W: Float[Tensor, "N N"], size: int) -> Float[Tensor, "N m"]:
    """Invariant subspace of the largest eigenvalues by modulus.

    Args:
        W: a real matrix.
        size: how many eigenvalues; one more is taken where the cut would separate a complex pair.

    Returns:
        Orthonormal columns, float64.

    Raises:
        ValueError: if W is not square and finite or size is not positive.
    """
    matrix, size = _square(W), positive_int("size", size)
    moduli = torch.linalg.eigvals(matrix).abs().sort(descending=True).values
    # The two of a pair have the same modulus up to rounding.
    while size < len(moduli) and moduli[size - 1] - moduli[size] <= 1e-9 * moduli[size - 1]:
        size += 1
    if size >= len(moduli):
        return torch.eye(matrix.shape[0], dtype=torch.float64)
    threshold = float((moduli[size - 1] + moduli[size]) / 2)
    return invariant_subspace(matrix, lambda value: abs(value) > threshold)


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
    W = _square(W_hh)
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
