"""Files of images: downloads are checked and named only when whole; other files than those meant are refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wavemem.wave_rnn import image_files
from wavemem.wave_rnn.image_files import (
    DatasetError,
    data_folder,
    load_cifar10,
    load_cifar10_jpeg,
    load_mnist,
    obtain,
    parse_idx,
    small_digits,
    verify,
)

CONTENT = bytes(range(256)) * 400
MD5 = hashlib.md5(CONTENT).hexdigest()
NOBODY = "http://127.0.0.1:9/file.bin"


class _Server(ThreadingHTTPServer):
    """Serves CONTENT and counts how often."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.break_after: int | None = None
        self.silent, self.over = threading.Event(), threading.Event()
        self.asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.bin"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.path != "/file.bin":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.close_connection = True
        if self.server.silent.is_set():
            self.server.over.wait()
        self.wfile.write(self.server.content[: self.server.break_after])

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets are kept in the test's folder."""
    monkeypatch.setenv("WAVEMEM_DATA", str(tmp_path))


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


def test_a_whole_file_arrives_under_its_name_and_is_not_fetched_again(server: _Server, tmp_path: Path) -> None:
    path = obtain(["deep/file.bin"], [server.url], MD5)
    assert path == tmp_path / "deep" / "file.bin"
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert obtain(["deep/file.bin"], [server.url], MD5) == path
    assert server.asked == 1


@pytest.mark.parametrize(("name", "wrong"), [("break_after", 5000), ("content", b"not what was asked for")])
def test_what_is_wrong_is_reported_and_nothing_of_it_stays(
    server: _Server, tmp_path: Path, name: str, wrong: object
) -> None:
    with pytest.MonkeyPatch.context() as fault:
        fault.setattr(server, name, wrong)
        with pytest.raises(DatasetError, match=r"has the MD5.*WAVEMEM_DATA"):
            obtain(["file.bin"], [server.url], MD5)
    assert not list(tmp_path.iterdir())
    assert obtain(["file.bin"], [server.url], MD5).read_bytes() == CONTENT


def test_the_next_address_is_tried_and_files_have_addresses_too(server: _Server) -> None:
    missing = server.url.replace("file.bin", "missing.bin")
    path = obtain(["file.bin"], [missing, NOBODY, server.url], MD5)
    assert path.read_bytes() == CONTENT
    assert obtain(["again.bin"], [path.as_uri()], MD5).read_bytes() == CONTENT


def test_without_a_network_or_a_folder_the_message_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="could not be fetched") as caught:
        obtain(["file.bin"], [NOBODY, "http://127.0.0.1:9/again.bin"], MD5)
    for part in ("127.0.0.1:9/file.bin", "again.bin", "local copy", "WAVEMEM_DATA"):
        assert part in str(caught.value)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"cannot be written.*WAVEMEM_DATA"):
        obtain(["file/below/file.bin"], [(tmp_path / "file").as_uri()], MD5)


def test_a_server_that_falls_silent_is_not_waited_for(server: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "PATIENCE", 0.2)
    server.silent.set()
    with pytest.raises(DatasetError, match="timed out"):
        obtain(["file.bin"], [server.url], MD5)


def test_several_at_once_get_the_whole_file(server: _Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda place: obtain([place], [server.url], MD5), ["file.bin"] * 3))
    assert found == [tmp_path / "file.bin"] * 3
    assert found[0].read_bytes() == CONTENT


