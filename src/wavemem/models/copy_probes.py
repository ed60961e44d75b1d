"""What a network that copies keeps apart: how each shown symbol changes the state and the answers.

One symbol of a sequence is replaced by another and everything else left alone. What differs afterwards is the trace of that
symbol. A register keeps the traces of different steps apart: they are at right angles in the state, and each changes one
answer. In a bump they are all the same.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from wavemem.checks import positive_int, require
from wavemem.models.recurrent import RecurrentNetwork
from wavemem.tasks.copying import CopyTask

__all__ = ["Traces", "displacement", "effective_number", "symbol_traces", "trace"]


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
        logits = network.outputs(sequences, every_step=True)[-m:, ..., 1:-1].double()
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
    require(
        0 <= step < task.memory, f"step = {step}", f"0 to {task.memory - 1}", "Symbols are shown at these steps only."
    )
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
