"""Real server processes on 127.0.0.1, and what to say to them."""

import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from striate.train import Run

FAKE = Path(__file__).with_name("fake.py")


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A process that serves, and requests to it."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.log = folder / "log.txt"
        with self.log.open("w") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "BATCHES": str(folder / "batches.txt")}
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=environment)
        self.folder = folder
        self.port = 0
        until = time.monotonic() + 120
        while not self.port:
            found = re.search(r"http://[^ ]*:(\d+)", self.log.read_text())
            self._goes_on(until)
            self.port = int(found[1]) if found else 0
            time.sleep(0.02)

    def wait(self) -> "Server":
        until = time.monotonic() + 120
        while self("GET", "/health/ready").status != 200:
            self._goes_on(until)
            time.sleep(0.05)
        return self

    def _goes_on(self, until: float) -> None:
        assert self.process.poll() is None, self.log.read_text()
        assert time.monotonic() < until, self.log.read_text()

    def __call__(
        self, method: str, path: str, body: Any = None, timeout: float = 60, **headers: str
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            reply = connection.getresponse()
            return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def json(self, method: str, path: str, value: Any) -> Reply:
        return self(method, path, json.dumps(value), Content_Type="application/json")

    def predict(self, picture: bytes, path: str = "/predict", **headers: str) -> Reply:
        return self("POST", path, picture, Content_Type="image/png", **headers)

    def raw(self, data: bytes, timeout: float = 20) -> bytes:
        """Bytes as they are, and all that comes back until the server closes or falls silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as s:
            found = b""
            try:
                s.sendall(data)
                while part := s.recv(65536):
                    found += part
            except (TimeoutError, ConnectionError):
                pass
            return found

    @property
    def batches(self) -> list[list[int]]:
        """Numbers of the pictures of every forward pass."""
        path = self.folder / "batches.txt"
        return (
            [[int(n) for n in line.split()[1:]] for line in path.read_text().splitlines()]
            if path.exists()
            else []
        )

    @property
    def version(self) -> str:
        """Of the first model."""
        return self("GET", "/models").json["models"][0]["version"]

    def counted(self, name: str) -> dict[str, float]:
        """Values of a metric by the last of its labels, or by "" where it has none."""
        text = self("GET", "/metrics").body.decode()
        found = re.finditer(rf'^{name}(?:{{.*?(?:="([^"]*)")?}})? (\S+)$', text, re.MULTILINE)
        return {m[1] or "": float(m[2]) for m in found}

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


def png(a: int, b: int = 0) -> bytes:
    """A 2x2 grey picture whose first two pixels are a and b."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((0, a, b, 0, 0, 0)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    return png


@pytest.fixture(scope="session")
def process() -> type[Server]:
    return Server


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start a server with the fake model; told are fields of Settings, `model` the content of its file.

    `files` is how many files the process may open, `workers` how many processes answer.
    """
    servers: list[Server] = []

    def begin(model: str = "", files: int = 0, workers: int = 1, **settings: Any) -> Server:
        folder = tmp_path_factory.mktemp("server")
        (folder / "model.onnx").write_text(model)
        told = {"models": {"fake": str(folder / "model.onnx")}, "port": 0, "reload_every": 0.1, **settings}
        command = [sys.executable, str(FAKE), json.dumps(told), str(workers)]
        limited = ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh", *command]
        servers.append(Server(limited if files else command, folder))
        return servers[-1]

    yield begin
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.fixture(scope="session")
def fake(start: Callable[..., Server]) -> Server:
    return start(max_body=1 << 20, max_images=40, max_batch=8, hang_timeout=1.5, receive_timeout=2.0).wait()


@pytest.fixture(scope="session")
def served(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`striate serve` of the small network."""
    command = [
        sys.executable,
        "-m",
        "striate",
        "serve",
        f"digits={run.folder}",
        "--port",
        "0",
        "--engine",
        "onnx",
    ]
    server = Server(command, tmp_path_factory.mktemp("served")).wait()
    yield server
    if server.process.poll() is None:
        assert server.stop() == 0
