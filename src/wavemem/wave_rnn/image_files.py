"""MNIST, and the small digits that need no download: images of handwritten digits in the IDX format.

CIFAR-10: 60,000 colour images of 32 × 32 pixels in ten classes (Krizhevsky, 2009).

The original is read from its binary version. A lossy copy, the same images as JPEG files, can be read for measurements where
the original cannot be had; it has another name, so that a number measured on it is never taken for one of the original.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import io
import math
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from wavemem.checks import require
from wavemem.wave_rnn.downloads import DatasetError, data_folder, obtain, verify


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


def parse_idx(data: bytes, name: str = "the file") -> NDArray[np.uint8]:
    """Read an array of bytes from the IDX format.

    Args:
        data: the file's content, not compressed.
        name: what to call it in messages.

    Returns:
        The array.

    Raises:
        DatasetError: if it is not an IDX file of unsigned bytes, or shorter or longer than its header says.
    """
    if len(data) < 4 or data[0] or data[1] or data[2] != 0x08 or not 1 <= data[3] <= 4:
        raise DatasetError(
            f"{name} begins with {data[:4].hex() or 'nothing'}; allowed: 000008 and the number of axes, as IDX files of "
            "unsigned bytes do. This is a file of another format: fetch the original."
        )
    axes = data[3]
    header = 4 + 4 * axes
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes))
    if len(data) != header + math.prod(shape):
        raise DatasetError(
            f"{name} has {len(data)} bytes; allowed: {header + math.prod(shape)}, as its header says {shape}. "
            "It is cut off or damaged: fetch it again."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


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


def _mnist_file(file: str, folder: Path | str | None, fetch: bool) -> NDArray[np.uint8]:
    check: Callable[[Path], None] = partial(verify, algorithm="md5", expected=_MNIST_MD5[file], unpacked=True)
    places = (f"mnist/{file}", file, f"MNIST/raw/{file}")
    path = obtain(places, [mirror + file for mirror in _MNIST_MIRRORS], check, folder, fetch)
    return parse_idx(gzip.decompress(path.read_bytes()), path.name)


def load_mnist(folder: Path | str | None = None, download: bool = True) -> ImageSet:
    """MNIST: 60,000 images of 28 × 28 pixels for training and 10,000 for testing (LeCun, Cortes & Burges).

    Args:
        folder: where the four gzip files are, or are to be kept, directly or in ``mnist`` or ``MNIST/raw``; None looks in
            the folder that the environment variable WAVEMEM_DATA names, or else in the user's cache.
        download: whether missing files are fetched (11 MB in all).

    Returns:
        The images, those for training first.

    Raises:
        DatasetError: if a file is missing and cannot be fetched, or is not the right one.
    """
    arrays = {file: _mnist_file(file, folder, download) for file in _MNIST_MD5}
    images = np.concatenate([arrays["train-images-idx3-ubyte.gz"], arrays["t10k-images-idx3-ubyte.gz"]])
    labels = np.concatenate([arrays["train-labels-idx1-ubyte.gz"], arrays["t10k-labels-idx1-ubyte.gz"]])
    return ImageSet(
        "MNIST",
        torch.from_numpy(images),
        torch.from_numpy(labels.astype(np.int64)),
        len(arrays["t10k-labels-idx1-ubyte.gz"]),
    )


_SMALL_SHA256 = {
    "digits-images-idx3-ubyte.gz": "359cd13f0f514122884198b78a131df597421cbf5e93a76678fa96fc548f0d96",
    "digits-labels-idx1-ubyte.gz": "ce71631c1f31ce56fa54f31d1d498fafacff59b001e6c30c4a5e29508aa277ad",
}


def _small_file(file: str) -> NDArray[np.uint8]:
    packed = importlib.resources.files("wavemem.wave_rnn").joinpath("data", file).read_bytes()
    try:
        data = gzip.decompress(packed)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        data = b""
    require(
        hashlib.sha256(data).hexdigest() == _SMALL_SHA256[file],
        f"the installed {file} is damaged",
        "the file that comes with wavemem",
        "Install wavemem again.",
    )
    return parse_idx(data, file)


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


CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Names of the ten classes, in the order of their labels."""

_ARCHIVE = "cifar-10-binary.tar.gz"
_URLS = (f"https://www.cs.toronto.edu/~kriz/{_ARCHIVE}",)
_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
_BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_PIXELS = 3 * 32 * 32
_RECORD = 1 + _PIXELS


