"""What waves do while a network learns (Wave-RNN Figs. 9, 10 and 18).

Three parts, each measured before, during and after training:

- *starts* (Fig. 18): the copy task from every initialisation of u that the paper names (shift, Dirac, uniform, normal) and
  from two of the dense network; the input weights are the paper's in all of them.
- *speeds* (Fig. 10): the copy task with several velocities built in, one per channel.
- *channels* (Fig. 9): images shown pixel by pixel to a network of many channels.

The paper shows Figs. 10 and 18 without sizes or settings; these are ours. Velocities are those of the part of the
activity that differs between sequences ("velocity"), and of a small disturbance of the state ("response velocity"); see
`wavemem.wave_rnn.wave_readings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Final

import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call

from wavemem.checks import one_of, require
from wavemem.records.experiment import Configuration, Pieces, Result, Source, Where, resumable, under, weights_of
from wavemem.records.fields import Batch, Blanks, Clip, Count, Items, OneOf, Rate, Runs, Size, Updates, Within
from wavemem.streams import run_seeds, stream
from wavemem.theory.velocity import Velocity
from wavemem.training.fit import FitConfig, LossFunction, fit
from wavemem.wave_rnn.copy_task import CopyTask, copy_loss, exact_recall
from wavemem.wave_rnn.grids import draw
from wavemem.wave_rnn.image_tasks import KINDS, STAND_INS, SequentialImages
from wavemem.wave_rnn.network import IdentityRNN, RecurrentNetwork, WaveRNN, initialise, network_of
from wavemem.wave_rnn.wave_readings import (
    direction,
    onset_order,
    ring_pass,
    ring_velocity,
    state_response,
    varying_part,
)

STARTS: Final = ("wRNN shift", "wRNN dirac", "wRNN uniform", "wRNN normal", "iRNN identity", "iRNN uniform")
"""Models of the first part: architecture and start of the recurrent weights."""
SPEEDS: Final[dict[str, tuple[int, tuple[float, ...]]]] = {
    "speeds halved": (3, (1.0, 0.5, 0.25, 0.125)),
    "speeds whole": (5, (2.0, 1.0, -1.0, -2.0)),
}
"""Models of the second part: taps of the kernel, and the velocity of each channel at the start."""
CHANNELS: Final = "wRNN images"
"""The model of the third part."""
IMAGES: Final = tuple(kind for kind in KINDS if not kind.startswith("ns"))
"""Image tasks of the third part: those in which pixels come one by one."""
SHOWN: Final = 15
"""Channels of it that are measured, as many as the paper shows."""


@dataclass(frozen=True)
class Config(Configuration):
    """Sizes and training; the defaults are the protocol of the committed record.

    quick: four minutes on one core, of which the book trains live two seeds and a tenth of the updates; paper: the paper's sizes
    for the copy task of T = 10 and for sMNIST, and 20,000 updates (where it shows these figures the paper names neither).

    Attributes:
        T, memory, symbols: the copy task.
        units, channels: n and c of the Wave-RNNs of the first part; those of the second have one channel per velocity.
        dense_units: N of the dense networks.
        runs: seeds per model of the first two parts; see `wavemem.streams.run_seeds`.
        iterations, batch, lr, clip: training of the first two parts.
        snapshots: updates after which waves are measured; 0 is before training, and the last must be `iterations`.
        probes: sequences that velocities are measured on.
        tests: sequences of the test of recall.
        images: kind of the image task of the third part.
        image_units, image_channels, image_runs, image_iterations, image_batch, image_lr: its network and training.
    """

    PARTS: ClassVar = ("runs", "snapshots", "image_runs")
    OTHER_DATA: ClassVar = {"images": STAND_INS}
    UNSTATED: ClassVar = "the paper does not give the sizes of these networks"
    PAPER: ClassVar = {
        "T": 10,
        "memory": 10,
        "symbols": 8,
        "units": 100,
        "dense_units": 100,
        "runs": 3,
        "iterations": 20_000,
        "batch": 128,
        "lr": 1e-3,
        "snapshots": (0, 30, 100, 400, 2_000, 20_000),
        "images": "smnist",
        "image_units": 256,
        "image_runs": 1,
        "image_iterations": 5_000,
        "image_batch": 128,
        "image_lr": 1e-3,
    }
    LIVE: ClassVar = {"runs": 2, "iterations": 400, "snapshots": (0, 30, 100, 400)}

    T: Blanks = 5
    memory: Size = 5
    symbols: Size = 4
    units: Annotated[int, Within(4, 10_000)] = 24
    channels: Size = 6
    dense_units: Annotated[int, Within(4, 10_000)] = 48
    runs: Runs = 5
    iterations: Count = 4000
    batch: Batch = 32
    lr: Rate = 3e-3
    clip: Clip = 1.0
    snapshots: Annotated[tuple[Updates, ...], Items(rise=True)] = (0, 30, 100, 400, 1500, 4000)
    probes: Annotated[int, Within(4, 1_000_000)] = 64
    tests: Batch = 500
    images: Annotated[str, OneOf(IMAGES)] = "sdigits"
    image_units: Annotated[int, Within(4, 10_000)] = 32
    image_channels: Size = 16
    image_runs: Runs = 2
    image_iterations: Count = 250
    image_batch: Batch = 32
    image_lr: Rate = 2e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.snapshots[0] == 0 and self.snapshots[-1] == self.iterations,
            f"snapshots = {self.snapshots} with iterations = {self.iterations}",
            "numbers of updates from 0 to iterations",
            "Both ends are needed: what was there before training, and what is left after it.",
        )
        require(
            self.task.length > 4,
            f"sequences of T + 2 memory = {self.task.length} steps",
            "5 or more",
            "A velocity needs that many: lengthen T or memory.",
        )

    @property
    def task(self) -> CopyTask:
        """The copy task of the first two parts."""
        return CopyTask(self.T, self.memory, self.symbols)

    @property
    def models(self) -> tuple[str, ...]:
        """All models of the three parts."""
        return (*STARTS, *SPEEDS, CHANNELS)


def initial(config: Config, model: str, seed: int, device: torch.device | str = "cpu") -> RecurrentNetwork:
    """The networks of a model before training, one per seed.

    Raises:
        ValueError: If the model is unknown.
    """
    one_of("model", model, config.models)
    seeds = run_seeds(seed, config.image_runs if model == CHANNELS else config.runs)
    if model == CHANNELS:
        return WaveRNN.initialise(seeds, config.image_units, config.image_channels, inputs=1, outputs=10, device=device)
    width = config.task.categories
    if model in SPEEDS:
        taps, velocities = SPEEDS[model]
        return WaveRNN.initialise(
            seeds, config.units, len(velocities), width, width, kernel=taps, velocities=velocities, device=device
        )
    architecture, start = model.split()
    units = config.units if architecture == "wRNN" else config.dense_units
    return initialise(architecture, seeds, units, config.channels, width, width, start, device=device)


def probe_inputs(config: Config, model: str, seed: int, images: SequentialImages | None = None) -> Tensor:
    """Sequences (T, B, d) that the waves of a model are measured on; no training sees them."""
    if model == CHANNELS:
        images = SequentialImages(config.images) if images is None else images
        return images.sequence(images.test[: config.probes])
    return config.task.batch(config.probes, stream(seed, "wave learning, probes")).inputs


def onset_orders(network: RecurrentNetwork, inputs: Tensor) -> list[Tensor]:
    """Positions of each run in the order that they are shown in: on rings their own, else that of `onset_order`.

    For dense networks the order is found on the first half of the sequences; see `activity`.
    """
    if not isinstance(network, IdentityRNN):
        return [torch.arange(network.hidden // network.kernel().shape[1])] * network.K
    with torch.no_grad():
        states = network.states(inputs[:, : inputs.shape[1] // 2])
    return [onset_order(states[:, k]) for k in range(network.K)]


def activity(network: RecurrentNetwork, inputs: Tensor) -> Tensor:
    """The varying part of the activity, (K, T, B, c, n).

    For dense networks that of the second half of the sequences, with the units in the order of onset in the first half.
    """
    orders = onset_orders(network, inputs)
    if isinstance(network, IdentityRNN):
        inputs = inputs[:, inputs.shape[1] // 2 :]
    with torch.no_grad():
        states = network.states(inputs)
    return torch.stack([varying_part(states[:, k][..., orders[k]]) for k in range(network.K)])


def recall_loss(
    network: RecurrentNetwork, task: CopyTask, batch: int, generators: Sequence[torch.Generator]
) -> LossFunction:
    """Cross-entropy of the copy task over all positions; run k draws its sequences from generator k."""
    device = network.V.device

    def loss(parameters: dict[str, Tensor], _done: int) -> Tensor:
        inputs, targets = draw(task, batch, generators, device)
        return copy_loss(functional_call(network, parameters, (inputs,), {"every_step": True}), targets)

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


def _named(prefix: str, velocity: Velocity) -> dict[str, float]:
    return {
        f"{prefix}velocity": velocity.value,
        f"{prefix}velocity error": velocity.error,
        f"{prefix}coherence": velocity.coherence,
    }


def _measure(
    config: Config, model: str, network: RecurrentNetwork, inputs: Tensor, seed: int, ends: bool
) -> list[dict[str, Any]]:
    """Velocities of every run, as rows (run, channel, quantity, value); channel −1 stands for all.

    Args:
        ends: before or after training, where also the response to a disturbance is measured.
    """
    rows: list[dict[str, Any]] = []

    def note(k: int, channel: int, values: Mapping[str, float]) -> None:
        rows.extend({"run": k, "channel": channel, "quantity": q, "value": v} for q, v in values.items())

    moving = activity(network, inputs)
    images = model == CHANNELS
    if images:  # the middle of the sequence is enough, and there the images are
        moving = moving[:, len(inputs) // 4 : 3 * len(inputs) // 4]
    for k in range(network.K):
        note(k, -1, {**_named("", ring_velocity(moving[k])), "direction": direction(moving[k])})
        for channel in range(min(SHOWN, moving.shape[3]) if images and ends else 0):
            note(k, channel, _named("", ring_velocity(moving[k][:, :, channel : channel + 1])))
        if isinstance(network, WaveRNN):
            power = network.u[k].detach().square().sum(-1)
            note(k, -1, {"coupling": float(1 - power.diagonal().sum() / power.sum())})
    if not ends or images:
        return rows
    single = range(moving.shape[3]) if model in SPEEDS or model == STARTS[0] else ()
    orders = onset_orders(network, inputs)
    for channel in (-1, *single):
        generator = stream(seed, f"disturbance {channel}")
        own = None if channel < 0 else channel
        response = state_response(network, inputs[:, -moving.shape[2] :], config.memory, generator, own)
        for k in range(network.K):
            seen = response[k] if own is None else response[k][:, :, own : own + 1]
            note(k, channel, _named("response ", ring_velocity(seen[..., orders[k]])))
    if isinstance(network, WaveRNN):  # three laps, the last input going on
        longer = torch.cat([inputs, inputs[-1:].expand(3 * network.n, -1, -1)])
        response = state_response(network, longer, config.memory, stream(seed, "disturbance, laps"))
        for k in range(network.K):
            note(k, -1, pass_of(response[k]))
    return rows


def _score(config: Config, network: RecurrentNetwork, seed: int, images: SequentialImages | None) -> list[float]:
    """Share of sequences recalled without a mistake, or of images named rightly, per run."""
    with torch.no_grad():
        if images is not None:
            right = network(images.sequence(images.test)).argmax(-1) == images.labels[images.test]
            return [float(share) for share in right.double().mean(-1)]
        batch = config.task.batch(config.tests, stream(seed, "wave learning, test"))
        found = exact_recall(network(batch.inputs, every_step=True), batch.targets, config.memory)
    return [float(share) for share in found]


def _train(config: Config, model: str, seed: int, where: Where) -> Result:
    """Train the networks of one model and measure them at every snapshot."""
    network = initial(config, model, seed, where.device)
    generators = [stream(own, "data") for own in run_seeds(seed, network.K)]
    images = SequentialImages(config.images) if model == CHANNELS else None
    if images is None:
        iterations, lr, snapshots = config.iterations, config.lr, config.snapshots
        loss = recall_loss(network, config.task, config.batch, generators)
    else:
        iterations, lr, snapshots = config.image_iterations, config.image_lr, (0, config.image_iterations)
        loss = naming_loss(network, images, config.image_batch, generators)
    training = FitConfig(iterations, lr=lr, clip=config.clip, log_every=max(1, iterations // 50), snapshots=snapshots)
    trained = fit(network.state_dict(), loss, training, where.progress, model, where.checkpoint, generators)
    log = trained.log
    rows: list[dict[str, Any]] = [
        {"run": run, "channel": -1, "quantity": "loss", "value": value, "iteration": iteration}
        for run, value, iteration in zip(log["run"], log["loss"], log["iteration"], strict=True)
    ]
    weights: dict[str, Tensor] = {}
    inputs = probe_inputs(config, model, seed, images)
    network.cpu()
    for iteration, parameters in trained.snapshots.items():
        network.load_state_dict(parameters)
        found = _measure(config, model, network, inputs, seed, ends=iteration in (0, iterations))
        for k, share in enumerate(_score(config, network, seed, images)):
            found.append({"run": k, "channel": -1, "quantity": "right", "value": share})
        rows += [{**row, "iteration": iteration} for row in found]
        weights |= under(f"{model}/{iteration}", parameters)
    table = pd.DataFrame(rows).assign(
        model=model, seed=lambda found: found["run"].map(dict(enumerate(run_seeds(seed, network.K))))
    )
    return Result(
        table[["model", "seed", "iteration", "channel", "quantity", "value"]].astype({"value": float}), weights
    )


@resumable
def run(config: Config, seed: int) -> Pieces:
    """Train every model and measure its waves.

    Rows (model, seed, iteration, channel, quantity, value); channel −1 stands for all. Quantities: "loss" (of the batch of an
    update), "right" (share of test sequences recalled without a mistake, of images named rightly), "velocity", "velocity error"
    (nan where nothing travels), "coherence", "direction", the same with "response " before it, "coupling" (share of the power of
    u between different channels), and before and after training of rings "travel", "gain", "travelling" and "recirculating"
    (`wavemem.wave_rnn.wave_readings.ring_pass`). Weights "<model>/<iteration>/<parameter>", stacked.
    """
    return {model: partial(_train, config, model, seed) for model in config.models}


def networks(source: Source, model: str, iteration: int) -> RecurrentNetwork:
    """The networks of a model after so many updates, from a result or a record.

    Raises:
        ValueError: If there are none.
    """
    return network_of(weights_of(source, f"{model}/{iteration}"))  # type: ignore[return-value]


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds of what is measured over all channels, at every snapshot."""
    chosen = rows[(rows["channel"] == -1) & (rows["quantity"] != "loss")]
    grouped = chosen.groupby(["model", "iteration", "quantity"], sort=False)["value"]
    return grouped.agg(["mean", "std", "count"]).reset_index()
