"""What is trained on images: models, their sizes and training settings, task by task (Wave-RNN Appendix B)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

__all__ = ["EPOCHS", "MODELS", "SETTINGS", "Job", "Setting"]

MODELS: Final = ("wRNN", "wRNN searched", "iRNN", "iRNN searched", "wRNN + MLP", "LSTM", "GRU")
"""The first and the third start as published, the searched ones with the input weights and biases that a search chose."""


@dataclass(frozen=True)
class Setting:
    """How a model is made and trained on a task.

    Attributes:
        units: n of the Wave-RNN, N of the others.
        channels: c of the Wave-RNN.
        lr: learning rate.
        clip: largest gradient norm; 0 for no clipping.
        batch: images per update.
        epochs: how often the training images are visited.
        drop: (epochs, factor): the learning rate is divided by the factor after every so many epochs.
        V_scale, biases: the start, as in `wavemem.models.wave_rnn.WaveRNN.initialise`; None and True are the published one.
    """

    units: int
    channels: int = 1
    lr: float = 1e-3
    clip: float = 0.0
    batch: int = 128
    epochs: int = 120
    drop: tuple[int, float] | None = (100, 10.0)
    V_scale: float | None = None
    biases: bool = True


EPOCHS: Final = 60
"""Epochs in which all models are compared on the small digits."""


def _digits(more: int) -> dict[str, Setting]:
    """Small digits; networks without waves go on to `more` times as many epochs.

    Learning rates and starts are those that `wavemem.experiments.image_search` found on the permuted digits.
    """
    small = partial(Setting, clip=1.0, batch=64, epochs=EPOCHS, drop=None)
    dense = partial(small, 64, epochs=more * EPOCHS)
    return {
        "wRNN": small(32, 8, lr=3e-3),
        "wRNN searched": small(32, 8, lr=1e-3, V_scale=10.0),
        "iRNN": dense(lr=3e-2),
        "iRNN searched": dense(lr=3e-3, V_scale=3.0),
        "wRNN + MLP": small(32, 8, lr=3e-3),
        "LSTM": small(32, lr=1e-2),
        "GRU": small(32, lr=3e-2),
    }


_NOISY: Final = {
    "wRNN": Setting(256, 16, lr=1e-4, batch=256, epochs=250),
    "iRNN": Setting(529, lr=1e-5, batch=256, epochs=250),
}
SETTINGS: Final[dict[str, dict[str, Setting]]] = {
    "sdigits": _digits(3),
    "psdigits": _digits(3),
    "nsdigits": _digits(1),
    "smnist": {
        "wRNN": Setting(256, 16, lr=1e-4, clip=1.0),
        "iRNN": Setting(256, lr=1e-4),
        "wRNN + MLP": Setting(256, 16, lr=1e-4, clip=1.0),
    },
    "psmnist": {
        "wRNN": Setting(256, 16, lr=1e-4, clip=100.0),
        "iRNN": Setting(256, lr=1e-4, clip=1000.0, epochs=250),
        "wRNN + MLP": Setting(256, 16, lr=1e-4, clip=100.0),
    },
    "nscifar10": _NOISY,
    "nscifar10-jpeg": _NOISY,
}
"""Task → model → setting. Those of the paper's tasks are the ones that its Appendix B marks in its search ranges; where the
text has lost the mark they are those of the public code's defaults."""


@dataclass(frozen=True)
class Job:
    """A model of one size on one task.

    Attributes:
        task, model: see `wavemem.experiments.images.Config`.
        setting: its size, its start, and how it is trained.
    """

    task: str
    model: str
    setting: Setting

    @property
    def name(self) -> str:
        """A name for files and weights."""
        return f"{self.task}/{self.model}/{self.setting.units}x{self.setting.channels}"

    @property
    def together(self) -> tuple[object, ...]:
        """Jobs that agree in this have the same shapes and are trained in one ensemble."""
        s = self.setting
        return (self.task, self.model.removesuffix(" searched"), s.units, s.channels, s.clip, s.batch, s.epochs, s.drop)
