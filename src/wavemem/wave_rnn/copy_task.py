r"""The copy task: ten symbols are shown, T steps pass, then the symbols have to be named in the order in which they came.

A sequence of the Wave-RNN paper (Keller et al., ICLR 2024, section 3) has T + 20 steps of ten one-hot categories: ten
symbols from {1, …, 8}, T blanks (category 0), the delimiter (category 9), nine blanks. The target is category 0
everywhere but at the last ten steps, where it is the symbols; the first of them is due at the step of the delimiter itself.

The paper's figures call "MSE" what its public code computes: the cross-entropy, averaged over every position of every
sequence, divided once more by the size of the batch. `copy_scores` gives that number and the plain ones beside it.

One symbol of a sequence is replaced by another and everything else left alone. What differs afterwards is the trace of that
symbol. A register keeps the traces of different steps apart: each changes one answer. In a bump they are all the same.

A travelling wave is a register: networks with weights written by hand copy without a mistake.

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
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import log_softmax, one_hot

from wavemem.checks import number_in, one_of, positive_int, require, shape_is
from wavemem.wave_rnn.network import RecurrentNetwork, WaveRNN, shift_kernel


class CopyBatch(NamedTuple):
    """Sequences of the copy task.

    Attributes:
        inputs: one-hot categories, float32, (length, batch, categories).
        targets: category due at each step, int64, (length, batch).
    """

    inputs: Float[Tensor, "length batch categories"]
    targets: Int[Tensor, "length batch"]


@dataclass(frozen=True)
class CopyTask:
    """The copy task as the paper's text defines it.

    Args:
        T: blanks between the symbols and the delimiter, 0 or more.
        memory: how many symbols are to be kept (10 in the paper).
        symbols: how many different symbols there are (8 in the paper).

    Raises:
        ValueError: if a size is not a whole number or too small.
    """

    T: int
    memory: int = 10
    symbols: int = 8

    def __post_init__(self) -> None:
        positive_int("T", self.T, minimum=0)
        positive_int("memory", self.memory)
        positive_int("symbols", self.symbols)

    @property
    def length(self) -> int:
        """Steps of a sequence, T + 2 memory."""
        return self.T + 2 * self.memory

    @property
    def categories(self) -> int:
        """Size of the one-hot vectors: the blank 0, the symbols 1, …, and the delimiter, the last one."""
        return self.symbols + 2

    @property
    def delimiter(self) -> int:
        """The step at which the delimiter is shown and the first symbol is due."""
        return self.T + self.memory

    @property
    def chance_loss(self) -> float:
        """Cross-entropy per position of a network that knows when symbols are due, but not which: it guesses evenly."""
        share = self.memory / self.length
        return share * float(torch.log(torch.tensor(float(self.symbols), dtype=torch.float64)))

    def batch(self, size: int, generator: torch.Generator, device: torch.device | str = "cpu") -> CopyBatch:
        """Draw sequences.

        Args:
            size: number of sequences.
            generator: source of the random numbers; the symbols depend on its state alone, not on ``device``.
            device: where the tensors shall live.

        Returns:
            Inputs and targets.

        Raises:
            ValueError: if the size is not a positive whole number.
        """
        shape = (self.memory, positive_int("size", size))
        shown = torch.randint(1, self.symbols + 1, shape, generator=generator, device=generator.device).to(device)
        categories = shown.new_zeros((self.length, shape[1]))
        targets = categories.clone()
        categories[: self.memory] = shown
        categories[self.delimiter] = self.categories - 1
        targets[-self.memory :] = shown
        return CopyBatch(one_hot(categories, self.categories).float(), targets)


def public_generator(T_flag: int, size: int, generator: torch.Generator) -> CopyBatch:
    """Sequences as the paper's appendix and public code make them, which are not those of its text.

    They have T_flag + 10 steps, with the delimiter 11 steps before the end; what is due at the last ten steps is what was
    shown at the first. The values of the paper's sweep, 10, 20, 50, 100 and 500, give 20, 30, 60, 110 and 510 steps, where
    the text's T = 0, 10, 30, 80 and 480 has 20, 30, 50, 100 and 500. At T_flag = 10 the delimiter takes the place of the
    last symbol. The targets are copied afterwards, so that the last answer is always the delimiter: known beforehand, and
    nothing is to be guessed.

    Args:
        T_flag: the code's length option, at least 1.
        size: number of sequences.
        generator: source of the random numbers.

    Returns:
        Inputs and targets.

    Raises:
        ValueError: if an argument is not a positive whole number.
    """
    T_flag, size = positive_int("T_flag", T_flag), positive_int("size", size)
    memory, symbols = CopyTask.memory, CopyTask.symbols
    categories = torch.zeros((T_flag + memory, size), dtype=torch.int64, device=generator.device)
    targets = categories.clone()
    categories[:memory] = torch.randint(1, symbols + 1, (memory, size), generator=generator, device=generator.device)
    categories[-(memory + 1)] = symbols + 1
    targets[-memory:] = categories[:memory]
    return CopyBatch(one_hot(categories, symbols + 2).float(), targets)


def _matching(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Check the shapes; targets shared by all runs, (length, batch), are repeated for each of them."""
    shape_is("logits", logits, (len(targets), "...", targets.shape[-1], "categories"))
    shape = logits.shape[:-1]
    if targets.dim() == 2:
        targets = targets.reshape(shape[0], *(1,) * (len(shape) - 2), shape[-1]).expand(shape)
    shape_is("targets", targets, shape)
    return logits, targets


