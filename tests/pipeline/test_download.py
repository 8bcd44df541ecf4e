from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.download import RemoteFile, fetch
from pipeline.errors import DataError

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@dataclass
class Server:
    """A web server on this machine with one file; what it was asked, and how it behaves."""

    content: bytes = CONTENT
    ranges: list[str | None] = field(default_factory=list)
    knows_ranges: bool = True
    cut_after: list[int] = field(default_factory=list)
    url: str = ""

    def remote(self) -> RemoteFile:
        return RemoteFile(self.url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            state.ranges.append(asked)
            start = int(asked[len("bytes=") : -1]) if asked and state.knows_ranges else 0
            rest = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: state.cut_after.pop(0)] if state.cut_after else rest)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        state.url = f"http://127.0.0.1:{httpd.server_port}/archive.tar.gz"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        httpd.shutdown()
        thread.join()


def nothing(done: int, total: int) -> None:
    pass


def test_a_file_is_downloaded_and_checked(server: Server, tmp_path: Path) -> None:
    path = fetch(server.remote(), tmp_path / "new folder", nothing)
    assert path.name == "archive.tar.gz"
    assert path.read_bytes() == CONTENT
    assert [one.name for one in path.parent.iterdir()] == ["archive.tar.gz"]


def test_progress_goes_from_nothing_to_all(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    fetch(server.remote(), tmp_path, lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_a_file_that_is_there_is_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    fetch(server.remote(), tmp_path, nothing)
    fetch(server.remote(), tmp_path, nothing)
    assert len(server.ranges) == 1


def test_a_file_that_was_changed_on_disk_is_downloaded_again(
    server: Server, tmp_path: Path
) -> None:
    fetch(server.remote(), tmp_path, nothing).write_bytes(b"x" * len(CONTENT))
    assert fetch(server.remote(), tmp_path, nothing).read_bytes() == CONTENT


def test_a_broken_connection_goes_on_where_it_stood(server: Server, tmp_path: Path) -> None:
    server.cut_after = [300_000]
    assert fetch(server.remote(), tmp_path, nothing).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-"]


def test_an_interrupted_download_goes_on_in_a_later_call(server: Server, tmp_path: Path) -> None:
    (tmp_path / "archive.tar.gz.part").write_bytes(CONTENT[:1000])
    assert fetch(server.remote(), tmp_path, nothing).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_a_server_without_ranges_sends_the_whole_file_again(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    (tmp_path / "archive.tar.gz.part").write_bytes(CONTENT[:1000])
    assert fetch(server.remote(), tmp_path, nothing).read_bytes() == CONTENT


def test_a_connection_that_keeps_breaking_says_how_far_it_came(
    server: Server, tmp_path: Path
) -> None:
    server.cut_after = [1000, 1000, 1000]
    with pytest.raises(DataError, match=r"3,000 of 1,048,576 bytes are here; run again"):
        fetch(server.remote(), tmp_path, nothing)


@pytest.mark.parametrize("content", [b"x" * len(CONTENT), CONTENT + b"more"])
def test_another_file_than_expected_is_refused_and_not_kept(
    server: Server, tmp_path: Path, content: bytes
) -> None:
    server.content = content
    with pytest.raises(DataError, match=r"is not the expected file: 1,048,.* expected 1,048,576"):
        fetch(server.remote(), tmp_path, nothing)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    remote = RemoteFile("http://127.0.0.1:9/a.tar.gz", 10, "0" * 64)
    with pytest.raises(DataError, match=r"cannot download http://127.0.0.1:9/a.tar.gz: .*refused"):
        fetch(remote, tmp_path, nothing)