def parse_cifar_batch(data: bytes, name: str = "the batch") -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read images and labels from a file of CIFAR-10's binary version.

    Args:
        data: records of one label and 3,072 values: red, then green, then blue, each row by row.
        name: what to call the file in messages.

    Returns:
        Images (count, 32, 32, 3) and labels (count,).

    Raises:
        DatasetError: if the length is not a multiple of a record's or a label is not one of the ten.
    """
    if not data or len(data) % _RECORD:
        raise DatasetError(
            f"{name} has {len(data)} bytes; allowed: a multiple of {_RECORD}. It is cut off or of another format: "
            "fetch the binary version."
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        raise DatasetError(
            f"{name} has the label {labels.max()}; allowed: 0 to 9. It is a file of another format: fetch the binary version."
        )
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _check(path: Path) -> None:
    verify(path, "md5", _MD5)


def _read_archive(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    """Images, labels and the number of test images of the six batches within the archive; nothing is unpacked to the disk."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                base = Path(member.name).name
                file = archive.extractfile(member) if base in _BATCHES and member.isfile() else None
                if file is not None:
                    found[base] = file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DatasetError(
            f"{path.name} cannot be read ({error}); allowed: the binary version of CIFAR-10 as a tar.gz file. "
            "Delete it and fetch it again."
        ) from None
    missing = [name for name in _BATCHES if name not in found]
    if missing:
        raise DatasetError(
            f"{path.name} lacks {', '.join(missing)}; allowed: the binary version of CIFAR-10. "
            f"The archive for Python or Matlab has other files: fetch {_ARCHIVE}."
        )
    batches = [parse_cifar_batch(found[name], name) for name in _BATCHES]
    return (
        np.concatenate([images for images, _ in batches]),
        np.concatenate([labels for _, labels in batches]),
        len(batches[-1][1]),
    )


def load_cifar10(folder: Path | str | None = None, download: bool = True) -> ImageSet:
    """CIFAR-10 from its binary version.

    Args:
        folder: where the archive is, or is to be kept, directly or in ``cifar10``; None looks in the folder that the
            environment variable WAVEMEM_DATA names, or else in the user's cache.
        download: whether a missing archive is fetched (162 MB).

    Returns:
        50,000 images for training, then 10,000 for testing.

    Raises:
        DatasetError: if the archive is missing and cannot be fetched, or is not the right one.
    """
    path = obtain((f"cifar10/{_ARCHIVE}", _ARCHIVE), _URLS, _check, folder, download)
    images, labels, tested = _read_archive(path)
    return ImageSet("CIFAR-10", torch.from_numpy(images), torch.from_numpy(labels), tested)


_JPEG_PLACES = ("cifar10_jpeg.npz", "cifar10-jpeg/cifar10_jpeg.npz")


def _decode(stream: NDArray[np.uint8], offsets: NDArray[np.int64], name: str) -> NDArray[np.uint8]:
    """Decode JPEG images that follow each other in one array."""
    from PIL import Image, UnidentifiedImageError

    images = np.empty((len(offsets) - 1, 32, 32, 3), np.uint8)
    for i, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        try:
            with Image.open(io.BytesIO(stream[start:stop].tobytes()), formats=("JPEG",)) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise DatasetError(
                f"image {i} of {name} is no JPEG file ({error}); allowed: JPEG files one after the other. Fetch it again."
            ) from None
        if pixels.shape != (32, 32, 3):
            raise DatasetError(
                f"image {i} of {name} has {pixels.shape[0]} × {pixels.shape[1]} pixels; allowed: 32 × 32. Fetch it again."
            )
        images[i] = pixels
    return images


def load_cifar10_jpeg(folder: Path | str | None = None) -> ImageSet:
    """The images of CIFAR-10 after a lossy compression as JPEG files; not the original, and named so.

    Args:
        folder: where ``cifar10_jpeg.npz`` is, directly or in ``cifar10-jpeg``; None looks in the folder that the environment
            variable WAVEMEM_DATA names, or else in the user's cache. The file holds, for ``train`` and ``test``, the arrays
            ``<part>_jpeg`` (the JPEG files, one after the other), ``<part>_offsets`` (where each begins and the last ends)
            and ``<part>_labels``.

    Returns:
        Images for training, then those for testing.

    Raises:
        DatasetError: if the file is missing or of another format.
    """
    home = data_folder(folder)
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
                images = _decode(data[f"{part}_jpeg"], data[f"{part}_offsets"], f"{path.name}, {part}")
                parts.append((images, data[f"{part}_labels"].astype(np.int64)))
    except (KeyError, zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
        raise DatasetError(
            f"{path.name} cannot be read ({error}); allowed: an npz file with train_jpeg, train_offsets, train_labels "
            "and the same for test. Fetch it again."
        ) from None
    for images, labels in parts:
        if len(images) != len(labels) or labels.min(initial=0) < 0 or labels.max(initial=0) >= len(CLASSES):
            raise DatasetError(
                f"{path.name} has {len(images)} images and {len(labels)} labels up to {labels.max(initial=0)}; allowed: "
                "one label from 0 to 9 for each image. Fetch it again."
            )
    (train, train_labels), (test, test_labels) = parts
    return ImageSet(
        "CIFAR-10 (JPEG copy)",
        torch.from_numpy(np.concatenate([train, test])),
        torch.from_numpy(np.concatenate([train_labels, test_labels])),
        len(test),
    )
