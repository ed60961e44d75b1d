"""What an experiment is: sizes with named profiles, trainings, and a summary of what they measured.

An experiment, listed in `wavemem.experiments`, is a module, or an `Experiment` in one, with three names: ``Config`` (the
sizes), ``run`` (measures) and ``summarise`` (the table that the book shows). A long one names its trainings, and `resumable`
makes the run::

    @dataclass(frozen=True)
    class Config(Configuration):
        PAPER: ClassVar = {"iterations": 60_000}
        models: tuple[Annotated[str, OneOf(MODELS)], ...] = MODELS
        iterations: Count = 400

    def _train(config: Config, model: str, seeds: Sequence[int], where: Where) -> Result: ...

    @resumable
    def run(config: Config, seed: int) -> Pieces:
        seeds = run_seeds(seed, config.runs)
        return {model: partial(_train, config, model, seeds) for model in config.models}
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import signal
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

import pandas as pd
import torch
from torch import Tensor

from wavemem.checks import nearest, one_of, require
from wavemem.experiments import EXPERIMENTS
from wavemem.processes import watch_parent
from wavemem.records.fields import check_fields
from wavemem.training.checkpoint import claimed

PROFILES = ("quick", "paper")
"""Sizes that something can be measured at: those of a laptop and those of the papers."""


@dataclass(frozen=True)
class Result:
    """What one run of an experiment measured.

    Args:
        rows: one row per measurement, plain columns (floats, integers, booleans, strings).
        weights: named tensors worth keeping, e.g. the trained recurrent matrices; may be empty.
    """

    rows: pd.DataFrame
    weights: Mapping[str, Tensor] = field(default_factory=dict)


class Source(Protocol):
    """What trained weights are read from: a result or a record."""

    @property
    def rows(self) -> pd.DataFrame:
        """What was measured."""
        ...

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Named tensors."""
        ...


