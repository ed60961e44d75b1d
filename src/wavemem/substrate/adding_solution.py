r"""Networks that add exactly, written down by hand, and what becomes of the sum where a wave comes round (adding task).

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
"""

from __future__ import annotations

from math import factorial

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, require, shape_is

__all__ = ["conserving_adder", "linear_floor", "passed_content", "ring_adder", "single_ring_adder", "single_ring_error"]


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
        Parameters of a `wavemem.models.wave_rnn.WaveRNN` of one run and one channel: u (1, 1, 1, 3), V (1, n, 2),
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
        Parameters of a `wavemem.models.wave_rnn.WaveRNN` of one run and two channels: u (1, 2, 2, 3), V (1, 2n, 2),
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
        Parameters of a `wavemem.models.identity_rnn.IdentityRNN` of one run and N = M + 1 units: U (1, N, N), V (1, N, 2),
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
    require(
        bool(apart.any()),
        f"T = {T}, n = {n}",
        "lengths with a pair of marked steps that do not meet",
        "Take a longer ring.",
    )
    return float(error[apart].mean())
