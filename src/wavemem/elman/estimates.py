r"""Estimates of the variable memories beside Algorithm 1 (TWM App. A.6), and how good an estimate is.

| function | uses | what it trusts |
|---|---|---|
| `corrected_power_iteration` | W_hh, W_r, F | Algorithm 1's assumptions, with the boundary's writing taken out (App. A.6) |
| `intertwined_memories` | W_hh, W_r, Φ | that a state is what its future outputs are |
| `regressed_memories` | hidden states, true histories | nothing about the weights |

Does an estimate turn the weights into Φ, explain the states, tell the past?

| question | function | best value |
|---|---|---|
| is $\Psi^\dagger W\Psi$ the theory's Φ? | `operator_error` | 0 |
| how much of the hidden state lies in the span of the waves? | `explained_variance` | 1 |
| do the decoded entries have the true signs, and the true values? | `decoded_past` | 1, 0 |

In a network of tanh units $W_{hh}$ is not what carries the state from step to step: a unit at amplitude a has a gain of
$\tanh(a)/a < 1$, so the eigenvalues of $W_{hh}$ lie outside the unit circle where the motion itself is on it. `describing_gains`
measures these gains; $GW_{hh}$ is the linear operator that best predicts the next state.

Source: Karuvally, Sejnowski and Siegelmann, ICML 2024, appendix A.6, Eqs. 43-47; the comparison is this book's own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import finite, one_of, positive_int, require, shape_is
from wavemem.elman.variable_memories import (
    Keep,
    VariableMemories,
    invariant_subspace,
    kept_entries,
    real_matrix,
    real_weights,
)
from wavemem.theory.hds import HDS, LinearHDS, history_length


def corrected_power_iteration(
    W_hh: Float[Tensor, "N N"],
    W_r: Float[Tensor, "d N"],
    F: Float[Tensor, "d sd"],
    keep: Keep = None,
    *,
    newest: Float[Tensor, "N d"] | None = None,
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

    Returns:
        The variable memories, float64.

    Raises:
        ValueError: if shapes do not fit or weights are not finite.
    """
    W, readout = real_weights(W_hh, W_r)
    d, N = (int(size) for size in readout.shape)
    shape_is("F", F, (d, "s*d"))
    s = history_length(F)
    kept = kept_entries(keep, s, d)
    blocks_of_F = F.detach().to(W).unflatten(1, (s, d))
    if newest is not None:
        shape_is("newest", newest, (N, d))
    first = torch.linalg.pinv(readout) if newest is None else newest.detach().to(W)
    blocks = [first]
    for i in range(s - 1, 0, -1):
        blocks.append(W @ blocks[-1] - first @ blocks_of_F[:, i])
    return VariableMemories(torch.cat(blocks[::-1], dim=1)[:, kept], kept, s, d)


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
    matrix, size = real_matrix(W), positive_int("size", size)
    moduli = torch.linalg.eigvals(matrix).abs().sort(descending=True).values
    # The two of a pair have the same modulus up to rounding.
    while size < len(moduli) and moduli[size - 1] - moduli[size] <= 1e-9 * moduli[size - 1]:
        size += 1
    if size >= len(moduli):
        return torch.eye(matrix.shape[0], dtype=torch.float64)
    threshold = float((moduli[size - 1] + moduli[size]) / 2)
    return invariant_subspace(matrix, lambda value: abs(value) > threshold)


