"""Open Inference Protocol v2 over HTTP, JSON and binary tensors: what Triton and KServe speak.

One input, `images`: UINT8 (n, h, w, c) of any size, or BYTES (n) of encoded pictures. Outputs: `probabilities` FP32
(n, k), or as Triton's classification extension has them, and `labels` BYTES (n): of several, all with | between them.
"""

import binascii
import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request, Response
from numpy.typing import NDArray

from striate import __version__
from striate.ship.graph import INPUT, OUTPUT
from striate.ship.predictor import Predictor
from striate.ship.serve.answer import answer, arriving
from striate.ship.serve.contract import bad, starting, unknown_version
from striate.ship.serve.models import Served, Store
from striate.ship.serve.reading import apart, json_body, numbers, parse, text
from striate.ship.serve.schema import ASKED, HEADER, LABELS, infer_route, refusals
from striate.ship.sources import Picture

DATA_URL = re.compile(r"^\s*data:[^,]{0,100};base64,", re.IGNORECASE)
TO_STANDARD = str.maketrans("-_", "+/")


def router(store: Store) -> APIRouter:
    """The routes below /v2."""
    known = {"enum": list(store.models)}  # so that the description names what is served
    Name = Annotated[str, Path(json_schema_extra=known)]
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol v2"], responses=refusals(404))

    @routes.get("")
    async def server() -> dict[str, Any]:
        extensions = ["binary_tensor_data", "classification"]
        return {"name": "striate", "version": __version__, "extensions": extensions}

    @routes.get("/health/live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @routes.get("/health/ready")
    async def ready() -> dict[str, bool]:
        if not store.ready:
            raise starting()
        return {"ready": True}

    @routes.get("/models/{model}")
    @routes.get("/models/{model}/versions/{version}")
    async def metadata(model: Name, version: str = "") -> dict[str, Any]:
        return _metadata(_version(store.get(model), version))

    @routes.get("/models/{model}/ready")
    @routes.get("/models/{model}/versions/{version}/ready")
    async def model_ready(model: Name, version: str = "") -> dict[str, Any]:
        served = store.get(model)
        if not served.ready:
            raise starting()
        return {"name": _version(served, version).name, "ready": True}

    how: dict[str, Any] = {
        "openapi_extra": infer_route(store.settings.max_images),
        "responses": refusals(*ASKED),
    }

    @routes.post("/models/{model}/infer", **how)
    @routes.post("/models/{model}/versions/{version}/infer", **how)
    async def infer(request: Request, model: Name, version: str = "") -> Response:
        _version(store.get(model), version)
        with arriving(store, model):
            body, header = await _body(request)
        told, pictures = await apart(store.readers, len(body), lambda: _asked(body, header))
        wanted = _wanted(told)
        head = {"id": text(told, "id")} if "id" in told else {}
        answered = await answer(request, store, model, pictures, version)
        rows, predictor = answered.matrix(), answered.live.predictor
        head |= {"model_name": model, "model_version": answered.live.version}
        tensors = [(one, _tensor(one, rows, predictor)) for one in wanted]
        return _response(head, tensors, answered.headers)

    return routes


def _version(served: Served, version: str) -> Served:
    if version and served.ready and version != served.live.version:
        raise unknown_version()
    return served


def _metadata(served: Served) -> dict[str, Any]:
    live = served.live
    c, k = live.predictor.preprocess.channels, len(live.predictor.classes)
    return {
        "name": served.name,
        "versions": [live.version],
        "platform": "striate",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, -1, -1, c]}],
        "outputs": [
            {"name": OUTPUT, "datatype": "FP32", "shape": [-1, k]},
            {"name": LABELS, "datatype": "BYTES", "shape": [-1]},
        ],
    }


