"""A training that is killed goes on with the same numbers; a checkpoint that cannot be used is named and left alone."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import safetensors.torch
import torch

from wavemem.elman.network import ElmanEnsemble, Initialisation
from wavemem.elman.training import train
from wavemem.theory.selection import paper_task
from wavemem.training import checkpoint
from wavemem.training.checkpoint import Checkpoint, CheckpointError, claimed, digest, seconds_spent
from wavemem.training.curriculum import Curriculum, LadderCurriculum, MultiplicativeCurriculum, fixed_horizon
from wavemem.training.fit import FitConfig, FitResult, fit

LADDER = LadderCurriculum((3, 6, 9), 0.6)


class Stopped(Exception):
    """Ends a training from outside."""


def trained(
    path: Path | None,
    curriculum: Curriculum = LADDER,
    stop: int = 0,
    batch: int = 8,
    seeds: Sequence[int] = (0, 1),
    init: Initialisation = "uniform",
    task: str = "T2",
    **settings: Any,
) -> FitResult:
    def ends(rows: Sequence[Mapping[str, Any]]) -> None:
        if stop and rows[-1]["iteration"] >= stop:
            raise Stopped

    chosen = {"weight_decay": (0.0, 1e-3), "log_every": 7, "snapshots": (0, 10, 40), "milestones": (30,), **settings}
    ensemble = ElmanEnsemble.initialise(seeds, 12, 2, init)
    system, config = paper_task(task, 3, 2), FitConfig(60, **chosen)
    return train(ensemble, system, config, seeds, curriculum, batch, False, "", path, ends, checkpoint_every=0.0)


def same(a: FitResult, b: FitResult) -> None:
    pd.testing.assert_frame_equal(a.log, b.log)
    assert digest(a.parameters) == digest(b.parameters)
    assert a.snapshots.keys() == b.snapshots.keys()
    assert all(digest(a.snapshots[i]) == digest(b.snapshots[i]) for i in a.snapshots)
    assert (a.best and digest(a.best.tensors())) == (b.best and digest(b.best.tensors()))


@pytest.mark.parametrize(
    "settings",
    [
        {"curriculum": LADDER},
        {"curriculum": MultiplicativeCurriculum(3, 9, 1.2, 0.9)},
        {"curriculum": fixed_horizon(4)},
        {"lr": (1e-3, 1e30), "snapshots": (), "clip": None},
    ],
    ids=["ladder", "multiplicative", "fixed", "a frozen run"],
)
def test_stopped_several_times_it_ends_as_if_it_had_not_been(tmp_path: Path, settings: dict[str, Any]) -> None:
    path = tmp_path / "run.safetensors"
    for stop in (7, 21, 35, 49):
        with pytest.raises(Stopped):
            trained(path, stop=stop, **settings)
    whole = trained(None, **settings)
    same(trained(path, **settings), whole)
    same(trained(path, **settings), whole)  # read from the file: nothing is left to do
    assert whole.log["finite"].all() == ("clip" not in settings)
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


SCRIPT = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import torch
    from wavemem.records.run import run_experiment
    from wavemem.training.checkpoint import Checkpoint

    torch.set_num_threads(1)
    Checkpoint.due = lambda self: True
    settings = dict(tasks=("T1", "T2"), s=3, d=2, hidden_sizes=(10,), runs=2, iterations=150, horizons=(3, 6), log_every=10)
    print(run_experiment("table1", root=Path(sys.argv[1]), settings=settings))
    """
)


