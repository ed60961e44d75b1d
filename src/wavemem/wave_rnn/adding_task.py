r"""The adding task: the sum of the two numbers, among T, that a marker points at.

Each step shows a number from U(0, 1) and a marker, 0 or 1. Two steps are marked, one in each half of the sequence; after
the last step the network has to name the sum of the two marked numbers (Hochreiter & Schmidhuber, 1997; Keller et al.,
ICLR 2024, section 3). Saying 1 whatever was shown has the mean squared error 1/6, the variance of the sum.

Networks that add exactly, written down by hand, and what becomes of the sum where a wave comes round (adding task).

A step shows a number x in [0, 1] and a marker m. One rectified unit tells the marked number from all others,

    g = ReLU(x + m - 1):    0 if m = 0,    x if m = 1,

and the rest is memory. Let U have no negative entries and columns that sum to 1. Then the sum of all activity is conserved,
1ᵀU h = 1ᵀh, and a readout that sums up says exactly x₁ + x₂, however long ago that was: a shift Σ does it (a wave), the
identity does it (an integrator), and so does every mixture.

A single ring that is written to directly, h₀ ← ReLU(h₁ + x + m - 1), has gate and memory in one unit. It is exact while the
wave has not come round, T <= n. After that, each time a stored number passes the place of writing, an unmarked input takes
1 - x from it: of the marked number a, uniform in [0, 1], (a - S_j)₊ is left after j passes, S_j a sum of j such losses, with

    E (a - S_j)₊ = 1/(j + 2)!,    E (a - S_j)₊² = 2/(j + 3)!,    E a (a - S_j)₊ = 1/((j + 1)! (j + 3)).

Source: the book's own; the task and the networks are those of Keller et al., ICLR 2024, Sections 2 and 3.

What a recurrent network has to learn the adding task from: gradients by the marker's place, and what a readout can know.

Two questions about a network *before* it has learned the task:

*Can its gradients tell where the marker was?* `marker_gradients` holds the shown numbers fixed, moves one marker through the
sequence, and returns the gradient of the output with respect to every weight, one for each place. `place_share` says how
much of it depends on the place, `directions` in how many directions it does.

*Can its state tell the marked number from the others?* `readout_error` is what the best linear readout of the last state
leaves of the error. A state that is a linear function of what was shown cannot go below
`wavemem.wave_rnn.adding_task.linear_floor`.

The measurements are the book's own; the networks are those of Keller et al., ICLR 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import finite, number_in, positive_int, require, shape_is
from wavemem.training.ensemble import Ensemble

BASELINE_MSE = 1 / 6
"""Mean squared error of the constant 1: the variance of a sum of two numbers from U(0, 1)."""

SOLVED_MSE = 5e-2
"""The paper calls the task solved at the first training loss that is not above this (its Table 1)."""


class AddingBatch(NamedTuple):
    """Sequences of the adding task.

    Attributes:
        inputs: number and marker at each step, float32, (T, batch, 2).
        targets: the sum of the marked numbers, float32, (batch,).
    """

    inputs: Float[Tensor, "T batch 2"]
    targets: Float[Tensor, " batch"]


@dataclass(frozen=True)
class AddingTask:
    """The adding task with sequences of T steps.

    The first marker lies in the steps 0 … ⌊T/2⌋ − 1, the second in ⌊T/2⌋ … T − 1, both uniformly drawn.

    Args:
        T: length of the sequences, at least 2.

    Raises:
        ValueError: if T is not a whole number of at least 2.
    """

    T: int

    def __post_init__(self) -> None:
        positive_int("T", self.T, minimum=2)

    def batch(self, size: int, generator: torch.Generator, device: torch.device | str = "cpu") -> AddingBatch:
        """Draw sequences.

        Args:
            size: number of sequences.
            generator: source of the random numbers; what is drawn depends on its state alone, not on ``device``.
            device: where the tensors shall live.

        Returns:
            Inputs and targets.

        Raises:
            ValueError: if the size is not a positive whole number.
        """
        size, half, home = positive_int("size", size), self.T // 2, generator.device
        numbers = torch.rand((self.T, size), generator=generator, device=home)
        first = torch.randint(0, half, (1, size), generator=generator, device=home)
        second = torch.randint(half, self.T, (1, size), generator=generator, device=home)
        markers = torch.zeros_like(numbers).scatter_(0, torch.cat([first, second]), 1.0)
        targets = numbers.gather(0, first)[0] + numbers.gather(0, second)[0]
        return AddingBatch(torch.stack([numbers, markers], dim=-1).to(device), targets.to(device))


def adding_loss(
    outputs: Float[Tensor, "*runs batch 1"], targets: Float[Tensor, "*runs batch"]
) -> Float[Tensor, "*runs"]:
    """Mean squared error of the named sums, for each run.

    Args:
        outputs: what the networks say after the last step, (…, batch, 1).
        targets: the sums, (…, batch), or (batch,) if all runs saw the same sequences.

    Returns:
        One error per run; a scalar tensor if there is no axis of runs. Differentiable.

    Raises:
        ValueError: if the shapes do not fit.
    """
    shape_is("outputs", outputs, ("...", "batch", 1))
    shape_is("targets", targets, outputs.shape[-2:-1] if targets.dim() == 1 else outputs.shape[:-1])
    return ((outputs.squeeze(-1) - targets) ** 2).mean(dim=-1)


def _wave_parameters(u: Tensor, V: Tensor, b_V: Tensor, W: Tensor) -> dict[str, Tensor]:
    """Add the axis of runs and the biases that are zero."""
    one_run = {"u": u, "V": V, "b_V": b_V, "b_u": torch.zeros(len(u)), "W": W, "b_y": torch.zeros(1)}
    return {name: value.unsqueeze(0) for name, value in one_run.items()}


def single_ring_adder(n: int) -> dict[str, Tensor]:
    """One ring that adds exactly sequences of up to n steps: the Wave-RNN's initialisation, one bias, a readout of ones.

    u = [0, 0, 1], V = (1, 1) at unit 0 and zero elsewhere, b = -1 at unit 0, W = (1, …, 1).

    Args:
        n: Units of the ring, at least 2.

    Returns:
        Parameters of a `wavemem.wave_rnn.network.WaveRNN` of one run and one channel: u (1, 1, 1, 3), V (1, n, 2),
        b_V (1, n), b_u (1, 1), W (1, 1, n), b_y (1, 1).

    Raises:
        ValueError: If n is not a whole number of at least 2.
    """
    n = positive_int("n", n, minimum=2)
    u = torch.tensor([[[0.0, 0.0, 1.0]]])
    V, b_V = torch.zeros(n, 2), torch.zeros(n)
    V[0], b_V[0] = 1.0, -1.0
    return _wave_parameters(u, V, b_V, torch.ones(1, n))


def ring_adder(n: int) -> dict[str, Tensor]:
    """Two channels that add exactly sequences of any length: channel 0 is the gate, channel 1 the ring.

    Channel 0 holds nothing: no kernel weight leads from it to itself, so that its unit 0 is ReLU(x + m - 1). One weight
    leads from there to the same place of channel 1, a ring with the shift kernel. The readout sums both.

    Args:
        n: Units per ring, at least 2. It may be smaller than the sequence is long.

    Returns:
        Parameters of a `wavemem.wave_rnn.network.WaveRNN` of one run and two channels: u (1, 2, 2, 3), V (1, 2n, 2),
        b_V (1, 2n), b_u (1, 2), W (1, 1, 2n), b_y (1, 1).

    Raises:
        ValueError: If n is not a whole number of at least 2.
    """
    n = positive_int("n", n, minimum=2)
    u = torch.zeros(2, 2, 3)
    u[1, 0, 1] = 1.0  # gate → ring, same place
    u[1, 1, 2] = 1.0  # along the ring
    V, b_V = torch.zeros(2 * n, 2), torch.zeros(2 * n)
    V[0], b_V[0] = 1.0, -1.0
    return _wave_parameters(u, V, b_V, torch.ones(1, 2 * n))


def conserving_adder(store: Float[Tensor, "M M"]) -> dict[str, Tensor]:
    """A dense network that adds exactly: unit 0 is the gate, the others hold what it writes and never lose any of it.

    Args:
        store: Weights among the M units of memory, without negative entries, whose columns sum to 1: `torch.eye(M)` (an
            integrator), a shift, or any mixture. The gate writes to the first of them.

    Returns:
        Parameters of a `wavemem.wave_rnn.network.IdentityRNN` of one run and N = M + 1 units: U (1, N, N), V (1, N, 2),
        b_V (1, N), b_U (1, N), W (1, 1, N), b_y (1, 1).

    Raises:
        ValueError: If the weights are not square, an entry is negative, or a column does not sum to 1.
    """
    shape_is("store", store, (store.shape[0] if store.ndim else "M", store.shape[0] if store.ndim else "M"))
    sums = store.sum(0)
    require(
        bool((store >= 0).all()) and bool(torch.isclose(sums, torch.ones_like(sums)).all()),
        f"store with entries from {float(store.min()):g} and column sums from {float(sums.min()):g} to {float(sums.max()):g}",
        "no negative entries, every column summing to 1",
        "Divide every column by its sum.",
    )
    N = len(store) + 1
    U, V, b_V = store.new_zeros(N, N), store.new_zeros(N, 2), store.new_zeros(N)
    U[1:, 1:], U[1, 0] = store, 1.0
    V[0], b_V[0] = 1.0, -1.0
    one_run = {
        "U": U,
        "V": V,
        "b_V": b_V,
        "b_U": store.new_zeros(N),
        "W": store.new_ones(1, N),
        "b_y": store.new_zeros(1),
    }
    return {name: value.unsqueeze(0) for name, value in one_run.items()}


def linear_floor(T: int) -> float:
    """1/6 - 1/(3T): the error of the best linear function of everything a sequence of T steps shows.

    The markers say nothing about the numbers, and each number is half-way correlated with the sum in 2 of T cases: the best
    a linear network can say is 1 + (2/T) Σ (x - 1/2).

    Args:
        T: Length of the sequences, an even number of at least 2.

    Raises:
        ValueError: If T is not an even whole number of at least 2.
    """
    T = positive_int("T", T, minimum=2)
    require(T % 2 == 0, f"T = {T}", "an even number", "For an odd T the two halves have different chances per step.")
    return 1 / 6 - 1 / (3 * T)


def passed_content(passes: int) -> tuple[float, float]:
    """What a single ring has lost of one marked number after it passed the place of writing: mean and mean square.

    Args:
        passes: How often it has passed, j >= 0.

    Returns:
        E D and E D² for the loss D = a - (a - S_j)₊, a uniform in [0, 1], S_j the sum of j such numbers:
        1/2 - 1/(j+2)! and 1/3 - 2/((j+1)! (j+3)) + 2/(j+3)!.

    Raises:
        ValueError: If passes is negative.
    """
    j = positive_int("passes", passes, minimum=0)
    mean = 1 / 2 - 1 / factorial(j + 2)
    square = 1 / 3 - 2 / (factorial(j + 1) * (j + 3)) + 2 / factorial(j + 3)
    return mean, square


def single_ring_error(T: int, n: int) -> float:
    """Mean squared error of `single_ring_adder(n)` on sequences of T steps: 0 for T <= n, then growing with every pass.

    Averaged over all pairs of marked steps that do not meet on the ring. (If the second marker falls where the first number
    just passes, the two are added and go on together; that happens in about one sequence of n.)

    Args:
        T: Length of the sequences, at least 2.
        n: Units of the ring, at least 2.

    Returns:
        The mean squared error; with many passes it tends to E (a + b)² = 7/6, a network that has forgotten everything.

    Raises:
        ValueError: If T or n is not a whole number of at least 2.
    """
    T, n = positive_int("T", T, minimum=2), positive_int("n", n, minimum=2)
    most = (T - 1) // n
    table = torch.tensor([passed_content(j) for j in range(most + 1)], dtype=torch.float64)
    steps = torch.arange(T)
    mean, square = table[(T - 1 - steps) // n].unbind(-1)
    half = T // 2
    apart = (steps[:half, None] - steps[None, half:]) % n != 0
    error = square[:half, None] + square[None, half:] + 2 * mean[:half, None] * mean[None, half:]
    return float(error[apart].mean())


def marked_at(task: AddingTask, batch: AddingBatch, place: int) -> AddingBatch:
    """The same sequences with the marker of one half moved to a given step; the other marker stays.

    Args:
        task: the adding task.
        batch: sequences of it.
        place: the step, 0 … T - 1; the marker of its half moves there.

    Returns:
        Inputs and targets of the changed sequences.

    Raises:
        ValueError: if there is no such step, or the sequences have another length.
    """
    place = positive_int("place", place, minimum=0)
    require(place < task.T, f"place = {place}", f"0 to {task.T - 1}", "Choose a step of the sequence.")
    shape_is("inputs", batch.inputs, (task.T, "batch", 2))
    half = task.T // 2
    inputs = batch.inputs.clone()
    its_half = slice(0, half) if place < half else slice(half, task.T)
    inputs[its_half, :, 1] = 0.0
    inputs[place, :, 1] = 1.0
    return AddingBatch(inputs, (inputs[..., 0] * inputs[..., 1]).sum(0))


def marker_gradients(network: Ensemble, task: AddingTask, batch: AddingBatch) -> dict[str, Float[Tensor, "T weights"]]:
    """Gradients of the output with respect to every weight, by the place of one marker, all else being equal.

    The gradient of the squared error is the output's times twice the error. It is the output's that says in which directions
    training can push at all, whatever the errors are.

    Args:
        network: an ensemble of one run.
        task: the adding task.
        batch: the sequences whose marker is moved; their numbers and the other marker are the same for every place.

    Returns:
        Name of the parameter → gradients (T, number of weights), averaged over sequences: row p with a marker at step p.

    Raises:
        ValueError: if the network holds several runs or the sequences have another length.
    """
    require(network.K == 1, f"an ensemble of {network.K} runs", "one run", "Pass network.run(k).")
    parameters = dict(network.named_parameters())
    rows: dict[str, list[Tensor]] = {name: [] for name in parameters}
    for place in range(task.T):
        moved = marked_at(task, batch, place)
        gradients = torch.autograd.grad(network(moved.inputs).mean(), list(parameters.values()))
        for name, gradient in zip(parameters, gradients, strict=True):
            rows[name].append(gradient.detach().flatten())
    return {name: torch.stack(row) for name, row in rows.items()}


def place_share(gradients: Float[Tensor, "T weights"]) -> float:
    """Share of the gradients' squared length that depends on the place: Σ‖g_p − ḡ‖² / Σ‖g_p‖².

    Args:
        gradients: one entry of what `marker_gradients` returns.

    Returns:
        0 if the place makes no difference, up to 1; 0 also where there is no gradient.

    Raises:
        ValueError: if it is not a matrix.
    """
    shape_is("gradients", gradients, ("T", "weights"))
    g = gradients.double()
    total = float(g.square().sum())
    return float((g - g.mean(0)).square().sum()) / total if total > 0 else 0.0


def directions(gradients: Float[Tensor, "T weights"]) -> float:
    """In how many directions the gradients for the different places spread: (Σ σ²)² / Σ σ⁴ after taking out their mean.

    σ are the singular values; it is 1 if moving the marker moves the gradient along one line, and T - 1 if every place pulls
    its own way with equal force.

    Args:
        gradients: one entry of what `marker_gradients` returns.

    Returns:
        The participation ratio; 0 if the place makes no difference beyond rounding.

    Raises:
        ValueError: if it is not a matrix.
    """
    shape_is("gradients", gradients, ("T", "weights"))
    finite("gradients", gradients)
    spread = gradients.double() - gradients.double().mean(0)
    squares = torch.linalg.svdvals(spread).square()
    total = float(squares.sum())
    if place_share(gradients) < 1e-9:  # what is left is the rounding of single precision
        return 0.0
    return total**2 / float(squares.square().sum())


def input_sensitivity(network: Ensemble, batch: AddingBatch) -> tuple[Float[Tensor, "K T"], Float[Tensor, "K T"]]:
    """What a number is worth to the output, ∂y/∂x, by its age: mean over sequences, marked and unmarked numbers apart.

    A network that adds has 1 for marked and 0 for unmarked numbers at every age.

    Args:
        network: trained runs.
        batch: sequences of the adding task.

    Returns:
        Marked and unmarked, each (K, T), age 0 (the last step) first. NaN where no sequence has such a number.

    Raises:
        ValueError: if the sequences are not (T, batch, 2).
    """
    shape_is("inputs", batch.inputs, ("T", "batch", 2))
    shown = batch.inputs[:, None].repeat(1, network.K, 1, 1).requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(network(shown).sum(), [shown])
    marks = shown.detach()[..., 1]
    found = []
    for chosen in (marks, 1 - marks):
        mean = (slope[..., 0] * chosen).sum(-1) / chosen.sum(-1)  # 0/0 where there is none
        found.append(mean.flip(0).T)
    return found[0], found[1]


def readout_error(
    states: Float[Tensor, "B N"],
    targets: Float[Tensor, " B"],
    new_states: Float[Tensor, "M N"],
    new_targets: Float[Tensor, " M"],
    ridge: float = 1e-4,
) -> float:
    """Mean squared error, on new sequences, of the best linear readout with a bias of states that are what they are.

    Args:
        states: last states of the sequences to fit.
        targets: their sums.
        new_states: last states of other sequences, on which the error is measured.
        new_targets: their sums.
        ridge: penalty, as a share of the mean variance of a unit. Units that never vary are left out by it.

    Returns:
        The error.

    Raises:
        ValueError: if the shapes do not fit or the penalty is negative.
    """
    ridge = number_in("ridge", ridge, 0.0, 1e6)
    shape_is("states", states, ("B", "N"))
    shape_is("targets", targets, (len(states),))
    shape_is("new_states", new_states, ("M", states.shape[1]))
    shape_is("new_targets", new_targets, (len(new_states),))
    h, y = states.detach().double(), targets.double()
    mean, level = h.mean(0), y.mean()
    h = h - mean
    covariance = h.T @ h / len(h)
    size = covariance.diagonal().mean().clamp_min(1e-30)
    penalty = ridge * size * torch.eye(len(covariance), dtype=torch.float64)
    weights = torch.linalg.solve(covariance + penalty, h.T @ (y - level) / len(h))
    said = (new_states.detach().double() - mean) @ weights + level
    return float((said - new_targets.double()).square().mean())