async def _body(request: Request) -> tuple[bytes, int | None]:
    """The body of a request, and how much of it is JSON where binary tensors follow."""
    stated = request.headers.get(HEADER)
    if stated is None:
        return await json_body(request), None
    body = await request.body()
    if not (stated.isascii() and stated.isdigit()) or int(stated[:19]) > len(body) or len(stated) > 18:
        raise bad(f"{HEADER}: a number of bytes of the body is expected", HEADER)
    return body, int(stated)


def _asked(body: bytes, header: int | None) -> tuple[dict[str, Any], Sequence[Picture]]:
    """The JSON of a request, and its pictures."""
    told = parse(body[:header])
    return told, _pictures(told, b"" if header is None else body[header:])


def _pictures(told: Mapping[str, Any], binary: bytes) -> Sequence[Picture]:
    inputs = told.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise bad(f"inputs: one tensor is expected, {INPUT}", "inputs")
    tensor = inputs[0]
    if text(tensor, "name") != INPUT:
        raise bad(f"inputs: {INPUT} is expected", "name")
    kind, shape = text(tensor, "datatype"), _shape(tensor.get("shape"))
    how = _fields(tensor, "parameters")
    _no_shared_memory(how)
    size = how.get("binary_data_size")
    if size is not None:
        if type(size) is not int or size != len(binary) or "data" in tensor:
            raise bad("binary_data_size: it is not what follows the JSON", "binary_data_size")
        data: Any = binary
    elif binary:
        raise bad("bytes follow the JSON that no input asks for", "binary_data_size")
    else:
        data = tensor.get("data")
    if kind == "BYTES":
        if len(shape) != 1:
            raise bad("shape: (n) is expected for BYTES", "shape")
        return _encoded(data, shape[0])
    if kind != "UINT8":
        raise bad("datatype: UINT8 or BYTES is expected", "datatype")
    if len(shape) != 4 or shape[3] not in (1, 3, 4):
        raise bad("shape: (n, h, w, c) is expected for UINT8, c of 1, 3 or 4", "shape")
    return list(_numbers(data, shape))


def _shape(value: Any) -> list[int]:
    if not isinstance(value, list) or not value or any(type(v) is not int or v < 1 for v in value):
        raise bad("shape: a list of positive integers is expected", "shape")
    return value


