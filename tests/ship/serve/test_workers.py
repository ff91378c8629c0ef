"""Several processes on one port: who answers while one dies, a file is no good, or all are told to stop."""

import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

WAITS = 248  # a picture that is answered when the file `go` is there, see fake.py
LIMIT = 120  # seconds, over which nothing is waited for


def workers(server: Any) -> set[int]:
    """Process numbers of the workers."""
    listed = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return {int(p) for p in listed if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()}


def until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def ready(server: Any) -> int:
    """How many workers have had their model, dead ones included."""
    return server.log.read_text().count("fake: ready after")


def test_a_killed_worker_and_a_bad_file_do_not_end_the_others(start, picture) -> None:
    """The fresh worker takes no client: the version that was good answers all, until a good file is there."""
    server = start(workers=2)
    until(lambda: ready(server) == 2)
    model, version, victim = server.folder / "model.onnx", server.version, min(workers(server))
    model.write_text("bad")
    os.kill(victim, signal.SIGKILL)
    until(lambda: "1 of 2 workers answer" in server.log.read_text())
    replies = [server.predict(picture(1)) for _ in range(10)]
    assert {(r.status, r.json["version"]) for r in replies} == {(200, version)}
    new = model.with_suffix(".new")
    new.write_text("0.1")
    os.replace(new, model)
    until(lambda: ready(server) == 3)
    assert len(workers(server)) == 2
    assert server.stop() == 0


@pytest.mark.slow
def test_the_last_worker_and_a_bad_file_end_the_server(start) -> None:
    """Nobody is left who answers, so that nobody is kept waiting."""
    server = start(workers=2)
    until(lambda: ready(server) == 2)
    (server.folder / "model.onnx").write_text("bad")
    for worker in workers(server):
        os.kill(worker, signal.SIGKILL)
    assert server.process.wait(LIMIT) == 1
    assert "no good" in server.log.read_text()


@pytest.mark.slow
def test_a_worker_takes_clients_when_its_model_is_there(start, picture) -> None:
    """A client that comes early waits in line; none is told that the model isn't ready."""
    server = start("1.5", workers=2)
    assert server.predict(picture(1)).status == 200
    assert server.stop() == 0


@pytest.mark.slow
def test_told_to_stop_while_the_model_loads(start) -> None:
    server = start("1000", workers=2)
    until(lambda: len(workers(server)) == 2)
    assert server.stop() in (0, -signal.SIGTERM)


def test_told_to_stop_all_refuse_and_answer_what_they_accepted(start, picture) -> None:
    server = start(workers=2, timeout=LIMIT, grace=2 * LIMIT)
    until(lambda: ready(server) == 2)

    def closed() -> bool:
        with socket.socket() as s:
            s.settimeout(5)
            return s.connect_ex(("127.0.0.1", server.port)) != 0

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(server.predict, picture(WAITS, i)) for i in range(2)]
        until(lambda: server.counted("striate_images_waiting").get("fake") == 2)
        server.process.send_signal(signal.SIGTERM)
        until(closed)
        (server.folder / "go").touch()
        assert [job.result().status for job in jobs] == [200, 200]
    assert server.process.wait(LIMIT) == 0
