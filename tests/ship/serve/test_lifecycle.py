"""Starting, overload, leaving, new versions, stopping, several processes: a real server from start to end."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from striate.errors import StriateError, UsageError
from striate.ship.serve import app as app_room
from striate.ship.serve import server as server_room
from striate.ship.serve.contract import Refusal, Settings, named
from striate.ship.serve.guard import Guard, refuse
from striate.ship.serve.metrics import Metrics
from striate.ship.serve.models import Served

FOREVER, SLOW, HANGS = 249, 250, 253  # pictures of the fake model that take long: for good, 0.4 s, 4 s


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
    server = start(max_batch=2, max_queue=4, max_images=4).wait()
    before = sum(len(b) for b in server.batches)
    with ThreadPoolExecutor(24) as pool:
        replies = list(pool.map(lambda i: server.predict(picture(SLOW, i)), range(24)))
    statuses = [r.status for r in replies]
    assert set(statuses) == {200, 429}
    assert 4 <= statuses.count(200) <= 12
    assert all(int(r.headers["retry-after"]) >= 1 for r in replies if r.status == 429)
    assert sum(len(b) for b in server.batches) - before == statuses.count(200)
    counted = server.counted("striate_images_total")
    assert counted == {"answered": statuses.count(200), "unreadable": 0, "rejected": statuses.count(429)}
    assert server.predict(picture(1)).status == 200
    assert server.stop() == 0


def send(port: int, body: bytes, most: int | None = None) -> socket.socket:
    """A connection on which a request was begun, with as much of its body."""
    s = socket.create_connection(("127.0.0.1", port), 30)
    head = (
        f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {len(body)}"
    )
    s.sendall(head.encode() + b"\r\n\r\n" + body[:most])
    return s


def test_r21_r24_late_and_gone_are_never_computed(start, picture) -> None:
    server = start(max_batch=1, timeout=0.2).wait()
    with ThreadPoolExecutor(1) as pool:

        def busy() -> Future[Any]:
            job = pool.submit(server.predict, picture(SLOW))
            time.sleep(0.1)
            return job

        running, began = busy(), time.monotonic()
        late = server.predict(picture(3, 3))
        assert (late.status, late.json["code"]) == (504, "deadline")
        assert time.monotonic() - began < 0.4  # a timer's doing, not the end of the batch
        assert running.result().status == 504
        time.sleep(0.4)
        running = busy()
        send(server.port, picture(4, 4)).close()
        running.result()
    time.sleep(0.5)
    computed = [n for batch in server.batches for n in batch]
    assert 3 * 256 + 3 not in computed
    assert 4 * 256 + 4 not in computed
    assert server.counted("striate_images_total") == {"expired": 3, "cancelled": 1}
    assert server.stop() == 0


def test_r24_who_leaves_in_the_middle_of_a_body_is_no_error(start, picture) -> None:
    server = start().wait()
    send(server.port, picture(1), most=10).close()
    time.sleep(0.3)
    assert server.counted("striate_images_total") == {"cancelled": 1}
    assert "Traceback" not in server.log.read_text()
    assert server.stop() == 0


def test_r20_a_body_is_not_read_where_the_queue_is_full(start, picture) -> None:
    server = start(max_batch=1, max_queue=1, max_images=1).wait()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(server.predict, picture(SLOW))
        time.sleep(0.15)
        assert server.counted("striate_images_waiting") == {"fake": 1}
        with send(server.port, bytes(1 << 20), most=0) as waiting:
            assert waiting.recv(1000).startswith(b"HTTP/1.1 429")
        assert job.result().status == 200
    assert server.stop() == 0


def test_r29_a_hang_and_then_a_file_that_is_no_good(start, picture) -> None:
    """Not ready until a good file is there, which answers under a name of its own; no request waits for that."""
    server = start(hang_timeout=0.3).wait()
    model, before = server.folder / "model.onnx", server.version
    model.write_text("bad")
    assert server.predict(picture(HANGS)).json["code"] == "hung"
    time.sleep(0.5)
    assert server("GET", "/health/ready").status == 503
    assert server.predict(picture(1)).json["code"] == "not_ready"
    model.write_text("0")
    server.wait()
    assert server.predict(picture(1)).json["version"] == server.version != before
    assert server.stop() == 0


def test_r29_a_pass_that_never_ends_does_not_keep_the_process(start, picture) -> None:
    server = start(timeout=0.3, grace=5).wait()
    assert server.predict(picture(FOREVER)).status == 504
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.predict, picture(2))
        time.sleep(0.1)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 5
        assert waiting.result().status == 504


def test_r38_more_clients_than_files(start, picture) -> None:
    """A thousand connections to a process that may open 256 files: answered or refused, and it goes on."""
    server = start(files=256, receive_timeout=3.0).wait()
    clients = [socket.create_connection(("127.0.0.1", server.port), 20) for _ in range(1000)]
    for s in clients:
        s.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    statuses = set()
    for s in clients:
        with suppress(ConnectionError):
            statuses.add(s.recv(100)[9:12])
        s.close()
    assert statuses <= {b"200", b"503"}
    assert b"200" in statuses
    stuck = [send(server.port, bytes(100), most=1) for _ in range(230)]
    time.sleep(0.3)
    assert server("GET", "/health/live").status == 503
    for s in stuck:
        s.close()
    server.wait()
    assert server.predict(picture(1)).status == 200
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

    def until_new() -> str:
        """The version that answers when it is another than those before."""
        known, limit = set(versions), time.monotonic() + 20
        while seen[-1:] == [] or seen[-1] in known:
            assert time.monotonic() < limit
            time.sleep(0.05)
        return seen[-1]

    versions: list[str] = []
    versions.append(until_new())
    write("0.3")
    versions.append(until_new())
    write("bad")
    time.sleep(0.8)
    assert seen[-1] == versions[1]
    write("0.2 ")
    until_new()
    stop.set()
    for t in threads:
        t.join()
    assert not failed
    assert f"version {versions[1]} stays" in server.log.read_text()
    assert server.counted("striate_failed_reloads_total") == {"fake": 1}
    assert server.stop() == 0


def test_a_version_is_a_number_made_of_the_content(start, tmp_path: Path) -> None:
    """So that workers and machines agree on it."""
    one, same, other = (Served("m", path, Settings({"m": "m"}), Metrics()) for path in files_of(tmp_path))
    assert one._version() == same._version() != other._version()
    assert one._version().isdigit()


def files_of(folder: Path) -> list[Path]:
    found = []
    for name, text in (("a.onnx", "x"), ("b.onnx", "x"), ("c.onnx", "y")):
        (folder / name).write_text(text)
        found.append(folder / name)
    return found


def test_weights_beside_a_description_are_watched(tmp_path: Path) -> None:
    for name in ("m.xml", "m.bin"):
        (tmp_path / name).write_text("1")
    served = Served("m", tmp_path / "m.xml", Settings({"m": "m"}, reload_every=0.01), Metrics())
    before = served._version()
    assert not asyncio.run(served._changed())
    (tmp_path / "m.bin").write_text("22")
    assert asyncio.run(served._changed())
    assert served._version() != before


def test_a_certificate_that_comes_after_its_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("1")
    served = Served("m", tmp_path / "m.onnx", Settings({"m": "m"}, reload_every=0.01), Metrics())
    (tmp_path / "m.onnx.certificate.json").write_text("{}")
    assert asyncio.run(served._changed())
    assert not asyncio.run(served._changed())
    (tmp_path / "m.onnx").unlink()  # about to be replaced
    assert not asyncio.run(served._changed())


def test_r34_r36_stopping_answers_what_was_accepted(start, picture) -> None:
    """One that runs, six that wait, one that is still being sent; an idle connection keeps nothing."""
    server = start(max_batch=1).wait()
    idle = socket.create_connection(("127.0.0.1", server.port))
    idle.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"200" in idle.recv(1000)
    with ThreadPoolExecutor(7) as pool, send(server.port, picture(9), most=10) as uploading:
        jobs = [pool.submit(server.predict, picture(SLOW, i)) for i in range(7)]
        time.sleep(0.6)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port)).close()
        uploading.sendall(picture(9)[10:])
        assert [job.result().status for job in jobs] == [200] * 7
        assert uploading.recv(1000).startswith(b"HTTP/1.1 200")
    assert server.process.wait(20) == 0
    assert time.monotonic() - began < 10
    idle.close()


def test_r35_killed_and_started_again_on_the_same_port(start, picture) -> None:
    server = start().wait()
    server.process.kill()
    server.process.wait()
    again = start(port=server.port).wait()
    assert again.port == server.port
    again.process.send_signal(signal.SIGTERM)
    assert again.stop() == 0  # told twice


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

    before = workers()
    assert len(before) == 2
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    while len(workers() - {victim}) < 2:
        assert time.monotonic() - began < 10
        time.sleep(0.1)
    limit = time.monotonic() + 60
    while [server("GET", "/health/ready").status for _ in range(6)] != [200] * 6:
        assert time.monotonic() < limit
    assert "striate_requests_total" in server("GET", "/metrics").body.decode()
    assert server.stop() == 0


def test_a_worker_that_died_has_nothing_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor forgets what it gauged, and keeps what it counted."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for name in ("gauge_livesum_7.db", "gauge_livesum_8.db", "counter_7.db"):
        (tmp_path / name).touch()
    dead, fresh, other = (SimpleNamespace(pid=p, exitcode=e) for p, e in ((7, -9), (9, None), (8, None)))
    monkeypatch.setattr(server_room._Workers, "_begin", lambda self: self.processes.append(fresh))
    team = object.__new__(server_room._Workers)
    team.should_exit, team.processes = threading.Event(), [dead, other]
    team.keep_subprocess_alive()
    assert {path.name for path in tmp_path.iterdir()} == {"gauge_livesum_8.db", "counter_7.db"}
    assert team.processes == [other, fresh]
    assert not team.failed


def test_workers_that_fail_together_end_the_server_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its model is there is asked of a worker that lives: one that is dead would be waited for in vain."""
    monkeypatch.setattr(server_room.metrics, "forget", lambda pid: None)

    def supervise(*workers: Any) -> Any:
        team = object.__new__(server_room._Workers)
        team.should_exit, team.processes = threading.Event(), list(workers)
        team.keep_subprocess_alive()
        return team

    def failed(pid: int) -> Any:
        return SimpleNamespace(pid=pid, exitcode=server_room.STARTUP_FAILURE)

    loading = SimpleNamespace(pid=9, exitcode=None, wait_until_ready=lambda seconds, over: True)
    assert supervise(failed(7), failed(8)).failed
    team = supervise(failed(7), loading, failed(8))
    assert (team.failed, team.processes, team._missing) == (False, [loading], 2)


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


