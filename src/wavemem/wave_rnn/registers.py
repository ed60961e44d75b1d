r"""A travelling wave as a register: networks with weights written by hand that copy without a mistake, and who cannot.

The copy task shows m symbols, waits T steps, and asks for the symbols in their order: what was shown at step j is due at step
j + T + m. Every symbol has to be kept for the same number of steps, the lag L = T + m. On a ring of n units with the kernel
u = [0, 0, 1] whatever is written to unit 0 stands at unit -k mod n after k steps, unchanged.

*Delay line.* Read at unit -L mod n. One ring of n >= L + 1 units is enough, and no delimiter is needed.

*Circulating register.* On a smaller ring the symbols pass the reading point early, n steps before they are due and 2n steps
before that. A second ring carries the pulse of the delimiter; while it passes m units the readout is open, else it is shut.
Then n >= m is enough, whatever T is.

A symbol a = 1, …, S is written as the number a and read as the category of largest a z - a²/2, that is, as the nearest number.

A network whose units only add up what they are shown (U = 1, a bump system) keeps how often each symbol came, not when:
`bump_limits` says how well the best readout of such a memory can do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from wavemem.checks import number_in, positive_int, require
from wavemem.wave_rnn.copy_task import CopyTask
from wavemem.wave_rnn.network import WaveRNN, shift_kernel


def reading_unit(task: CopyTask, units: int) -> int:
    """The unit at which a wave that started at unit 0 is when its symbol is due: -(T + m) modulo n.

    Args:
        task: the copy task.
        units: size n of the ring.
    """
    return -(task.T + task.memory) % positive_int("units", units)


def _nearest_number(task: CopyTask, gain: float) -> tuple[Tensor, Tensor]:
    """Slopes and intercepts of the logits that name the number nearest to z; the delimiter is never named."""
    numbers = torch.arange(task.categories, dtype=torch.float64)
    slopes, intercepts = gain * numbers, -gain * numbers.square() / 2
    slopes[-1], intercepts[-1] = 0.0, -gain
    return slopes, intercepts


def _network(u_channels: int, V: Tensor, W: Tensor, b_y: Tensor) -> WaveRNN:
    """Rings that only shift, one run, in float64."""
    rings = torch.ones(u_channels, dtype=torch.float64)
    return WaveRNN(
        {
            "u": shift_kernel(rings)[None],
            "b_u": 0 * rings[None],
            "V": V[None],
            "b_V": torch.zeros(1, len(V), dtype=torch.float64),
            "W": W[None],
            "b_y": b_y[None],
        }
    )


def _line(task: CopyTask, units: int, gain: float) -> tuple[Tensor, Tensor, Tensor]:
    """V, W and b_y of the ring that holds the symbols."""
    n = positive_int("units", units, minimum=2)
    V = torch.zeros(n, task.categories, dtype=torch.float64)
    V[0, 1:-1] = torch.arange(1, task.symbols + 1, dtype=torch.float64)
    slopes, intercepts = _nearest_number(task, number_in("gain", gain, 0.0, 1e6))
    W = torch.zeros(task.categories, n, dtype=torch.float64)
    W[:, reading_unit(task, n)] = slopes
    return V, W, intercepts


def delay_line(task: CopyTask, units: int, gain: float = 40.0) -> WaveRNN:
    """A Wave-RNN with one ring that copies by delaying every symbol by T + m steps.

    Args:
        task: the copy task.
        units: size n of the ring; it copies if n > T + m.
        gain: γ, by which the logits are multiplied; the smallest margin is γ/2 nats.

    Returns:
        The network, one run in float64.

    Raises:
        ValueError: if the ring has fewer than two units or the gain is not a number from 0.
    """
    return _network(1, *_line(task, units, gain))


def circulating_register(task: CopyTask, units: int, gain: float = 40.0) -> WaveRNN:
    """A Wave-RNN with two rings that copies for any T: one holds the symbols, one tells when to name them.

    Args:
        task: the copy task.
        units: size n of each ring; it copies if n >= m.
        gain: γ, by which the logits are multiplied; the smallest margin is γ/2 nats.

    Returns:
        The network, one run in float64.

    Raises:
        ValueError: if the rings have fewer than two units or the gain is not a number from 0.
    """
    V, W, b_y = _line(task, units, gain)
    clock_in, clock_out = torch.zeros_like(V), torch.zeros_like(W)
    clock_in[0, -1] = 1.0
    # Shut, the readout has the blank above the largest logit of any symbol on the ring, γ S²/2.
    shut = gain * (task.symbols**2 / 2 + 1)
    clock_out[0, [-k % units for k in range(task.memory)]] = -shut
    b_y[0] += shut
    return _network(2, torch.cat([V, clock_in]), torch.cat([W, clock_out], 1), b_y)


class BumpLimits(NamedTuple):
    """The best that a memory of counts can do on the copy task.

    Attributes:
        cross_entropy: nats per symbol that is due.
        symbol_accuracy: share of right symbols.
        recall: share of sequences recalled without a mistake.
    """

    cross_entropy: float
    symbol_accuracy: float
    recall: float


def _partitions(total: int, parts: int, largest: int) -> Iterator[tuple[int, ...]]:
    """All ways to write a total as at most so many parts in falling order."""
    if total == 0:
        yield ()
        return
    if parts:
        for first in range(min(total, largest), 0, -1):
            for rest in _partitions(total - first, parts - 1, first):
                yield (first, *rest)


def bump_limits(memory: int = 10, symbols: int = 8) -> BumpLimits:
    """How well a network can copy that knows how often each symbol came and nothing else.

    Exact: a sum over all ways to count. Given the counts m_a, every order is equally likely, so that the symbol due at any
    step is a with probability m_a / m.

    Args:
        memory: m, symbols shown.
        symbols: S, different symbols.

    Raises:
        ValueError: if an argument is not a positive whole number.
    """
    m, S = positive_int("memory", memory), positive_int("symbols", symbols)
    require(S**m < 10**300, f"{S} symbols, {m} of them", "fewer histories than 1e300", "Ask for a shorter memory.")
    histories, entropy, best, multisets = S**m, 0.0, 0.0, 0
    for counts in _partitions(m, S, m):
        orders = math.factorial(m)
        labels = math.factorial(S) // math.factorial(S - len(counts))
        for count in counts:
            orders //= math.factorial(count)
        for size in set(counts):
            labels //= math.factorial(counts.count(size))
        weight = labels * orders / histories
        entropy -= weight * sum(count / m * math.log(count / m) for count in counts)
        best += weight * counts[0] / m
        multisets += labels
    return BumpLimits(entropy, best, multisets / histories)


def float32_step(task_length: int, batch: int) -> float:
    """The smallest loss above zero that the paper's loss can have in float32.

    The loss of a position is log Σ exp(z - max z), and the sum is 1 or at least the next float32 number, 1 + 2⁻²³. One such
    position among all, averaged over positions and divided by the batch once more.

    Args:
        task_length: steps of a sequence.
        batch: sequences.

    Raises:
        ValueError: if an argument is not a positive whole number.
    """
    positions = positive_int("task_length", task_length) * positive_int("batch", batch)
    return math.log1p(2.0**-23) / positions / batch
