"""Open Inference Protocol v2 over HTTP, JSON and binary tensors: what Triton and KServe speak.

One input, `images`: UINT8 (n, h, w, c) of any size, or BYTES (n) of encoded pictures. Outputs: `probabilities` FP32
(n, k) and `labels` BYTES (n).
"""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request, Response

from striate import __version__
from striate.ship.graph import INPUT, OUTPUT
from striate.ship.serve.answer import answer, arriving
from striate.ship.serve.contract import bad, starting, unknown_version
from striate.ship.serve.models import Served, Store
from striate.ship.serve.reading import apart, json_body, numbers, parse, text
from striate.ship.sources import Picture

HEADER = "Inference-Header-Content-Length"
LABELS = "labels"
INFER: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "inputs": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["name", "datatype", "shape", "data"],
                                "properties": {
                                    "name": {"const": INPUT},
                                    "datatype": {"enum": ["UINT8", "BYTES"]},
                                    "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                                    "data": {"type": "array"},
                                },
                            },
                        },
                        "outputs": {"type": "array", "items": {"type": "object"}},
                    },
                }
            }
        },
    }
}


def router(store: Store, responses: dict[int | str, dict[str, Any]]) -> APIRouter:
    """The routes below /v2."""
    known = {"enum": list(store.models)}  # so that the description names what is served
    Name = Annotated[str, Path(json_schema_extra=known)]
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol v2"], responses=responses)

    @routes.get("")
    async def server() -> dict[str, Any]:
        return {"name": "striate", "version": __version__, "extensions": ["binary_tensor_data"]}

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

    @routes.post("/models/{model}/infer", openapi_extra=INFER)
    @routes.post("/models/{model}/versions/{version}/infer", openapi_extra=INFER)
    async def infer(request: Request, model: Name, version: str = "") -> Response:
        _version(store.get(model), version)
        with arriving(store, model):
            body, header = await _body(request)
        told, pictures = await apart(store.readers, len(body), lambda: _asked(body, header))
        wanted = _wanted(told)
        answered = await answer(request, store, model, pictures, version)
        rows = answered.matrix()
        names = [answered.live.predictor.classes[i].encode() for i in rows.argmax(1)]
        outputs = {OUTPUT: rows, LABELS: names}
        head = {"model_name": model, "model_version": answered.live.version}
        head |= {"id": told["id"]} if "id" in told else {}
        return _response(head, [(name, outputs[name], raw) for name, raw in wanted], answered.headers)

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
    size = _fields(tensor, "parameters").get("binary_data_size")
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
    """A picture in base64."""
    import binascii

    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except (TypeError, ValueError):
        raise bad("a picture in base64 is expected", "base64") from None


def _fields(told: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = told.get(key, {})
    if not isinstance(value, dict):
        raise bad(f"{key}: an object is expected", key)
    return value


def _wanted(told: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Names of the outputs to send, and whether each is sent as bytes."""
    all_raw = _fields(told, "parameters").get("binary_data_output") is True
    outputs = told.get("outputs") or [{"name": OUTPUT}, {"name": LABELS}]
    if not isinstance(outputs, list) or not all(isinstance(o, dict) for o in outputs):
        raise bad("outputs: a list of objects is expected", "outputs")
    found: list[tuple[str, bool]] = []
    for output in outputs:
        name = text(output, "name")
        if name not in (OUTPUT, LABELS):
            raise bad(f"outputs: there are {OUTPUT} and {LABELS}", "outputs")
        if name in [known for known, _ in found]:  # else a small request could ask for an answer without end
            raise bad(f"outputs: {name} stands twice", "outputs")
        found.append((name, _fields(output, "parameters").get("binary_data", all_raw) is True))
    return found


def _response(
    head: dict[str, Any], outputs: Sequence[tuple[str, Any, bool]], headers: dict[str, str]
) -> Response:
    tensors, tail = [], b""
    for name, value, raw in outputs:
        words = isinstance(value, list)
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": "BYTES" if words else "FP32",
            "shape": [len(value)] if words else list(value.shape),
        }
        if raw:
            packed = (
                b"".join(struct.pack("<I", len(v)) + v for v in value)
                if words
                else value.astype("<f4").tobytes()
            )
            tensor["parameters"] = {"binary_data_size": len(packed)}
            tail += packed
        else:
            tensor["data"] = [v.decode() for v in value] if words else value.ravel().tolist()
        tensors.append(tensor)
    text_part = json.dumps({**head, "outputs": tensors}).encode()
    if not tail:
        return Response(text_part, media_type="application/json", headers=headers)
    headers = headers | {HEADER: str(len(text_part))}
    return Response(text_part + tail, media_type="application/octet-stream", headers=headers)
