"""What the routes take and answer, in OpenAPI's words: as much of what is accepted as JSON Schema can say."""

from collections.abc import Sequence
from typing import Any

from striate.ship.graph import INPUT, OUTPUT

LABELS = "labels"
HEADER = "Inference-Header-Content-Length"
SIGNATURES = ("serving_default", "")

WHY = {
    400: "malformed", 401: "no token", 403: "another site or host", 404: "no such model or version",
    408: "sent too slowly", 413: "too large", 415: "another type of body", 422: "no picture that can be read",
    429: "the queue is full; see Retry-After", 500: "the model failed", 503: "not ready; see Retry-After",
    504: "waited too long",
}  # fmt: skip
ANY, ASKED = (401, 403, 408, 413, 415, 500, 503), (400, 404, 422, 429, 504)

Schema = dict[str, Any]
STRING: Schema = {"type": "string"}
PROBABILITY: Schema = {"type": "number", "minimum": 0, "maximum": 1}
PICTURE: Schema = {"type": "string", "format": "binary"}
BASE64: Schema = {
    "type": "string",
    "format": "byte",
    "description": "a picture in base64, or a data URL of it",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers of a route that are errors, all of one shape."""
    content = {"application/json": {"schema": _object(error=STRING, code=STRING, request_id=STRING)}}
    return {status: {"description": WHY[status], "content": content} for status in statuses}


def without_validation(description: dict[str, Any]) -> dict[str, Any]:
    """A description, changed in place, without the answers that FastAPI adds for parameters of its own accord."""
    for told in (operation for path in description["paths"].values() for operation in path.values()):
        if told["responses"].get("422", {}).get("description") != WHY[422]:
            told["responses"].pop("422", None)
    description.pop("components", None)
    return description


def _object(optional: Sequence[str] = (), /, **properties: Schema) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties}


def _without(name: str, schema: Schema) -> Schema:
    return schema | {"not": {"required": [name]}}


def _array(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    bounds = {"minItems": least} | ({} if most is None else {"maxItems": most})
    return {"type": "array", "items": items, **bounds}


def _route(takes: dict[str, Schema], gives: dict[str, Schema], **more: Any) -> dict[str, Any]:
    body = {"required": True, "content": {kind: {"schema": schema} for kind, schema in takes.items()}}
    answer = {
        "description": "answered",
        "content": {kind: {"schema": schema} for kind, schema in gives.items()},
    }
    return {"requestBody": body, "responses": {"200": answer}, **more}


def predict_route(most: int) -> dict[str, Any]:
    """Of `/predict`, with at most so many pictures in a request."""
    form = _object(file=_array(PICTURE, 1, most)) | {"additionalProperties": False}
    row = _object(
        ("label", "probability", "top", "labels", "error", "code"),
        file=STRING,
        label=STRING,
        probability=PROBABILITY,
        top={"type": "object", "additionalProperties": PROBABILITY},
        labels=_array(STRING),
        error=STRING,
        code=STRING,
    )
    kinds = {"image/*": PICTURE, "application/octet-stream": PICTURE, "multipart/form-data": form}
    answer = _object(model=STRING, version=STRING, predictions=_array(row, 1, most))
    return _route(kinds, {"application/json": answer})


def infer_route(most: int) -> dict[str, Any]:
    """Of `/v2/.../infer`."""
    size = {"type": "integer", "minimum": 1}
    count = size | {"maximum": most}
    byte = {"type": "integer", "minimum": 0, "maximum": 255}
    pixels = _tensor("UINT8", [count, size, size, {"enum": [1, 3, 4]}], {"anyOf": [byte, _array({}, 1)]})
    encoded = _tensor("BYTES", [count], BASE64)
    flag = {"type": "boolean"}
    how = _object(("binary_data", "classification"), binary_data=flag, classification={"const": 0})
    classes = _object(
        ("binary_data", "classification"), binary_data=flag, classification={"type": "integer", "minimum": 0}
    )
    outputs = [
        _object(("parameters",), name={"const": OUTPUT}, parameters=classes),
        _object(("parameters",), name={"const": LABELS}, parameters=how),
    ]
    told = _object(
        ("id", "parameters", "outputs"),
        id=STRING,
        parameters=_object(("binary_data_output",), binary_data_output=flag),
        inputs=_array({"oneOf": [pixels, encoded]}, 1, 1),
        outputs=_array({"oneOf": outputs}, 0, 2),
    )
    tensor = _object(
        ("data", "parameters"),
        name=STRING,
        datatype=STRING,
        shape=_array({"type": "integer"}),
        data=_array({}),
        parameters={"type": "object"},
    )
    answer = _object(
        ("id",), id=STRING, model_name=STRING, model_version=STRING, outputs=_array(tensor, 1, 2)
    )
    binary = PICTURE | {"description": f"JSON of {HEADER} bytes, then tensors"}
    header = {
        "name": HEADER, "in": "header", "required": False, "schema": {"type": "integer", "minimum": 0},
        "description": "bytes of JSON before the tensors",
    }  # fmt: skip
    takes = {"application/json": told, "application/octet-stream": binary}
    return _route(
        takes, {"application/json": answer, "application/octet-stream": binary}, parameters=[header]
    )


def _tensor(datatype: str, shape: list[Schema], items: Schema) -> Schema:
    sizes = {"type": "array", "prefixItems": shape, "items": False, "minItems": len(shape)}
    return _object(name={"const": INPUT}, datatype={"const": datatype}, shape=sizes, data=_array(items, 1))


def predict_v1_route(most: int) -> dict[str, Any]:
    """Of `/v1/...:predict`."""
    value = {"type": "number", "minimum": 0, "maximum": 65535}
    channels = [_array(value, n, n) for n in (1, 3, 4)]
    pixels = _array(_array({"anyOf": [value, *channels]}, 1), 1)
    encoded = _object(b64=BASE64) | {"additionalProperties": False}
    one = {"anyOf": [pixels, encoded]}
    named = _object(**{INPUT: one}) | {"additionalProperties": False}
    pictures = _array({"anyOf": [*one["anyOf"], named]}, 1, most)
    columns = _object(**{INPUT: pictures}) | {"additionalProperties": False}
    signature = {"enum": list(SIGNATURES)}
    rowwise = _object(("signature_name",), instances=pictures, signature_name=signature)
    columnar = _object(("signature_name",), inputs={"anyOf": [pictures, columns]}, signature_name=signature)
    told = {"type": "object", "oneOf": [_without("inputs", rowwise), _without("instances", columnar)]}
    rows = _array(_array(PROBABILITY), 1, most)
    answer = {"type": "object", "oneOf": [_object(predictions=rows), _object(outputs=rows)]}
    return _route({"application/json": told}, {"application/json": answer})