def start(root: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WAVEMEM_PROGRESS_FILE": os.devnull}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(root)], env=environment, stdout=subprocess.DEVNULL)


def killed(root: Path, seconds: float) -> int:
    process, before = start(root), written(root)
    end = time.monotonic() + 60
    while process.poll() is None and written(root) <= before and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return process.returncode


def written(root: Path) -> int:
    """When a checkpoint was last written, in nanoseconds."""
    return max((p.stat().st_mtime_ns for p in root.glob("table1/.running-*/*.safetensors")), default=0)


def test_killed_three_times_an_experiment_leaves_the_record_of_an_undisturbed_one(tmp_path: Path) -> None:
    disturbed = tmp_path / "disturbed"
    codes = [killed(disturbed, pause) for pause in (0.0, 0.03, 0.08)]
    assert -signal.SIGKILL in codes  # at least one of them was still at work
    for root in (disturbed, tmp_path / "whole"):
        if not list(root.glob("table1/quick-*")):
            assert start(root).wait() == 0
    (one,), (other,) = (list((tmp_path / name / "table1").glob("quick-*")) for name in ("disturbed", "whole"))
    assert one.name == other.name
    for name in ("rows.csv", "weights.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert not list(tmp_path.glob("*/table1/.running-*"))


def test_a_disk_without_room_is_named_and_the_last_checkpoint_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Checkpoint(tmp_path / "c.safetensors", {"a": 1})
    keeper.save({"x": torch.ones(10)}, {"iteration": 1})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    untouched = r"cannot be written \(No space left on device\), the previous checkpoint is untouched.* Make room"
    with pytest.raises(CheckpointError, match=untouched):
        keeper.save({"x": torch.ones(100_000)}, {"iteration": 2})
    kept = keeper.load()
    assert kept is not None
    assert (kept.state, kept.tensors["x"].tolist()) == ({"iteration": 1}, [1.0] * 10)
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="no checkpoint was there before"):
        Checkpoint(tmp_path / "file" / "c.safetensors", {}).save({"x": torch.ones(1)}, {})


NOT_WHOLE = r"allowed: .* Move it away to start from the beginning"
OTHER = r"(?s)belongs to another training.*"


@pytest.mark.parametrize(
    ("damage", "change", "said"),
    [
        (lambda content: content[: len(content) // 2], {}, NOT_WHOLE),
        (lambda content: b"", {}, NOT_WHOLE),
        (lambda content: b"iteration,loss\n1,0.5\n", {}, NOT_WHOLE),
        (lambda content: content[:-40] + bytes([content[-40] ^ 1]) + content[-39:], {}, NOT_WHOLE),
        (lambda content: safetensors.torch.save({"W_hh": torch.zeros(2)}), {}, NOT_WHOLE),
        (bytes, {"lr": 2e-3}, OTHER + r"'lr': 0\.001"),
        (bytes, {"curriculum": fixed_horizon(5)}, OTHER + r"horizons=\(5,\)"),
        (bytes, {"batch": 9}, OTHER + "batch = 8"),
        (bytes, {"seeds": (0, 2)}, OTHER + "seeds"),
        (bytes, {"init": "gaussian"}, OTHER + "initial parameters"),
        (bytes, {"task": "T1"}, OTHER + "task"),
    ],
)
def test_what_is_no_checkpoint_of_this_training_is_refused_and_left_alone(
    tmp_path: Path, damage: Callable[[bytes], bytes], change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "run.safetensors"
    with pytest.raises(Stopped):
        trained(path, stop=7)
    left = damage(path.read_bytes())
    path.write_bytes(left)
    with pytest.raises(CheckpointError, match=said):
        trained(path, **change)
    assert path.read_bytes() == left


def test_other_kernels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "in_use", lambda: ("wave-1",))
    Checkpoint(tmp_path / "x", {}).save({}, {"iteration": 1})
    monkeypatch.setattr(checkpoint, "in_use", lambda: ())
    with pytest.raises(CheckpointError, match="compiled kernels = True there, False here"):
        Checkpoint(tmp_path / "x", {}).load()


def test_seconds_add_up_over_attempts(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    for _ in range(2):
        keeper = Checkpoint(path, {})
        keeper.load()
        keeper._start -= 10.0  # as if it had trained for ten seconds
        keeper.save({"x": torch.ones(1)}, {})
    (tmp_path / "foreign.safetensors").write_bytes(b"nothing")
    assert 20.0 <= seconds_spent(tmp_path) < 21.0
    other = Checkpoint(tmp_path / "starts", {})  # whatever a training calls its own
    other._start -= 5.0
    other.save({"x": torch.ones(1)}, {})
    (tmp_path / ".draft").write_bytes(path.read_bytes())
    assert 25.0 <= seconds_spent(tmp_path) < 26.0


def test_a_checkpoint_is_due_when_the_last_one_is_so_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    keeper = Checkpoint(tmp_path / "c.safetensors", {}, every=30.0)
    for seconds, due in ((0.0, False), (29.5, False), (0.5, True), (100.0, True)):
        now[0] += seconds
        assert keeper.due() is due
    keeper.save({"x": torch.ones(1)}, {})
    assert not keeper.due()
    now[0] += 30.0
    assert keeper.due()
    assert Checkpoint(tmp_path / "c.safetensors", {}, every=0.0).due()


def test_a_claim_is_refused_while_another_holds_it(tmp_path: Path) -> None:
    with claimed(tmp_path / "x") as mine, claimed(tmp_path / "x", wait=False) as second:
        assert mine
        assert not second
    with claimed(tmp_path / "x", wait=False) as again:
        assert again


@pytest.mark.parametrize("streamed", [True, False])
def test_any_training_goes_on_if_its_streams_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    def go(path: Path | None, stop: int = 0) -> FitResult:
        data = [torch.Generator().manual_seed(k) for k in range(2)]

        def loss(p: dict[str, torch.Tensor], step: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            if stop and step >= stop:
                raise Stopped
            x = torch.stack([torch.randn(4, generator=generator) for generator in data])
            values = {"zeal": p["w"][:, 0], "accuracy": p["w"][:, 0], "distance": (p["w"][:, 0] - 0.1).abs()}
            return ((p["w"] * x - x) ** 2).mean(1), values

        config = FitConfig(40, lr=(1e-2, 2e-2), log_every=6, snapshots=(0, 5, 20), keep="distance")
        streams = data if streamed else ()
        return fit({"w": torch.zeros(2, 1)}, loss, config, False, checkpoint=path, streams=streams)

    path = tmp_path / "fit.safetensors"
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    for stop in (9, 21, 33):
        with pytest.raises(Stopped):
            go(path, stop)
    resumed, whole = go(path), go(None)
    if not streamed:  # what the docstring asks for is needed
        assert digest(resumed.parameters) != digest(whole.parameters)
        return
    same(resumed, whole)
    assert whole.best is not None
    assert bool(((whole.best.updates > 0) & (whole.best.updates < 21)).all())  # both pass 0.1 early on, and go on to 1
    assert torch.equal(whole.best.value, (whole.best.parameters["w"][:, 0] - 0.1).abs().double())
