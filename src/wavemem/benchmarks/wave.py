"""How long an iteration of Wave-RNN training takes: the library's kernel, a loop over `torch.nn.Conv1d`, and the bare arithmetic.

An iteration is forward, loss and backward of K runs on a batch that is already there; the optimiser is left out. The loop
has the form of the paper's Appendix B. All take turns within one process. Beside them stand the other ways to compute a
step on a processor that were considered: `alternatives` measures what the choice of the kernel rests on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as nnf
from jaxtyping import Float, Int
from torch import Tensor, nn

from wavemem.benchmarks.counts import wave_multiply_adds
from wavemem.benchmarks.turns import Timing, durations, take_turns
from wavemem.benchmarks.wave_steps import STEPS
from wavemem.checks import one_of, positive_int, require
from wavemem.kernels.elman_triton import full_precision
from wavemem.kernels.wave_cpu import own_threads
from wavemem.models.wave_rnn import WaveRNN
from wavemem.streams import stream
from wavemem.tasks.copying import CopyTask

__all__ = [
    "SCALING",
    "TARGETS",
    "ConvolutionLoop",
    "Problem",
    "TaskName",
    "WaveCase",
    "alternatives",
    "at_best_rate",
    "draw",
    "gradients",
    "measure",
    "that_fits",
]

TaskName = Literal["copy", "psmnist"]


@dataclass(frozen=True)
class WaveCase:
    """One size to measure.

    Args:
        task: "copy" (ten one-hot categories, an output at every step) or "psmnist" (one pixel per step, an output at the end).
        n: Units of a ring.
        c: Channels.
        steps: Length of the sequences: T + 20 of the copy task, 784 of the images.
        batch: Sequences per run and iteration.
        K: Runs.
        threads: Cores to use.
    """

    task: TaskName = "copy"
    n: int = 100
    c: int = 6
    steps: int = 50
    batch: int = 128
    K: int = 1
    threads: int = 2

    @property
    def inputs(self) -> int:
        """Dimension of the inputs."""
        return 10 if self.task == "copy" else 1

    @property
    def multiply_adds(self) -> int:
        """What an iteration of one run needs at least; one entry of an input is not zero in both tasks."""
        outputs = self.steps if self.task == "copy" else 1
        return wave_multiply_adds(self.n, self.c, 3, self.steps, self.batch, 1, 10, outputs)


TARGETS = (WaveCase(), WaveCase("psmnist", 256, 16, 784))
"""The paper's sizes: copy with T = 30, and permuted sequential MNIST."""

SCALING = (
    *(replace(TARGETS[0], steps=steps) for steps in (20, 30, 100, 200)),
    *(replace(TARGETS[0], n=n) for n in (25, 50, 200, 400)),
    *(replace(TARGETS[0], c=c) for c in (1, 3, 12, 24)),
    *(replace(TARGETS[0], K=K) for K in (2, 4, 8)),
    *(replace(TARGETS[0], batch=batch) for batch in (32, 64, 256)),
)
"""One size at a time is changed, from the copy task's."""


@dataclass(frozen=True)
class Problem:
    """Networks, a batch for each, and what they should say; targets are (steps, K, B) or (K, B)."""

    network: WaveRNN
    inputs: Float[Tensor, "steps K B d"]
    targets: Int[Tensor, "*steps K B"]

    @property
    def every_step(self) -> bool:
        """Whether an output is due at every step."""
        return self.targets.ndim == 3


def draw(case: WaveCase, device: torch.device | str = "cpu") -> Problem:
    """Draw networks (the paper's start) and batches of a case.

    Raises:
        ValueError: If the task is unknown, or a sequence of the copy task has fewer than 20 steps.
    """
    one_of("task", case.task, get_args(TaskName))
    network = WaveRNN.initialise(range(case.K), case.n, case.c, case.inputs, 10)
    if case.task == "copy":
        got = f"steps = {case.steps}"
        require(case.steps >= 20, got, "20 or more for the copy task", "It shows and asks for ten symbols.")
        task = CopyTask(case.steps - 20)
        batches = [task.batch(case.batch, stream(k, "data")) for k in range(case.K)]
        inputs = torch.stack([batch.inputs for batch in batches], 1)
        targets = torch.stack([batch.targets for batch in batches], 1)
    else:
        generator = stream(0, "data")
        inputs = torch.rand(case.steps, case.K, case.batch, 1, generator=generator)
        targets = torch.randint(10, (case.K, case.batch), generator=generator)
    return Problem(network.to(device), inputs.to(device), targets.to(device))


