"""Kernels written in C: compiled once on this machine, for this processor, loaded, and called by several threads.

A compiler is not required. Where there is none (or it refuses the source) the callers take their PyTorch path, and
`wavemem doctor` says so. The library is kept in a cache folder under a name that hashes the source, the options, the
compiler and the processor, so that none of them can change without it being compiled again, and then the library itself:
one that was cut short or changed is never loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from wavemem.processes import sync

# Contraction to fused multiply-adds is fixed by the options, so one processor always gives one result.
_OPTIONS = ("-O3", "-std=gnu11", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_TARGETS = ("-march=native", "-mcpu=native", "")
_PATIENCE = 120.0  # seconds for a compiler; ours take about five
LIBRARIES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("_*.c")))
_OWN: list[int] = []  # threads of the blocks of `own_threads` that are entered, the innermost last


def user_cache() -> Path:
    """`wavemem` in the user's cache folder; in the temporary one for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "wavemem"
    except RuntimeError:  # no HOME, and no such user
        return Path(tempfile.gettempdir()) / f"wavemem-{os.getuid()}"


def cache_folder() -> Path:
    """Where compiled kernels are kept: WAVEMEM_CACHE, or else `user_cache`."""
    named = os.environ.get("WAVEMEM_CACHE")
    return Path(named) if named else user_cache()


def compiler() -> str | None:
    """Path of the C compiler: CC, else cc, gcc or clang; None where there is none or WAVEMEM_COMPILE=0 forbids it."""
    if os.environ.get("WAVEMEM_COMPILE", "1") == "0":
        return None
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    return None


def processor() -> str:
    """What decides how numbers are rounded: the processor's name and the instructions that it offers."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _ours(path: Path) -> bool:
    """Whether a file or folder belongs to this user or to root, and nobody else may write to it."""
    found = path.stat()
    return found.st_uid in (os.getuid(), 0) and not found.st_mode & 0o022


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]


def _stored(folder: Path, stem: str) -> Path | None:
    """The library of this name whose bytes are those that were compiled; what is damaged is removed."""
    for path in sorted(folder.glob(f"{stem}-*.so")):
        if _ours(path) and path.stem == f"{stem}-{_digest(path.read_bytes())}":
            return path
        path.unlink(missing_ok=True)
    return None


def _compile(command: str, source: Path, folder: Path, stem: str) -> Path | None:
    """Compile to `<stem>-<digest of the library>.so`, which appears whole and on disk or not at all."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        built = Path(scratch) / "built.so"
        for machine in _TARGETS:
            options = [*_OPTIONS, *([machine] if machine else [])]
            if _run([command, *options, "-o", str(built), str(source), "-lm"]) is None:
                continue
            target = folder / f"{stem}-{_digest(built.read_bytes())}.so"
            built.chmod(0o700)
            sync(built)
            built.replace(target)
            sync(folder)
            return target
    return None


def _run(arguments: list[str]) -> bytes | None:
    """Output of a command that succeeds within `_PATIENCE` seconds, else None; it reads nothing and leaves nobody behind."""
    with subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # a compiler's driver has children of its own
            process.communicate()
            return None
    return output if process.returncode == 0 else None


@functools.cache
def load_library(name: str) -> ctypes.CDLL | None:
    """Compile `wavemem/kernels/<name>.c` where necessary and load it.

    A stored library is loaded only if its bytes are those that were compiled and nobody else may write to it or its folder.

    Args:
        name: The file's name without its ending.

    Returns:
        The library, or None where it cannot be had: no compiler or one that hangs, no safe folder to write to, or source
        refused.
    """
    source, command = Path(__file__).with_name(f"{name}.c"), compiler()
    try:
        version = None if command is None else _run([command, "--version"])
        if command is None or version is None:
            return None
        parts = (source.read_bytes(), " ".join((*_OPTIONS, *_TARGETS)).encode(), version, processor().encode())
        stem = f"{name.lstrip('_')}-{_digest(bytes(1).join(parts))}"
        folder = cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid == os.getuid():
            folder.chmod(0o700)  # made under a umask that lets a group write
        if not _ours(folder):
            return None
        path = _stored(folder, stem) or _compile(command, source, folder, stem)
        return None if path is None else ctypes.CDLL(str(path))
    except OSError:  # no permission to write or to load, or no room
        return None


def in_use() -> tuple[str, ...]:
    """The libraries that compute in place of PyTorch: each one's name with a hash of source, compiler and processor."""
    libraries = [library for library in map(load_library, LIBRARIES) if library is not None]
    return tuple(Path(library._name).stem.rpartition("-")[0] for library in libraries)


@contextlib.contextmanager
def own_threads() -> Iterator[None]:
    """Within the block the kernel has PyTorch's threads to itself, and PyTorch keeps to one.

    PyTorch's threads wait for their next operation by spinning, on the very cores that the kernel's threads need; what is
    left to PyTorch in an iteration is small. Where PyTorch has one thread nothing changes. Not for several Python threads.
    """
    before = torch.get_num_threads()
    _OWN.append(_OWN[-1] if _OWN else before)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _OWN.pop()
        torch.set_num_threads(before)


def _address(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor's numbers begin; NULL for None."""
    if tensor is None:
        return ctypes.c_void_p(None)
    assert tensor.dtype == torch.float32, tensor.dtype
    assert tensor.device.type == "cpu", tensor.device
    assert not tensor.is_neg()
    return ctypes.c_void_p(tensor.data_ptr())


class CompiledKernel:
    """The functions of one C file, for float32 on the CPU.

    Args:
        name: The file's name without its ending.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def serves(self, *tensors: Tensor | None) -> bool:
        """Whether all tensors given are float32 on the CPU, and the file is compiled for this machine."""
        fits = all(t is None or (t.device.type == "cpu" and t.dtype == torch.float32) for t in tensors)
        return fits and load_library(self._name) is not None

    @property
    def library(self) -> ctypes.CDLL:
        """The library, of which it is known that it `serves`."""
        library = load_library(self._name)
        assert library is not None
        return library

    def run(self, name: str, sizes: Sequence[int], tasks: int, *tensors: Tensor | None, alone: bool = False) -> None:
        """Call a function for all tasks: it takes the sizes, the first task, the one after the last, and the tensors.

        PyTorch's number of threads, or that of `own_threads`, share the tasks; ctypes gives up the lock meanwhile.

        Args:
            name: The function's name.
            sizes: Whole numbers.
            tasks: Number of tasks, which are independent.
            tensors: Dense in memory, or as the sizes tell.
            alone: Whether one thread does them all.

        Raises:
            MemoryError: If the function finds no memory to work in.
        """
        call, packed = getattr(self.library, name), (ctypes.c_int64 * len(sizes))(*sizes)
        given = [_address(tensor) for tensor in tensors]

        def part(first: int, last: int) -> int:
            return int(call(packed, ctypes.c_int64(first), ctypes.c_int64(last), *given))

        threads = 1 if alone else min(_OWN[-1] if _OWN else torch.get_num_threads(), tasks)
        if threads == 1:
            failed = [part(0, tasks)]
        else:
            cuts = [tasks * i // threads for i in range(threads + 1)]
            with ThreadPoolExecutor(threads - 1) as pool:
                others = [pool.submit(part, cuts[i], cuts[i + 1]) for i in range(1, threads)]
                failed = [part(cuts[0], cuts[1]), *(other.result() for other in others)]
        if any(failed):
            raise MemoryError("the compiled kernel got no memory for one time step")
