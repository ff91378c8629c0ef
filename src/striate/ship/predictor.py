"""`striate.load(path)`: a trained network that answers for anything that holds pictures."""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.data.facts import Labelling
from striate.data.preprocess import Preprocess
from striate.data.source import Pixels
from striate.errors import DataError, StriateError, UsageError, one_line
from striate.files import parse
from striate.ship import engines
from striate.ship.engines import Answers, Probabilities, cores
from striate.ship.extra import needs
from striate.ship.sources import VIDEO, fitted, pictures
from striate.train import Run, checkpoint

BATCH = 16
FEW = 256  # pictures
AHEAD = 3  # batches being decoded while one is answered


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture; `top` has the most probable classes first."""

    source: str
    label: str
    probability: float
    top: Mapping[str, float]
    probabilities: NDArray[np.float32]
    labels: tuple[str, ...] | None = None  # where an image has several: those at least as likely as not

    def to_json(self) -> dict[str, Any]:
        """What `striate predict --json` prints for a picture."""
        row = {
            "file": self.source,
            "label": self.label,
            "probability": self.probability,
            "top": dict(self.top),
        }
        return row if self.labels is None else row | {"labels": list(self.labels)}


@dataclass(frozen=True)
class Unreadable:
    """A picture that can't be read, and why."""

    source: str
    error: DataError

    def to_json(self) -> dict[str, Any]:
        """What stands in place of a prediction."""
        return {"file": self.source, "error": str(self.error)}


class Predictor:
    """Class names, preprocessing and an engine; safe to call from several threads.

    One that `load` gave can be pickled: it is loaded again, from the same file, where it is unpickled.
    """

    def __init__(
        self,
        classes: Sequence[str],
        preprocess: Preprocess,
        answers: Answers,
        engine: str,
        batch_size: int = BATCH,
        several: bool = False,
        path: Path | None = None,
    ) -> None:
        self.classes, self.preprocess, self.engine = tuple(classes), preprocess, engine
        self.batch_size, self.several, self.path = batch_size, several, path
        self._answers = answers

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is None:
            raise TypeError("a predictor that was not loaded from a file can't be pickled")
        return load, (self.path.absolute(), self.engine, self.batch_size)

    def __call__(self, source: Any, top: int = 5) -> list[Prediction]:
        """Predictions for every picture of `source`, in order."""
        return list(self.stream(source, top))

    def stream(self, source: Any, top: int = 5, batch_size: int | None = None) -> Iterator[Prediction]:
        """Predictions as they come; pictures are decoded by several threads while others are answered.

        `source` is a path (image, folder, video), bytes, an open file, an image of Pillow, an array (h, w), (h, w, c)
        or (n, h, w, c), the number of a camera, or an iterable of these. Raises DataError for a picture that can't be
        read.
        """
        for answer in self.attempts(source, top, batch_size):
            if isinstance(answer, Unreadable):
                raise answer.error
            yield answer

    def attempts(
        self, source: Any, top: int = 5, batch_size: int | None = None
    ) -> Iterator[Prediction | Unreadable]:
        """As `stream`, but a picture that can't be read is told in its place, and the next are answered."""
        size = batch_size or self.batch_size
        found = pictures(source)
        with ThreadPoolExecutor(cores(), thread_name_prefix="striate-read") as pool:
            waiting: deque[tuple[str, Future[Pixels]]] = deque()

            def read_ahead() -> None:
                for name, picture in islice(found, AHEAD * size - len(waiting)):
                    waiting.append((name, pool.submit(fitted, picture, name, self.preprocess)))

            try:
                read_ahead()
                while waiting:
                    batch = [waiting.popleft() for _ in range(min(size, len(waiting)))]
                    read = [(name, _outcome(future)) for name, future in batch]
                    read_ahead()
                    yield from self._answered(read, top)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _answered(
        self, read: Sequence[tuple[str, Pixels | DataError]], top: int
    ) -> Iterator[Prediction | Unreadable]:
        good = [one for _, one in read if not isinstance(one, DataError)]
        rows = iter(self.probabilities(np.stack(good)) if good else ())
        for name, one in read:
            if isinstance(one, DataError):
                yield Unreadable(name, one)
            else:
                yield self.prediction(name, next(rows), top)

    def probabilities(self, pixels: Pixels) -> Probabilities:
        """Of pictures that were cut to size.    uint8 (n, c, *size) -> float32 (n, k)"""
        return self._answers(pixels)

    def prediction(self, name: str, row: NDArray[np.float32], top: int = 5) -> Prediction:
        """One row of probabilities (k,) in words."""
        order = np.argsort(-row, kind="stable")[:top].tolist()
        best = {self.classes[i]: float(row[i]) for i in order}
        if not self.several:
            return Prediction(name, self.classes[order[0]], float(row[order[0]]), best, row)
        said = {c: float(p) for c, p in zip(self.classes, row, strict=True) if p >= 0.5}
        least = min(said.values()) if said else 1 - float(row.max())
        return Prediction(name, "|".join(said), least, best, row, tuple(said))


