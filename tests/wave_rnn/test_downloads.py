"""Downloads: resumed, checked, named only when whole; and what the messages tell somebody without a network."""

from __future__ import annotations

import gzip
import hashlib
import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wavemem.wave_rnn import downloads
from wavemem.wave_rnn.downloads import DatasetError, data_folder, download, obtain, verify

CONTENT = bytes(range(256)) * 400


class _Server(ThreadingHTTPServer):
    """Serves CONTENT and notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.break_after: int | None = None
        self.ranges = True
        self.wrong_start = False
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.bin"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if self.path != "/file.bin":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            first = start + 1 if server.wrong_start else start
            self.send_header("Content-Range", f"bytes {first}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.break_after is not None:
            body, server.break_after = body[: server.break_after], None
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


check = partial(verify, algorithm="sha256", expected=hashlib.sha256(CONTENT).hexdigest())


def test_a_whole_file_arrives_under_its_name(server: _Server, tmp_path: Path) -> None:
    path = download([server.url], tmp_path / "deep" / "file.bin", check)
    assert path.read_bytes() == CONTENT
    assert not (tmp_path / "deep" / "file.bin.part").exists()
    assert download([server.url], path, check) == path
    assert len(server.asked) == 1  # what is there is not fetched again


def test_an_interrupted_download_is_kept_and_continued(server: _Server, tmp_path: Path) -> None:
    server.break_after = 5000
    with pytest.raises(DatasetError, match=r"ended after 5000 of 102400 bytes"):
        download([server.url], tmp_path / "file.bin", check)
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:5000]
    assert not (tmp_path / "file.bin").exists()
    assert download([server.url], tmp_path / "file.bin", check).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=5000-"]


def test_a_server_without_ranges_sends_everything_again(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"x" * 2_000_00)  # longer than the file, too
    server.ranges = False
    assert download([server.url], tmp_path / "file.bin", check).read_bytes() == CONTENT


def test_a_part_that_is_whole_or_too_long_is_recognised(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert download([server.url], tmp_path / "file.bin", check).read_bytes() == CONTENT
    (tmp_path / "other.bin.part").write_bytes(CONTENT + b"more")
    assert download([server.url], tmp_path / "other.bin", check).read_bytes() == CONTENT


def test_a_continued_file_that_does_not_fit_is_fetched_anew(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"y" * 5000)  # the beginning of something else
    assert download([server.url], tmp_path / "file.bin", check).read_bytes() == CONTENT
    assert server.asked == ["bytes=5000-", None]


def test_a_wrong_file_is_thrown_away_and_reported(server: _Server, tmp_path: Path) -> None:
    server.content = b"not what was asked for"
    with pytest.raises(DatasetError, match="SHA256") as caught:
        download([server.url], tmp_path / "file.bin", check)
    assert "WAVEMEM_DATA" in str(caught.value)
    assert not list(tmp_path.glob("file.bin*.part"))
    assert not (tmp_path / "file.bin").exists()


def test_a_continued_file_that_is_wrong_twice_is_reported(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"y" * 5)
    server.content = b"not what was asked for"
    with pytest.raises(DatasetError, match="SHA256"):
        download([server.url], tmp_path / "file.bin", check)
    assert not (tmp_path / "file.bin.part").exists()


def test_a_server_that_answers_another_range_is_not_believed(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:100])
    server.wrong_start = True
    with pytest.raises(DatasetError, match="another part of the file"):
        download([server.url], tmp_path / "file.bin", check)
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:100]


def test_the_next_address_is_tried(server: _Server, tmp_path: Path) -> None:
    missing = server.url.replace("file.bin", "missing.bin")
    nobody = "http://127.0.0.1:9/file.bin"
    path = download([missing, nobody, server.url], tmp_path / "file.bin", check)
    assert path.read_bytes() == CONTENT


def test_without_a_network_the_message_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="could not be fetched") as caught:
        download(["http://127.0.0.1:9/file.bin", "http://127.0.0.1:9/again.bin"], tmp_path / "file.bin", check)
    message = str(caught.value)
    for part in ("127.0.0.1:9/file.bin", "again.bin", "local copy", "WAVEMEM_DATA", "argument folder"):
        assert part in message


def test_file_addresses_work(tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(CONTENT)
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:10])
    assert download([source.as_uri()], tmp_path / "file.bin", check).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"cannot be written.*WAVEMEM_DATA"):
        download([(tmp_path / "file").as_uri()], tmp_path / "file" / "below" / "file.bin", check)


def test_two_at_once_fetch_once(server: _Server, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(download([server.url], tmp_path / "file.bin", check)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tmp_path / "file.bin"] * 3
    assert len(server.asked) == 1


def test_obtain_prefers_what_is_there_and_checks_it(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file.bin").write_bytes(CONTENT)
    places = ("a/file.bin", "b/file.bin")
    assert obtain(places, [server.url], check, tmp_path) == tmp_path / "b" / "file.bin"
    assert not server.asked
    (tmp_path / "b" / "file.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(DatasetError, match="delete it and fetch it again"):
        obtain(places, [server.url], check, tmp_path)
    (tmp_path / "b" / "file.bin").unlink()
    with pytest.raises(DatasetError, match="download is switched off"):
        obtain(places, [server.url], check, tmp_path, fetch=False)
    assert obtain(places, [server.url], check, tmp_path) == tmp_path / "a" / "file.bin"


def test_the_folder_is_the_argument_or_the_variable_or_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEMEM_DATA", "/named")
    assert data_folder("/own") == Path("/own")
    assert data_folder() == Path("/named")
    monkeypatch.delenv("WAVEMEM_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_folder() == Path("/cache/wavemem")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_folder() == Path.home() / ".cache" / "wavemem"


def test_checksums_of_files_and_of_what_is_packed_in_them(tmp_path: Path) -> None:
    packed = tmp_path / "file.gz"
    packed.write_bytes(gzip.compress(CONTENT, 1))
    content = hashlib.md5(CONTENT).hexdigest()
    verify(packed, "md5", content, unpacked=True)
    verify(packed, "md5", hashlib.md5(packed.read_bytes()).hexdigest())
    with pytest.raises(DatasetError, match="MD5"):
        verify(packed, "md5", content)
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(DatasetError, match="cut off or damaged"):
        verify(packed, "md5", content, unpacked=True)
    packed.write_bytes(b"<html>not found</html>")
    with pytest.raises(DatasetError, match="cut off or damaged"):
        verify(packed, "md5", content, unpacked=True)


def test_bad_input_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="urls is empty"):
        download([], tmp_path / "file.bin", check)
    with pytest.raises(ValueError, match="algorithm = 'crc'"):
        verify(tmp_path, "crc", "")


@pytest.mark.parametrize("had", [0, 4000])
def test_a_file_that_is_far_too_large_is_not_fetched(
    server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, had: int
) -> None:
    monkeypatch.setattr(downloads, "_LARGEST", 50_000)
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:had])
    with pytest.raises(DatasetError, match=r"102,400 bytes or more; allowed: 50,000"):
        download([server.url], tmp_path / "file.bin", check)
    assert not list(tmp_path.glob("file.bin*.part"))


def test_a_stream_without_an_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    monkeypatch.setattr(downloads, "_LARGEST", 3 * downloads._CHUNK)
    with pytest.raises(DatasetError, match="bytes or more; allowed"):
        downloads._copy(Endless(), tmp_path / "part", 0, None, "endless")
    assert (tmp_path / "part").stat().st_size <= 3 * downloads._CHUNK
