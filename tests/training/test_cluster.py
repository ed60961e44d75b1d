"""A sweep on a Dask cluster, one of whose two workers is killed: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from distributed import Client
from typer.testing import CliRunner

from wavemem.cli import app, main
from wavemem.records.run import on_cluster
from wavemem.records.store import open_record
from wavemem.wave_rnn.grids import POINT

SWEEP = ["iterations=150", "runs=1", "small=12", "learning_rates=0.01", "batch=16", "held_out=64", "evaluations=3"]


class Cluster(NamedTuple):
    """The address of a scheduler and its two workers, processes of their own that talk on this machine only."""

    address: str
    workers: list[subprocess.Popen[bytes]]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    file, end, threads = tmp_path / "scheduler.json", time.monotonic() + 240, torch.get_num_threads()
    here = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    own = {"OMP_NUM_THREADS": "1", "DASK_TEMPORARY_DIRECTORY": str(tmp_path), "WAVEMEM_PROGRESS_FILE": os.devnull}
    worker = ["dask_worker", "--nthreads", "1", "--no-nanny"]
    torch.set_num_threads(1)
    with (tmp_path / "cluster.log").open("wb") as log, ExitStack() as running:
        running.callback(torch.set_num_threads, threads)
        processes = []
        for name, *arguments in (["dask_scheduler", "--port", "0"], worker, worker):
            command = [sys.executable, "-m", f"distributed.cli.{name}", *arguments, *here]
            process = subprocess.Popen(command, env=os.environ | own, cwd=tmp_path, stdout=log, stderr=log)
            running.callback(process.wait)
            running.callback(process.kill)
            processes.append(process)
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.02)
        address = json.loads(file.read_text())["address"]
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=240)
        yield Cluster(address, processes[1:])


def _kill_one_at_work(cluster: Cluster, records: Path, found: dict[str, object]) -> None:
    """Kill the first worker once pieces are done and it is in the middle of another."""
    with Client(cluster.address, set_as_default=False) as client:
        pids = client.run(os.getpid)
        victim = next(address for address, pid in pids.items() if pid == cluster.workers[0].pid)
        end = time.monotonic() + 240
        while time.monotonic() < end:
            done = len(list(records.glob("copying_grid/.running-*/*.safetensors")))
            if done >= 3 and client.processing()[victim]:
                cluster.workers[0].send_signal(signal.SIGKILL)
                found.update(done=done, killed=cluster.workers[0].wait())
                break
            time.sleep(0.01)
        while len(client.scheduler_info()["workers"]) > 1 and time.monotonic() < end:
            time.sleep(0.02)
        found["left"] = list(client.scheduler_info()["workers"].values())


def test_a_sweep_survives_the_death_of_a_worker(cluster: Cluster, tmp_path: Path) -> None:
    settings = [argument for value in SWEEP for argument in ("--set", value)]
    command = ["run", "copying_grid", "--device", "cpu", *settings, "--records"]
    found: dict[str, object] = {}
    killer = threading.Thread(target=_kill_one_at_work, args=(cluster, tmp_path / "cluster", found))
    killer.start()
    done = CliRunner().invoke(app, [*command, str(tmp_path / "cluster"), "--scheduler", cluster.address])
    killer.join()
    assert done.exit_code == 0, (done.output, done.exception)
    assert found["killed"] == -signal.SIGKILL
    assert 3 <= found["done"] < 10  # in the middle of the sweep
    assert cluster.workers[1].poll() is None

    alone = CliRunner().invoke(app, [*command, str(tmp_path / "alone")])
    assert alone.exit_code == 0, (alone.output, alone.exception)
    (one,), (other,) = (list((tmp_path / name / "copying_grid").glob("quick-*")) for name in ("cluster", "alone"))
    assert one.name == other.name
    assert (one / "rows.csv").read_bytes() == (other / "rows.csv").read_bytes()
    rows = open_record(one).rows
    assert len(rows[list(POINT)].drop_duplicates()) == 2 + 8
    assert not rows.duplicated([*POINT, "seed", "iteration", "quantity"]).any()
    assert not list(tmp_path.glob("*/copying_grid/.running-*"))


def test_what_is_no_cluster_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(ValueError, match=r"scheduler = 'tcp://127.0.0.1:9' .*allowed: the address"),
        on_cluster("tcp://127.0.0.1:9", patience=0.2),
    ):
        pass
    monkeypatch.setattr(sys, "argv", ["wavemem", "run", "copying_grid", "--scheduler", "tcp://x", "--jobs", "2"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "a cluster has its own workers" in capsys.readouterr().err
