"""Files from elsewhere: where they are kept, how they are fetched, and that they are what they should be.

A download goes on where an earlier one stopped, is compared with its checksum, and gets its name only then: a file that
has its name is whole. Data sets are looked for in the folder given, in the one that the environment variable WAVEMEM_DATA
names, or in the user's cache, so that a machine without a network can use a copy.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from tqdm import tqdm

from wavemem.checks import Unusable, one_of, require
from wavemem.kernels.compiled import user_cache
from wavemem.training.checkpoint import locked

VARIABLE = "WAVEMEM_DATA"
"""The environment variable that names the folder of data sets."""

_CHUNK = 1 << 20
_LARGEST = 1 << 30  # bytes of a file; CIFAR-10, the largest of ours, has a sixth of it
_FAILURES = (OSError, http.client.HTTPException)  # URLError and time-outs are OSErrors


class DatasetError(Unusable):
    """A data set is missing, cannot be fetched, or is not what it should be; the message says what to do."""


def data_folder(folder: Path | str | None = None) -> Path:
    """Where data sets are kept.

    Args:
        folder: a folder of your own; None takes the one that WAVEMEM_DATA names, or else ``wavemem`` in the user's cache.

    Returns:
        The folder; it need not exist.
    """
    if folder is not None:
        return Path(folder).expanduser()
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    return user_cache()


def _advice(names: str) -> str:
    return (
        f"Without a network, put a copy of {names} into a folder and name that folder in the environment variable "
        f"{VARIABLE} or as the argument folder."
    )


def verify(path: Path | str, algorithm: str, expected: str, unpacked: bool = False) -> None:
    """Compare a file with its checksum.

    Args:
        path: the file.
        algorithm: "md5" or "sha256".
        expected: the checksum in hexadecimal digits.
        unpacked: whether the checksum is that of the gzip file's content. Copies of one data set are often compressed
            anew; their content is the same.

    Raises:
        DatasetError: if the checksum differs, or a gzip file is cut off or damaged.
        ValueError: if there is no such algorithm.
    """
    one_of("algorithm", algorithm, ("md5", "sha256"))
    path = Path(path)
    digest = hashlib.new(algorithm, usedforsecurity=False)
    try:
        with gzip.open(path, "rb") if unpacked else open(path, "rb") as file:
            while piece := file.read(_CHUNK):
                digest.update(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DatasetError(
            f"{path.name} is cut off or damaged ({error}); allowed: a whole gzip file. Delete it and fetch it again."
        ) from None
    if digest.hexdigest() != expected:
        raise DatasetError(
            f"{path.name} has the {algorithm.upper()} {digest.hexdigest()}; allowed: {expected}. "
            "It is another file or a damaged one: delete it and fetch it again."
        )


def _first_byte(response: http.client.HTTPResponse) -> int:
    """Where the body of a response begins within the file."""
    if getattr(response, "status", None) != 206:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found.group(1)) if found else -1


def _too_large(size: int) -> DatasetError:
    return DatasetError(f"it has {size:,} bytes or more; allowed: {_LARGEST:,}. It is not the file that was asked for")


def _copy(source: IO[bytes], part: Path, start: int, body: int | None, label: str) -> None:
    """Append a response to the part that is there, which begins at `start` bytes; raise if it ends early."""
    with (
        open(part, "r+b" if start else "wb") as target,
        tqdm(
            total=None if body is None else start + body,
            initial=start,
            unit="B",
            unit_scale=True,
            desc=label,
            disable=None,
        ) as bar,
    ):
        target.truncate(start)
        target.seek(start)
        received = 0
        if body is not None and start + body > _LARGEST:
            raise _too_large(start + body)
        while piece := source.read(_CHUNK):
            received += len(piece)
            if start + received > _LARGEST:
                raise _too_large(start + received)
            target.write(piece)
            bar.update(len(piece))
        target.flush()
        os.fsync(target.fileno())
    if body is not None and received < body:
        raise ConnectionError(f"the connection ended after {received} of {body} bytes")


def _stream(url: str, part: Path, timeout: float) -> None:
    """Fetch a URL into a file, from where the file ends if the server can."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "wavemem", "Accept-Encoding": "identity"})
    if have and url.startswith("http"):
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # There is nothing after what is here: it is all of the file, or more than that. The checksum will tell.
        error.close()
        return
    with response:
        start = _first_byte(response)
        if start not in (0, have):
            raise ConnectionError("the server answered with another part of the file than it was asked for")
        length = response.headers.get("Content-Length")
        _copy(response, part, start, int(length) if length else None, part.name.removesuffix(".part"))


def _fetch(url: str, part: Path, check: Callable[[Path], None], timeout: float) -> None:
    """Fetch and check; what was put together from two fetches and is wrong gets one more chance from the start."""
    resumed = part.exists()
    for again in (False, True):
        try:
            _stream(url, part, timeout)
            check(part)
            return
        except DatasetError:
            part.unlink(missing_ok=True)
            if again or not resumed:
                raise


def download(urls: Sequence[str], path: Path | str, check: Callable[[Path], None], timeout: float = 30.0) -> Path:
    """Fetch a file from the first of several addresses that gives it.

    What an interrupted download left, ``<name>.part``, is continued. The file gets its name, in one step, after it has
    been checked.

    Args:
        urls: addresses of the same file, in the order in which they are tried.
        path: the file to make; its folder is made if need be. A file that is there is kept and not checked.
        check: raises `DatasetError` if the file that it is given is not the right one.
        timeout: seconds that a server may stay silent.

    Returns:
        The path.

    Raises:
        DatasetError: if no address gives the right file; the message says what each of them gave, and what to do.
        ValueError: if there are no addresses.
    """
    require(len(urls) > 0, "urls is empty", "at least one address", "Name where the file is.")
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return path
        with locked(path.with_name(path.name + ".lock")):
            if path.exists():  # another process was faster
                return path
            failures = []
            for url in urls:
                try:
                    _fetch(url, part, check, timeout)
                except (*_FAILURES, DatasetError) as error:
                    failures.append(f"{url}: {error}")
                else:
                    os.replace(part, path)
                    return path
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be written ({error.strerror}); allowed: a folder with room that may be written to. "
            f"Name another folder in the environment variable {VARIABLE} or as the argument folder."
        ) from None
    raise DatasetError(
        f"{path.name} could not be fetched ({'; '.join(failures)}); allowed: a network connection or a local copy. "
        + _advice(path.name)
    )


def obtain(
    places: Sequence[str],
    urls: Sequence[str],
    check: Callable[[Path], None],
    folder: Path | str | None = None,
    fetch: bool = True,
) -> Path:
    """Find a file in the folder of data sets, or download it there.

    Args:
        places: where the file may be, relative to the folder; the first is where a download puts it.
        urls: addresses of the file.
        check: raises `DatasetError` if the file that it is given is not the right one.
        folder: see `data_folder`.
        fetch: whether a missing file is downloaded.

    Returns:
        The path of a file that has passed the check.

    Raises:
        DatasetError: if the file is not there and cannot or may not be fetched, or is not the right one.
    """
    home = data_folder(folder)
    for place in places:
        if (home / place).is_file():
            check(home / place)
            return home / place
    if not fetch:
        raise DatasetError(
            f"{' or '.join(places)} is not in {home}; allowed: a local copy, as download is switched off. "
            + _advice(Path(places[0]).name)
        )
    return download(urls, home / places[0], check)