def copy_loss(
    logits: Float[Tensor, "length *runs batch categories"], targets: Int[Tensor, "length *runs batch"]
) -> Float[Tensor, "*runs"]:
    """Cross-entropy in nats, averaged over every position of every sequence, for each run.

    Computed in the precision of the logits. In float32 the logarithm of a probability just below 1 is a multiple of about
    6e-8, so that what a position of a well-trained network adds is 0 or at least that; for the value of a small loss pass
    ``logits.double()``, as `copy_scores` does.

    Args:
        logits: outputs, (length, …, batch, categories).
        targets: categories due, (length, …, batch), or (length, batch) if all runs saw the same sequences.

    Returns:
        One loss per run; a scalar tensor if the logits have no axis of runs. Differentiable.

    Raises:
        ValueError: if the shapes do not fit.
    """
    logits, targets = _matching(logits, targets)
    return -log_softmax(logits, dim=-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1).mean(dim=(0, -1))


def paper_loss(
    logits: Float[Tensor, "length *runs batch categories"], targets: Int[Tensor, "length *runs batch"]
) -> Float[Tensor, "*runs"]:
    """What the paper's public code minimises and its figures plot as "MSE": `copy_loss` divided by the size of the batch.

    The size is 128 in training and 50 in the tests of the public code, so that equal networks show numbers that differ
    by a factor 2.56 between the two.

    Args:
        logits: outputs, (length, …, batch, categories).
        targets: categories due.

    Returns:
        One loss per run.

    Raises:
        ValueError: if the shapes do not fit.
    """
    return copy_loss(logits, targets) / logits.shape[-2]


def _right(logits: Tensor, targets: Tensor, memory: int) -> Tensor:
    memory = positive_int("memory", memory)
    logits, targets = _matching(logits, targets)
    require(
        memory <= targets.shape[0],
        f"memory = {memory} with sequences of {targets.shape[0]} steps",
        "at most the length of the sequences",
        "Pass the task's memory.",
    )
    return (logits[-memory:].argmax(-1) == targets[-memory:]).to(torch.float64)


def exact_recall(
    logits: Float[Tensor, "length *runs batch categories"], targets: Int[Tensor, "length *runs batch"], memory: int = 10
) -> Float[Tensor, "*runs"]:
    """Share of sequences all of whose symbols are named, in their order.

    Args:
        logits: outputs, (length, …, batch, categories).
        targets: categories due.
        memory: how many of the last steps are asked for.

    Returns:
        One number per run, float64.

    Raises:
        ValueError: if the shapes do not fit or the memory is longer than the sequences.
    """
    return _right(logits, targets, memory).amin(0).mean(-1)


class CopyScores(NamedTuple):
    """Scores of the copy task, one value per run, all in float64.

    Attributes:
        cross_entropy: nats per position, over all positions.
        paper_loss: the same divided by the size of the batch, the paper's "MSE".
        recall: share of sequences recalled without a mistake.
        symbol_accuracy: share of the symbols that are named at the right step (guessing evenly: 1 / symbols).
    """

    cross_entropy: Float[Tensor, "*runs"]
    paper_loss: Float[Tensor, "*runs"]
    recall: Float[Tensor, "*runs"]
    symbol_accuracy: Float[Tensor, "*runs"]


@torch.no_grad()
def copy_scores(
    logits: Float[Tensor, "length *runs batch categories"], targets: Int[Tensor, "length *runs batch"], memory: int = 10
) -> CopyScores:
    """Every score of a batch of outputs, computed in float64 from the logits.

    Args:
        logits: outputs, (length, …, batch, categories).
        targets: categories due, (length, …, batch) or (length, batch).
        memory: how many of the last steps are asked for.

    Returns:
        The scores.

    Raises:
        ValueError: if the shapes do not fit or the memory is longer than the sequences.
    """
    loss, right = copy_loss(logits.double(), targets), _right(logits, targets, memory)
    return CopyScores(loss, loss / logits.shape[-2], right.amin(0).mean(-1), right.mean(dim=(0, -1)))


