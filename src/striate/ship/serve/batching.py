"""Images of many requests in one forward pass: never more than the maximum, none for nobody, none swapped."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from striate.data.source import Pixels
from striate.ship.engines import Answers, Probabilities
from striate.ship.serve.contract import Refusal, overloaded, starting
from striate.ship.serve.worker import Worker

NO_ROOM = (
    "out of memory",
    "bad_alloc",
    "bad allocation",
    "failed to allocate",
    "cannot allocate",
    "out_of_resources",
)
log = logging.getLogger("striate.serve")


@dataclass
class _Item:
    """One image that waits; `answer` is cancelled when nobody waits for it any more."""

    pixels: Pixels
    answer: "asyncio.Future[Probabilities]"


class Batcher:
    """Takes what has come together while the last batch ran; an idle one answers at once.

    `max_queue` bounds the images that are admitted and not yet answered. An engine that doesn't come back within
    `hang_timeout` is given up: what waits is refused, and `ready` stays False, until another takes over.
    """

    def __init__(
        self,
        answers: Answers,
        max_batch: int,
        max_queue: int,
        hang_timeout: float = 60.0,
        observe: Callable[[int, float], None] = lambda images, seconds: None,
    ) -> None:
        self.max_batch, self.max_queue, self.hang_timeout = max_batch, max_queue, hang_timeout
        self.admitted = 0
        self.ready = True
        self._answers, self._observe = answers, observe
        self._queue: deque[_Item] = deque()
        self._running = False
        self._came = asyncio.Event()
        self._seconds_per_image = 0.01
        self._worker = Worker("striate-infer")
        self._task = asyncio.create_task(self._serve())

    def room(self, images: int = 1) -> None:
        """Raise Refusal where this many images can't be taken now."""
        if not self.ready:
            raise starting()
        if self.admitted + images > self.max_queue:
            raise overloaded(self.admitted * self._seconds_per_image)

    @contextmanager
    def admit(self, images: int) -> Iterator[None]:
        """Room for this many images while they are decoded and answered; raises Refusal where there is none."""
        self.room(images)
        self.admitted += images
        try:
            yield
        finally:
            self.admitted -= images

    async def answer(self, pixels: Sequence[Pixels]) -> Probabilities:
        """Probabilities of a request's images in their order; cancelled, those that still wait are never computed.

        n of (c, h, w) -> (n, k)
        """
        if not self.ready:
            raise starting()
        loop = asyncio.get_running_loop()
        items = [_Item(one, loop.create_future()) for one in pixels]
        self._queue.extend(items)
        self._came.set()
        try:
            return np.stack(await asyncio.gather(*(item.answer for item in items)))
        finally:
            for item in items:
                item.answer.cancel()

    async def close(self) -> None:
        """Answer what waits, then stop; one that hung has nothing that waits."""
        while self.ready and (self._queue or self._running or self.admitted):
            await asyncio.sleep(0.01)
        self._task.cancel()
        self._worker.close()

    async def _serve(self) -> None:
        while self.ready:
            await self._came.wait()
            if batch := self._take():
                self._running = True
                await self._run(batch)
                self._running = False
            else:
                self._came.clear()

    def _take(self) -> list[_Item]:
        """The next images that somebody still waits for, in the order in which they came."""
        batch: list[_Item] = []
        while self._queue and len(batch) < self.max_batch:
            item = self._queue.popleft()
            if not item.answer.done():
                batch.append(item)
        return batch

    async def _run(self, batch: list[_Item]) -> None:
        began = time.monotonic()
        job = self._worker.do(lambda: self._infer(np.stack([item.pixels for item in batch])))
        await asyncio.wait({job}, timeout=self.hang_timeout)
        if not job.done():
            job.cancel()
            self._give_up(batch)
            return
        try:
            rows = job.result()
            if len(rows) != len(batch):
                raise ValueError(f"{len(rows)} answers for {len(batch)} images")
        except Exception:  # whatever a runtime raises: its members fail, the next batch is served
            log.exception("a batch of %d failed", len(batch))
            _fail(batch, Refusal(500, "model_failed", "the model failed on this batch"))
            return
        seconds = time.monotonic() - began
        self._seconds_per_image += 0.1 * (seconds / len(batch) - self._seconds_per_image)
        self._observe(len(batch), seconds)
        for item, row in zip(batch, rows, strict=True):
            if np.isfinite(row).all():
                if not item.answer.done():
                    item.answer.set_result(row)
            else:
                _fail([item], Refusal(500, "not_finite", "the model's answer is not a number"))

    def _give_up(self, batch: list[_Item]) -> None:
        """Leave the thread that hangs behind, with whatever it holds."""
        self.ready = False
        self._worker.close()
        _fail(batch, Refusal(504, "hung", "the model did not answer in time"))
        _fail(self._queue, starting())
        self._queue.clear()

    def _infer(self, pixels: Pixels) -> Probabilities:
        """The batch, or halves of it where the device has no room for all."""
        try:
            return self._answers(pixels)
        except Exception as error:
            if len(pixels) == 1 or not _no_room(error):
                raise
        half = math.ceil(len(pixels) / 2)
        return np.concatenate([self._infer(pixels[:half]), self._infer(pixels[half:])])


def _no_room(error: Exception) -> bool:
    """Whether a runtime ran out of memory; ONNX Runtime and OpenVINO say so in words alone."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in NO_ROOM)


def _fail(items: Iterable[_Item], refusal: Refusal) -> None:
    for item in items:
        if not item.answer.done():
            item.answer.set_exception(refusal)