def _outcome(future: "Future[Pixels]") -> Pixels | DataError:
    try:
        return future.result()
    except DataError as error:
        return error


def load(path: Path | str, engine: str = "auto", batch_size: int = BATCH) -> Predictor:
    """The predictor for a run folder, a model file, or an exported `.onnx`, `.xml` or `.pt2`.

    `engine` is auto, openvino, onnx or torch; an exported file brings its own. Raises UsageError where nothing is,
    DataError for a file that is damaged or that its certificate doesn't vouch for.
    """
    path = Path(path)
    if path.is_dir() or path.suffix == ".safetensors":
        run = Run.open(path) if path.is_dir() else None
        file = path / "model.safetensors" if run else path
        model = run.model() if run else checkpoint.load(path)
        name = engines.pick(engine)
        answers = engines.of_model(model, file, name)
        return Predictor(model.classes, model.preprocess, answers, name, batch_size, model.several, path)
    return _exported(path, engine, batch_size)


def load_for(path: Path | str, files: Sequence[Path], engine: str = "auto") -> Predictor:
    """`load` for these files once: a network is converted, which takes seconds, only where many are to be answered."""
    few = len(files) < FEW and not any(file.is_dir() or file.suffix.lower() in VIDEO for file in files)
    trained = Path(path).is_dir() or Path(path).suffix == ".safetensors"
    return load(path, "torch" if engine == "auto" and few and trained else engine)


def check(path: Path | str, engine: str = "auto") -> None:
    """Read what `load` would load, without an engine; raises what `load` would raise for a file that is no good."""
    path = Path(path)
    if path.is_dir():
        Run.open(path).model()
    elif path.suffix == ".safetensors":
        checkpoint.load(path)
    else:
        _facts(path, engine)


def _facts(path: Path, engine: str) -> tuple[str, Mapping[str, Any]]:
    """The engine that an exported file is for, and what the file says about itself."""
    needs("onnx", "onnxruntime", "openvino")
    from striate.ship import formats, parity

    kind = formats.of(path)
    name = next(n for n, k in formats.FORMATS.items() if k is kind)
    if engine not in ("auto", name):
        raise UsageError(f"{path} is for {name}, not {engine}")
    if path.is_file():
        parity.verify(path)
    return name, kind.facts(path)


def _exported(path: Path, engine: str, batch_size: int) -> Predictor:
    name, facts = _facts(path, engine)
    try:
        said = parse(Labelling, json.dumps(facts), f"{path} is damaged")
        answers = engines.of_file(path, facts["preprocess"])
        return Predictor(said.classes, said.preprocess, answers, name, batch_size, said.several, path)
    except StriateError:
        raise
    except Exception as error:  # each runtime has its own for a graph that it can't take
        raise DataError(f"{path}: {name} can't load it: {one_line(error)}") from error
