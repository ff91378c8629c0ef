"""Clients that are wrong, hostile, slow or too many, against a real process; after each the server still answers."""

import gzip
import json
import pickle
import random
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SLOW = 250  # a picture that takes 0.4 s, see fake.py
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


@pytest.fixture(autouse=True)
def _still_answers(fake, picture):
    yield
    reply = fake.predict(picture(1, 2))
    assert reply.status == 200
    assert reply.json["predictions"][0]["probability"] == pytest.approx(1 - 258 / 65536)


def form(parts: int, data: bytes, name: bytes = b'; filename="f"') -> bytes:
    one = b'--x\r\nContent-Disposition: form-data; name="f"%s\r\n\r\n%s\r\n' % (name, data)
    return one * parts + b"--x--\r\n"


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("application/x-www-form-urlencoded", b"a=b", 415),
        ("application/vnd.bentoml+pickle", b"x", 415),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=x", b"nothing of the kind", 400),
        ("image/png", b'{"a": 1}', 422),
        ("image/png", b"", 422),
        ("image/jpeg", b"<html>", 422),
    ],
)
def test_r1_types_and_bodies_that_do_not_fit(fake, kind: str, body: bytes, status: int) -> None:
    assert fake("POST", "/predict", body, Content_Type=kind).status == status


def test_r1_no_type_at_all(fake, picture) -> None:
    assert fake("POST", "/predict", picture(1)).status == 415
    assert fake.json("POST", "/v2/models/fake/infer", {}).status == 400
    assert fake("POST", "/v2/models/fake/infer", b"x", Content_Type="image/png").status == 415


@pytest.mark.parametrize(
    "path",
    [
        "/predict?model=other", "/v2/models/other/infer", "/v2/models/fake/versions/9/infer",
        "/v1/models/other:predict", "/v1/models/fake/versions/9:predict", "/v2/models/%2e%2e%2fetc/infer",
        "/v2/models/%00/infer", f"/v2/models/{'x' * 10_000}/infer", "/v1/models/..:predict",
    ],
)  # fmt: skip
def test_r2_models_that_are_not_there(fake, picture, path: str) -> None:
    reply = fake.predict(picture(1), path)
    assert reply.status == 404, reply.body
    assert "etc" not in reply.body.decode()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "TRACE", "HEAD", "OPTIONS", "PATCH", "NONSENSE"])
def test_r3_other_methods(fake, method: str) -> None:
    reply = fake(method, "/predict")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(("size", "status"), [((1 << 20) - 1, 422), (1 << 20, 422), ((1 << 20) + 1, 413)])
def test_r4_size_at_the_limit(fake, size: int, status: int) -> None:
    assert fake.predict(b"x" * size).status == status


def test_r4_lengths_that_lie(fake) -> None:
    endless = (
        HEAD
        + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 40
    )
    before = fake.memory()
    assert b" 413 " in fake.raw(endless).partition(b"\r\n")[0]
    assert fake.memory() < before + (8 << 20)
    assert (
        b" 422 "
        in fake.raw(HEAD + b"Connection: close\r\nContent-Length: 4\r\n\r\n" + b"x" * 4).partition(b"\r\n")[0]
    )
    assert fake.raw(HEAD + b"Content-Length: 99999999999999\r\n\r\n").startswith(b"HTTP/1.1 413")
    assert fake.raw(HEAD + b"Content-Length: -1\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_r5_packed_bodies_are_refused(fake) -> None:
    bomb = gzip.compress(bytes(10 << 20))
    assert fake.predict(bomb, Content_Encoding="gzip").status == 415


def test_r9_thousands_of_parts(fake) -> None:
    kind = "multipart/form-data; boundary=x"
    assert fake("POST", "/predict", form(10_000, b"", b""), Content_Type=kind).status == 400
    assert fake("POST", "/predict", form(10_000, b""), Content_Type=kind).status == 400
    assert fake("POST", "/predict", form(41, b"x"), Content_Type=kind).status in (400, 413)
    assert fake("POST", "/predict", form(0, b""), Content_Type=kind).status == 400


def test_r10_line_ends_without_end(fake, picture) -> None:
    kind = "multipart/form-data; boundary=x"
    lines = b"\r\n" * 400_000
    began = time.monotonic()
    assert fake("POST", "/predict", lines + form(1, picture(1)), Content_Type=kind).status in (200, 400)
    assert fake("POST", "/predict", form(1, picture(1)) + lines, Content_Type=kind).status in (200, 400)
    assert time.monotonic() - began < 10


def test_r11_headers_without_end(fake) -> None:
    kind = "multipart/form-data; boundary=x"
    many = b"--x\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(50_000)) + b"\r\n\r\n--x--\r\n"
    assert fake("POST", "/predict", many, Content_Type=kind).status == 400
    assert fake.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * (1 << 20)).startswith(
        b"HTTP/1.1 400"
    )


