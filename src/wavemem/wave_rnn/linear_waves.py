"""Linear Wave-RNNs: their modes, what they remember, how a disturbance spreads, and whether they learn.

A linear Wave-RNN is its spectral blocks Û(m) (`wavemem.kernels.wave_linear`). Their eigenvalues λ tell how a pattern of m
waves per ring turns, and lasts, from step to step: |λ| = 1 lasts, and a phase of 2π ν m/n is a travel of ν units per step.

Does a Wave-RNN have to rectify to learn? The paper writes that "linear recurrence may be an equivalently useful property" and
trains none. The experiment trains the copy task of chapter 16 with and without the rectifier. Both networks have the same
sizes, starts, sequences and number of updates; each has its own learning rate, found on seeds that serve no other purpose: the
one with the lowest loss on held-out sequences (geometric mean over seeds). As long as it is the largest or the smallest one
tried, the next one is tried as well. Then fresh networks are trained with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Final

import pandas as pd
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from wavemem.checks import finite, one_of, positive_int, require, shape_is
from wavemem.kernels.wave import WaveActivation
from wavemem.kernels.wave_linear import spectral_blocks
from wavemem.records.experiment import (
    Configuration,
    Pieces,
    Result,
    Rounds,
    Source,
    Where,
    resumable,
    under,
    weights_of,
)
from wavemem.records.fields import Batch, Blanks, Clip, Count, Rate, Runs, Size, Within
from wavemem.streams import run_seeds, stream
from wavemem.training.fit import FitConfig, fit
from wavemem.wave_rnn.copy_task import CopyTask, copy_loss, exact_recall
from wavemem.wave_rnn.grids import neighbour
from wavemem.wave_rnn.network import WaveRNN
from wavemem.wave_rnn.wave_learning import pass_of, recall_loss
from wavemem.wave_rnn.wave_readings import state_response


def modes(u: Float[Tensor, "c c k"], n: int) -> Complex[Tensor, "n c"]:
    """Eigenvalues of the recurrence on a ring of n units, c of them at each spatial frequency.

    Raises:
        ValueError: If u is not (c, c, odd) or n is not positive.
    """
    shape_is("u", u, ("c", "c", "k"))
    finite("u", u)
    return torch.linalg.eigvals(spectral_blocks(u[None], n, every=True)[0].detach())


def input_memory(u: Float[Tensor, "c c k"], V: Float[Tensor, "cn d"], steps: int) -> Float[Tensor, " steps"]:
    r"""How well the best linear readout of a linear Wave-RNN recovers each past input, exactly and without sampling.

    For independent inputs of variance 1 the state is h(T) = Σ_τ K(τ) x(T−τ), with K(τ) = U^τ V and covariance
    C = Σ_τ K(τ) K(τ)ᵀ. The share of the variance of x(T−τ) that C explains is K(τ)ᵀ C⁺ K(τ), averaged over the d inputs.
    Its sum over τ is d⁻¹ times the rank of C, at most the number of units: a ring can spread its memory but not enlarge it.

    Args:
        u: Recurrent kernels.
        V: Input weights.
        steps: Number of inputs read, T.

    Returns:
        R² for τ = 0, …, T − 1.

    Raises:
        ValueError: If the shapes do not fit or a number is out of range.
    """
    T = positive_int("steps", steps)
    shape_is("u", u, ("c", "c", "k"))
    c = u.shape[0]
    shape_is("V", V, ("c·n", "d"))
    n = V.shape[0] // c
    finite("u", u)
    finite("V", V)
    require(V.shape[0] == c * n, f"V has {V.shape[0]} rows for {c} channels", f"a multiple of {c}", "Check V.")
    blocks = spectral_blocks(u[None].detach(), n)[0]
    written = torch.fft.rfft(V.detach().double().unflatten(0, (c, n)), dim=1).transpose(0, 1)  # (f, c, d)
    columns = []
    for _ in range(T):
        columns.append(torch.fft.irfft(written.transpose(0, 1), n=n, dim=1).flatten(0, 1))
        written = blocks @ written
    k = torch.stack(columns)  # (T, c·n, d)
    # The singular vectors of all columns, rather than the covariance, whose condition is theirs squared.
    _, values, right = torch.linalg.svd(k.permute(1, 0, 2).flatten(1), full_matrices=False)
    kept_values = values > values.max() * 1e-10
    return right[kept_values].square().sum(0).view(T, -1).mean(-1)


def memory_of_states(
    states: Float[Tensor, "batch features"], history: Float[Tensor, "time batch"], ridge: float = 1e-8
) -> Float[Tensor, " time"]:
    """R² of the best linear readout of every past input from states, fitted on half of the sequences, tested on the others.

    For networks that `input_memory` does not cover, because they are not linear.

    Args:
        states: The last state of every sequence.
        history: The inputs of every sequence, oldest first.
        ridge: Penalty relative to the mean variance of the features.

    Returns:
        R² for lag 0 (the newest input), 1, …; not below 0.

    Raises:
        ValueError: If the shapes do not fit or there are fewer than four sequences.
    """
    shape_is("states", states, ("batch", "features"))
    shape_is("history", history, ("time", len(states)))
    finite("states", states)
    finite("history", history)
    require(len(states) >= 4, f"{len(states)} sequences", "four or more", "Both halves need some.")
    x, y = states.detach().double(), history.detach().double().flip(0).mT
    half = len(x) // 2
    mean, target_mean = x[:half].mean(0), y[:half].mean(0)
    centred = x[:half] - mean
    gram = centred.mT @ centred / half
    gram.diagonal().add_(ridge * float(gram.diagonal().mean()) + torch.finfo(torch.float64).tiny)
    weights = torch.linalg.solve(gram, centred.mT @ (y[:half] - target_mean) / half)
    residual = y[half:] - target_mean - (x[half:] - mean) @ weights
    total = (y[half:] - y[half:].mean(0)).square().sum(0)
    return (1 - residual.square().sum(0) / total).clamp_min(0.0)


def propagator(response: Float[Tensor, "steps batch n"]) -> Float[Tensor, "steps n"]:
    """Mean response of a ring to a disturbance of one unit, from responses to random disturbances of all units.

    G(τ, ξ) = Σ_v ε(v) δ(τ, v − ξ) / Σ_v ε(v)², averaged over sequences: what is left after τ steps of a disturbance of size 1, ξ
    units further towards smaller positions. A wave of velocity ν is a ridge on ξ = ν τ.

    Args:
        response: The disturbance ε at step 0 and its consequences δ at the following ones.

    Returns:
        G with displacement ξ = −⌊n/2⌋ … along the last axis.

    Raises:
        ValueError: If there was no disturbance.
    """
    shape_is("response", response, ("steps", "batch", "n"))
    first = response[0].double()
    power = float(first.square().sum())
    require(power > 0, "a disturbance of zero", "a disturbance", "Step 0 of the response is the disturbance itself.")
    n = response.shape[-1]
    transformed = torch.fft.fft(first).unsqueeze(0) * torch.fft.fft(response.double()).conj()
    return torch.fft.fftshift(torch.fft.ifft(transformed).real.sum(1) / power, dim=-1).reshape(-1, n)


ACTIVATIONS: Final[dict[str, WaveActivation]] = {"rectified": "relu", "linear": "linear"}
"""Name → σ."""
FLOOR: Final = 1e-9
"""Losses are told apart down to this."""


@dataclass(frozen=True)
class Config(Configuration):
    """Sizes and training, those of `wavemem.wave_rnn.wave_learning` unless said otherwise; the same for both profiles.

    Attributes:
        T, memory, symbols: the copy task.
        units, channels: n and c.
        runs: fresh networks of each kind; see `wavemem.streams.run_seeds`.
        iterations, batch, clip: of every training.
        rates: learning rates tried first.
        search_runs: networks per rate, of the base seed after the fresh ones'.
        tests: held-out sequences, for the search and for the test; both have their own.
    """

    PARTS: ClassVar = ("runs", "rates", "search_runs")
    UNSTATED: ClassVar = "the paper trains no linear network"

    T: Blanks = 5
    memory: Size = 5
    symbols: Size = 4
    units: Annotated[int, Within(4, 10_000)] = 24
    channels: Size = 6
    runs: Runs = 5
    iterations: Count = 2000
    batch: Batch = 32
    clip: Clip = 1.0
    rates: tuple[Rate, ...] = (1e-3, 3e-3, 1e-2)
    search_runs: Runs = 3
    tests: Batch = 1000


def _train(config: Config, name: str, rates: tuple[float, ...], seeds: list[int], part: str, where: Where) -> Result:
    """Train one network per rate and seed; the weights of those that are tested are kept."""
    task = CopyTask(config.T, config.memory, config.symbols)
    width, every = task.categories, seeds * len(rates)
    network = WaveRNN.initialise(
        every, config.units, config.channels, width, width, activation=ACTIVATIONS[name], device=where.device
    )
    generators = [stream(own, "data") for own in every]
    training = FitConfig(
        config.iterations, tuple(lr for lr in rates for _ in seeds), clip=config.clip, log_every=config.iterations
    )
    loss, label = recall_loss(network, task, config.batch, generators), f"{name}, {part}"
    fitted = fit(network.state_dict(), loss, training, where.progress, label, where.checkpoint, generators)
    network.load_state_dict(fitted.parameters)
    held_out = task.batch(config.tests, stream(seeds[0], f"linear learning, {part}"), where.device)
    with torch.no_grad():
        logits = network(held_out.inputs, every_step=True).double()
        losses = copy_loss(logits, held_out.targets)
        right = exact_recall(logits, held_out.targets, config.memory)
        probes = held_out.inputs[:, :64]
        longer = torch.cat([probes, probes[-1:].expand(3 * config.units, -1, -1)])
        response = state_response(network, longer, config.memory, stream(seeds[0], "linear learning, disturbance"))
    rows = []
    for k in range(network.K):
        measured = {"loss": float(losses[k]), "right": float(right[k]), **pass_of(response[k])}
        at = {"activation": name, "part": part, "lr": rates[k // len(seeds)], "seed": every[k]}
        rows += [{**at, "quantity": quantity, "value": value} for quantity, value in measured.items()]
    return Result(pd.DataFrame(rows), under(name, fitted.parameters) if part == "test" else {})


def _losses(rows: pd.DataFrame) -> pd.Series:
    """Logarithm of the geometric mean of the held-out losses by rate; what diverged is infinitely bad.

    Losses below `FLOOR` count as that: there they measure how large the outputs are, no more what is remembered.
    """
    own = rows[rows["quantity"] == "loss"]
    return own["value"].fillna(math.inf).clip(lower=FLOOR).map(math.log).groupby(own["lr"]).mean().sort_index()


@resumable
def run(config: Config, seed: int) -> Rounds:
    """Search the learning rate of both kinds, then train fresh networks with it.

    The fresh networks have the base seed, the search has the next.

    Rows (activation, part, lr, seed, quantity, value), the part being "search" or "test". Quantities: "loss" on held-out
    sequences, "right" (share of them recalled without a mistake), and of the response to a disturbance "travel", "gain",
    "travelling", "recirculating" (`wavemem.wave_rnn.wave_readings.ring_pass`). Weights
    "<activation>/<parameter>" of the fresh networks, stacked.
    """
    searching, fresh = run_seeds(seed + 1, config.search_runs), run_seeds(seed, config.runs)

    def piece(name: str, rates: tuple[float, ...], seeds: list[int], part: str) -> Pieces:
        label = f"{name}-{part}-{'-'.join(f'{lr:g}' for lr in rates)}"
        return {label: partial(_train, config, name, rates, seeds, part)}

    for name in ACTIVATIONS:
        found: list[Result] = []
        rates = tuple(config.rates)
        while rates:
            found += yield piece(name, rates, searching, "search")
            losses = _losses(pd.concat([one.rows for one in found]))
            tried = [float(lr) for lr in losses.index]
            best = tried[int(losses.to_numpy().argmin())]
            rates = tuple(neighbour(best, d) for d, end in ((-1, tried[0]), (1, tried[-1])) if best == end)
        yield piece(name, (best,), fresh, "test")


def networks(source: Source, name: str) -> WaveRNN:
    """The fresh networks of a kind, from a result or a record.

    Raises:
        ValueError: If there is no such kind.
    """
    return WaveRNN(weights_of(source, one_of("name", name, ACTIVATIONS)), ACTIVATIONS[name])


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Loss (geometric mean), mean share recalled and share of networks with a wave, by kind, part and rate."""
    keys = ["activation", "part", "lr"]
    table = rows.pivot(index=[*keys, "seed"], columns="quantity", values="value").reset_index()
    grouped = table.assign(loss=table["loss"].clip(lower=FLOOR).map(math.log)).groupby(keys, sort=False)
    found = grouped[["loss", "right", "travelling", "recirculating"]].mean()
    return found.assign(loss=found["loss"].map(math.exp), n=grouped.size()).reset_index()
