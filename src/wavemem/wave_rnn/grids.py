"""Search grids as data: those of the Wave-RNN paper (Keller et al., ICLR 2024, Appendix B) and its best settings.

A grid is a set of values per hyper-parameter; its points are all combinations. A gradient clip of 0 means none. For the copy
task the clip acts on the gradient of the paper's own loss, which is the cross-entropy divided by the size of the batch.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wavemem.checks import one_of, require

TASKS = ("copy", "copy ablation", "adding", "smnist", "psmnist", "nscifar10", "sdigits", "psdigits", "nsdigits")
"""Tasks with a grid; the last three, 8 × 8 digits, are this book's small stand-ins and take the grids of the large ones."""
MODELS = ("wRNN", "iRNN")
EPOCHS: dict[str, tuple[int, int]] = {
    "smnist": (120, 128),
    "psmnist": (120, 128),
    "nscifar10": (250, 256),
    "sdigits": (120, 32),
    "psdigits": (120, 32),
    "nsdigits": (120, 32),
}
"""Image task → passes through the training images, images per batch; the small digits' are this book's."""


@dataclass(frozen=True)
class Setting:
    """One point of a grid.

    Attributes:
        task, model: what learns what.
        T: length of the copy or adding task; 0 for images, whose length is their own.
        units, channels: size; the iRNN has one channel.
        lr: Adam's learning rate.
        clip: largest gradient norm; 0 for no clipping.
        recurrent: how the recurrent weights begin: "shift", "dirac", "uniform" (wRNN); "identity", "uniform", "shift" (iRNN).
        inputs: how the input weights begin: "sparse" or "normal".
        activation: "relu" or "tanh".
        drop_rate, drop_epoch: the rate is divided by `drop_rate` every `drop_epoch` epochs; 1 and 0 for never.
    """

    task: str
    model: str
    T: int = 0
    units: int = 100
    channels: int = 1
    lr: float = 1e-3
    clip: float = 0.0
    recurrent: str = "shift"
    inputs: str = "sparse"
    activation: str = "relu"
    drop_rate: float = 1.0
    drop_epoch: int = 0

    @property
    def name(self) -> str:
        """A file name that no other point of any grid has."""
        words = [
            self.task.replace(" ", "-"),
            self.model,
            f"T{self.T}",
            f"n{self.units}x{self.channels}",
            f"lr{self.lr:g}",
        ]
        words += [f"clip{self.clip:g}", self.recurrent, self.inputs, self.activation]
        if self.drop_epoch:
            words += [f"drop{self.drop_rate:g}every{self.drop_epoch}"]
        return "-".join(words)


@dataclass(frozen=True)
class Grid:
    """Values of every hyper-parameter; fields as in `Setting`, in the plural.

    Raises:
        ValueError: if a hyper-parameter has no value.
    """

    task: str
    model: str
    lengths: tuple[int, ...] = (0,)
    units: tuple[int, ...] = (100,)
    channels: int = 1
    learning_rates: tuple[float, ...] = (1e-2, 1e-3, 1e-4)
    clips: tuple[float, ...] = (0.0,)
    recurrent: tuple[str, ...] = ("shift",)
    inputs: tuple[str, ...] = ("sparse",)
    activations: tuple[str, ...] = ("relu",)
    drop_rates: tuple[float, ...] = (1.0,)
    drop_epochs: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            require(
                value != (), f"{field.name} of {self.task}, {self.model} is empty", "one value or more", "Name one."
            )

    def points(self) -> Iterator[Setting]:
        """All combinations, lengths varying slowest."""
        axes = {
            "T": self.lengths,
            "units": self.units,
            "lr": self.learning_rates,
            "clip": self.clips,
            "recurrent": self.recurrent,
            "inputs": self.inputs,
            "activation": self.activations,
            "drop_rate": self.drop_rates,
            "drop_epoch": self.drop_epochs,
        }
        for values in itertools.product(*axes.values()):
            point: dict[str, Any] = dict(zip(axes, values, strict=True))
            yield Setting(self.task, self.model, channels=self.channels, **point)

    def only(self, **values: Sequence[Any]) -> Grid:
        """The part of the grid with these values; an empty sequence leaves a hyper-parameter as it is.

        Raises:
            ValueError: if a hyper-parameter is unknown or none of the values is in the grid.
        """
        narrowed: dict[str, Any] = {}
        for name, wanted in values.items():
            own = getattr(self, one_of("hyper-parameter", name, [f.name for f in dataclasses.fields(self)]))
            kept = tuple(value for value in own if value in wanted)
            require(
                not wanted or bool(kept),
                f"{name} = {tuple(wanted)} for {self.task}, {self.model}",
                f"among {own}",
                "Name values of the grid.",
            )
            narrowed[name] = kept or own
        return dataclasses.replace(self, **narrowed)


_COPY = (0, 10, 30, 80, 480)
_ADDING = (100, 200, 400, 700, 1000)
_RATES = (1e-2, 1e-3, 1e-4)
_LOW_RATES = (1e-3, 1e-4, 1e-5)
_COPY_CLIPS = (0.0, 1.0, 10.0)
_WIDE_CLIPS = (0.0, 1.0, 10.0, 100.0, 1000.0)
_DROPS: dict[str, Any] = {"drop_rates": (3.33, 10.0), "drop_epochs": (40, 100)}
_IRNN: dict[str, Any] = {"recurrent": ("identity",), "inputs": ("normal",)}