@torch.no_grad()
def symbol_traces(
    network: RecurrentNetwork, task: CopyTask, size: int, generator: torch.Generator
) -> Float[Tensor, "K m m"]:
    """Let every step in turn show one symbol or another, a or b, and see how the answers change.

    Each sequence has a pair (a, b) of its own, the same at all steps, so that traces differ by their step and nothing else.

    Args:
        network: K runs that read the task's categories.
        task: the copy task.
        size: sequences.
        generator: source of the sequences and of the pairs.

    Returns:
        Change of y_b - y_a, the preference for b over a, at due step j when step i shows b instead of a: mean absolute value
        over sequences, (K, i, j), float64. In a linear network |g_ji| of the chapter's theorem: an answer is safe if its own
        symbol's share exceeds the sum of all others'.

    Raises:
        ValueError: if there is only one symbol, or the network has other inputs than the task.
    """
    size = positive_int("size", size)
    require(task.symbols > 1, f"{task.symbols} symbol", "two or more", "A symbol is replaced by another one.")
    require(
        network.d == task.categories,
        f"a network with {network.d} inputs for {task.categories} categories",
        "as many inputs as categories",
        "Pass the task that the network was made for.",
    )
    like = network.V
    inputs = task.batch(size, generator, like.device).inputs.to(like.dtype)
    a = torch.randint(0, task.symbols, (size,), generator=generator, device=generator.device)
    b = (a + torch.randint(1, task.symbols, (size,), generator=generator, device=generator.device)) % task.symbols
    changed = []
    for i in range(task.memory):
        pair = []
        for symbol in (a, b):
            one = inputs.clone()
            one[i] = one_hot(symbol.to(like.device) + 1, task.categories).to(like.dtype)
            pair.append(network(one, every_step=True)[-task.memory :, ..., 1:-1].double())
        moved = pair[1] - pair[0]  # (m, K, size, S)
        of_a, of_b = (moved[..., torch.arange(size), symbol] for symbol in (a, b))
        changed.append((of_b - of_a).abs().mean(-1).T)  # (K, m)
    return torch.stack(changed, 1)


@torch.no_grad()
def trace(
    network: RecurrentNetwork, task: CopyTask, size: int, generator: torch.Generator, step: int = 0
) -> Float[Tensor, "length-step K size c n"]:
    """The trace of one symbol over time: states with it minus states with another in its place.

    Args:
        network: K runs that read the task's categories.
        task: the copy task.
        size: sequences.
        generator: source of the sequences; what replaces a symbol is the same step's symbol of the next sequence.
        step: which symbol.

    Returns:
        Activity (time, K, size, channel, position) from the step at which the symbol is shown to the last.

    Raises:
        ValueError: if no symbol is shown at that step.
    """
    one_of("step", step, range(task.memory))  # symbols are shown at these steps only
    inputs = task.batch(positive_int("size", size), generator, network.V.device).inputs.to(network.V.dtype)
    other = inputs.clone()
    other[step] = inputs[step].roll(1, 0)
    return (network.states(other) - network.states(inputs))[step:]


@torch.no_grad()
def displacement(network: RecurrentNetwork, channels: int) -> Float[Tensor, "K n"]:
    """How like the readout is to the input pattern moved around the rings: correlation by displacement.

    A ring that moves one unit per step towards smaller positions brings what symbol a writes at unit i to unit i - k in k
    steps. A readout that wants to see it there has V[a, i] at i - k. The correlation at displacement k is

        C(k) = Σ_{a, c, i} W[a, c, i - k] V[c, i, a] / (|W| |V|),

    with the mean over the symbols a taken from both: what is common to all symbols tells none from another.

    Args:
        network: K runs with a linear readout; the first and the last category are no symbols.
        channels: number of rings.

    Returns:
        C(0) … C(n - 1), each from -1 to 1.

    Raises:
        ValueError: if the readout has a hidden layer, or the units are no multiple of the rings.
    """
    c = positive_int("channels", channels)
    require(
        network.readout == "linear" and network.hidden % c == 0,
        f"a {network.readout} readout of {network.hidden} units in {c} rings",
        "a linear readout, and rings of equal size",
        "Pass a Wave-RNN with its own number of rings.",
    )
    W = network.W.detach().double()[:, 1:-1].unflatten(-1, (c, -1))
    V = network.V.detach().double()[..., 1:-1].movedim(-1, 1).unflatten(-1, (c, -1))
    W, V = W - W.mean(1, keepdim=True), V - V.mean(1, keepdim=True)
    n = W.shape[-1]
    along = torch.fft.irfft((torch.fft.rfft(W).conj() * torch.fft.rfft(V)).sum((1, 2)), n=n)
    scale = W.flatten(1).norm(dim=1) * V.flatten(1).norm(dim=1)
    result: Tensor = along / scale.clamp_min(1e-300)[:, None]
    return result


def reading_unit(task: CopyTask, units: int) -> int:
    """The unit at which a wave that started at unit 0 is when its symbol is due: -(T + m) modulo n.

    Args:
        task: the copy task.
        units: size n of the ring.
    """
    return -(task.T + task.memory) % positive_int("units", units)


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
    # The number nearest to z is named; the delimiter never is.
    gain, numbers = number_in("gain", gain, 0.0, 1e6), torch.arange(task.categories, dtype=torch.float64)
    slopes, intercepts = gain * numbers, -gain * numbers.square() / 2
    slopes[-1], intercepts[-1] = 0.0, -gain
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
