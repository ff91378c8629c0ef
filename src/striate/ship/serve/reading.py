"""Bodies of requests: JSON that is checked, pictures by what their type says."""

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import aclosing
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from striate.ship.serve.contract import Refusal, bad

RAW = "application/octet-stream"
PICTURES = (b"image/", RAW.encode())
LARGE = 1 << 16  # bytes of a body, or numbers of a list
T = TypeVar("T")


async def pictures_of(request: Request, most: int) -> list[tuple[str, bytes]]:
    """Name and encoded bytes of each picture: parts of a form, or the body itself."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _parts(request, most)
    if kind.startswith("image/") or kind == RAW:
        return [("image", await request.body())]
    raise Refusal(
        415, "media_type", "send image/*, application/octet-stream, or multipart/form-data with files"
    )


class _Form(MultiPartParser):
    """Starlette's parser, to which a part is a file by its file name alone, and which insists on a name."""

    def on_headers_finished(self) -> None:
        part = self._current_part
        told = part.content_disposition or b"form-data"
        _, options = parse_options_header(told)
        named = b"name" in options
        typed = dict(part.item_headers).get(b"content-type", b"").lower().startswith(PICTURES)
        if b"filename" not in options and (typed or not named or b"filename*" in told.lower()):
            told += b'; filename=""'
        part.content_disposition = told if named else told + b'; name=""'
        super().on_headers_finished()


async def _parts(request: Request, most: int) -> list[tuple[str, bytes]]:
    try:
        async with aclosing(request.stream()) as stream:
            form = await _Form(request.headers, stream, max_files=most + 1, max_fields=most + 1).parse()
    except MultiPartException as error:
        raise bad(f"broken form: {error.message}", "form") from None
    except (Refusal, ClientDisconnect):
        raise
    except Exception:  # the parser's own errors for a missing boundary and the like
        raise bad("broken form", "form") from None
    try:
        fields = [name for name, value in form.multi_items() if not isinstance(value, UploadFile)]
        if fields:
            raise bad(f"form: {fields[0][:100]!r} is no file; options stand in the address", "form")
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        return [(file.filename or "image", await file.read()) for file in files]
    finally:
        await form.close()


async def json_body(request: Request) -> bytes:
    """The body of a request that says that it is JSON."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind not in ("application/json", "text/json", ""):
        raise Refusal(415, "media_type", "application/json is expected")
    return await request.body()


async def apart(pool: Executor, size: int, job: Callable[[], T]) -> T:
    """The result of `job`, which takes a body of `size` bytes apart: a large one beside the event loop."""
    if size < LARGE:
        return job()
    return await asyncio.get_running_loop().run_in_executor(pool, job)


def parse(data: bytes) -> dict[str, Any]:
    """Strict JSON: no NaN, no key twice, no endless depth."""
    large = len(data) >= LARGE
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_int=_whole if large else None,
            parse_float=_broken if large else None,
            parse_constant=_no_constant,
            object_pairs_hook=_once,
        )
    except Refusal:
        raise
    except RecursionError:
        raise bad("JSON nested too deep", "json") from None
    except (ValueError, UnicodeDecodeError):
        raise bad("the body is no JSON in UTF-8", "json") from None
    if not isinstance(value, dict):
        raise bad("a JSON object is expected", "json")
    return value


def numbers(value: Any, depth: int, name: str) -> NDArray[Any]:
    """A nested list as an array, made of those `depth` levels down, so that others have their turn; see `parse`."""
    try:
        if depth and isinstance(value, list) and value and isinstance(value[0], list):
            return np.stack([numbers(part, depth - 1, name) for part in value])
        if isinstance(value, list) and len(value) > LARGE:
            return np.concatenate([np.array(value[i : i + LARGE]) for i in range(0, len(value), LARGE)])
        return np.array(value)
    except ValueError:
        raise bad(f"{name}: ragged", name) from None


def _whole(text: str) -> int:
    """Python's own call at every number lets others have their turn: the parser alone holds the interpreter."""
    return int(text)


def _broken(text: str) -> float:
    return float(text)


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
