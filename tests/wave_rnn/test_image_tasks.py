"""Image data sets and the sequences made of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wavemem.wave_rnn import image_files as cifar
from wavemem.wave_rnn import image_files as mnist
from wavemem.wave_rnn.downloads import DatasetError
from wavemem.wave_rnn.image_files import (
    ImageSet,
    load_cifar10,
    load_cifar10_jpeg,
    load_mnist,
    parse_cifar_batch,
    parse_idx,
    small_digits,
)
from wavemem.wave_rnn.image_tasks import HASHES, KINDS, SequentialImages, noise_block, permutation, splits


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# --------------------------------------------------------------------------------------------------------- MNIST


def test_idx_arrays_of_any_number_of_axes(rng: np.random.Generator) -> None:
    for shape in ((5,), (3, 4), (2, 3, 4)):
        array = rng.integers(0, 256, shape)
        np.testing.assert_array_equal(parse_idx(idx(array)), array)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with nothing"),
        (b"<htm", "begins with 3c68746d"),
        (struct.pack(">BBBBI", 0, 0, 0x0D, 1, 1) + b"\0" * 4, "another format"),  # floats
        (struct.pack(">BBBBI", 0, 0, 8, 1, 5) + b"\0" * 4, "cut off"),
        (struct.pack(">BBBBI", 0, 0, 8, 1, 3) + b"\0" * 4, "8 bytes|12 bytes"),
        (b"\0\0\x08\x03\0\0", "cut off"),
    ],
)
def test_what_is_no_idx_file_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        parse_idx(data)


@pytest.fixture
def tiny_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> Path:
    """Four files like MNIST's, with their checksums in place of the real ones."""
    sums = {}
    for file, shape, top in (
        ("train-images-idx3-ubyte.gz", (40, 28, 28), 256),
        ("train-labels-idx1-ubyte.gz", (40,), 10),
        ("t10k-images-idx3-ubyte.gz", (10, 28, 28), 256),
        ("t10k-labels-idx1-ubyte.gz", (10,), 10),
    ):
        data = idx(rng.integers(0, top, shape))
        (tmp_path / file).write_bytes(gzip.compress(data))
        sums[file] = hashlib.md5(data).hexdigest()
    monkeypatch.setattr(mnist, "_MNIST_MD5", sums)
    monkeypatch.setattr(mnist, "_MNIST_MIRRORS", (tmp_path.as_uri() + "/",))
    return tmp_path