def _numbers(data: Any, shape: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    expected = math.prod(shape)  # Python's integers don't overflow
    if isinstance(data, bytes):
        if len(data) != expected:
            raise bad(f"shape: {expected} bytes are stated, {len(data)} sent", "shape")
        return np.frombuffer(data, np.uint8).reshape(shape)
    array = numbers(data, 2, "data")
    if array.dtype.kind not in "iu" or array.size != expected:
        raise bad(f"data: {expected} integers are expected", "data")
    if array.ndim > 1 and list(array.shape) != shape:
        raise bad(f"data: nested as {list(array.shape)}, not as the shape says", "data")
    if array.min() < 0 or array.max() > 255:
        raise bad("data: integers of 0 to 255 are expected", "data")
    return array.astype(np.uint8).reshape(shape)


def _encoded(data: Any, n: int) -> list[bytes]:
    """Elements of a BYTES tensor: each a length in four bytes and as many bytes; in JSON, base64."""
    if isinstance(data, bytes):
        found, at = [], 0
        while at + 4 <= len(data):
            (length,) = struct.unpack_from("<I", data, at)
            found.append(data[at + 4 : at + 4 + length])
            at += 4 + length
        if at != len(data) or len(found) != n:
            raise bad(f"shape: {n} elements are stated, {len(found)} sent", "shape")
        return found
    if not isinstance(data, list) or len(data) != n:
        raise bad(f"data: {n} strings are expected", "data")
    return [base64_of(one) for one in data]


def base64_of(value: Any) -> bytes:
    """A picture in base64, as a data URL too, of either alphabet, with line ends, with or without padding."""
    try:
        text = "".join(DATA_URL.sub("", value).split()).translate(TO_STANDARD).rstrip("=")
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except (TypeError, ValueError):
        raise bad("a picture in base64 is expected", "base64") from None


def _fields(told: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = told.get(key, {})
    if not isinstance(value, dict):
        raise bad(f"{key}: an object is expected", key)
    return value


@dataclass(frozen=True)
class _Output:
    """A tensor that is asked for, after the JSON or in it; with `classes`, so many of the best instead of all."""

    name: str
    after: bool
    classes: int


def _wanted(told: Mapping[str, Any]) -> list[_Output]:
    after = _flag(_fields(told, "parameters"), "binary_data_output", False)
    outputs = told.get("outputs") or [{"name": OUTPUT}, {"name": LABELS}]
    if not isinstance(outputs, list) or not all(isinstance(o, dict) for o in outputs):
        raise bad("outputs: a list of objects is expected", "outputs")
    found: list[_Output] = []
    for output in outputs:
        name, how = text(output, "name"), _fields(output, "parameters")
        if name not in (OUTPUT, LABELS):
            raise bad(f"outputs: there are {OUTPUT} and {LABELS}", "outputs")
        # else a small request could ask for an answer without end
        if name in [known.name for known in found]:
            raise bad(f"outputs: {name} stands twice", "outputs")
        _no_shared_memory(how)
        found.append(_Output(name, _flag(how, "binary_data", after), _count(name, how)))
    return found


def _flag(how: Mapping[str, Any], key: str, default: bool) -> bool:
    value = how.get(key, default)
    if not isinstance(value, bool):
        raise bad(f"{key}: true or false is expected", key)
    return value


def _count(name: str, how: Mapping[str, Any]) -> int:
    """How many classes are asked for by Triton's classification extension; 0 where it isn't used."""
    count = how.get("classification", 0)
    if type(count) is not int or count < 0:
        raise bad("classification: a number of classes is expected", "classification")
    if count and name != OUTPUT:
        raise bad(f"classification: {OUTPUT} has classes, {name} has not", "classification")
    return count


def _no_shared_memory(how: Mapping[str, Any]) -> None:
    """An answer that is looked for elsewhere than where it is would be taken for another."""
    if "shared_memory_region" in how:
        raise bad(
            "shared memory is not offered: send and take tensors with the request", "shared_memory_region"
        )


def _tensor(wanted: _Output, rows: NDArray[np.float32], predictor: Predictor) -> NDArray[Any]:
    """float32 (n, k); or bytes, as an array of objects: (n) of labels, (n, classes) of `value:index:label`."""
    if wanted.name == LABELS:
        return np.array([predictor.prediction("", row).label.encode() for row in rows], object)
    if not wanted.classes:
        return rows
    best = np.argsort(-rows, axis=1, kind="stable")[:, : wanted.classes]
    told = [
        [f"{row[i]:f}:{i}:{predictor.classes[i]}".encode() for i in top]
        for row, top in zip(rows, best, strict=True)
    ]
    return np.array(told, object)


def _response(
    head: dict[str, Any], outputs: Sequence[tuple[_Output, NDArray[Any]]], headers: dict[str, str]
) -> Response:
    tensors, tail = [], b""
    for output, value in outputs:
        words = value.dtype == object
        tensor: dict[str, Any] = {
            "name": output.name,
            "datatype": "BYTES" if words else "FP32",
            "shape": list(value.shape),
        }
        flat = value.ravel().tolist()
        if output.after:
            packed = (
                b"".join(struct.pack("<I", len(v)) + v for v in flat)
                if words
                else value.astype("<f4").tobytes()
            )
            tensor["parameters"] = {"binary_data_size": len(packed)}
            tail += packed
        else:
            tensor["data"] = [v.decode() for v in flat] if words else flat
        tensors.append(tensor)
    text_part = json.dumps({**head, "outputs": tensors}).encode()
    if not tail:
        return Response(text_part, media_type="application/json", headers=headers)
    headers = headers | {HEADER: str(len(text_part))}
    return Response(text_part + tail, media_type="application/octet-stream", headers=headers)