def test_r12_chunks_of_one_byte(fake) -> None:
    before = fake.memory()
    body = (
        HEAD
        + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * 50_000
        + b"0\r\n\r\n"
    )
    assert re.match(rb"HTTP/1.1 (4\d\d)", fake.raw(body))
    assert fake.memory() < before + (32 << 20)


def test_r13_a_pickle_is_never_opened(fake, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Harm:
        def __reduce__(self):
            return (open, (str(canary), "w"))

    for kind in ("application/octet-stream", "image/png", "application/x-pickle"):
        assert fake("POST", "/predict", pickle.dumps(Harm()), Content_Type=kind).status in (415, 422)
    assert not canary.exists()


def test_r14_errors_tell_nothing_of_the_machine(fake, picture) -> None:
    RAISES, NAN, SHORT = 251, 252, 254  # see fake.py

    for first, code in ((RAISES, "model_failed"), (NAN, "not_finite"), (SHORT, "model_failed")):
        reply = fake.predict(picture(first))
        assert (reply.status, reply.json["code"]) == (500, code)
        told = reply.body.decode() + json.dumps(reply.headers)
        assert not re.search(r"secret|Traceback|/etc|/home|\.py|uvicorn|fake", told)
        assert reply.json["request_id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::2]"])
def test_r18_another_host_is_a_rebound_name(fake, picture, host: str) -> None:
    assert fake.predict(picture(1), Host=host).status == 403


def test_http_1_0_knows_no_host(fake) -> None:
    assert fake.raw(b"GET /health/live HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert fake.raw(b"GET /health/live HTTP/1.0\r\nHost: evil.example\r\n\r\n").startswith(b"HTTP/1.1 403")
    assert fake.raw(b"POST /predict HTTP/1.0\r\nOrigin: null\r\n\r\n").startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost:443", "https://localhost", 200),
        ("LOCALHOST", "http://localhost:80", 200),
        ("[::1]:80", "http://[::1]", 200),
        ("localhost:443", "http://localhost", 403),
        ("localhost", "https://localhost:80", 403),
    ],
)
def test_a_port_that_the_scheme_implies(fake, picture, host: str, origin: str, status: int) -> None:
    assert fake.predict(picture(1), Host=host, Origin=origin).status == status


def test_head_is_a_get_without_a_body(fake) -> None:
    version = fake.version
    paths = [p for p, methods in fake("GET", "/openapi.json").json["paths"].items() if "get" in methods]
    for path in ("/", "/docs", "/openapi.json", "/nowhere", "/predict", *paths):
        path = path.replace("{model}", "fake").replace("{version}", version)
        get, head = fake("GET", path), fake("HEAD", path)
        assert (head.status, head.body) == (get.status, b""), path
        assert head.headers["content-type"] == get.headers["content-type"]
        if path != "/metrics":  # which counts the request before
            assert head.headers["content-length"] == get.headers["content-length"]


def test_who_shuts_the_sending_side_is_answered(fake, picture) -> None:
    """As `nc -N` does; SLOW leaves time to notice the end before the answer. Who closes the socket is another test."""
    body = picture(SLOW)
    for version, head in ((b"1.1", HEAD), (b"1.0", HEAD.replace(b"1.1", b"1.0"))):
        with socket.create_connection(("127.0.0.1", fake.port), 30) as s:
            s.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            s.shutdown(socket.SHUT_WR)
            found = b""
            while part := s.recv(65536):
                found += part
        interim, final = b"HTTP/1.1 100 ", b"HTTP/1.1 200 "
        assert found.count(interim) == (version == b"1.1")
        assert final in found
        assert found.endswith(b"}")


def test_two_requests_before_the_end_are_both_answered(fake, picture) -> None:
    body = picture(SLOW)
    one = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with socket.create_connection(("127.0.0.1", fake.port), 30) as s:
        s.sendall(one + one)
        s.shutdown(socket.SHUT_WR)
        found = b""
        while part := s.recv(65536):
            found += part
    assert found.count(b"HTTP/1.1 200 ") == 2


@pytest.mark.parametrize(
    "told",
    [
        b'Content-Disposition: form-data; filename="f.png"',
        b"Content-Disposition: form-data",
        b'Content-Disposition: form-data; name="f"\r\nContent-Type: image/png',
        b"Content-Disposition: form-data; name=\"f\"; filename*=utf-8''%C3%A9.png",
        b"Content-Type: application/octet-stream",
    ],
)
def test_a_part_is_a_picture_by_name_or_type(fake, picture, told: bytes) -> None:
    body = b"--x\r\n" + told + b"\r\n\r\n" + picture(1) + b"\r\n--x--\r\n"
    reply = fake("POST", "/predict", body, Content_Type="multipart/form-data; boundary=x")
    assert (reply.status, len(reply.json.get("predictions", ()))) == (200, 1), reply.body