_GRIDS = [
    Grid("copy", "wRNN", _COPY, (100,), 6, _RATES, _COPY_CLIPS),
    Grid(
        "copy",
        "iRNN",
        _COPY,
        (100, 625),
        1,
        _RATES,
        _COPY_CLIPS,
        recurrent=("identity", "uniform"),
        inputs=("normal",),
        activations=("relu", "tanh"),
    ),
    Grid(
        "copy ablation",
        "wRNN",
        (0, 10, 30, 80),
        (100,),
        6,
        _RATES,
        _COPY_CLIPS,
        recurrent=("dirac", "uniform", "shift"),
        inputs=("normal", "sparse"),
    ),
    Grid(
        "copy ablation",
        "iRNN",
        (0, 10, 30, 80),
        (100,),
        1,
        _RATES,
        _COPY_CLIPS,
        recurrent=("identity", "uniform", "shift"),
        inputs=("normal", "sparse"),
        activations=("relu", "tanh"),
    ),
    Grid("adding", "wRNN", _ADDING, (100,), 27, _RATES, _WIDE_CLIPS),
    Grid("adding", "iRNN", _ADDING, (100,), 1, _RATES, _WIDE_CLIPS, **_IRNN),
    Grid("smnist", "wRNN", (0,), (256,), 16, _LOW_RATES, (0.0, 1.0, 10.0, 100.0), **_DROPS),
    Grid("smnist", "iRNN", (0,), (256,), 1, _LOW_RATES, (0.0,), **_IRNN, **_DROPS),
    Grid("psmnist", "wRNN", (0,), (256,), 16, _LOW_RATES, _WIDE_CLIPS, **_DROPS),
    Grid("psmnist", "iRNN", (0,), (256,), 1, _LOW_RATES, _WIDE_CLIPS, **_IRNN, **_DROPS),
    Grid("nscifar10", "wRNN", (0,), (144, 256), 16, _LOW_RATES, drop_rates=(10.0,), drop_epochs=(100,)),
    Grid(
        "nscifar10", "iRNN", (0,), (144, 256, 529, 1024), 1, _LOW_RATES, **_IRNN, drop_rates=(10.0,), drop_epochs=(100,)
    ),
]
_SMALL = {"smnist": "sdigits", "psmnist": "psdigits", "nscifar10": "nsdigits"}
_GRIDS += [dataclasses.replace(g, task=_SMALL[g.task]) for g in _GRIDS if g.task in _SMALL]

PAPER_GRIDS: dict[tuple[str, str], Grid] = {(g.task, g.model): g for g in _GRIDS}
"""(task, model) → the paper's grid."""


@dataclass(frozen=True)
class Best:
    """A setting that the paper reports as the best of its grid."""

    model: str
    units: int
    channels: int
    T: int
    lr: float
    clip: float
    recurrent: str
    activation: str = "relu"


def _best(model: str, units: int, channels: int, columns: Sequence[tuple[int, float, float, str]]) -> list[Best]:
    return [Best(model, units, channels, T, lr, clip, begin) for T, lr, clip, begin in columns]


TABLE_5: tuple[Best, ...] = (
    *_best("wRNN", 100, 6, [(0, 1e-3, 1, "shift"), (10, 1e-3, 0, "shift"), (30, 1e-3, 0, "shift"), (80, 1e-3, 1, "shift"),
                            (480, 1e-4, 1, "shift")]),
    *_best("iRNN", 100, 1, [(0, 1e-3, 10, "uniform"), (10, 1e-3, 1, "identity"), (30, 1e-4, 1, "identity"),
                            (80, 1e-4, 1, "identity"), (480, 1e-4, 10, "identity")]),
    *_best("iRNN", 625, 1, [(0, 1e-3, 1, "uniform"), (10, 1e-4, 10, "identity"), (30, 1e-4, 1, "identity"),
                            (80, 1e-4, 1, "identity"), (480, 1e-4, 1, "identity")]),
)  # fmt: skip
"""The paper's Table 5: the best settings of the copy task."""

TABLE_6: tuple[Best, ...] = (
    *_best("wRNN", 100, 27, [(100, 1e-3, 100, "shift"), (200, 1e-4, 100, "shift"), (400, 1e-4, 1, "shift"),
                             (700, 1e-4, 100, "shift"), (1000, 1e-4, 10, "shift")]),
    *_best("iRNN", 100, 1, [(100, 1e-3, 1000, "identity"), (200, 1e-3, 100, "identity"), (400, 1e-3, 10, "identity"),
                            (700, 1e-4, 100, "identity"), (1000, 1e-3, 1, "identity")]),
)  # fmt: skip
"""The paper's Table 6: the best settings of the adding task."""


def best_of(table: Sequence[Best], model: str, T: int, units: int = 100) -> Best:
    """The setting of a model that a table of the paper has for T, or for the next longer of its lengths."""
    known = {best.T: best for best in table if (best.model, best.units) == (model, units)}
    return known[min((length for length in known if length >= T), default=max(known))]


def grid(task: str, model: str) -> Grid:
    """The paper's grid of a task and a model.

    Args:
        task: one of `TASKS`.
        model: one of `MODELS`.

    Raises:
        ValueError: if there is none.
    """
    return PAPER_GRIDS[one_of("task", task, TASKS), one_of("model", model, MODELS)]