def test_mnist_from_a_local_copy_and_by_download(tiny_mnist: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    local = load_mnist(tiny_mnist, download=False)
    assert local.images.shape == (50, 28, 28)
    assert local.images.dtype == torch.uint8
    assert local.labels.dtype == torch.int64
    assert local.tested == 10
    elsewhere = tmp_path_factory.mktemp("cache")
    fetched = load_mnist(elsewhere)
    assert torch.equal(fetched.images, local.images)
    assert sorted(file.name for file in (elsewhere / "mnist").glob("*.gz")) == sorted(mnist._MNIST_MD5)
    with pytest.raises(DatasetError, match="WAVEMEM_DATA"):
        load_mnist(elsewhere / "nothing", download=False)


def test_mnist_found_through_the_environment_variable(tiny_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEMEM_DATA", str(tiny_mnist))
    assert len(load_mnist(download=False).labels) == 50


def test_a_wrong_or_cut_off_mnist_file_is_refused(tiny_mnist: Path) -> None:
    file = tiny_mnist / "t10k-labels-idx1-ubyte.gz"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    with pytest.raises(DatasetError, match=r"t10k-labels.*cut off"):
        load_mnist(tiny_mnist)
    file.write_bytes(gzip.compress(idx(np.zeros(10))))
    with pytest.raises(DatasetError, match="MD5"):
        load_mnist(tiny_mnist)


def test_the_small_digits_come_with_the_library() -> None:
    digits = small_digits()
    assert digits.images.shape == (1797, 8, 8)
    assert int(digits.images.max()) == digits.largest == 16
    assert torch.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits.images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_a_damaged_installation_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mnist._SMALL_SHA256, "digits-labels-idx1-ubyte.gz", "0" * 64)
    with pytest.raises(ValueError, match="Install wavemem again"):
        small_digits()


# --------------------------------------------------------------------------------------------------------- CIFAR-10


def batch(rng: np.random.Generator, count: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    images, labels = rng.integers(0, 256, (count, 32, 32, 3), np.uint8), rng.integers(0, 10, count, np.uint8)
    planes = images.transpose(0, 3, 1, 2).reshape(count, -1)
    return np.concatenate([labels[:, None], planes], axis=1).tobytes(), images, labels


def archive(path: Path, files: dict[str, bytes]) -> str:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_a_binary_batch_is_labels_and_colour_planes(rng: np.random.Generator) -> None:
    data, images, labels = batch(rng, 7)
    found, named = parse_cifar_batch(data)
    np.testing.assert_array_equal(found, images)
    np.testing.assert_array_equal(named, labels)
    with pytest.raises(DatasetError, match="multiple of 3073"):
        parse_cifar_batch(data[:-1])
    with pytest.raises(DatasetError, match="multiple of 3073"):
        parse_cifar_batch(b"")
    with pytest.raises(DatasetError, match="label 200"):
        parse_cifar_batch(b"\xc8" + data[1:])


def test_cifar_is_read_from_its_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    parts = {name: batch(rng, 4) for name in cifar._BATCHES}
    source = tmp_path / "source.tar.gz"
    monkeypatch.setattr(cifar, "_MD5", archive(source, {name: part[0] for name, part in parts.items()}))
    monkeypatch.setattr(cifar, "_URLS", (source.as_uri(),))
    found = load_cifar10(tmp_path)
    assert found.name == "CIFAR-10"
    assert found.images.shape == (24, 32, 32, 3)
    assert found.tested == 4
    np.testing.assert_array_equal(found.images[-4:], parts["test_batch.bin"][1])
    np.testing.assert_array_equal(found.images[:4], parts["data_batch_1.bin"][1])
    np.testing.assert_array_equal(found.labels[4:8], parts["data_batch_2.bin"][2])
    assert sorted(file.name for file in (tmp_path / "cifar10").iterdir()) == [
        "cifar-10-binary.tar.gz",
        "cifar-10-binary.tar.gz.lock",
    ]  # nothing is unpacked


def test_other_archives_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    monkeypatch.setattr(cifar, "_MD5", archive(path, {"data_batch_1": b"pickled", "test_batch.bin": batch(rng, 1)[0]}))
    with pytest.raises(DatasetError, match=r"lacks data_batch_1.bin"):
        load_cifar10(tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DatasetError, match="MD5"):
        load_cifar10(tmp_path)
    monkeypatch.setattr(cifar, "_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    with pytest.raises(DatasetError, match=r"cannot be read|lacks"):
        load_cifar10(tmp_path)
    with pytest.raises(DatasetError, match="download is switched off"):
        load_cifar10(tmp_path / "nothing", download=False)


def jpeg_copy(path: Path, images: np.ndarray, size: int = 32, labels: np.ndarray | None = None) -> None:
    arrays: dict[str, np.ndarray] = {}
    for part in ("train", "test"):
        files = []
        for pixels in images:
            stream = io.BytesIO()
            Image.fromarray(pixels[:size, :size]).save(stream, "JPEG", quality=95)
            files.append(stream.getvalue())
        arrays[f"{part}_jpeg"] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"{part}_offsets"] = np.cumsum([0, *map(len, files)])
        arrays[f"{part}_labels"] = np.arange(len(images)).astype(np.uint8) if labels is None else labels
    np.savez(path, **arrays)


def test_the_jpeg_copy_has_a_name_of_its_own(tmp_path: Path) -> None:
    smooth = np.broadcast_to(np.arange(32, dtype=np.uint8)[:, None, None] * 7, (3, 32, 32, 3)).copy()
    jpeg_copy(tmp_path / "cifar10_jpeg.npz", smooth)
    found = load_cifar10_jpeg(tmp_path)
    assert found.name == "CIFAR-10 (JPEG copy)"
    assert found.images.shape == (6, 32, 32, 3)
    assert found.tested == 3
    assert np.abs(found.images[:3].numpy().astype(int) - smooth).max() < 12  # lossy, but the same picture
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_other_files_than_the_jpeg_copy_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cifar10_jpeg.npz"
    images = np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(DatasetError, match="is not in"):
        load_cifar10_jpeg(tmp_path)
    path.write_bytes(b"no npz file")
    with pytest.raises(DatasetError, match="cannot be read"):
        load_cifar10_jpeg(tmp_path)
    np.savez(path, train_jpeg=np.zeros(4, np.uint8))
    with pytest.raises(DatasetError, match="cannot be read"):
        load_cifar10_jpeg(tmp_path)
    jpeg_copy(path, images, size=16)
    with pytest.raises(DatasetError, match="16 × 16"):
        load_cifar10_jpeg(tmp_path)
    jpeg_copy(path, images, labels=np.array([1, 10], np.uint8))
    with pytest.raises(DatasetError, match="labels up to 10"):
        load_cifar10_jpeg(tmp_path)
    with np.load(path) as whole:
        arrays = dict(whole)
    arrays["train_jpeg"] = np.zeros_like(arrays["train_jpeg"])
    np.savez(path, **arrays)
    with pytest.raises(DatasetError, match="no JPEG file"):
        load_cifar10_jpeg(tmp_path)


# --------------------------------------------------------------------------------------------------------- sequences


def make(count: int, tested: int, shape: tuple[int, ...] = (28, 28)) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
    return ImageSet("made up", images, torch.arange(count) % 10, tested)


def test_fixed_arrays_have_their_committed_hashes() -> None:
    # Each call compares with its hash; here the names are checked, so that none of the comparisons is missed.
    assert torch.equal(permutation(784).sort().values, torch.arange(784))
    assert permutation(784)[:5].tolist() == np.random.RandomState(784).permutation(784)[:5].tolist()
    permutation(64)
    noise = noise_block(968, 96)
    assert noise.shape == (968, 96)
    assert abs(float(noise.mean())) < 0.01
    assert abs(float(noise.std()) - 1) < 0.01
    assert torch.equal(noise * 1024, (noise * 1024).round())
    noise_block(92, 8)
    empty = torch.zeros((70_000, 1, 1), dtype=torch.uint8)
    for count, tested, sizes in (
        (70_000, 10_000, (57_000, 3_000, 10_000)),
        (60_000, 10_000, (47_000, 3_000, 10_000)),
        (1797, 0, (1200, 197, 400)),
    ):
        parts = splits(ImageSet("", empty[:count], torch.zeros(count, dtype=torch.int64), tested))
        assert tuple(map(len, parts)) == sizes
        assert torch.equal(torch.cat(parts).sort().values, torch.arange(count))
        if tested:
            assert torch.equal(parts.test, torch.arange(count - tested, count))
    assert all(len(digest) == 64 for digest in HASHES.values())


def test_other_numbers_than_the_committed_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HASHES, "permutation of 64", "0" * 64)
    with pytest.raises(ValueError, match="permutation of 64 has the SHA-256"):
        permutation(64)


def test_pixels_come_one_by_one_in_order_or_permuted() -> None:
    images = make(30, 6)
    plain, permuted = SequentialImages("smnist", images=images), SequentialImages("psmnist", images=images)
    assert (plain.T, plain.d, plain.classes, len(plain)) == (784, 1, 10, 30)
    indices = plain.train[:4]
    expected = images.images[indices].flatten(1).T.float().unsqueeze(-1) / 255
    assert torch.equal(plain.sequence(indices), expected)
    assert torch.equal(permuted.sequence(indices), expected[permutation(784)])
    assert torch.equal(plain.labels[indices], images.labels[indices])


def test_rows_of_colours_and_then_noise() -> None:
    images = make(30, 6, (32, 32, 3))
    task = SequentialImages("nscifar10", images=images)
    assert (task.T, task.shown, task.d) == (1000, 32, 96)
    shown = task.sequence(torch.tensor([3, 5]))
    assert shown.shape == (1000, 2, 96)
    reference = images.images[[3, 5]].permute(0, 3, 1, 2).float() / 255  # (batch, colour, height, width)
    reference = reference.permute(0, 2, 1, 3).reshape(-1, 32, 96)  # as the paper's public code flattens a row
    assert torch.equal(shown[:32], reference.movedim(1, 0))
    assert torch.equal(shown[32:, 0], shown[32:, 1])  # the same noise for all
    assert torch.equal(shown[32:, 0], noise_block(968, 96))
    assert torch.equal(task.sequence(torch.tensor([9]))[32:, 0], shown[32:, 0])


def test_small_digits_as_sequences() -> None:
    sizes = {"sdigits": (64, 64, 1), "psdigits": (64, 64, 1), "nsdigits": (100, 8, 8)}
    for kind, (T, shown, d) in sizes.items():
        task = SequentialImages(kind)
        assert (task.T, task.shown, task.d) == (T, shown, d)
        assert (len(task.train), len(task.validation), len(task.test)) == (1200, 197, 400)
        assert float(task.sequence(task.train)[:shown].max()) == 1.0
        assert torch.bincount(task.labels[task.test], minlength=10).min() > 30
    assert SequentialImages("nsdigits", length=20).T == 20
    assert SequentialImages("nsdigits", length=8).sequence(torch.tensor([0])).shape == (8, 1, 8)
    assert set(sizes) < set(KINDS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SequentialImages("mnist"), "kind = 'mnist'"),
        (lambda: SequentialImages("sdigits", length=100), "length = 100"),
        (lambda: SequentialImages("nsdigits", length=7), "length = 7"),
        (lambda: SequentialImages("sdigits").sequence(torch.tensor([1797])), "indices from 1797"),
        (lambda: SequentialImages("sdigits").sequence(torch.tensor([[1]])), "indices of shape"),
        (lambda: SequentialImages("sdigits").sequence(torch.tensor([1.0])), "indices of shape"),
        (lambda: permutation(0), "length = 0"),
        (lambda: noise_block(-1, 2), "steps = -1"),
    ],
)
def test_bad_input_is_explained(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
