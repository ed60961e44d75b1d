"""Training and testing one kind of model on a string task, as an ensemble of learning rates × seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from wavemem.kernels.wave_cpu import own_threads
from wavemem.models.token_model import TokenModel
from wavemem.streams import stream
from wavemem.tasks.strings import StringTask, generated_scores, masked_loss, teacher_forced_scores
from wavemem.training.generic import FitConfig, fit

__all__ = ["Training", "train"]


@dataclass(frozen=True)
class Training:
    """What all models of a comparison have in common.

    Attributes:
        task: What is trained.
        iterations, batch, warmup, weight_decay, clip: AdamW with linear warm-up and linear decay, as in the public code.
        log_every: Updates between two rows of the learning curves.
        tested: String lengths of the test.
        questions: Strings per length and run.
    """

    task: StringTask
    iterations: int
    batch: int
    warmup: int
    weight_decay: float
    clip: float
    log_every: int
    tested: tuple[int, ...]
    questions: int


def _curves(log: Sequence[Mapping[Any, Any]], labels: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for entry in log:
        at = {**labels[int(entry["run"])], "iteration": int(entry["iteration"]), "length": 0}
        rows.append({**at, "quantity": "loss", "value": float(entry["loss"])})
        if entry.get("characters") == entry.get("characters"):  # not where it was not computed
            rows.append({**at, "quantity": "characters while training", "value": float(entry["characters"])})
    return rows


@torch.no_grad()
def _tests(
    model: TokenModel, setting: Training, test_seed: int, labels: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Every run is asked the same strings, which no training sees."""
    rows = []
    device = model.embedding.weight.device
    for length in setting.tested:
        drawn = setting.task.questions(length, setting.questions, stream(test_seed, f"strings/test/{length}"))
        questions = drawn._replace(prompts=drawn.prompts.to(device), answers=drawn.answers.to(device))
        said, forced = generated_scores(model, questions), teacher_forced_scores(model, questions)
        # Whole strings are right or wrong alike in both: the first mistake follows right characters.
        found = {
            "characters": said.characters,
            "strings": said.strings,
            "teacher-forced characters": forced.characters,
        }
        for quantity, values in found.items():
            for at, value in zip(labels, values.tolist(), strict=True):
                here = {"iteration": setting.iterations, "length": length, "quantity": quantity}
                rows.append({**at, **here, "value": float(value)})
    return rows


def train(
    build: Callable[[Sequence[int]], TokenModel],
    setting: Training,
    seeds: Sequence[int],
    rates: Sequence[float],
    test_seed: int,
    labels: dict[str, Any],
    device: torch.device,
    progress: bool,
    path: Path | None,
) -> tuple[list[dict[str, Any]], TokenModel]:
    """Train one ensemble and test it.

    Args:
        build: Makes the models from one seed per run.
        setting: What is trained and how.
        seeds: One per run; runs with the same seed see the same contexts and start from the same weights.
        rates: The learning rate of every run.
        test_seed: Of the strings that all runs are asked.
        labels: Columns that all rows get; "seed" and "lr" are added.
        device: Where to compute.
        progress: Whether to report progress.
        path: Checkpoint, or None.

    Returns:
        Rows, and the trained models.
    """
    model = build(seeds).to(device)
    distinct = sorted(set(seeds))
    streams = [stream(seed, "strings/training") for seed in distinct]
    which = torch.tensor([distinct.index(seed) for seed in seeds])

    def loss(parameters: dict[str, Tensor], done: int) -> tuple[Tensor, dict[str, Tensor]]:
        batches = [setting.task.batch(setting.batch, generator) for generator in streams]
        inputs, targets, mask = (torch.stack(part)[which].to(device) for part in zip(*batches, strict=True))
        logits = functional_call(model, parameters, (inputs,))
        logged = (done + 1) % setting.log_every == 0 or done == 0
        further = {}
        if logged:
            right = (logits.detach().argmax(-1) == targets) & mask
            further["characters"] = right.sum((1, 2)) / mask.sum((1, 2))
        return masked_loss(logits, targets, mask), further

    config = FitConfig(
        setting.iterations,
        lr=tuple(rates),
        weight_decay=setting.weight_decay,
        clip=setting.clip,
        log_every=setting.log_every,
        decoupled=True,
        # The velocities would be drawn towards v = 1/2, the state's towards 0, and the modes of S4D away from where they start.
        no_decay=("theta", "speed", "log_decay", "frequency", "log_step"),
        schedule="linear",
        warmup=setting.warmup,
    )
    label = f"strings, {labels.get('model', 'model')}"
    with own_threads():
        trained = fit(model.parameters_dict(), loss, config, progress, label, checkpoint=path, streams=streams)
    model.load(trained.parameters)
    own = [{**labels, "seed": seed, "lr": rate} for seed, rate in zip(seeds, rates, strict=True)]
    rows = _curves(trained.log.to_dict("records"), own)
    rows += _tests(model, setting, test_seed, own)
    return rows, model
