"""A folder that grows, a video, or a camera, classified as pictures come."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from striate.data.arrays import channels
from striate.data.source import Pixels
from striate.data.tree import Folder
from striate.errors import DataError
from striate.ship.predictor import Prediction, Predictor, Unreadable
from striate.ship.sources import frames

POLL = 0.25  # seconds between looks at a folder


def watch(
    predictor: Predictor,
    source: str,
    top: int = 3,
    once: bool = False,
    clock: Callable[[], float] = time.time,
) -> Iterator[dict[str, Any]]:
    """One row a picture: {time, file, label, probability, top}, or {time, file, error} where it can't be read.

    `source` is a folder, a video, an image, or else the number of a camera. A folder is watched for good, or
    with `once` until all that lies there is done.
    """
    if Path(source).is_dir():
        answers: Iterator[Prediction | Unreadable] = _folder(predictor, Path(source), top, once)
    elif Path(source).exists():
        answers = predictor.attempts(source, top)
    elif source.isdecimal():
        answers = _camera(predictor, int(source), top)
    else:
        raise DataError(f"no folder, video or picture at {source}")
    for answer in answers:
        yield {"time": round(clock(), 3), **answer.to_json()}


def _folder(predictor: Predictor, folder: Path, top: int, once: bool) -> Iterator[Prediction | Unreadable]:
    """Files in the order of their names, each when it has stopped changing: who writes it may not be done."""
    done: dict[str, tuple[int, int]] = {}
    seen: dict[str, tuple[int, int]] = {}
    while True:
        now = _states(folder)
        done = {name: state for name, state in done.items() if name in now}  # a name may come again
        ready = [n for n, state in now.items() if seen.get(n) == state and done.get(n) != state]
        for name in ready:
            done[name] = now[name]
            yield from predictor.attempts(folder / name, top)
        seen = now
        if once and now and all(done.get(n) == state for n, state in now.items()):
            return
        if once and not now:
            raise DataError(f"{folder}: no images in this folder")
        time.sleep(POLL)


def _states(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every image."""
    found = {}
    for name in Folder(str(folder)).images():
        try:
            info = (folder / name).stat()
        except OSError:  # gone since it was listed
            continue
        found[name] = (info.st_size, info.st_mtime_ns)
    return found


def _camera(predictor: Predictor, number: int, top: int) -> Iterator[Prediction]:
    """The newest frame each time: those that come while one is answered are dropped, so that nothing lags behind."""
    fresh = threading.Condition()
    newest: list[tuple[str, Pixels]] = []
    failed: list[Exception] = []
    over = threading.Event()

    def read() -> None:
        try:
            for frame in frames(number):
                with fresh:
                    newest[:] = [frame]
                    fresh.notify()
                if over.is_set():
                    return
        except Exception as error:
            failed.append(error)
        finally:
            over.set()
            with fresh:
                fresh.notify()

    reader = threading.Thread(target=read, daemon=True, name="striate-camera")
    reader.start()
    try:
        while True:
            with fresh:
                fresh.wait_for(lambda: newest or over.is_set())
                if not newest:
                    break
                name, frame = newest.pop()
            pixels = predictor.preprocess.fit(channels(frame, predictor.preprocess.channels))
            row = predictor.probabilities(pixels[None])[0]
            yield predictor.prediction(name, row, top)
        if failed:
            raise failed[0]
    finally:
        over.set()
        reader.join(timeout=2)