@dataclass(frozen=True)
class Configuration:
    """Base class of the sizes of an experiment: plain fields whose defaults are the profile "quick".

    Attributes:
        PARTS, OTHER_DATA, UNSTATED: what fields mean for the size, see `wavemem.records.sizes`.
        PAPER: the fields in which the profile "paper" differs from the defaults, and their values.
        LIVE: the fields in which what the book trains while it is built differs from "quick", and their values.
    """

    PARTS: ClassVar[tuple[str, ...]] = ()
    OTHER_DATA: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    UNSTATED: ClassVar[str] = ""
    PAPER: ClassVar[Mapping[str, Any]] = {}
    LIVE: ClassVar[Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def profile(cls, name: str) -> Self:
        """The configuration called "quick" or "paper".

        Raises:
            ValueError: there is no such profile.
        """
        one_of("profile", name, PROFILES)
        return cls(**cls.PAPER) if name == "paper" else cls()

    @classmethod
    def live(cls, name: str) -> Self:
        """What the book trains while it is built: a part of "quick", all of "paper".

        Raises:
            ValueError: there is no such profile.
        """
        whole = cls.profile(name)
        return whole if name == "paper" else dataclasses.replace(whole, **cls.LIVE)

    @classmethod
    def stored(cls, values: Mapping[str, Any]) -> Self:
        """The configuration of a record, whose lists are tuples here; what is no longer a field is left out."""

        def plain(value: Any) -> Any:
            return tuple(plain(entry) for entry in value) if isinstance(value, list) else value

        names = {each.name for each in dataclasses.fields(cls)}
        return cls(**{name: plain(value) for name, value in values.items() if name in names})


@dataclass(frozen=True)
class Where:
    """Where a training takes place.

    Args:
        device: where to compute.
        progress: whether to report progress.
        checkpoint: file that keeps the state of the training, so that it can go on after a kill; None keeps nothing.
    """

    device: torch.device
    progress: bool = False
    checkpoint: Path | None = None


Pieces = Mapping[str, Callable[[Where], Result]]
"""Name → training. A name becomes a file name. Pieces are independent, and can be pickled for other processes."""
Rounds = Generator[Pieces, list[Result], None]
"""Pieces after pieces: each yield is sent what its pieces gave."""
C = TypeVar("C", contravariant=True)


class Run(Protocol[C]):
    """How an experiment is run."""

    def __call__(
        self,
        config: C,
        seed: int,
        device: torch.device | str = "cpu",
        progress: bool = True,
        checkpoints: Path | None = None,
    ) -> Result:
        """Measure; the same configuration, seed and kind of device give the same rows and weights.

        Args:
            config: the sizes.
            seed: the base seed; see `wavemem.streams.run_seeds`.
            device: where to compute.
            progress: whether to report progress.
            checkpoints: folder from which a run that was stopped goes on, and whose work processes may share; None for none.
        """
        ...


_watch_parent = functools.cache(watch_parent)


def _unless_claimed(piece: Callable[[Where], Result], where: Where, caller: int) -> Result | None:
    """Run a piece, or return None if another process is at it; a process that the caller started ends with it."""
    if os.getppid() == caller:
        _watch_parent(caller, signal.SIGKILL)
    assert where.checkpoint is not None
    with claimed(where.checkpoint, wait=False) as mine:
        return piece(where) if mine else None


def _run_unclaimed(pieces: Pieces, places: Mapping[str, Where]) -> list[Result | None]:
    """Run the pieces that nobody else is at, by as many processes as joblib is configured for."""
    calls = [(piece, places[name], os.getpid()) for name, piece in pieces.items()]
    try:
        import joblib
    except ModuleNotFoundError:  # an optional dependency: pip install wavemem[sweep]
        count = 1
    else:
        # A cluster does the work even where it offers a single process: that is why it was named.
        elsewhere = hasattr(joblib.parallel.get_active_backend()[0], "client")
        count = len(pieces) + 1 if elsewhere else min(joblib.effective_n_jobs(), len(pieces))
    if count <= 1:
        return [_unless_claimed(*call) for call in calls]
    # One by one and all at once: a process that comes late, or is left when another dies, finds something to do.
    found: list[Result | None] = joblib.Parallel(batch_size=1, pre_dispatch="all")(
        joblib.delayed(_unless_claimed)(*call) for call in calls
    )
    return found


def run_pieces(
    pieces: Pieces, device: torch.device | str = "cpu", progress: bool = False, folder: Path | None = None
) -> list[Result]:
    """Run every piece once, alone or with other processes, and return what they return, in their order.

    Every piece is a training with a checkpoint of its own. A process that finds a piece in another's hands turns to the next
    one and comes back later: the same command started twice shares the work, and started again after a kill goes on.

    Args:
        pieces: A piece whose checkpoint is complete is expected to return at once.
        device: Where to compute.
        progress: Whether to report progress.
        folder: Where the checkpoints are; None runs the pieces in order, in this process, without any.
    """
    device = torch.device(device)
    if folder is None:
        return [piece(Where(device, progress)) for piece in pieces.values()]
    files = {name: folder / f"{name.replace('/', '-').replace(' ', '_')}.safetensors" for name in pieces}
    places = {name: Where(device, progress, file) for name, file in files.items()}
    results = []
    for (name, piece), found in zip(pieces.items(), _run_unclaimed(pieces, places), strict=True):
        if found is None:
            with claimed(files[name]):
                found = piece(places[name])
        results.append(found)
    return results


def resumable(plan: Callable[[C, int], Pieces | Rounds]) -> Run[C]:
    """Make the ``run`` of an experiment, see `Run`, from a function that names its trainings.

    Args:
        plan: from a configuration and a base seed to pieces, whose rows are put one below the other in this order, and whose
            weights are put together. A search whose later trainings depend on the earlier ones yields several sets of pieces.
    """

    @functools.wraps(plan)
    def run(
        config: C,
        seed: int,
        device: torch.device | str = "cpu",
        progress: bool = True,
        checkpoints: Path | None = None,
    ) -> Result:
        planned = plan(config, seed)
        if isinstance(planned, Mapping):
            done = run_pieces(planned, device, progress, checkpoints)
        else:
            done, latest = [], None
            while (pieces := _next(planned, latest)) is not None:
                latest = run_pieces(pieces, device, progress, checkpoints)
                done += latest
        rows = pd.concat([part.rows for part in done], ignore_index=True)
        return Result(rows, {name: value for part in done for name, value in part.weights.items()})

    del run.__wrapped__  # its signature is not the plan's
    return run


def _next(rounds: Rounds, latest: list[Result] | None) -> Pieces | None:
    try:
        return next(rounds) if latest is None else rounds.send(latest)
    except StopIteration:
        return None


def under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a result, called "<name>/<own name>"."""
    return {f"{name}/{own}": value.detach().cpu() for own, value in tensors.items()}


def weights_of(source: Source, name: str) -> dict[str, Tensor]:
    """The weights called "<name>/…", by the rest of their names.

    Raises:
        ValueError: there are none.
    """
    found = {own[len(name) + 1 :]: value for own, value in source.weights.items() if own.startswith(f"{name}/")}
    known = dict.fromkeys(own.rsplit("/", 1)[0] for own in source.weights)
    require(
        len(found) > 0, f"no weights of {name!r}", ", ".join(known) or "none in this source", "Choose one of these."
    )
    return found


@dataclass
class Experiment:
    """An experiment that shares its module with others; it is described by the documentation of its `Config`."""

    Config: type[Any]
    run: Run[Any]
    summarise: Callable[[pd.DataFrame], pd.DataFrame]


def experiment_names() -> list[str]:
    """The experiments that exist, in alphabetical order."""
    return sorted(EXPERIMENTS)


def module_of(name: str) -> str:
    """The module of an experiment, by its dotted name."""
    return EXPERIMENTS[name]


def description(name: str) -> str:
    """What an experiment is about, in a line."""
    found = get_experiment(name)
    documented = found.Config if isinstance(found, Experiment) else found
    return (documented.__doc__ or "").partition("\n")[0]


def get_experiment(name: str) -> Any:
    """The experiment of a name, a module or an `Experiment` in one, with ``Config``, ``run`` and ``summarise``.

    Raises:
        ValueError: there is no such experiment.
    """
    names = experiment_names()
    if name not in names:
        raise ValueError(
            f"experiment {name!r} does not exist; allowed: {', '.join(names) or '(none)'}. {nearest(name, names)}"
        )
    module = importlib.import_module(module_of(name))
    own = getattr(module, name, None)
    return own if isinstance(own, Experiment) else module
