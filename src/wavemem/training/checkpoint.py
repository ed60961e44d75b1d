"""Checkpoints: files from which a training that was killed goes on, and ends with the numbers of one that was not.

A checkpoint is one safetensors file. It is written beside its final name, flushed to disk and renamed, so that at every
moment either the previous one or the new one is there, whole. It carries the identity of the training that wrote it;
another training cannot take it up by mistake.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from wavemem.checks import Unusable
from wavemem.kernels.compiled import in_use
from wavemem.processes import lock

FORMAT = "wavemem checkpoint"
VERSION = "1"


class CheckpointError(Unusable):
    """A checkpoint cannot be read or written; the message says which, why and what to do."""


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Args:
        tensors: Named tensors, on the CPU.
        state: Plain JSON values.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: names, types, shapes and bytes."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


class Checkpoint:
    """The checkpoint file of one training.

    Args:
        path: Where it is, or will be.
        identity: What determines the training's numbers, as plain JSON values; a file with another identity is refused.
        every: Seconds between two saves, at least; 0 saves whenever asked.
    """

    def __init__(self, path: Path | str, identity: Mapping[str, Any], every: float = 30.0) -> None:
        self.path = Path(path)
        # A training that began with other kernels would have other last digits from here on.
        whole = {**identity, "compiled kernels": bool(in_use())}
        # Through JSON and back: tuples become lists, as they will be when read from the file.
        self.identity: dict[str, Any] = json.loads(json.dumps(whole, sort_keys=True))
        self.every = every
        self._before = 0.0
        self._start = self._last = time.monotonic()

    def due(self) -> bool:
        """Whether the last save is `every` seconds ago."""
        return time.monotonic() - self._last >= self.every

    def load(self) -> Saved | None:
        """Read the checkpoint; None if there is none.

        Raises:
            CheckpointError: The file is cut short, damaged, not a checkpoint, or of another training. It is left as it is.
        """
        if not self.path.exists():
            return None
        fix = "Move it away to start from the beginning."
        try:
            with safe_open(str(self.path), framework="pt", device="cpu") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{self.path} is cut short or no safetensors file ({error}); allowed: a checkpoint as written. {fix}"
            ) from None
        if about.get("format") != FORMAT or about.get("version") != VERSION:
            raise CheckpointError(
                f"{self.path} has format {about.get('format')!r}, version {about.get('version')!r}; "
                f"allowed: {FORMAT!r}, version {VERSION!r}. {fix}"
            )
        if about.get("digest") != digest(tensors):
            raise CheckpointError(f"{self.path} is damaged; allowed: a checkpoint with the bytes written. {fix}")
        identity = json.loads(about["identity"])
        if identity != self.identity:
            names = sorted(set(identity) | set(self.identity))
            odd = [name for name in names if identity.get(name) != self.identity.get(name)]
            said = "; ".join(f"{name} = {identity.get(name)!r} there, {self.identity.get(name)!r} here" for name in odd)
            raise CheckpointError(
                f"{self.path} belongs to another training ({said}); allowed: the one that wrote it. "
                f"Train with its settings, or name another file. {fix}"
            )
        self._before = float(about["seconds"])
        return Saved(tensors, json.loads(about["state"]))

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write the checkpoint in place of the previous one.

        Args:
            tensors: Named tensors.
            state: Plain JSON values.

        Raises:
            CheckpointError: It cannot be written, for instance because the disk is full. The previous one is still there.
        """
        own = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        about = {
            "format": FORMAT,
            "version": VERSION,
            "identity": json.dumps(self.identity, sort_keys=True),
            "state": json.dumps(dict(state)),
            "digest": digest(own),
            "seconds": repr(self._before + time.monotonic() - self._start),
        }
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                file.write(save(own, metadata=about))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            left = "the previous checkpoint is untouched" if self.path.exists() else "no checkpoint was there before"
            raise CheckpointError(
                f"checkpoint {self.path} cannot be written ({error.strerror or error}), {left}; allowed: a folder with "
                f"room for {sum(v.nbytes for v in own.values()) / 2**20:.0f} MiB. Make room and run the same command."
            ) from error
        self._last = time.monotonic()


def seconds_spent(folder: Path | str) -> float:
    """Seconds that went into the trainings whose checkpoints are in a folder, over all processes that worked on them."""
    total = 0.0
    # Whatever it is called: a training names its own checkpoint. Drafts and locks are hidden.
    for path in sorted(Path(folder).glob("[!.]*")):
        with contextlib.suppress(SafetensorError, OSError), safe_open(str(path), framework="pt") as file:
            total += float((file.metadata() or {}).get("seconds", 0.0))
    return total


@contextlib.contextmanager
def locked(path: Path, wait: bool = True, shared: bool = False) -> Iterator[bool]:
    """Hold a lock file, which is made and left; the lock ends with the block or the process.

    Args:
        path: The file.
        wait: Wait until nobody else holds it.
        shared: Let others that ask for a shared lock hold it, too.

    Yields:
        Whether this process holds it: always True if it waited, or if the file system has no locks.
    """
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = path.open("a")
        except FileNotFoundError:  # the folder was removed in between
            continue
        with handle:
            if not lock(handle, shared, wait):
                yield False
                return
            try:
                same = os.path.samestat(path.stat(), os.fstat(handle.fileno()))
            except FileNotFoundError:
                same = False
            if same:  # else whoever held it before has removed it
                yield True
                return


@contextlib.contextmanager
def claimed(path: Path | str, wait: bool = True) -> Iterator[bool]:
    """Hold a training's checkpoint against other processes, see `locked`.

    Args:
        path: The checkpoint.
        wait: Wait until nobody else holds it.

    Yields:
        Whether this process holds it: always True if it waited, or if the file system has no locks.
    """
    path = Path(path)
    with locked(path.with_name(f".{path.name}.lock"), wait) as mine:
        yield mine
