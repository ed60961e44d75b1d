"""Losses of stacked recurrent networks on fresh batches, for `wavemem.training.generic.fit`, and the waves they learn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from wavemem.models.recurrent import RecurrentNetwork
from wavemem.substrate.wave_readings import ring_pass
from wavemem.tasks.copying import CopyTask, copy_loss
from wavemem.tasks.images import SequentialImages
from wavemem.training.generic import LossFunction

__all__ = ["naming_loss", "pass_of", "recall_loss"]


def recall_loss(
    network: RecurrentNetwork, task: CopyTask, batch: int, generators: Sequence[torch.Generator]
) -> LossFunction:
    """Cross-entropy of the copy task over all positions; run k draws its sequences from generator k."""
    device = network.V.device

    def loss(parameters: dict[str, Tensor], _done: int) -> Tensor:
        drawn = [task.batch(batch, generator, device) for generator in generators]
        inputs = torch.stack([own.inputs for own in drawn], 1)
        logits = functional_call(network, parameters, (inputs,), {"every_step": True})
        return copy_loss(logits, torch.stack([own.targets for own in drawn], 1))

    return loss


def naming_loss(
    network: RecurrentNetwork, images: SequentialImages, batch: int, generators: Sequence[torch.Generator]
) -> LossFunction:
    """Cross-entropy of naming an image after its last step; run k draws its training images from generator k."""
    device = network.V.device

    def loss(parameters: dict[str, Tensor], _done: int) -> Tensor:
        drawn = [images.train[torch.randint(len(images.train), (batch,), generator=g)] for g in generators]
        inputs = torch.stack([images.sequence(indices) for indices in drawn], 1).to(device)
        labels = torch.stack([images.labels[indices] for indices in drawn]).to(device)
        logits: Tensor = functional_call(network, parameters, (inputs,), {"every_step": False})
        return torch.nn.functional.cross_entropy(logits.mT, labels, reduction="none").mean(-1)

    return loss


def pass_of(response: Tensor) -> dict[str, float]:
    """What `ring_pass` reads off a response; NaN where the network has diverged."""
    names = ("travel", "gain", "travelling", "recirculating")
    if not bool(torch.isfinite(response).all()):
        return dict.fromkeys(names, float("nan"))
    wave = ring_pass(response)
    return {name: float(getattr(wave, name)) for name in names}
