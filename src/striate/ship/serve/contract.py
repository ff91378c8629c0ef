"""What the server promises: its limits, and one shape for every refusal."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from striate.data.header import MAX_PIXELS
from striate.errors import UsageError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
NAME = re.compile(r"[\w.-]{1,100}")
ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
ROOT = re.compile(r"(/[\w.~-]+)+", re.ASCII)
SUFFIXES = (".safetensors", ".onnx", ".xml", ".pt2")  # of what can be served


@dataclass(frozen=True)
class Settings:
    """Models by name, where to listen, and how much of what is accepted; sizes in bytes, times in seconds."""

    models: dict[str, str]
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = field(default="", repr=False)
    allow_origins: Sequence[str] = ()  # sites whose pages may ask, or * for all
    root_path: str = ""  # where a proxy shows the server: /classify
    engine: str = "auto"
    max_batch: int = 16  # images in one forward pass
    max_queue: int = 256  # images accepted and not yet answered, over which requests are refused
    max_images: int = 64  # in one request
    max_body: int = 32 << 20
    max_pixels: int = MAX_PIXELS  # of one image, read from its header
    timeout: float = 10.0  # from when a request has arrived whole to its answer
    receive_timeout: float = 20.0  # for a client to send its whole request
    hang_timeout: float = 60.0  # for one forward pass, after which the engine is opened anew
    grace: float = 30.0  # for requests that are being answered when the server is told to stop
    reload_every: float = 2.0  # between looks at the model files

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and not self.token:
            raise UsageError(
                f"{self.host} can be reached from elsewhere: that needs a token",
                "--token SECRET, or STRIATE_TOKEN in the environment",
            )
        if not self.models:
            raise UsageError("no model to serve")
        if not self.token.isascii() or any(not c.isprintable() or c.isspace() for c in self.token):
            raise UsageError("a token is made of ASCII letters, digits and signs: it goes in a header")
        for origin in self.allow_origins:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise UsageError(
                    f"--allow-origin {origin}: a site is expected, as browsers name it", "https://example.org"
                )
        if self.root_path and not ROOT.fullmatch(self.root_path):
            raise UsageError(
                f"--root-path {self.root_path}: a path with / before it and none after is expected",
                "--root-path /classify",
            )
        for flag, value in (("--max-batch", self.max_batch), ("--max-images", self.max_images)):
            if value > self.max_queue:
                raise UsageError(
                    f"{flag} {value} is more than --max-queue {self.max_queue}: it could never be had",
                    f"{flag} {self.max_queue}",
                )
        if self.timeout >= self.grace:
            raise UsageError(
                f"--timeout {self.timeout:g} is not less than --grace {self.grace:g}: "
                "stopping would cut off what was accepted",
                f"--grace {2 * self.timeout:g}",
            )

    @property
    def max_held(self) -> int:
        """Bytes of the bodies of all requests at once."""
        return 8 * self.max_body


class Refusal(Exception):
    """An answer that is an error: `code` for programs, the message for people, no trace of what lies behind."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers

    def body(self, request_id: str) -> dict[str, Any]:
        """{error, code, request_id}"""
        return {"error": str(self), "code": self.code, "request_id": request_id}


def overloaded(seconds: float) -> Refusal:
    """429: come again in about this many seconds."""
    wait = {"Retry-After": str(max(1, round(seconds)))}
    return Refusal(429, "overloaded", "the queue is full", **wait)


def starting() -> Refusal:
    """503: the model isn't loaded yet, or is being opened anew."""
    return Refusal(503, "not_ready", "the model is not ready", **{"Retry-After": "1"})


def gone() -> Refusal:
    """499, which nobody reads: the client closed the connection."""
    return Refusal(499, "client_gone", "the client closed the connection")


def unknown_version() -> Refusal:
    """404: another version than the one that was asked for answers under this name."""
    return Refusal(404, "unknown_version", "no such version of this model is served")


def bad(message: str, code: str = "bad_request", status: int = 400) -> Refusal:
    """4xx: what the client sent can't be meant."""
    return Refusal(status, code, message)


def named(words: list[str]) -> dict[str, str]:
    """`RUN` or `NAME=RUN` each -> {name: path}; raises UsageError for names that clash or don't fit in an address.

    What is there is a path, whatever signs are in it; of anything else a name ends at the first `=`.
    """
    found: dict[str, str] = {}
    for word in words:
        name, told, path = word.partition("=")
        if not told or Path(word).exists():
            name, path = "", word
        name = name or re.sub(r"[^\w.-]+", "_", _called(Path(path)))
        if not NAME.fullmatch(name):
            nowhere = f"nothing is at {word}; " if path != word else ""
            raise UsageError(
                f"{nowhere}model name {name!r}: letters, digits, dot, dash and underscore only", "NAME=RUN"
            )
        if name in found:
            raise UsageError(f"two models are named {name}", f"NAME={path}")
        found[name] = path
    return found


def _called(path: Path) -> str:
    """The name of a run folder, or of a file without the suffix that says its kind."""
    path = Path(os.path.abspath(path))  # of `.` and `..` too
    return path.stem if path.suffix in SUFFIXES and not path.is_dir() else path.name