def intertwined_memories(
    W_hh: Float[Tensor, "N N"], W_r: Float[Tensor, "d N"], Phi: Float[Tensor, "sd sd"], keep: Keep = None
) -> VariableMemories:
    r"""The vectors whose future outputs are those of the substrate's entries: $W_r W_{hh}^k \Psi = [0 \cdots 1] \Phi^k$.

    If $W_{hh}\Psi = \Psi\Phi$ and $W_r\Psi = [0 \cdots 1]$, these equations hold for k = 0, 1, …; and if Ψ spans the persistent
    invariant subspace of W_hh, they determine Ψ. It is sought inside that subspace (of as many eigenvalues, largest moduli
    first, as there are kept entries), by least squares over 2s powers. Nothing is assumed about $W_r^\dagger$, and the
    boundary is part of Φ.

    Args:
        W_hh: recurrent weights, or a linear operator that stands for them along a trajectory.
        W_r: the readout.
        Phi: the task's operator in the standard basis.
        keep: entries to keep; all by default.

    Returns:
        The variable memories, float64.

    Raises:
        ValueError: if shapes do not fit, weights are not finite, or the future outputs do not determine the state.
    """
    W, readout = real_weights(W_hh, W_r)
    shape_is("Phi", Phi, ("s*d", Phi.shape[0]))
    s = history_length(Phi[: len(readout)])
    d, steps = len(readout), 2 * s
    kept = kept_entries(keep, s, d)
    theory = Phi.detach().to(W)[kept][:, kept]
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
        "Use keep=reduced_basis(Phi).keep.",
    )
    Psi = V @ (torch.linalg.pinv(observed, rtol=1e-10) @ wanted)
    return VariableMemories(Psi, kept, s, d)


def regressed_memories(
    states: Float[Tensor, "*batch N"], histories: Float[Tensor, "*batch s d"], keep: Keep = None
) -> VariableMemories:
    r"""The vectors that predict the hidden state from the true history: least squares of $h \approx \Psi x$.

    Args:
        states: hidden states, e.g. of the output phase.
        histories: what the substrate should hold at the same moments, from `true_histories`.
        keep: entries to keep; all by default.

    Returns:
        The variable memories, float64.

    Raises:
        ValueError: if the axes do not agree, or the histories do not tell the kept entries apart.
    """
    shape_is("histories", histories, ("...", "s", "d"))
    shape_is("states", states, (*histories.shape[:-2], "N"))
    s, d = (int(n) for n in histories.shape[-2:])
    kept = kept_entries(keep, s, d)
    h = states.detach().to(device="cpu", dtype=torch.float64).reshape(-1, states.shape[-1])
    x = histories.detach().to(device="cpu", dtype=torch.float64).reshape(-1, s * d)[:, kept]
    gram = x.mT @ x / len(x)
    smallest = float(torch.linalg.eigvalsh(gram)[0])
    require(
        smallest > 1e-9 * float(gram.trace()) / len(kept),
        f"histories in which the {len(kept)} kept entries are linearly dependent",
        "entries that vary independently",
        "In an output phase entries may repeat each other: use keep=reduced_basis(Phi).keep, or more histories.",
    )
    return VariableMemories(torch.linalg.solve(gram, x.mT @ h / len(x)).mT, kept, s, d)


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


Scaling = Literal["none", "global", "columns"]


def operator_error(A: Float[Tensor, "m m"], Phi: Float[Tensor, "m m"], scaling: Scaling = "none") -> float:
    r"""$\lVert A - \Phi\rVert / \lVert\Phi\rVert$ in the Frobenius norm, with no, one or one free gain per column.

    Args:
        A: an operator in the estimated basis, e.g. Ψ†WΨ.
        Phi: the theory's, on the same entries.
        scaling: "none" compares as they are; "global" first multiplies A by the one number that fits best; "columns" does so for
            every column, so that only the pattern of each column counts.

    Returns:
        0 for equality; at most 1 if a gain is fitted.

    Raises:
        ValueError: if the shapes differ, Phi is 0 or the scaling is unknown.
    """
    shape_is("A", A, tuple(Phi.shape))
    one_of("scaling", scaling, ("none", "global", "columns"))
    matrix, theory = A.to(torch.float64), Phi.to(torch.float64)
    size = torch.linalg.vector_norm(theory)
    require(bool(size > 0), "Phi = 0", "an operator with entries other than 0", "Compare with the task's Phi.")
    if scaling != "none":
        axes = (0, 1) if scaling == "global" else (0,)
        product, square = (matrix * theory).sum(axes, keepdim=True), matrix.square().sum(axes, keepdim=True)
        matrix = matrix * torch.where(square > 0, product / square.clamp_min(1e-300), 0.0)
    return float(torch.linalg.vector_norm(matrix - theory) / size)


