"""CIFAR-10: 60,000 colour images of 32 × 32 pixels in ten classes (Krizhevsky, 2009).

The original is read from its binary version. A lossy copy, the same images as JPEG files, can be read for measurements where
the original cannot be had; it has another name, so that a number measured on it is never taken for one of the original.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wavemem.tasks.downloads import DatasetError, data_folder, obtain, verify
from wavemem.tasks.mnist import ImageSet

__all__ = ["CLASSES", "load_cifar10", "load_cifar10_jpeg", "parse_cifar_batch"]

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
