"""Questions to sequence models, the loss of their training and the scores of their answers, for K runs at once."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from wavemem.checks import require

__all__ = [
    "Questions",
    "Scores",
    "TokenNetwork",
    "generated_scores",
    "masked_loss",
    "right_tokens",
    "scores",
    "teacher_forced_scores",
]


class Questions(NamedTuple):
    """One example each, cut where the answer begins.

    Attributes:
        prompts: tokens up to the one after which the answer begins, (size, P), int64.
        answers: the answer and its stop, (size, A); shorter answers are filled up with the task's `pad`.
        stop: the token that ends an answer.
        pad: the token that stands for nothing.
    """

    prompts: Int[Tensor, "batch prompt"]
    answers: Int[Tensor, "batch answer"]
    stop: int
    pad: int


class Scores(NamedTuple):
    """Shares of right answers, one number per run.

    Attributes:
        characters: share of the answers' characters that are right.
        strings: share of the answers that are right as a whole.
    """

    characters: Float[Tensor, " runs"]
    strings: Float[Tensor, " runs"]


class TokenNetwork(Protocol):
    """What the scores need of a model: (K, B, L) tokens in, and greedy continuation."""

    @property
    def K(self) -> int: ...

    def __call__(self, tokens: Tensor) -> Tensor: ...

    def generate(self, tokens: Tensor, steps: int) -> Tensor: ...


def masked_loss(
    logits: Float[Tensor, "runs batch time vocabulary"],
    targets: Int[Tensor, "*runs batch time"],
    mask: Bool[Tensor, "*runs batch time"],
) -> Float[Tensor, " runs"]:
    """Cross-entropy per run, in nats, averaged over the marked positions.

    Args:
        logits: (K, B, L, V).
        targets: (K, B, L), or (B, L) for all runs.
        mask: which targets count; the same shape as `targets`. A run without a marked target gets NaN.

    Raises:
        ValueError: if the shapes do not fit.
    """
    shape = tuple(logits.shape[:-1])
    fits = logits.dim() == 4 and targets.shape == mask.shape and tuple(targets.shape) in (shape, shape[1:])
    require(
        fits,
        f"logits of shape {tuple(logits.shape)}, targets {tuple(targets.shape)}, mask {tuple(mask.shape)}",
        "logits (K, B, L, V); targets and mask (K, B, L) or (B, L)",
        "Check the order of the axes.",
    )
    targets, counted = targets.expand(shape), mask.expand(shape).to(logits.dtype)
    losses = cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none").view(shape)
    return (losses * counted).sum((1, 2)) / counted.sum((1, 2))


def right_tokens(
    said: Int[Tensor, "runs batch said"], questions: Questions, *, stop: bool = False
) -> tuple[Bool[Tensor, "runs batch answer"], Bool[Tensor, "batch answer"]]:
    """Compare what runs said with the answers, place by place.

    Args:
        said: (K, B, steps); what comes after the answers' end is not looked at.
        questions: with the right answers.
        stop: whether the stop at the end of the answer counts as well.

    Returns:
        Which places are right, and which places count.

    Raises:
        ValueError: if too little was said or the batch differs.
    """
    answers = questions.answers if stop else questions.answers[:, :-1]
    counts = answers != questions.pad
    if not stop:
        counts = counts & (answers != questions.stop)
    enough = said.dim() == 3 and said.shape[1] == answers.shape[0] and said.shape[2] >= answers.shape[1]
    require(
        enough,
        f"said of shape {tuple(said.shape)}",
        f"(K, {answers.shape[0]}, {answers.shape[1]} or more)",
        "Generate one continuation per question and run.",
    )
    return (said[..., : answers.shape[1]] == answers) & counts, counts


def scores(said: Int[Tensor, "runs batch said"], questions: Questions, *, stop: bool = False) -> Scores:
    """Shares of right characters and of right answers.

    Args:
        said: what each run answered, (K, B, steps).
        questions: with the right answers.
        stop: whether the stop has to be right too. The public code of the task's authors leaves it out, as we do by
            default: an answer is right if its letters are, whatever comes next.
    """
    right, counts = right_tokens(said, questions, stop=stop)
    characters = right.double().sum((1, 2)) / counts.sum()
    return Scores(characters, (right | ~counts).all(-1).double().mean(1))


@torch.no_grad()
def generated_scores(model: TokenNetwork, questions: Questions, *, stop: bool = False) -> Scores:
    """Let every run answer by itself, each character greedily chosen and fed back.

    Args:
        model: K runs with a method `generate`.
        questions: asked of every run.
        stop: whether the stop has to be right too.
    """
    steps = questions.answers.shape[1] - (0 if stop else 1)
    prompts = questions.prompts.expand(model.K, -1, -1)
    return scores(model.generate(prompts, steps), questions, stop=stop)


@torch.no_grad()
def teacher_forced_scores(model: TokenNetwork, questions: Questions, *, stop: bool = False) -> Scores:
    """Score each character given the *right* ones before it, which is what the public code of the task's authors does.

    A string counts as right if every one of these is. That is the same as for generated answers, since the first
    mistake of a run is made after right characters in both cases; the share of characters is not.

    Args:
        model: K runs; called with (K, B, L) tokens.
        questions: asked of every run.
        stop: whether the stop has to be right too.
    """
    prompts, answers = questions.prompts, questions.answers
    logits = model(torch.cat([prompts, answers[:, :-1]], 1).expand(model.K, -1, -1))
    return scores(logits[:, :, prompts.shape[1] - 1 :].argmax(-1), questions, stop=stop)