def explained_variance(
    memories: VariableMemories, states: Float[Tensor, "*batch N"], *, transient: bool = False
) -> float:
    """Share of the mean square of the states that lies in the span of the waves (orthogonal projection).

    Args:
        memories: the waves.
        states: hidden states; they are not centred, as networks without biases have no preferred sign.
        transient: count the transient directions in, too.

    Returns:
        0 to 1.

    Raises:
        ValueError: if the last axis of the states is not N, or all states are 0.
    """
    shape_is("states", states, ("...", memories.N))
    finite("states", states)
    h = states.detach().to(memories.Psi.dtype).reshape(-1, memories.N)
    vectors = memories.Psi
    if transient and memories.transient is not None:
        vectors = torch.cat([vectors, memories.transient], dim=1)
    total = h.square().sum()
    require(bool(total > 0), "states that are all 0", "states of a running network", "Give the network inputs.")
    # An orthonormal basis of the span, from the covectors that the pseudo-inverse defines.
    inside = (h @ torch.linalg.pinv(vectors).mT) @ vectors.mT
    return float(1 - (h - inside).square().sum() / total)


class DecodedPast(NamedTuple):
    """What reading the substrate out of hidden states gives, against the truth.

    Attributes:
        signs: share of entries whose sign is right; entries that should be 0 (columns not filled yet) are not counted.
        error: mean squared error of all entries, the unfilled ones included; 1 is what answering 0 gets on ±1.
        error_by_step: the same for each step, time first.
    """

    signs: float
    error: float
    error_by_step: Float[Tensor, " T"]


def decoded_past(
    memories: VariableMemories, states: Float[Tensor, "T *batch N"], histories: Float[Tensor, "T *batch s d"]
) -> DecodedPast:
    """Read the kept entries out of hidden states and compare them with the true history.

    Args:
        memories: the waves.
        states: hidden states, time first.
        histories: what the substrate should hold, from `true_histories`.

    Raises:
        ValueError: if the axes do not agree.
    """
    read, true = _read_and_true(memories, states, histories)
    squared = (read - true).square()
    return DecodedPast(
        signs=float((read * true > 0).double().sum() / (true != 0).double().sum()),
        error=float(squared.mean()),
        error_by_step=squared.reshape(len(read), -1).mean(1),
    )


def _read_and_true(memories: VariableMemories, states: Tensor, histories: Tensor) -> tuple[Tensor, Tensor]:
    """What the memories read and what they should, (T, *batch, m)."""
    shape_is("histories", histories, ("...", memories.s, memories.d))
    shape_is("states", states, (*histories.shape[:-2], memories.N))
    read = memories.coordinates(states)
    return read, histories.to(read.dtype).flatten(-2)[..., memories.keep]


def calibrated(
    memories: VariableMemories,
    states: Float[Tensor, "*batch N"],
    histories: Float[Tensor, "*batch s d"],
    *,
    by_vector: bool = False,
) -> VariableMemories:
    """The same vectors multiplied by the one number with which they decode best, or each by its own.

    Algorithm 1 gives every vector length 1, an arbitrary unit of each. Its decoded values are compared with ±1 after this. Signs
    and explained variance do not change; the operator does not with one number, and does with one per vector.

    Args:
        memories: the waves.
        states: hidden states, not those on which the decoding is judged.
        histories: what the substrate should hold.
        by_vector: one number per vector instead of one for all.

    Returns:
        Scaled variable memories.

    Raises:
        ValueError: if the axes do not agree, or what is read is unrelated to the truth.
    """
    read, true = _read_and_true(memories, states, histories)
    over = tuple(range(read.ndim - 1)) if by_vector else tuple(range(read.ndim))
    factor = (read * true).sum(over) / read.square().sum(over)
    return memories.scaled((1 / factor).expand(memories.m))


def describing_gains(W_hh: Float[Tensor, "N N"], states: Float[Tensor, "T *batch N"]) -> Float[Tensor, " N"]:
    r"""Gain of every tanh unit along a free run: $g_i = \langle h_i a_i\rangle / \langle a_i^2\rangle$ with $a = W_{hh} h(t-1)$.

    The slope of the line through the origin that best predicts $h_i = \tanh(a_i)$ from $a_i$ over the steps and histories given
    (the describing function of control theory). $\operatorname{diag}(g) W_{hh}$ is the linear operator the network acts by.

    Args:
        W_hh: recurrent weights.
        states: successive hidden states without inputs in between, time first.

    Returns:
        Gains, float64, between 0 and 1; 1 for a unit that never moves.

    Raises:
        ValueError: if the shapes do not fit or there are fewer than two steps.
    """
    shape_is("W_hh", W_hh, ("N", W_hh.shape[0]))
    shape_is("states", states, ("T", *states.shape[1:-1], W_hh.shape[0]))
    positive_int("steps", states.shape[0], minimum=2)
    h = states.detach().to(torch.float64)
    a = (h[:-1] @ W_hh.detach().to(torch.float64).mT).flatten(0, -2)
    power = a.square().mean(0)
    product = (a * h[1:].flatten(0, -2)).mean(0)
    return torch.where(power > 0, product / power.clamp_min(1e-300), 1.0)


