"""Bodies of requests: JSON that is checked, pictures by what their type says."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from striate.ship.serve.contract import Refusal, bad

RAW = ("application/octet-stream",)


async def pictures_of(request: Request, most: int) -> list[tuple[str, bytes]]:
    """Name and encoded bytes of each picture: parts of a form, or the body itself."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _parts(request, most)
    if kind.startswith("image/") or kind in RAW:
        return [("image", await request.body())]
    raise Refusal(
        415, "media_type", "send image/*, application/octet-stream, or multipart/form-data with files"
    )


async def _parts(request: Request, most: int) -> list[tuple[str, bytes]]:
    try:
        async with request.form(max_files=most + 1, max_fields=most + 1) as form:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            return [(file.filename or "image", await file.read()) for file in files]
    except MultiPartException as error:
        raise bad(f"broken form: {error.message}", "form") from None
    except Refusal:
        raise
    except Exception:  # the parser's own errors for a missing boundary and the like
        raise bad("broken form", "form") from None


async def json_of(request: Request) -> dict[str, Any]:
    """The body as a JSON object; a Refusal for anything else."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind not in ("application/json", "text/json", ""):
        raise Refusal(415, "media_type", "application/json is expected")
    return parse(await request.body())


def parse(data: bytes) -> dict[str, Any]:
    """Strict JSON: no NaN, no key twice, no endless depth."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_once)
    except Refusal:
        raise
    except RecursionError:
        raise bad("JSON nested too deep", "json") from None
    except (ValueError, UnicodeDecodeError):
        raise bad("the body is no JSON in UTF-8", "json") from None
    if not isinstance(value, dict):
        raise bad("a JSON object is expected", "json")
    return value


def _no_constant(name: str) -> Any:
    raise bad(f"{name} is no JSON", "json")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise bad("a key stands twice in a JSON object", "json")
    return found


def text(fields: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """A field that must be a string."""
    value = fields.get(key, default)
    if not isinstance(value, str):
        raise bad(f"{key}: a string is expected", key)
    return value