def test_r37_a_model_that_is_no_good_ends_before_anything_is_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("m.safetensors", "m.onnx", "m.xml"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    (tmp_path / "m.txt").write_text("")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(server_room, "_bind", None)
    for name, code in (("m.safetensors", 3), ("m.onnx", 3), ("m.xml", 3), ("m.txt", 2), ("run", 2)):
        with pytest.raises(StriateError) as error:
            server_room.serve(Settings({"m": str(tmp_path / name)}, port=0), workers=2)
        assert error.value.exit_code == code, name


def test_r37_a_model_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.onnx").write_text("")

    def check(path: Path, engine: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(server_room, "check", check)
    with pytest.raises(UsageError, match=r"m\.onnx can't be read: Permission denied"):
        server_room.serve(Settings({"m": str(tmp_path / "m.onnx")}, port=0))


@pytest.mark.slow
def test_a_large_body_of_numbers_keeps_nobody_waiting(start) -> None:
    server = start().wait()
    numbers = b"[" + b"7," * (6 << 20) + b"7]"
    body = b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,2,2,1],"data":%s}]}' % numbers
    longest = 0.0
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(server, "POST", "/v2/models/fake/infer", body, Content_Type="application/json")
        while not job.done():
            began = time.monotonic()
            assert server("GET", "/health/live").status == 200
            longest = max(longest, time.monotonic() - began)
        assert job.result().json["code"] == "data"
    assert longest < 0.5
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        ({"max_queue": 8}, "--max-batch 16 is more than --max-queue 8"),
        ({"max_queue": 32}, "--max-images 64 is more than --max-queue 32"),
        ({"timeout": 30.0}, "--timeout 30 is not less than --grace 30"),
        ({"token": "schlüssel"}, "a token is made of ASCII letters"),
        ({"token": "a\nb"}, "a token is made of ASCII letters"),
    ],
)
def test_settings_that_promise_what_can_not_be_kept(told: dict[str, Any], cause: str) -> None:
    with pytest.raises(UsageError, match=cause):
        Settings({"m": "m"}, **told)


