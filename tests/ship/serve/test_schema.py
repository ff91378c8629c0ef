"""Requests made from the server's own description, by schemathesis: what fits is answered, what doesn't is refused."""

import base64
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
JSON = "application/json"
SIDE = 3  # pixels of a side, and pictures of a request, at most: the description bounds neither


def grey(number: int) -> bytes:
    """A 2x2 grey PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((0, number, 0, 0, 0, 0)))
    head = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


PICTURES = st.integers(0, 247).map(grey)
schemathesis.openapi.format("byte", PICTURES.map(lambda picture: base64.b64encode(picture).decode()))


def operations(server: Any) -> Iterator[Any]:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")
    yield from (found.ok() for found in schema.get_all_operations())


def asked(strategy: Any, examples: int, ask: Callable[[schemathesis.Case], None]) -> None:
    """Ask with so many cases of a strategy."""
    given = hypothesis.given(case=strategy)
    hypothesis.settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, phases=(hypothesis.Phase.generate,),
        suppress_health_check=list(hypothesis.HealthCheck),
    )(given(lambda case: ask(case)))()  # fmt: skip


def explore(server: Any, examples: int) -> None:
    """Whatever is asked, the answer is one that the description knows."""
    for operation in operations(server):

        def ask(case: schemathesis.Case) -> None:
            _versioned(case, server)
            case.call_and_validate(checks=CHECKS, timeout=20)

        asked(operation.as_strategy(), examples, ask)


def contradict(server: Any, examples: int) -> None:
    """A body that doesn't fit the description is refused."""
    for operation in operations(server):

        def ask(case: schemathesis.Case) -> None:
            _versioned(case, server)
            case.call_and_validate(checks=[*CHECKS, negative_data_rejection], timeout=20)

        if operation.body:
            asked(operation.as_strategy(GenerationMode.NEGATIVE), examples, ask)


def fit(server: Any, examples: int) -> None:
    """A body that fits the description is answered, once it means something: JSON Schema can't say that numbers of a
    list are as many as a shape states, that rows are of one length, or that bytes are a picture."""
    for operation in operations(server):

        def ask(case: schemathesis.Case) -> None:
            _versioned(case, server)
            case.headers.clear()
            case.body = _meant(case.body)
            reply = case.call_and_validate(checks=CHECKS, timeout=20)
            assert reply.status_code == 200, reply.text

        if JSON in [body.media_type for body in operation.body]:
            asked(operation.as_strategy().filter(lambda case: case.media_type == JSON), examples, ask)


def _versioned(case: schemathesis.Case, server: Any) -> None:
    for told in (case.path_parameters, case.query):
        if "version" in (told or {}):
            told["version"] = server.version


def _meant(body: dict[str, Any]) -> dict[str, Any]:
    """The same request with as many numbers as it says, in whole numbers, and every output once."""
    (key,) = body.keys() & {"instances", "inputs"}
    value = body[key]
    if isinstance(value, dict):
        return body | {key: {"images": [_even(one) for one in value["images"]]}}
    if not (isinstance(value[0], dict) and "datatype" in value[0]):
        return body | {key: [_even(one) for one in value]}
    (tensor,) = value
    shape = [min(int(side), SIDE) for side in tensor["shape"]]
    count = math.prod(shape)
    data = [0] * count if tensor["datatype"] == "UINT8" else (tensor["data"] * count)[:count]
    once = {output["name"]: output for output in body.get("outputs", ())}
    return body | {"inputs": [tensor | {"shape": shape, "data": data}], "outputs": list(once.values())}


def _even(picture: Any) -> Any:
    """A picture whose rows are of one length, in 8 bits."""
    if isinstance(picture, dict):
        return {key: _even(value) if key == "images" else value for key, value in picture.items()}
    channels = len(picture[0][0]) if isinstance(picture[0][0], list) else 0
    pixel = [7] * channels if channels else 7
    return [[pixel] * min(SIDE, len(picture[0]))] * min(SIDE, len(picture))


@pytest.fixture(scope="module")
def server(start: Callable[..., Any]) -> Any:
    return start("harmless").wait()


@pytest.mark.parametrize("way", [explore, contradict, fit])
def test_r40_a_look_at_every_operation(server: Any, way: Callable[[Any, int], None]) -> None:
    way(server, examples=5)


@pytest.mark.slow
@pytest.mark.parametrize("way", [explore, contradict, fit])
def test_r40_five_hundred_requests_an_operation(server: Any, way: Callable[[Any, int], None]) -> None:
    way(server, examples=500)