def test_what_nobody_reads_is_refused_by_name(fake, picture) -> None:
    field = b'--x\r\nContent-Disposition: form-data; name="top"\r\n\r\n3\r\n'
    reply = fake(
        "POST", "/predict", field + form(1, picture(1)), Content_Type="multipart/form-data; boundary=x"
    )
    assert (reply.status, reply.json["error"]) == (
        400,
        "form: 'top' is no file; options stand in the address",
    )
    reply = fake.predict(picture(1), "/predict?topk=3")
    assert (reply.status, reply.json["error"]) == (400, "topk: there are model and top")


def test_r18_a_page_of_another_site(fake, picture) -> None:
    assert fake.predict(picture(1), Origin="http://evil.example").status == 403
    assert fake.predict(picture(1), Origin="null").status == 403
    assert fake.predict(picture(1), Origin="http://[").status == 403  # no address at all
    reply = fake.predict(picture(1), Origin=f"http://127.0.0.1:{fake.port}")
    assert reply.status == 200
    assert not any("access-control" in name for name in reply.headers)


def test_r19_slow_clients_are_cut_off_and_others_do_not_notice(fake, picture) -> None:
    """Forty that never finish a header or a body, one that trickles; the limit of this server is two seconds."""
    stuck = [socket.create_connection(("127.0.0.1", fake.port)) for _ in range(40)]
    for i, s in enumerate(stuck):
        s.sendall(b"POST /predict HTTP/1.1\r\nHo" if i % 2 else HEAD + b"Content-Length: 100\r\n\r\nxy")
    began = time.monotonic()
    trickle = socket.create_connection(("127.0.0.1", fake.port))
    with ThreadPoolExecutor(1) as pool:
        normal = pool.submit(lambda: [fake.predict(picture(5)).status for _ in range(20)])
        cut = None
        for byte in HEAD * 9:
            try:
                trickle.sendall(bytes([byte]))
                time.sleep(0.05)
            except OSError:
                cut = time.monotonic() - began
                break
        assert normal.result() == [200] * 20
    trickle.close()
    assert cut is not None
    assert cut < 6
    for s in stuck:
        s.settimeout(5)
        assert s.recv(1000).startswith(b"HTTP/1.1 408")
        s.close()
    with socket.create_connection(("127.0.0.1", fake.port), 5) as idle:
        assert idle.recv(1000).startswith(b"HTTP/1.1 408")


def test_r19_a_slow_request_behind_a_whole_one(fake, picture) -> None:
    body = picture(5)
    first = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    began = time.monotonic()
    found = fake.raw(first + HEAD + b"Content-Length: 100\r\n\r\nxy")
    assert found.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in found
    assert time.monotonic() - began < 6


def test_r19_the_clock_of_a_refused_body_is_not_that_of_the_next_request(fake, picture) -> None:
    size, body = (1 << 20) + 1, picture(5)
    with socket.create_connection(("127.0.0.1", fake.port), 10) as s:
        s.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % size + b"x" * 1000)
        refused = b""
        while not refused.endswith(b"}"):
            refused += s.recv(10_000)
        assert refused.startswith(b"HTTP/1.1 413")
        time.sleep(1.2)
        s.sendall(b"x" * (size - 1000))
        s.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[:10])
        time.sleep(1.2)  # more than the two seconds of this server since the first, not since the second
        s.sendall(body[10:])
        assert s.recv(10_000).startswith(b"HTTP/1.1 200")


def test_r23_a_thousand_at_once_none_lost_none_swapped(fake, picture) -> None:
    answers: dict[int, float] = {}

    def ask(numbers: range) -> None:
        for n in numbers:
            row = fake.predict(picture(n // 256, n % 256)).json["predictions"][0]
            answers[n] = row["top"]["a"]

    threads = [threading.Thread(target=ask, args=(range(i, 1000, 20),)) for i in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert {n: round(p * 65536) for n, p in answers.items()} == {n: n for n in range(1000)}
    assert max(len(batch) for batch in fake.batches) <= 8


def test_r29_a_forward_that_hangs_is_given_up(fake, picture) -> None:
    HANGS = 253  # see fake.py

    began = time.monotonic()
    reply = fake.predict(picture(HANGS))
    assert (reply.status, reply.json["code"]) == (504, "hung")
    assert time.monotonic() - began < 4
    fake.wait()


def test_r39_names_of_files_stay_names(fake, picture) -> None:
    body = form(1, picture(1), b'; filename="a%0Ab\x1b[31m<script>.png"')
    reply = fake("POST", "/predict", body, Content_Type="multipart/form-data; boundary=x")
    assert reply.status == 200
    assert "\x1b" not in fake.log.read_text()
    assert reply.headers["content-type"] == "application/json"


def test_r40_noise_on_the_wire(fake, picture) -> None:
    """A good request with bytes changed, lost and doubled: nothing but answers below 500."""
    body = picture(1)
    good = HEAD + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
    rng = random.Random(0)
    for _ in range(80):
        noisy = bytearray(good)
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(noisy))
            noisy[at : at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 5))
        status = re.match(rb"HTTP/1.1 (\d+)", fake.raw(bytes(noisy), timeout=0.2))
        assert status is None or int(status[1]) < 500, bytes(noisy)
