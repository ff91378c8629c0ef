"""Downloads against a real server on 127.0.0.1 that cuts, lies, redirects and stalls."""

import gzip
import hashlib
import http.server
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from striate.data import fetch as fetch_module
from striate.data import load, published
from striate.data.fetch import RemoteFile, fetch
from striate.errors import DataError, UsageError

BODY = np.random.default_rng(0).bytes(200_000)
SHA = hashlib.sha256(BODY).hexdigest()


class Server:
    """Answers `/name` with what `answers[name]` does to the handler; remembers the Range of each request."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[http.server.BaseHTTPRequestHandler, int], None]] = {}
        self.ranges: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.ranges.append(self.headers.get("Range"))
                outer.answers[self.path.lstrip("/")](self, len(outer.ranges))

            def log_message(self, *args: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def file(self, name: str = "file.bin", size: int = len(BODY), sha: str = SHA) -> RemoteFile:
        return RemoteFile(self.url + name, size, sha)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetch_module, "PAUSE", 0.0)
    monkeypatch.setattr(fetch_module, "TIMEOUT", 1.0)
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


def send(h: http.server.BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    h.send_response(status)
    for key, value in ({"Content_Length": str(len(body))} | headers).items():
        h.send_header(key.replace("_", "-"), value)
    h.end_headers()
    h.wfile.write(body)


def whole(h: http.server.BaseHTTPRequestHandler, n: int) -> None:
    """All of it, or from the place asked for."""
    asked = h.headers.get("Range")
    if asked is None:
        return send(h, BODY)
    start = int(asked.removeprefix("bytes=").rstrip("-"))
    return send(h, BODY[start:], 206, Content_Range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")


def cut(at: int) -> Callable[[http.server.BaseHTTPRequestHandler, int], None]:
    """The first answer stops after `at` bytes; later ones are whole."""

    def answer(h: http.server.BaseHTTPRequestHandler, n: int) -> None:
        if n > 1:
            return whole(h, n)
        return send(h, BODY[:at], Content_Length=str(len(BODY)))

    return answer


def test_file_arrives_verified_with_progress(server: Server, tmp_path: Path) -> None:
    server.answers["file.bin"] = whole
    seen: list[tuple[str, int, int]] = []
    fetch(server.file(), tmp_path / "deep" / "file.bin", progress=lambda *p: seen.append(p))
    assert (tmp_path / "deep" / "file.bin").read_bytes() == BODY
    assert seen[-1] == ("file.bin", len(BODY), len(BODY))
    assert [d for _, d, _ in seen] == sorted(d for _, d, _ in seen)
    fetch(server.file(), tmp_path / "deep" / "file.bin")
    assert len(server.ranges) == 1  # what is there isn't fetched again


@pytest.mark.parametrize("percent", [0, 10, 50, 99])
def test_cut_connection_is_resumed(server: Server, tmp_path: Path, percent: int) -> None:
    at = len(BODY) * percent // 100
    server.answers["file.bin"] = cut(at)
    fetch(server.file(), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert server.ranges == [None, f"bytes={at}-" if at else None]


def test_server_that_cannot_resume_starts_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"something old")
    server.answers["file.bin"] = lambda h, n: send(h, BODY)
    fetch(server.file(), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_part_that_was_never_right_is_found_out_and_removed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    server.answers["file.bin"] = whole
    with pytest.raises(DataError, match=f"isn't the published file: SHA-256 .* expected {SHA}"):
        fetch(server.file(), tmp_path / "file.bin")
    assert not (tmp_path / "file.bin.part").exists()
    fetch(server.file(), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == BODY


HTML = b"<html>please log in</html>"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda h, n: send(h, BODY[:-1] + b"!"), "SHA-256"),
        (lambda h, n: send(h, HTML, Content_Type="text/html"), "a web page instead of the file"),
        (lambda h, n: send(h, BODY[:100]), "states 100 bytes; published are 200,000"),
        (lambda h, n: send(h, BODY * 2, Content_Length="400000"), "states 400,000 bytes"),
        (
            lambda h, n: send(h, BODY, 206, Content_Range="bytes 0-199999/200000"),
            "another part than asked for",
        ),
        (lambda h, n: send(h, b"", 404), "Not Found"),
        (lambda h, n: send(h, b"", 503), "Service Unavailable"),
        (
            lambda h, n: send(h, b"", 302, Location="file:///etc/passwd"),
            "url 'file:///etc/passwd' is not allowed",
        ),
        (lambda h, n: send(h, b"", 302, Location="http://10.0.0.1/x"), "into the local network"),
        (lambda h, n: send(h, b"", 302, Location="/file.bin?again"), "redirect"),
    ],
)
def test_answers_that_are_not_the_file(server: Server, tmp_path: Path, answer, says: str) -> None:
    server.answers["file.bin"] = server.answers["file.bin?again"] = answer
    with pytest.raises(DataError, match=says):
        fetch(server.file(), tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()
    server.answers["file.bin"] = whole
    fetch(server.file(), tmp_path / "file.bin")  # the next good try works


def test_endless_body_is_stopped(server: Server, tmp_path: Path) -> None:
    def endless(h: http.server.BaseHTTPRequestHandler, n: int) -> None:
        h.send_response(200)
        h.end_headers()
        try:
            while True:
                h.wfile.write(BODY)
        except OSError:
            pass

    server.answers["file.bin"] = endless
    with pytest.raises(DataError, match="more than the published 200,000 bytes"):
        fetch(server.file(), tmp_path / "file.bin")


def test_slow_server_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "TRIES", 1)
    monkeypatch.setattr(fetch_module, "TIMEOUT", 0.3)

    def slow(h: http.server.BaseHTTPRequestHandler, n: int) -> None:
        h.send_response(200)
        h.send_header("Content-Length", str(len(BODY)))
        h.end_headers()
        for i in range(50):
            try:
                h.wfile.write(BODY[i : i + 1])
                h.wfile.flush()
            except OSError:
                return
            time.sleep(0.05)

    server.answers["file.bin"] = slow
    with pytest.raises(DataError, match="slower than 1024 bytes a second") as e:
        fetch(server.file(), tmp_path / "file.bin")
    assert "goes on from there" in e.value.hint


def test_silent_server_times_out(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "TIMEOUT", 0.2)
    server.answers["file.bin"] = lambda h, n: time.sleep(0.8)
    with pytest.raises(DataError, match="timed out"):
        fetch(server.file(), tmp_path / "file.bin")


def test_offline_says_which_file_goes_where(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"offline, and '{tmp_path}/file.bin' is missing") as e:
        fetch(server.file(), tmp_path / "file.bin", offline=True)
    assert e.value.exit_code == 3
    assert e.value.hint == f"put {server.url}file.bin there, or go online"
    assert server.ranges == []
    (tmp_path / "file.bin").write_bytes(BODY)
    fetch(server.file(), tmp_path / "file.bin", offline=True)


def test_poisoned_file_is_not_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(BODY[:-1] + b"!")
    with pytest.raises(DataError, match="isn't the published file"):
        fetch(server.file(), tmp_path / "file.bin", offline=True)
    server.answers["file.bin"] = whole
    fetch(server.file(), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(DataError, match="can't be written"):
        fetch(server.file(), tmp_path / "taken" / "file.bin")


def test_of_two_at_once_one_transfers(server: Server, tmp_path: Path) -> None:
    def slow(h: http.server.BaseHTTPRequestHandler, n: int) -> None:
        time.sleep(0.2)
        whole(h, n)

    server.answers["file.bin"] = slow
    threads = [threading.Thread(target=fetch, args=(server.file(), tmp_path / "file.bin")) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert len(server.ranges) == 1


def test_killed_transfer_leaves_a_part_and_the_next_goes_on(server: Server, tmp_path: Path) -> None:
    stalled = threading.Event()

    def stall(h: http.server.BaseHTTPRequestHandler, n: int) -> None:
        if n > 1:
            return whole(h, n)
        h.send_response(200)
        h.send_header("Content-Length", str(len(BODY)))
        h.end_headers()
        h.wfile.write(BODY[:100_000])
        h.wfile.flush()
        stalled.wait(20)
        return None

    server.answers["file.bin"] = stall
    code = (
        "import sys; from pathlib import Path; from striate.data.fetch import RemoteFile, fetch;"
        f"fetch(RemoteFile({server.url + 'file.bin'!r}, {len(BODY)}, {SHA!r}), Path(sys.argv[1]))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "file.bin")])
    part = tmp_path / "file.bin.part"
    for _ in range(200):
        if part.exists() and part.stat().st_size >= 100_000 - fetch_module.CHUNK:
            break
        time.sleep(0.05)
    child.kill()
    child.wait()
    stalled.set()
    have = part.stat().st_size
    assert have > 0
    assert not (tmp_path / "file.bin").exists()
    fetch(server.file(), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert server.ranges[-1] == f"bytes={have}-"


def test_mnist_by_name_end_to_end(
    server: Server, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    with np.load(shared_data / "mnist.npz") as f:
        for split, prefix in (("train", "train"), ("test", "t10k")):
            for kind, key, dims in (("images", "x", 3), ("labels", "y", 1)):
                a = f[f"{key}_{split}"][:2000]
                raw = struct.pack(f">BBBB{dims}I", 0, 0, 8, dims, *a.shape) + a.astype(np.uint8).tobytes()
                body = gzip.compress(raw, mtime=0)
                name = f"{prefix}-{kind}-idx{dims}-ubyte.gz"
                server.answers[name] = lambda h, n, body=body: send(h, body)  # type: ignore[misc]
                files.append(server.file(name, len(body), hashlib.sha256(body).hexdigest()))
        pixels = f["x_test"][:2000]
    monkeypatch.setitem(published.PUBLISHED, "mnist", tuple(files))
    with pytest.raises(DataError, match="offline"):
        load("mnist", offline=True)
    data = load("mnist")
    assert (data.test.read(range(2000))[:, 0].numpy() == pixels).all()
    assert [len(p) for p in data.parts().values()] == [1800, 200, 2000]
    asked = len(server.ranges)
    monkeypatch.setenv("STRIATE_OFFLINE", "1")
    assert load("mnist").splits() == data.splits()
    assert len(server.ranges) == asked
    assert os.environ["STRIATE_HOME"] in str(published.download("mnist"))


def test_unknown_name() -> None:
    with pytest.raises(UsageError, match="no data set 'cifar1O'") as e:
        published.download("cifar1O")
    assert "cifar10" in e.value.hint


@pytest.mark.parametrize("digest", [SHA[:8], hashlib.md5(BODY).hexdigest()])
def test_files_with_part_of_a_checksum_and_no_size(server: Server, tmp_path: Path, digest: str) -> None:
    server.answers["file.bin"] = cut(len(BODY) // 2)
    file = RemoteFile(server.url + "file.bin", None, digest)
    fetch(file, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    fetch(file, tmp_path / "a", offline=True)
    with pytest.raises(DataError, match=r"isn't the published file: (MD5|SHA-256)"):
        fetch(RemoteFile(server.url + "file.bin", None, digest[::-1]), tmp_path / "b")
    assert not list(tmp_path.glob("b*.part"))
    (tmp_path / "c.part").write_bytes(BODY)  # killed between the last byte and the new name
    server.answers["file.bin"] = lambda h, n: send(h, b"", 500)
    fetch(RemoteFile(server.url + "file.bin", None, digest), tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == BODY
