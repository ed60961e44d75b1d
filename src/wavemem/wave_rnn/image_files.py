"""MNIST, CIFAR-10 and small digits that need no download: their files, where they are kept, how they are fetched.

A download is compared with its checksum and gets its name only then: a file that has its name is whole. Data sets are looked
for in the folder that the environment variable WAVEMEM_DATA names, or else in the user's cache, so that a machine without a
network can use a copy.

CIFAR-10 (Krizhevsky, 2009) is read from its binary version. A lossy copy, the same images as JPEG files, can be read for
measurements where the original cannot be had; it has another name, so that a number measured on it is never taken for one
of the original.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import importlib.resources
import io
import os
import socket
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from wavemem.checks import Unusable, require
from wavemem.kernels.compiled import user_cache

VARIABLE = "WAVEMEM_DATA"
"""The environment variable that names the folder of data sets."""
PATIENCE = 30.0
"""Seconds without a word after which a server is given up."""


class DatasetError(Unusable):
    """A data set is missing, cannot be fetched, or is not what it should be; the message says what to do."""


def data_folder() -> Path:
    """Where data sets are kept: the folder that WAVEMEM_DATA names, or else ``wavemem`` in the user's cache."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else user_cache()


def verify(path: Path, md5: str, unpacked: bool = False) -> None:
    """Compare a file with its checksum.

    Args:
        path: the file.
        md5: the checksum in hexadecimal digits.
        unpacked: whether the checksum is that of the gzip file's content. Copies of one data set are often compressed
            anew; their content is the same.

    Raises:
        DatasetError: if the checksum differs, or a gzip file is cut off or damaged.
    """
    try:
        with gzip.open(path, "rb") if unpacked else open(path, "rb") as file:
            found = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DatasetError(
            f"{path.name} is cut off or damaged ({error}); allowed: a whole gzip file. Delete it and fetch it again."
        ) from None
    if found != md5:
        raise DatasetError(
            f"{path.name} has the MD5 {found}; allowed: {md5}. "
            "It is another file or a damaged one: delete it and fetch it again."
        )


def obtain(places: Sequence[str], urls: Sequence[str], md5: str, unpacked: bool = False) -> Path:
    """Find a file in the folder of data sets, or download it there. It gets its name, in one step, after it has been checked.

    Args:
        places: where the file may be, relative to the folder; the first is where a download puts it.
        urls: addresses of the file, in the order in which they are tried.
        md5, unpacked: as in `verify`.

    Returns:
        The path of a file that has the checksum.

    Raises:
        DatasetError: if the file that is there is not the right one, or no address gives the right one; the message says what
            each of them gave, and what to do.
    """
    home = data_folder()
    path = next((home / place for place in places if (home / place).is_file()), None)
    if path is not None:
        verify(path, md5, unpacked)
        return path
    path, failures, before = home / places[0], [], socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(PATIENCE)  # PyTorch's downloader waits for ever for a server that falls silent
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=".fetching-") as folder:
            part = Path(folder) / path.name
            for url in urls:
                try:
                    torch.hub.download_url_to_file(url, str(part), progress=sys.stderr.isatty())
                    verify(part, md5, unpacked)
                except (OSError, http.client.HTTPException, DatasetError) as error:
                    failures.append(f"{url}: {error}")
                else:
                    return part.replace(path)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be written ({error.strerror}); allowed: a folder with room that may be written to. "
            f"Name another folder in the environment variable {VARIABLE}."
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    raise DatasetError(
        f"{path.name} could not be fetched ({'; '.join(failures)}); allowed: a network connection or a local copy. "
        f"Without a network, put a copy into a folder and name that folder in the environment variable {VARIABLE}."
    )


@dataclass(frozen=True)
class ImageSet:
    """Labelled images.

    Attributes:
        name: what the set is called where numbers measured on it are shown.
        images: grey values, (count, height, width), or colours, (count, height, width, 3).
        labels: class of each image, (count,).
        tested: how many of the images, the last ones, are the set's own test images; 0 if it makes no such division.
        largest: grey value of full ink.
    """

    name: str
    images: UInt8[Tensor, "count height width *colours"]
    labels: Int64[Tensor, " count"]
    tested: int
    largest: int = 255