def test_obtain_prefers_what_is_there_and_checks_it(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file.bin").write_bytes(CONTENT)
    places = ("a/file.bin", "b/file.bin")
    assert obtain(places, [server.url], MD5) == tmp_path / "b" / "file.bin"
    assert not server.asked
    (tmp_path / "b" / "file.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(DatasetError, match="delete it and fetch it again"):
        obtain(places, [server.url], MD5)
    (tmp_path / "b" / "file.bin").unlink()
    assert obtain(places, [server.url], MD5) == tmp_path / "a" / "file.bin"


def test_the_folder_is_the_variable_or_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEMEM_DATA", "/named")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_folder() == Path("/named")
    monkeypatch.delenv("WAVEMEM_DATA")
    assert data_folder() == Path("/cache/wavemem")


def test_checksums_of_files_and_of_what_is_packed_in_them(tmp_path: Path) -> None:
    packed = tmp_path / "file.gz"
    packed.write_bytes(gzip.compress(CONTENT, 1))
    verify(packed, MD5, unpacked=True)
    verify(packed, hashlib.md5(packed.read_bytes()).hexdigest())
    with pytest.raises(DatasetError, match="MD5"):
        verify(packed, MD5)
    for damaged in (packed.read_bytes()[:-20], b"<html>not found</html>"):
        packed.write_bytes(damaged)
        with pytest.raises(DatasetError, match="cut off or damaged"):
            verify(packed, MD5, unpacked=True)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
def test_idx_arrays_of_any_number_of_axes(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    array = rng.integers(0, 256, shape)
    np.testing.assert_array_equal(parse_idx(idx(array)), array)


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
    monkeypatch.setattr(image_files, "_MNIST_MD5", sums)
    monkeypatch.setattr(image_files, "_MNIST_MIRRORS", (tmp_path.as_uri() + "/",))
    return tmp_path


def test_mnist_from_a_local_copy_and_by_download(
    tiny_mnist: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = load_mnist()
    assert (local.images.shape, local.images.dtype) == ((50, 28, 28), torch.uint8)
    assert (local.labels.shape, local.labels.dtype, local.tested) == ((50,), torch.int64, 10)
    elsewhere = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("WAVEMEM_DATA", str(elsewhere))
    fetched = load_mnist()
    assert torch.equal(fetched.images, local.images)
    assert sorted(file.name for file in (elsewhere / "mnist").glob("*.gz")) == sorted(image_files._MNIST_MD5)


def test_the_small_digits_come_with_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = small_digits()
    assert digits.images.shape == (1797, 8, 8)
    assert int(digits.images.max()) == digits.largest == 16
    assert torch.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits.images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    monkeypatch.setitem(image_files._SMALL_SHA256, "digits-labels-idx1-ubyte.gz", "0" * 64)
    with pytest.raises(ValueError, match="Install wavemem again"):
        small_digits()


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


def test_cifar_is_read_from_its_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    parts = {name: batch(rng, 4) for name in image_files._BATCHES}
    source = tmp_path / "source.tar.gz"
    monkeypatch.setattr(image_files, "_MD5", archive(source, {name: part[0] for name, part in parts.items()}))
    monkeypatch.setattr(image_files, "_URLS", (source.as_uri(),))
    found = load_cifar10()
    assert (found.name, found.images.shape, found.tested) == ("CIFAR-10", (24, 32, 32, 3), 4)
    np.testing.assert_array_equal(found.images[-4:], parts["test_batch.bin"][1])
    np.testing.assert_array_equal(found.images[:4], parts["data_batch_1.bin"][1])
    np.testing.assert_array_equal(found.labels[4:8], parts["data_batch_2.bin"][2])
    assert [file.name for file in (tmp_path / "cifar10").iterdir()] == ["cifar-10-binary.tar.gz"]  # nothing is unpacked


def test_other_archives_are_refused(tmp_path: Path) -> None:
    archive(tmp_path / "cifar-10-binary.tar.gz", {"data_batch_1": b"pickled"})
    with pytest.raises(DatasetError, match="MD5"):
        load_cifar10()


def jpeg_copy(images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a JPEG copy, both parts alike."""
    files = []
    for pixels in images:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=95)
        files.append(stream.getvalue())
    own = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offsets": np.cumsum([0, *map(len, files)]),
        "labels": labels,
    }
    return {f"{part}_{name}": value for part in ("train", "test") for name, value in own.items()}


def test_the_jpeg_copy_has_a_name_of_its_own(tmp_path: Path) -> None:
    smooth = np.broadcast_to(np.arange(32, dtype=np.uint8)[:, None, None] * 7, (3, 32, 32, 3)).copy()
    np.savez(tmp_path / "cifar10_jpeg.npz", **jpeg_copy(smooth, np.arange(3).astype(np.uint8)))
    found = load_cifar10_jpeg()
    assert (found.name, found.images.shape, found.tested) == ("CIFAR-10 (JPEG copy)", (6, 32, 32, 3), 3)
    assert np.abs(found.images[:3].numpy().astype(int) - smooth).max() < 12  # lossy, but the same picture
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_other_files_than_the_jpeg_copy_are_refused(tmp_path: Path) -> None:
    path, labels, black = tmp_path / "cifar10_jpeg.npz", np.array([1, 2], np.uint8), np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(DatasetError, match="is not in"):
        load_cifar10_jpeg()
    path.write_bytes(b"no npz file")
    with pytest.raises(DatasetError, match="cannot be read"):
        load_cifar10_jpeg()
    whole = jpeg_copy(black, labels)
    for arrays, said in (
        ({"train_jpeg": np.zeros(4, np.uint8)}, "cannot be read"),
        (jpeg_copy(black[:, :16, :16], labels), "16 × 16"),
        (whole | {"train_labels": np.array([1, 10], np.uint8)}, "labels up to 10"),
        (whole | {"train_jpeg": np.zeros_like(whole["train_jpeg"])}, "cannot identify image"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(DatasetError, match=said):
            load_cifar10_jpeg()
