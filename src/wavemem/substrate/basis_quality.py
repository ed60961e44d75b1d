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
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import finite, one_of, positive_int, require, shape_is
from wavemem.substrate.memories import VariableMemories
from wavemem.tasks.hds import HDS, LinearHDS

__all__ = [
    "DecodedPast",
    "Scaling",
    "calibrated",
    "decoded_past",
    "describing_gains",
    "explained_variance",
    "operator_error",
    "pollution",
    "written_by_inputs_and_boundary",
]

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
        histories: what the substrate should hold, from `wavemem.substrate.variable_memories.true_histories`.

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
