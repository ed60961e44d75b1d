"""How long trained networks remember: accuracy step by step, far beyond the horizon of the training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, require
from wavemem.models.elman import ElmanEnsemble
from wavemem.streams import stream
from wavemem.tasks.episodes import random_histories
from wavemem.tasks.hds import LinearHDS

__all__ = ["accuracy_by_step"]


@torch.no_grad()
def accuracy_by_step(
    ensemble: ElmanEnsemble,
    task: LinearHDS,
    horizon: int,
    seeds: Sequence[int],
    batch: int = 256,
    stretch: int = 100,
) -> Float[Tensor, "horizon K d"]:
    """Share of right signs at every step of the output phase, for every run and output.

    An output of exactly 0, which is what a network without any memory ends with, counts as a guess: one half.

    Args:
        ensemble: the networks.
        task: what they were trained on.
        horizon: steps of the output phase.
        seeds: one per run, for the test histories; these are not those of the training.
        batch: histories per run.
        stretch: steps that are held in memory at a time.

    Returns:
        float64 on the CPU. For repeat copy step t (from 0) asks for vector t mod s of the history.

    Raises:
        ValueError: if the sizes of the ensemble, the task and the seeds do not fit together.
    """
    horizon, stretch = positive_int("horizon", horizon), positive_int("stretch", stretch)
    require(
        ensemble.d == task.d and len(seeds) == ensemble.K,
        f"an ensemble of {ensemble.K} networks with d = {ensemble.d}, {len(seeds)} seeds",
        f"d = {task.d} as the task has, one seed per network",
        "Give the task that these networks were trained on, and a seed for each.",
    )
    like = ensemble.W_hh
    drawn = [
        random_histories(batch, task.s, task.d, stream(seed, "generalisation"), dtype=like.dtype) for seed in seeds
    ]
    u = torch.stack(drawn).to(like.device)
    target = task.targets(u, horizon).permute(2, 0, 1, 3)
    silence = torch.zeros(1, ensemble.K, batch, task.d, dtype=like.dtype, device=like.device)
    h = ensemble.states(u.permute(2, 0, 1, 3))[-1]
    right = []
    for first in range(0, horizon, stretch):
        steps = min(stretch, horizon - first)
        states = ensemble.states(silence, h0=h, steps=steps)
        agreement = torch.sign(ensemble.outputs(states) * target[first : first + steps])
        right.append((0.5 + 0.5 * agreement).double().mean(dim=2).cpu())
        h = states[-1]
    return torch.cat(right)
