"""What can be looked at: files, bytes, arrays, Pillow's images, folders, videos, cameras, and what yields these."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from striate.data.arrays import channels
from striate.data.decode import decode, numbers
from striate.data.files import MAX_BYTES, read_file
from striate.data.preprocess import Preprocess
from striate.data.scale import Numbers, on_one_scale
from striate.data.scale import picture as scaled
from striate.data.source import Pixels
from striate.data.tree import Folder, told
from striate.errors import DataError, UsageError

VIDEO = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
# a path, encoded bytes, or raw pixels (h, w, c) on a scale of docs/data.md; or why there is none
Picture = str | bytes | Numbers | DataError


def pictures(source: Any, name: str = "") -> Iterator[tuple[str, Picture]]:
    """Each picture of `source` with a name for it, nothing decoded yet but frames of a video.

    An array is one picture (h, w) or (h, w, c), or several (n, h, w, c); a number is a camera; of an open file the rest
    is one picture, and so is standard input, named -.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        yield name or "bytes", bytes(source)
    elif isinstance(source, str | Path):
        yield from _path(Path(source))
    elif isinstance(source, bool):
        raise UsageError(f"no pictures in {source}")
    elif isinstance(source, int | np.integer):
        yield from frames(int(source))
    elif isinstance(source, Image.Image):
        yield name or getattr(source, "filename", "") or "image", _raw(numbers(source))
    elif hasattr(source, "read"):
        yield _handle(source, name)
    elif hasattr(source, "__array__") or hasattr(source, "__array_interface__"):
        yield from _array(np.asarray(source), name or "array")
    elif isinstance(source, Iterable):
        for i, part in enumerate(source):
            try:
                yield from pictures(part, f"{name}[{i}]")
            except DataError as error:  # an empty folder, or a video that can't be opened, among other things
                yield str(part) if isinstance(part, str | Path) else f"{name}[{i}]", error
    else:
        raise UsageError(
            f"no pictures in {type(source).__name__}",
            "give a path, bytes, an array, a camera number, or something that yields these",
        )


def _path(path: Path) -> Iterator[tuple[str, Picture]]:
    if str(path) == "-":
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise DataError(f"standard input: over the limit of {MAX_BYTES:,} bytes")
        yield "-", data
    elif path.is_dir():
        folder = Folder(str(path))
        if not (found := folder.images()):
            raise DataError("; ".join((f"{path}: no images in this folder", *told(folder.passed()))))
        yield from ((str(path / f), str(path / f)) for f in found)
    elif path.suffix.lower() in VIDEO:
        yield from frames(path)
    else:
        yield str(path), str(path)


def _handle(file: Any, name: str) -> tuple[str, Picture]:
    """What is left in an open file, or in whatever else can be read."""
    data = file.read()
    if not isinstance(data, bytes | bytearray):
        raise UsageError(f"no pictures in {type(file).__name__}", "open the file in binary mode, 'rb'")
    own = getattr(file, "name", "")
    name = own if isinstance(own, str) and own else name or "file"
    with suppress(AttributeError, OSError):  # of what can't tell where it is
        if not data and file.tell():
            return name, DataError(f"{name!r}: nothing is left to read", "seek(0) goes back to the start")
    return name, bytes(data)


def _array(array: Numbers, name: str) -> Iterator[tuple[str, Picture]]:
    pixels = _raw(array)
    if pixels.ndim not in (3, 4) or pixels.shape[-1] not in (1, 3, 4) or 0 in pixels.shape:
        raise DataError(
            f"{name}: shape {array.shape}; expected (h, w), (h, w, c) or (n, h, w, c), c of 1, 3 or 4"
        )
    if pixels.ndim == 3:
        yield name, pixels
    else:
        on_one_scale(pixels, name)
        yield from ((f"{name}[{i}]", one) for i, one in enumerate(pixels))


def _raw(array: Numbers) -> Numbers:
    return array[..., None] if array.ndim == 2 else array


def frames(video: Path | int) -> Iterator[tuple[str, Pixels]]:
    """RGB frames of a video file or a camera, named file#number."""
    import cv2

    if isinstance(video, Path) and not video.is_file():
        raise DataError(f"{str(video)!r}: no such file")
    capture = cv2.VideoCapture(video if isinstance(video, int) else str(video))
    try:
        what = f"camera {video}" if isinstance(video, int) else str(video)
        if not capture.isOpened():
            raise DataError(f"{what} can't be opened")
        number = 0
        while True:
            there, frame = capture.read()
            if not there:
                break
            yield f"{what}#{number}", np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
            number += 1
        if not number:
            raise DataError(f"{what}: not one frame can be read")
    finally:
        capture.release()


def fitted(picture: Picture, name: str, preprocess: Preprocess) -> Pixels:
    """One picture as the network sees it, cut as in training.    -> uint8 (c, *size)"""
    if isinstance(picture, DataError):
        raise picture
    if isinstance(picture, np.ndarray):
        pixels = scaled(picture, name, preprocess.white)
        return preprocess.fit(channels(pixels, preprocess.channels))
    try:
        data = picture if isinstance(picture, bytes) else read_file(picture)
        return preprocess.fit(decode(data, preprocess.channels, preprocess.least, preprocess.white))
    except DataError as e:
        known = repr(name)
        raise DataError(str(e) if str(e).startswith(known) else f"{known}: {e}", e.hint) from e