class ConvolutionLoop(nn.Module):
    """One run as in the paper's Appendix B: `nn.Linear` in, `nn.Conv1d` with circular padding around, `nn.Linear` out."""

    def __init__(self, network: WaveRNN, run: int) -> None:
        super().__init__()
        self.c, self.n, taps = network.c, network.n, network.u.shape[3]
        self.V = nn.Linear(network.d, self.c * self.n)
        self.U = nn.Conv1d(self.c, self.c, taps, padding=taps // 2, padding_mode="circular")
        self.out = nn.Linear(self.c * self.n, network.o)
        names = {
            "V.weight": "V",
            "V.bias": "b_V",
            "U.weight": "u",
            "U.bias": "b_u",
            "out.weight": "W",
            "out.bias": "b_y",
        }
        held = network.parameters_dict()
        self.load_state_dict({ours: held[theirs][run] for ours, theirs in names.items()})

    def forward(self, inputs: Float[Tensor, "steps B d"], every_step: bool) -> Float[Tensor, "*steps B o"]:
        """Outputs of every step, or of the last."""
        h = inputs.new_zeros(inputs.shape[1], self.c, self.n)
        outputs = []
        for x in inputs:
            h = torch.relu(self.V(x).view(-1, self.c, self.n) + self.U(h))
            if every_step:
                outputs.append(self.out(h.flatten(1)))
        return torch.stack(outputs) if every_step else self.out(h.flatten(1))


def _differentiate(outputs: Tensor, targets: Tensor, parameters: list[Tensor], runs: int) -> tuple[Tensor, ...]:
    loss = runs * nnf.cross_entropy(outputs.flatten(0, -2), targets.flatten())
    return torch.autograd.grad(loss, parameters)


def _library(problem: Problem) -> dict[str, Tensor]:
    network = problem.network
    with own_threads():
        outputs = network.outputs(problem.inputs, problem.every_step)
        found = _differentiate(outputs, problem.targets, list(network.parameters()), network.K)
    return dict(zip(dict(network.named_parameters()), found, strict=True))


def _step_by_step(problem: Problem, name: str) -> dict[str, Tensor]:
    network = problem.network
    states = STEPS[name](network.u, network.V, network.bias(), problem.inputs)
    read = states if problem.every_step else states[-1]
    outputs = read.flatten(-2) @ network.W.mT + network.b_y[:, None]
    found = _differentiate(outputs, problem.targets, list(network.parameters()), network.K)
    return dict(zip(dict(network.named_parameters()), found, strict=True))


def _loop(problem: Problem, singles: list[ConvolutionLoop]) -> dict[str, Tensor]:
    runs = []
    for k, one in enumerate(singles):
        outputs = one(problem.inputs[:, k], problem.every_step)
        runs.append(_differentiate(outputs, problem.targets[..., k, :], list(one.parameters()), 1))
    names = [name for name, _ in singles[0].named_parameters()]
    return {name: torch.stack([run[i] for run in runs]) for i, name in enumerate(names)}


def gradients(problem: Problem, competitor: str) -> dict[str, Tensor]:
    """Carry one competitor's iteration out and return the gradients of all weights, stacked over runs.

    Args:
        problem: Networks and batches.
        competitor: "ours", "loop", or one of `wavemem.benchmarks.wave_steps.STEPS`.

    Raises:
        ValueError: If there is no such competitor.
    """
    one_of("competitor", competitor, ("ours", "loop", *STEPS))
    if competitor == "ours":
        return _library(problem)
    if competitor == "loop":
        return _loop(problem, [ConvolutionLoop(problem.network, k) for k in range(problem.network.K)])
    return _step_by_step(problem, competitor)


def _products(device: torch.device, size: int = 1024) -> Callable[[], Tensor]:
    """A large product of square matrices; what its fastest repetition does per second is the machine's best rate."""
    a, b = torch.randn(2, size, size, device=device, generator=torch.Generator(device).manual_seed(0)).unbind(0)
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


_PRODUCT = 1024


@contextmanager
def _float32(convolutions_too: bool) -> Iterator[None]:
    """No TF32 on a CUDA device: not in products, and in convolutions only if asked for."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = not convolutions_too
    try:
        with full_precision():
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def that_fits(case: WaveCase, memory: int | None = None) -> WaveCase:
    """Halve the batch until some six arrays of the size of all states, which either keeps, fit into half the memory.

    Args:
        case: The sizes.
        memory: Bytes; the machine's by default.
    """
    if memory is None:
        try:
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            return case
    while case.batch > 1 and 6 * 4 * case.K * case.steps * case.batch * case.c * case.n > memory / 2:
        case = replace(case, batch=case.batch // 2)
    return case


def _measured(
    case: WaveCase,
    competitors: dict[str, Callable[[Problem], object]],
    rounds: int,
    per_round: int,
    patience: float,
    device: str,
) -> dict[str, Any]:
    """Let competitors take turns, with the large product among them."""
    positive_int("threads", case.threads)
    positive_int("per_round", per_round)
    where = torch.device(device)
    problem = draw(case, where)
    wait = torch.cuda.synchronize if where.type == "cuda" else None

    def turn(name: str, competitor: Callable[[Problem], object], count: int) -> Callable[[], list[float]]:
        def take() -> list[float]:
            with _float32(not name.endswith("_tf32")):
                return durations(lambda: competitor(problem), count, wait)

        return take

    product = _products(where, _PRODUCT)
    turns = {name: turn(name, competitor, per_round) for name, competitor in competitors.items()}
    turns["products"] = turn("products", lambda _: product(), 10)
    before = torch.get_num_threads()
    torch.set_num_threads(case.threads)
    try:
        seconds, others = take_turns(turns, rounds, patience)
    finally:
        torch.set_num_threads(before)
    rate = _PRODUCT**3 / min(seconds.pop("products"))
    return {
        "case": asdict(case),
        **{name: asdict(Timing.of(values, case.K)) for name, values in seconds.items()},
        **_floor(case.multiply_adds, rate),
        "others": others,
    }


def _floor(multiply_adds: int, rate: float) -> dict[str, Any]:
    floor = multiply_adds / rate * 1e3
    return {"multiply_adds": multiply_adds, "multiply_adds_per_second": rate, "floor": floor}


def at_best_rate(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compare all measurements on equally many threads with the best rate of products that was seen in any of them.

    Args:
        results: What `measure` and `alternatives` return.

    Returns:
        The same with "multiply_adds_per_second", "floor" and, where it was there, "over_floor" renewed.
    """
    best: dict[int, float] = {}
    for result in results:
        threads = result["case"]["threads"]
        best[threads] = max(best.get(threads, 0.0), result["multiply_adds_per_second"])
    renewed = []
    for result in results:
        new = {**result, **_floor(result["multiply_adds"], best[result["case"]["threads"]])}
        if "over_floor" in result:
            new["over_floor"] = result["ours"]["median"] / new["floor"]
        renewed.append(new)
    return renewed


def measure(
    case: WaveCase, rounds: int = 7, per_round: int = 3, patience: float = 10.0, device: str = "cpu"
) -> dict[str, Any]:
    """Measure one case: the library and the loop, in turn.

    Args:
        case: The sizes.
        rounds: How often they take turns.
        per_round: Iterations of each per turn (after one to warm up).
        patience: Seconds for which a turn is repeated while other programs take processor time; 0 for never.
        device: "cpu" or "cuda". On CUDA `threads` is not looked at, and the loop is also timed with the TF32 that PyTorch
            lets cuDNN use by default ("loop_tf32").

    Returns:
        The case; a `Timing` of each (milliseconds per iteration and run); "speed_up" = loop / ours; "multiply_adds" of an
        iteration of one run; "multiply_adds_per_second", the best rate of a large product in the same rounds; "floor", the
        milliseconds that the multiply-adds take at that rate; "over_floor" = ours / floor; and "others", the largest mean
        number of cores that other programs took during one of the turns (None where the system does not tell).

    Raises:
        ValueError: If a number is not positive.
    """
    singles: list[ConvolutionLoop] = []

    def loop(problem: Problem) -> object:
        if not singles:
            singles.extend(ConvolutionLoop(problem.network, k).to(device) for k in range(case.K))
        return _loop(problem, singles)

    competitors: dict[str, Callable[[Problem], object]] = {"loop": loop, "ours": _library}
    if torch.device(device).type == "cuda":
        competitors["loop_tf32"] = loop
    result = _measured(case, competitors, rounds, per_round, patience, device)
    result["speed_up"] = result["loop"]["median"] / result["ours"]["median"]
    result["over_floor"] = result["ours"]["median"] / result["floor"]
    return result


def alternatives(case: WaveCase, rounds: int = 5, per_round: int = 3, patience: float = 10.0) -> dict[str, Any]:
    """Measure the ways to compute a step on a processor: the library's compiled one and those of `wave_steps`.

    Products with the whole matrix of a step are left out where it has more than 1024 rows.

    Returns:
        As `measure`, with a `Timing` for each way and no ratios.

    Raises:
        ValueError: If a number is not positive.
    """
    names = [name for name in STEPS if name != "matrix" or case.c * case.n <= 1024]
    competitors: dict[str, Callable[[Problem], object]] = {"ours": _library}
    for name in names:
        competitors[name] = lambda problem, name=name: _step_by_step(problem, name)  # type: ignore[misc]
    return _measured(case, competitors, rounds, per_round, patience, "cpu")