def parse_idx(data: bytes) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes, which is known to be the right one: 0, 0, 8, the number of axes, their sizes
    as 32-bit integers, the entries."""
    axes = data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes))
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
_MNIST_MD5 = {  # of the content: mirrors compress the same files differently
    "train-images-idx3-ubyte.gz": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte.gz": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte.gz": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte.gz": "27ae3e4e09519cfbb04c329615203637",
}


def _mnist_file(file: str) -> NDArray[np.uint8]:
    places, urls = (f"mnist/{file}", file, f"MNIST/raw/{file}"), [mirror + file for mirror in _MNIST_MIRRORS]
    path = obtain(places, urls, _MNIST_MD5[file], unpacked=True)
    return parse_idx(gzip.decompress(path.read_bytes()))


def load_mnist() -> ImageSet:
    """MNIST: 60,000 images of 28 × 28 pixels for training and 10,000 for testing (LeCun, Cortes & Burges).

    The four gzip files (11 MB in all) are looked for in `data_folder`, directly or in ``mnist`` or ``MNIST/raw``, or fetched.

    Returns:
        The images, those for training first.

    Raises:
        DatasetError: if a file is missing and cannot be fetched, or is not the right one.
    """
    arrays = {file: _mnist_file(file) for file in _MNIST_MD5}
    images = np.concatenate([arrays["train-images-idx3-ubyte.gz"], arrays["t10k-images-idx3-ubyte.gz"]])
    labels = np.concatenate([arrays["train-labels-idx1-ubyte.gz"], arrays["t10k-labels-idx1-ubyte.gz"]])
    return ImageSet(
        "MNIST",
        torch.from_numpy(images),
        torch.from_numpy(labels.astype(np.int64)),
        len(arrays["t10k-labels-idx1-ubyte.gz"]),
    )


_SMALL_SHA256 = {
    "digits-images-idx3-ubyte.gz": "16bf71e8bfa958f11ad68a045567f2a2f5362b27ab1e7cadd4cf9a3cbb37176e",
    "digits-labels-idx1-ubyte.gz": "22e1486adc7849d49bbac7f3e6227134ade1aea8cf5289c8dceeecd5a005d43c",
}


def _small_file(file: str) -> NDArray[np.uint8]:
    packed = importlib.resources.files("wavemem.wave_rnn").joinpath("data", file).read_bytes()
    require(
        hashlib.sha256(packed).hexdigest() == _SMALL_SHA256[file],
        f"the installed {file} is damaged",
        "the file that comes with wavemem",
        "Install wavemem again.",
    )
    return parse_idx(gzip.decompress(packed))


def small_digits() -> ImageSet:
    """1,797 handwritten digits of 8 × 8 pixels with values from 0 to 16, which come with this library.

    They are the test set of "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak, UCI Machine Learning Repository,
    1998, CC BY 4.0), in the order of scikit-learn's ``load_digits``.

    Returns:
        The images. None of them is set aside for testing.

    Raises:
        ValueError: if the files of the installation are damaged.
    """
    images, labels = (_small_file(file) for file in _SMALL_SHA256)
    return ImageSet(
        "8 × 8 digits", torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64)), 0, largest=16
    )


_ARCHIVE = "cifar-10-binary.tar.gz"
_URLS = (f"https://www.cs.toronto.edu/~kriz/{_ARCHIVE}",)
_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
_BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_RECORD = 1 + 3 * 32 * 32  # bytes: a label, then red, green and blue, each row by row
_CLASSES = 10


def load_cifar10() -> ImageSet:
    """CIFAR-10 from its binary version.

    The archive (162 MB) is looked for in `data_folder`, directly or in ``cifar10``, or fetched.

    Returns:
        50,000 images for training, then 10,000 for testing.

    Raises:
        DatasetError: if the archive is missing and cannot be fetched, or is not the right one.
    """
    path = obtain((f"cifar10/{_ARCHIVE}", _ARCHIVE), _URLS, _MD5)
    batches: dict[str, NDArray[np.uint8]] = {}
    with tarfile.open(path, "r:gz") as archive:  # nothing is unpacked to the disk
        for member in archive:
            name = Path(member.name).name
            file = archive.extractfile(member) if name in _BATCHES else None
            if file is not None:
                batches[name] = np.frombuffer(file.read(), np.uint8).reshape(-1, _RECORD)
    records = np.concatenate([batches[name] for name in _BATCHES])
    images = np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    labels = torch.from_numpy(records[:, 0].astype(np.int64))
    return ImageSet("CIFAR-10", torch.from_numpy(images), labels, len(batches[_BATCHES[-1]]))


_JPEG_PLACES = ("cifar10_jpeg.npz", "cifar10-jpeg/cifar10_jpeg.npz")


def _decode(stream: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Decode JPEG images that follow each other in one array."""
    from PIL import Image

    images = np.empty((len(offsets) - 1, 32, 32, 3), np.uint8)
    for i, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        with Image.open(io.BytesIO(stream[start:stop].tobytes()), formats=("JPEG",)) as image:
            if image.size != (32, 32):
                raise OSError(f"image {i} has {image.width} × {image.height} pixels")
            images[i] = np.asarray(image.convert("RGB"))
    return images


def load_cifar10_jpeg() -> ImageSet:
    """The images of CIFAR-10 after a lossy compression as JPEG files; not the original, and named so.

    ``cifar10_jpeg.npz`` is looked for in `data_folder`, directly or in ``cifar10-jpeg``. It holds, for ``train`` and ``test``,
    the arrays ``<part>_jpeg`` (the JPEG files, one after the other), ``<part>_offsets`` (where each begins and the last ends)
    and ``<part>_labels``.

    Returns:
        Images for training, then those for testing.

    Raises:
        DatasetError: if the file is missing or of another format.
    """
    home = data_folder()
    path = next((home / place for place in _JPEG_PLACES if (home / place).is_file()), None)
    if path is None:
        raise DatasetError(
            f"{' or '.join(_JPEG_PLACES)} is not in {home}; allowed: a local copy, which cannot be fetched. "
            "Name its folder in the environment variable WAVEMEM_DATA, or use the original (load_cifar10)."
        )
    parts = []
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("not an npz file")
        with np.load(path, allow_pickle=False) as data:
            for part in ("train", "test"):
                images, labels = _decode(data[f"{part}_jpeg"], data[f"{part}_offsets"]), data[f"{part}_labels"]
                if len(images) != len(labels) or not set(labels.tolist()) <= set(range(_CLASSES)):
                    raise OSError(f"{len(images)} images, {len(labels)} labels up to {labels.max(initial=0)}")
                parts.append((images, labels.astype(np.int64)))
    except (KeyError, zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
        raise DatasetError(
            f"{path.name} cannot be read ({error}); allowed: an npz file with train_jpeg (JPEG files of 32 × 32 pixels one "
            "after the other), train_offsets, train_labels (0 to 9, one for each), and the same for test. Fetch it again."
        ) from None
    (train, train_labels), (test, test_labels) = parts
    return ImageSet(
        "CIFAR-10 (JPEG copy)",
        torch.from_numpy(np.concatenate([train, test])),
        torch.from_numpy(np.concatenate([train_labels, test_labels])),
        len(test),
    )
