"""Starting, overload, leaving, new versions, stopping, several processes: a real server from start to end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from striate.errors import UsageError
from striate.ship.serve.contract import Settings, named

SLOW = 250  # a picture of the fake model that takes 0.4 s


def test_r27_alive_before_ready(start, picture) -> None:
    server = start("1.5")
    assert server("GET", "/health/live").status == 200
    for path in ("/health/ready", "/v2/health/ready", "/v2/models/fake/ready"):
        reply = server("GET", path)
        assert (reply.status, reply.headers["retry-after"]) == (503, "1"), path
    assert server.predict(picture(1)).status == 503
    assert server("GET", "/v1/models/fake").json["model_version_status"][0]["state"] == "LOADING"
    server.wait()
    assert server.predict(picture(1)).status == 200
    assert server.stop() == 0


def test_r20_r22_overload_is_refused_at_once_and_every_image_is_counted(start, picture) -> None:
    server = start(max_batch=2, max_queue=4).wait()
    before = sum(len(b) for b in server.batches)
    with ThreadPoolExecutor(24) as pool:
        replies = list(pool.map(lambda i: server.predict(picture(SLOW, i)), range(24)))
    statuses = [r.status for r in replies]
    assert set(statuses) == {200, 429}
    assert 4 <= statuses.count(200) <= 12
    assert all(int(r.headers["retry-after"]) >= 1 for r in replies if r.status == 429)
    assert sum(len(b) for b in server.batches) - before == statuses.count(200)
    text = server("GET", "/metrics").body.decode()
    counted = {
        m[1]: float(m[2])
        for m in re.finditer(r'striate_images_total{model="fake",outcome="(\w+)"} (.*)', text)
    }
    assert counted == {"answered": statuses.count(200), "unreadable": 0, "rejected": statuses.count(429)}
    assert server.predict(picture(1)).status == 200
    assert server.stop() == 0


def test_r21_r24_late_and_gone_are_never_computed(start, picture) -> None:
    server = start(max_batch=1, timeout=0.1).wait()

    def busy() -> threading.Thread:
        thread = threading.Thread(target=server.predict, args=(picture(SLOW),))
        thread.start()
        time.sleep(0.15)
        return thread

    slow = busy()
    late = server.predict(picture(3, 3))
    assert (late.status, late.json["code"]) == (504, "deadline")
    slow.join()
    slow = busy()
    body = picture(4, 4)
    head = (
        f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {len(body)}"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(head.encode() + b"\r\n\r\n" + body)
        time.sleep(0.05)
    slow.join()
    time.sleep(0.5)
    computed = [n for batch in server.batches for n in batch]
    assert 3 * 256 + 3 not in computed
    assert 4 * 256 + 4 not in computed
    assert 'outcome="cancelled"} 1.0' in server("GET", "/metrics").body.decode()
    assert server.stop() == 0


def test_r30_r31_a_new_version_takes_over_and_a_bad_one_does_not(start, picture) -> None:
    server = start().wait()
    model = server.folder / "model.onnx"
    stop, seen, failed = threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            reply = server.predict(picture(9, 9))
            (seen if reply.status == 200 else failed).append(reply.json.get("version"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for t in threads:
        t.start()

    def write(text: str) -> None:
        new = model.with_suffix(".new")
        new.write_text(text)
        os.replace(new, model)

    def until(version: str) -> None:
        limit = time.monotonic() + 20
        while version not in seen[-4:]:
            assert time.monotonic() < limit
            time.sleep(0.05)

    until("1")
    write("0.3")
    until("2")
    write("bad")
    time.sleep(0.8)
    assert seen[-1] == "2"
    write("0.2 ")
    until("3")
    stop.set()
    for t in threads:
        t.join()
    assert not failed
    assert "version 2 stays" in server.log.read_text()
    assert 'striate_failed_reloads_total{model="fake"} 1.0' in server("GET", "/metrics").body.decode()
    assert server.stop() == 0


def test_r34_r36_stopping_answers_what_was_accepted(start, picture) -> None:
    server = start(max_batch=1).wait()
    idle = socket.create_connection(("127.0.0.1", server.port))
    idle.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"200" in idle.recv(1000)
    with ThreadPoolExecutor(7) as pool:
        jobs = [pool.submit(server.predict, picture(SLOW, i)) for i in range(5)]
        time.sleep(0.6)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port)).close()
        assert [job.result().status for job in jobs] == [200] * 5
    assert server.process.wait(20) == 0
    assert time.monotonic() - began < 10
    idle.close()


@pytest.mark.slow
def test_r35_stopping_while_it_loads(start) -> None:
    server = start("3")
    assert server("GET", "/health/live").status == 200
    assert server.stop() == 0
    with socket.create_server(("127.0.0.1", server.port)):
        pass  # the port is free


@pytest.mark.slow
def test_a_model_that_can_not_be_loaded_ends_the_server(start) -> None:
    server = start("bad")
    assert server.process.wait(30) == 1
    assert "no good" in server.log.read_text()


@pytest.mark.slow
def test_r26_a_worker_that_dies_is_replaced(run, process, tmp_path: Path) -> None:
    """Two processes of the real server; one is killed."""
    argv = ["serve", str(run.folder), "--port", "0", "-j", "2", "--engine", "torch"]
    server = process([sys.executable, "-m", "striate", *argv], tmp_path).wait()

    def workers() -> set[int]:
        listed = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        return {int(p) for p in listed if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()}

    assert len(workers()) == 2
    os.kill(min(workers()), signal.SIGKILL)
    limit = time.monotonic() + 60
    killed = workers()
    while len(workers() - {min(killed)}) < 2 and time.monotonic() < limit:
        time.sleep(0.2)
    limit = time.monotonic() + 60
    while [server("GET", "/health/ready").status for _ in range(6)] != [200] * 6:
        assert time.monotonic() < limit
    assert "striate_requests_total" in server("GET", "/metrics").body.decode()
    assert server.stop() == 0


def command(*argv: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "striate", "serve", *map(str, argv)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.slow
def test_r37_bad_commands_end_before_anything_is_bound(run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = command(run.folder, "--port", taken.getsockname()[1])
    assert done.returncode == 2
    assert done.stderr.startswith("error: can't listen on 127.0.0.1:")
    done = command(tmp_path / "gone")
    assert (done.returncode, done.stderr.startswith("error: nothing to serve at")) == (2, True)


def test_r15_another_address_needs_a_token() -> None:
    with pytest.raises(UsageError, match=r"0\.0\.0\.0 can be reached from elsewhere"):
        Settings({"m": "x"}, host="0.0.0.0")
    assert Settings({"m": "x"}).host == "127.0.0.1"
    assert "hush" not in repr(Settings({"m": "x"}, host="0.0.0.0", token="hush"))


def test_r15_the_token_is_asked_for(start, picture) -> None:
    server = start(host="0.0.0.0", token="hush").wait()
    for path in ("/predict", "/v2/models/fake/infer", "/v1/models/fake:predict"):
        for given in ({}, {"X_API_Key": "husk"}, {"Authorization": "Bearer "}):
            reply = server("POST", path, picture(1), Content_Type="image/png", **given)
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert server("GET", "/models").status == 401
    assert server("GET", "/health/live").status == 200
    assert server("GET", "/").status == 200
    for given in ({"X_API_Key": "hush"}, {"Authorization": "Bearer hush"}):
        assert server.predict(picture(1), **given).status == 200
    assert "hush" not in server.log.read_text()
    assert server.stop() == 0


def test_names_of_models() -> None:
    assert named(["runs/1-lenet5-digits", "b=model.onnx", "x/net.int8.onnx"]) == {
        "1-lenet5-digits": "runs/1-lenet5-digits",
        "b": "model.onnx",
        "net.int8": "x/net.int8.onnx",
    }
    for words in (["a=x", "a=y"], ["a/b=x"], ["=x", "x"]):
        with pytest.raises(UsageError):
            named(words)


@pytest.mark.slow
def test_two_models_do_not_mix(start, picture, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("")
    server = start(models={n: str(tmp_path / n) for n in ("a", "b")}).wait()
    with ThreadPoolExecutor(8) as pool:
        ask = lambda i: server.predict(picture(0, i), f"/predict?model={'ab'[i % 2]}").json  # noqa: E731
        for i, told in enumerate(pool.map(ask, range(60))):
            assert told["model"] == "ab"[i % 2]
            assert round(told["predictions"][0]["top"]["a"] * 65536) == i
    zeros_apart = [{n % 2 for n in batch if n} for batch in server.batches]  # loading answers for zeros
    assert all(len(kinds) <= 1 for kinds in zeros_apart)
    assert json.loads(server("GET", "/models").body)["models"][1]["name"] == "b"
    assert server.stop() == 0