class Asked:
    """An application asked without a server: the status and the JSON of its answer."""

    def __init__(self, app: Any, path: str, body: bytes = b"") -> None:
        scope = {
            "type": "http", "method": "POST" if body else "GET", "path": path, "raw_path": path.encode(),
            "query_string": b"", "headers": [(b"host", b"localhost"), (b"content-type", b"image/png")],
        }  # fmt: skip
        self.sent: list[Any] = []
        asyncio.run(app(scope, lambda: self._receive(body), self._send))

    async def _receive(self, body: bytes) -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def json(self) -> Any:
        return json.loads(self.sent[1]["body"])


def test_an_error_that_nobody_expected_has_the_shape_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.onnx").write_text("")
    monkeypatch.setattr(app_room, "_told", lambda model: 1 / 0)
    asked = Asked(app_room.application(Settings({"m": str(tmp_path / "m.onnx")})), "/models")
    assert asked.status == 500
    assert asked.json.keys() == {"error", "code", "request_id"}
    assert asked.json["code"] == "internal"


def test_bodies_in_memory_are_bounded_together() -> None:
    async def reads(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await refuse(Refusal(200, "read", ""), "", send)

    settings = Settings({"m": "m"}, max_body=10)
    guard = Guard(reads, settings, Metrics())
    assert Asked(guard, "/", b"x" * 10).status == 200
    guard.held = settings.max_held - 5
    assert Asked(guard, "/", b"x" * 10).status == 429
    assert guard.held == settings.max_held - 5  # nothing of either is left


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
    for words in (["a=x", "a=y"], ["=x", "x"]):
        with pytest.raises(UsageError):
            named(words)
    with pytest.raises(UsageError, match=r"nothing is at hydra/lr=0\.1"):  # a name can't hold a path
        named(["hydra/lr=0.1"])


def test_a_path_is_a_path_whatever_signs_are_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Hydra, and people who number versions, name their folders."""
    monkeypatch.chdir(tmp_path)
    for folder in ("hydra/lr=0.1,bs=64", "runs/a.b", "runs/v1.onnx"):
        Path(folder).mkdir(parents=True)
    words = [
        "hydra/lr=0.1,bs=64",
        "runs/a.b/",
        "n=hydra/lr=0.1,bs=64",
        "runs/v1.onnx",
        "x/m.safetensors",
        ".",
    ]
    assert named(words) == dict(
        zip(
            ("lr_0.1_bs_64", "a.b", "n", "v1.onnx", "m", tmp_path.name),
            [*words[:2], words[0], *words[3:]],
            strict=True,
        )
    )
    with pytest.raises(UsageError, match="model name 'hydra/lr'"):
        named(["hydra/lr=0.2"])


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
