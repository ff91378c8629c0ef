"""The models that are served, each with its batches; a new version takes over when it has answered."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from striate.errors import StriateError, UsageError, nearest
from striate.files import sha256
from striate.ship.engines import cores
from striate.ship.places import certificate_path, files
from striate.ship.predictor import Predictor, load
from striate.ship.serve.batching import Batcher
from striate.ship.serve.contract import Refusal, Settings, starting
from striate.ship.serve.metrics import Metrics
from striate.ship.serve.worker import Worker

log = logging.getLogger("striate.serve")


class Live(NamedTuple):
    """One version in use."""

    version: str
    predictor: Predictor
    batcher: Batcher


class Served:
    """A name that clients use, the files behind it, and the version that answers now."""

    def __init__(self, name: str, path: Path, settings: Settings, metrics: Metrics) -> None:
        self.name, self.path, self.settings, self.metrics = name, path, settings, metrics
        self.files = weights(path)
        self._live: Live | None = None
        self._seen = self._state()
        self._loader = Worker("striate-load")

    @property
    def ready(self) -> bool:
        return self._live is not None and self._live.batcher.ready

    @property
    def live(self) -> Live:
        """The version to use for the whole of a request; raises Refusal before there is one."""
        if self._live is None:
            raise starting()
        return self._live

    async def start(self) -> None:
        """Load the model, let it answer once, put it in use; what it replaces finishes what it has begun."""
        version, predictor = await self._loader.do(self._open)
        s = self.settings
        batcher = Batcher(
            predictor.probabilities, s.max_batch, s.max_queue, s.hang_timeout, self.metrics.batch(self.name)
        )
        before, self._live = self._live, Live(version, predictor, batcher)
        if before is not None:
            await before.batcher.close()

    async def keep_fresh(self) -> None:
        """Load anew what has changed, or hangs; a file that is no good changes nothing."""
        while True:
            await asyncio.sleep(self.settings.reload_every)
            if self.ready and not await self._changed():
                continue
            try:
                await self.start()
                log.info("%s: version %s answers", self.name, self.live.version)
            except Exception as error:
                self.metrics.failed_reloads.labels(self.name).inc()
                log.warning(
                    "%s: the new file is no good, version %s stays: %s", self.name, self.live.version, error
                )

    async def _changed(self) -> bool:
        """Whether the files are others than those looked at last, and have stopped changing."""
        now = self._state()
        if None in now[:-1] or now == self._seen:
            return False
        await asyncio.sleep(min(0.2, self.settings.reload_every))
        if self._state() != now:
            return False
        self._seen = now
        return True

    def _state(self) -> list[tuple[int, int, int] | None]:
        """Of the files, and last of the certificate, if they have one: it may come after them."""
        return [_state(file) for file in (*self.files, certificate_path(self.path))]

    def _open(self) -> tuple[str, Predictor]:
        version = self._version()
        predictor = load(self.path, self.settings.engine, self.settings.max_batch)
        c, h, w = predictor.preprocess.shape
        for n in {1, min(2, self.settings.max_batch)}:
            rows = predictor.probabilities(np.zeros((n, c, h, w), np.uint8))
            if rows.shape != (n, len(predictor.classes)) or not np.isfinite(rows).all():
                raise StriateError(f"{self.path}: the network gives no probabilities")
        if self._version() != version:
            raise StriateError(f"{self.path} changed while it was read")
        return version, predictor

    def _version(self) -> str:
        """A number made of the content, the same in every process: clients of TensorFlow Serving expect a number."""
        together = hashlib.sha256("".join(map(sha256, self.files)).encode()).hexdigest()
        return str(int(together[:12], 16))


class Store:
    """All models by name, and the threads that decode."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.models = {n: Served(n, Path(p), settings, metrics) for n, p in settings.models.items()}
        self.readers = ThreadPoolExecutor(cores(), "striate-read")
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        return all(model.ready for model in self.models.values())

    def get(self, name: str | None) -> Served:
        """The model of this name, or the first; raises Refusal for a name that isn't served."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Refusal(404, "unknown_model", "no model of this name is served")
        return self.models[name]

    def start(self, failed: Callable[[Exception], None]) -> None:
        """Load everything, without keeping anybody waiting; `failed` hears of a model that can't be loaded."""

        async def begin(model: Served) -> None:
            try:
                began = time.monotonic()
                await model.start()
                log.info(
                    "%s: ready after %.1f s on %s",
                    model.name,
                    time.monotonic() - began,
                    model.live.predictor.engine,
                )
            except Exception as error:
                failed(error)
                return
            await model.keep_fresh()

        self._tasks = [asyncio.create_task(begin(model)) for model in self.models.values()]

    async def until_ready(self) -> None:
        """Wait for every model."""
        while not self.ready:
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Stop looking at files."""
        for task in self._tasks:
            task.cancel()
        self.readers.shutdown(wait=False, cancel_futures=True)


def weights(path: Path) -> list[Path]:
    """The files by which a model changes; raises UsageError where there are none."""
    found = [path / "model.safetensors"] if path.is_dir() else files(path)
    if not found[0].is_file():
        known = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UsageError(f"nothing to serve at {path}", nearest(path.name, known))
    return found


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        info = file.stat()
    except OSError:
        return None
    return info.st_ino, info.st_size, info.st_mtime_ns
