"""The copy task: ten symbols are shown, T steps pass, then the symbols have to be named in the order in which they came.

A sequence of the Wave-RNN paper (Keller et al., ICLR 2024, section 3) has T + 20 steps of ten one-hot categories: ten
symbols from {1, …, 8}, T blanks (category 0), the delimiter (category 9), nine blanks. The target is category 0
everywhere but at the last ten steps, where it is the symbols; the first of them is due at the step of the delimiter itself.

The paper's figures call "MSE" what its public code computes: the cross-entropy, averaged over every position of every
sequence, divided once more by the size of the batch. `copy_scores` gives that number and the plain ones beside it.

What a network that copies keeps apart: how each shown symbol changes the state and the answers.

One symbol of a sequence is replaced by another and everything else left alone. What differs afterwards is the trace of that
symbol. A register keeps the traces of different steps apart: they are at right angles in the state, and each changes one
answer. In a bump they are all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import log_softmax, one_hot

from wavemem.checks import one_of, positive_int, require
from wavemem.wave_rnn.network import RecurrentNetwork


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


def public_generator(
    T_flag: int, size: int, generator: torch.Generator, memory: int = 10, symbols: int = 8
) -> CopyBatch:
    """Sequences as the paper's appendix and public code make them, which are not those of its text.

    They have T_flag + memory steps, with the delimiter memory + 1 steps before the end; what is due at the last ``memory``
    steps is what was shown at the first. The values of the paper's sweep, 10, 20, 50, 100 and 500, give 20, 30, 60, 110 and
    510 steps, where the text's T = 0, 10, 30, 80 and 480 has 20, 30, 50, 100 and 500. At T_flag = memory the delimiter
    takes the place of the last symbol. The targets are copied afterwards, so that the last answer is always the delimiter:
    known beforehand, and nothing is to be guessed.

    Args:
        T_flag: the code's length option, at least 1.
        size: number of sequences.
        generator: source of the random numbers.
        memory: symbols to be kept.
        symbols: how many different symbols there are.

    Returns:
        Inputs and targets.

    Raises:
        ValueError: if an argument is not a positive whole number.
    """
    T_flag, size = positive_int("T_flag", T_flag), positive_int("size", size)
    memory, symbols = positive_int("memory", memory), positive_int("symbols", symbols)
    categories = torch.zeros((T_flag + memory, size), dtype=torch.int64, device=generator.device)
    targets = categories.clone()
    categories[:memory] = torch.randint(1, symbols + 1, (memory, size), generator=generator, device=generator.device)
    categories[-(memory + 1)] = symbols + 1
    targets[-memory:] = categories[:memory]
    return CopyBatch(one_hot(categories, symbols + 2).float(), targets)


def _matching(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Check the shapes; targets shared by all runs, (length, batch), are repeated for each of them."""
    shape = tuple(logits.shape[:-1])
    if logits.dim() >= 3 and targets.dim() == 2 and (shape[0], shape[-1]) == tuple(targets.shape):
        targets = targets.reshape(shape[0], *(1,) * (len(shape) - 2), shape[-1]).expand(shape)
    require(
        logits.dim() >= 3 and shape == tuple(targets.shape),
        f"logits of shape {tuple(logits.shape)} and targets of shape {tuple(targets.shape)}",
        "logits (length, …, batch, categories) with targets (length, …, batch) or, for all runs, (length, batch)",
        "Move the axes so that both agree.",
    )
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


class Traces(NamedTuple):
    """How symbols leave traces; means over sequences.

    Attributes:
        answers: change of y_b - y_a, the preference for b over a, at due step j when step i shows b instead of a, absolute
            value, (K, i, j). In a linear network |g_ji| of the chapter's theorem: an answer is safe if its own symbol's share
            exceeds the sum of all others'.
        singular: singular values of the m traces in the state before the delimiter, side by side, each trace at its own
            length; relative to the largest, in falling order, (K, m).
        effective: effective number of independent traces, see `effective_number`, (K,).
    """

    answers: Float[Tensor, "K m m"]
    singular: Float[Tensor, "K m"]
    effective: Float[Tensor, " K"]


def effective_number(singular: Float[Tensor, "*runs m"]) -> Float[Tensor, "*runs"]:
    """(Σ s²)² / Σ s⁴: m for m equal singular values, 1 if one of them exceeds the others by far.

    Args:
        singular: singular values.
    """
    power = singular.square()
    total: Tensor = power.sum(-1).square() / power.square().sum(-1).clamp_min(1e-300)
    return total


@torch.no_grad()
def symbol_traces(network: RecurrentNetwork, task: CopyTask, size: int, generator: torch.Generator) -> Traces:
    """Let every step in turn show one symbol or another, a or b, and see what changes.

    Each sequence has a pair (a, b) of its own, the same at all steps, so that traces differ by their step and nothing else.

    Args:
        network: K runs that read the task's categories.
        task: the copy task.
        size: sequences.
        generator: source of the sequences and of the pairs.

    Returns:
        See `Traces`, float64.

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
    m, before = task.memory, task.delimiter - 1

    def seen(sequences: Tensor) -> tuple[Tensor, Tensor]:
        logits = network(sequences, every_step=True)[-m:, ..., 1:-1].double()
        return logits, network.states(sequences[: before + 1])[-1].flatten(-2).double()

    a = torch.randint(0, task.symbols, (size,), generator=generator, device=generator.device)
    b = (a + torch.randint(1, task.symbols, (size,), generator=generator, device=generator.device)) % task.symbols
    changed, traces = [], []
    for i in range(m):
        pair = []
        for symbol in (a, b):
            one = inputs.clone()
            one[i] = one_hot(symbol.to(like.device) + 1, task.categories).to(like.dtype)
            pair.append(seen(one))
        (answers, state), (others, there) = pair
        moved = others - answers  # (m, K, size, S)
        of_a, of_b = (moved[..., torch.arange(size), symbol] for symbol in (a, b))
        changed.append((of_b - of_a).abs().mean(-1).T)  # (K, m)
        traces.append(there - state)
    singular = torch.linalg.svdvals(torch.stack(traces, -1))  # (K, size, m)
    relative = singular / singular[..., :1].clamp_min(1e-300)
    return Traces(torch.stack(changed, 1), relative.mean(1), effective_number(singular).mean(1))


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
