r"""How good an estimate of the variable memories is: does it turn the weights into Φ, explain the states, tell the past?

Four questions, each with a number:

| question | function | best value |
|---|---|---|
| is $\Psi^\dagger W\Psi$ the theory's Φ? | `operator_error` | 0 |
| how much of the hidden state lies in the span of the waves? | `explained_variance` | 1 |
| do the decoded entries have the true signs? | `decoded_past` | 1 |
| and the true values? | `decoded_past` | 0 |

In a network of tanh units $W_{hh}$ is not what carries the state from step to step: a unit at amplitude a has a gain of
$\tanh(a)/a < 1$, so the eigenvalues of $W_{hh}$ lie outside the unit circle where the motion itself is on it. `describing_gains`
measures these gains; $GW_{hh}$ is the linear operator that best predicts the next state.

Source: the comparison is this book's own; the pollution is Karuvally, Sejnowski and Siegelmann, ICML 2024, appendix A.6, Eqs.
43-47.

Evidence that activity travels: what a basis shows by construction, and what it can only show if the network does it.

In the basis of Algorithm 1 column i - 1 is *defined* as what W_hh makes of column i. In that basis the operator of any network
moves column i to column i - 1, and whatever state enters the substrate travels. What is not built in is what becomes of an
entry at the end of its way, which states occur, and how long they last. The functions here tell the two apart.

Source: our own analysis of Karuvally et al., ICML 2024, section 4.2 and Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from wavemem.checks import finite, number_in, one_of, positive_int, require, shape_is
from wavemem.elman.variable_memories import VariableMemories
from wavemem.theory.hds import HDS, LinearHDS

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


@dataclass(frozen=True)
class DecodedPast:
    """What reading the substrate out of hidden states gives, against the truth.

    Attributes:
        signs: share of entries whose sign is right; entries that should be 0 (columns not filled yet) are not counted.
        error: mean squared error of all entries, the unfilled ones included; 1 is what answering 0 gets on ±1.
        signs_by_step, error_by_step: the same for each step, time first.
        error_by_entry: (s, d) mean squared error of each entry over all steps, NaN where an entry was dropped.
    """

    signs: float
    error: float
    signs_by_step: Float[Tensor, " T"]
    error_by_step: Float[Tensor, " T"]
    error_by_entry: Float[Tensor, "s d"]


def decoded_past(
    memories: VariableMemories, states: Float[Tensor, "T *batch N"], histories: Float[Tensor, "T *batch s d"]
) -> DecodedPast:
    """Read the kept entries out of hidden states and compare them with the true history.

    Args:
        memories: the waves.
        states: hidden states, time first.
        histories: what the substrate should hold, from `wavemem.elman.variable_memories.true_histories`.

    Returns:
        Shares of right signs and mean squared errors.

    Raises:
        ValueError: if the axes do not agree.
    """
    shape_is("histories", histories, ("...", memories.s, memories.d))
    shape_is("states", states, (*histories.shape[:-2], memories.N))
    read = memories.coordinates(states)
    true = histories.to(read.dtype).flatten(-2)[..., memories.keep]
    steps = read.shape[0]
    right = ((read * true) > 0).reshape(steps, -1).double()
    filled = (true != 0).reshape(steps, -1).double()
    squared = (read - true).square()
    by_entry = torch.full((memories.s * memories.d,), float("nan"), dtype=torch.float64)
    by_entry[memories.keep] = squared.reshape(-1, memories.m).mean(0)
    return DecodedPast(
        signs=float(right.sum() / filled.sum()),
        error=float(squared.mean()),
        signs_by_step=right.sum(1) / filled.sum(1),
        error_by_step=squared.reshape(steps, -1).mean(1),
        error_by_entry=by_entry.unflatten(0, (memories.s, memories.d)),
    )


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
    shape_is("histories", histories, ("...", memories.s, memories.d))
    shape_is("states", states, (*histories.shape[:-2], memories.N))
    read = memories.coordinates(states)
    true = histories.to(read.dtype).flatten(-2)[..., memories.keep]
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
    memories: VariableMemories,
    states: Float[Tensor, "T batch N"],
    histories: Float[Tensor, "T batch s d"],
    task: HDS,
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


def inherited_entries(memories: VariableMemories) -> Bool[Tensor, " m"]:
    """Kept entries whose next place towards the oldest column is kept as well.

    For these Algorithm 1 fixes what W_hh does: column k of Ψ†W_hhΨ is a multiple of a unit vector, for any W_hh with
    linearly independent vectors. The other columns, one per dimension, are free; there the boundary has to show itself.
    """
    present = set(memories.keep.tolist())
    return torch.tensor([k - memories.d in present for k in memories.keep.tolist()])


@dataclass(frozen=True)
class OperatorShare:
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
    built_in = inherited_entries(memories)

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


def line_share(activity: Float[Tensor, "time *rest position"], velocity: float = 1.0) -> float:
    """Share of the power of the space-time spectrum on the line ω = ν k; means over time are removed.

    The number of steps should be a multiple of the number of positions, so that the line meets the frequencies. Activity that
    travels at ν has 1. Activity without order has 1 / steps.

    Args:
        activity: (time, ..., channel, position).
        velocity: ν in columns per step.

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
    velocity = number_in("velocity", velocity, -position / 2, position / 2)
    x = activity.double().reshape(time, -1, position)
    power = torch.fft.fft2(x - x.mean(0), dim=(0, 2)).abs().pow(2).sum(1)
    k = torch.arange(position, dtype=torch.float64) / position
    row = torch.round(velocity * k * time).long() % time
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
