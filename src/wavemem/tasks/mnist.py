"""MNIST, and the small digits that need no download: images of handwritten digits in the IDX format."""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import math
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
from wavemem.tasks.downloads import DatasetError, obtain, verify

__all__ = ["ImageSet", "load_mnist", "parse_idx", "small_digits"]


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
    packed = importlib.resources.files("wavemem.tasks").joinpath("data", file).read_bytes()
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
