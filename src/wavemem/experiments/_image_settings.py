"""What is trained on images: models, their sizes and training settings, task by task (Wave-RNN Appendix B)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["MODELS", "SETTINGS", "Job", "Setting"]

MODELS: Final = ("wRNN", "iRNN", "iRNN scaled", "wRNN + MLP", "LSTM", "GRU")
""""iRNN" starts as published, "iRNN scaled" with the size of the input weights and the biases that a search chose."""


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


_QUICK: Final = {
    "wRNN": Setting(32, 8, clip=1.0, batch=64, epochs=80, drop=None),
    "iRNN": Setting(64, lr=3e-3, clip=1.0, batch=64, epochs=240, drop=None),
    "wRNN + MLP": Setting(32, 8, clip=1.0, batch=64, epochs=40, drop=None),
    "LSTM": Setting(32, lr=3e-3, clip=1.0, batch=64, epochs=80, drop=None),
    "GRU": Setting(32, lr=3e-3, clip=1.0, batch=64, epochs=80, drop=None),
}
_QUICK_NOISY: Final = _QUICK | {
    "wRNN": Setting(32, 8, clip=1.0, batch=64, epochs=40, drop=None),
    "iRNN": Setting(64, clip=1.0, batch=64, epochs=120, drop=None),
}
_NOISY: Final = {
    "wRNN": Setting(256, 16, lr=1e-4, batch=256, epochs=250),
    "iRNN": Setting(529, lr=1e-5, batch=256, epochs=250),
}
SETTINGS: Final[dict[str, dict[str, Setting]]] = {
    "sdigits": _QUICK,
    "psdigits": _QUICK,
    "nsdigits": _QUICK_NOISY,
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
text has lost the mark they are those of the public code's defaults. The small digits' were chosen here."""


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
        kind = "iRNN" if self.model.startswith("iRNN") else self.model
        return (self.task, kind, s.units, s.channels, s.clip, s.batch, s.epochs, s.drop)