def written_by_inputs_and_boundary(
    memories: VariableMemories, states: Float[Tensor, "T batch N"], histories: Float[Tensor, "T batch s d"], task: HDS
) -> tuple[Float[Tensor, " s"], Float[Tensor, " s"]]:
    r"""How strongly an input, and what the boundary made of the earlier ones, stand in the place where both were written.

    At step t = 2 … s of the input phase column s receives u(t), and the boundary may write $f(x(t-1))$ into it as well; a steps
    later both should stand in column s − a. What is read there is regressed on the two, over all t, histories and kept
    entries that the boundary wrote to. A linear network has 1 and 1 at all a; a network that does what the task asks has 1 and 0.

    Args:
        memories: the waves.
        states: hidden states h(1) … h(T), time first, with T ≥ 2s − 1.
        histories: what the substrate should hold.
        task: the system.

    Returns:
        Strength of the input and of the boundary's writing, a = 0 … s − 1 steps later; NaN where no kept entry can tell, as for
        repeat copy, whose boundary has nothing to read before the input phase is over.

    Raises:
        ValueError: if the shapes do not fit or there are too few steps.
    """
    s, d = memories.s, memories.d
    shape_is("histories", histories, ("T", "batch", s, d))
    shape_is("states", states, (*histories.shape[:2], memories.N))
    steps = int(states.shape[0])
    require(steps >= 2 * s - 1, f"{steps} steps", f"2s - 1 = {2 * s - 1} or more", "Run the network for longer.")
    content = memories.substrate(states)
    past = histories.to(content)
    shown = past[:s, :, -1]
    made = task.next(past[: s - 1]) if s > 1 else past[:0, :, -1]
    strengths = torch.full((2, s), float("nan"), dtype=content.dtype)
    for a in range(s):
        read, both = [], []
        for t in range(1, s):
            for j in range(d):
                value = content[t + a, :, s - 1 - a, j]
                if bool((made[t - 1, :, j] != 0).any()) and not bool(value.isnan().any()):
                    read.append(value)
                    both.append(torch.stack([shown[t, :, j], made[t - 1, :, j]], dim=1))
        if read:
            design, target = torch.cat(both), torch.cat(read)
            strengths[:, a] = torch.linalg.solve(design.mT @ design, design.mT @ target)
    return strengths[0], strengths[1]


def pollution(task: LinearHDS) -> Float[Tensor, "sd sd"]:
    r"""What the boundary adds to each column during a power iteration (Eqs. 46 and 47, for every column and any linear f).

    In a linear network whose column s is known, $W_{hh}^k\Psi_s = \Psi\,\Phi^k E_s$, where $E_s$ selects column s. A pure shift
    would give $\Psi\,S^k E_s = \Psi_{s-k}$. What is returned is the difference without the factor Ψ, all k side by side.

    Args:
        task: a linear system.

    Returns:
        Error of the power iteration's vectors, in the coordinates of the true basis: column i·d + j belongs to the estimate of
        entry j of column i + 1. 0 for repeat copy.

    Raises:
        ValueError: if the system is not linear.
    """
    require(hasattr(task, "Phi"), f"task = {task!r}", "a LinearHDS", "The power iteration is about linear systems.")
    Phi, d, s = task.Phi(), task.d, task.s
    identity = torch.eye(s * d, dtype=Phi.dtype)
    block, blocks = identity[:, -d:], [identity[:, -d:]]
    for _ in range(s - 1):
        block = Phi @ block
        blocks.append(block)
    return torch.cat(blocks[::-1], dim=1) - identity
