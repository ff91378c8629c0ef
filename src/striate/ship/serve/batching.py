"""Images of many requests in one forward pass: never more than the maximum, none for nobody, none swapped."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from striate.data.source import Pixels
from striate.ship.engines import Answers, Probabilities
from striate.ship.serve.contract import Refusal, overloaded, starting


@dataclass
class _Item:
    """One image that waits; `answer` is cancelled when its client is gone."""

    pixels: Pixels
    deadline: float
    answer: "asyncio.Future[Probabilities]"


class Batcher:
    """Takes what has come together while the last batch ran; an idle one answers at once.

    `max_queue` bounds the images that are admitted and not yet answered. An engine that doesn't come back within
    `hang_timeout` is given up and opened anew by `reopen`.
    """

    def __init__(
        self,
        answers: Answers,
        max_batch: int,
        max_queue: int,
        hang_timeout: float = 60.0,
        reopen: Callable[[], Answers] | None = None,
        observe: Callable[[int, float], None] = lambda images, seconds: None,
    ) -> None:
        self.max_batch, self.max_queue, self.hang_timeout = max_batch, max_queue, hang_timeout
        self.admitted = 0
        self.ready = True
        self._answers, self._reopen, self._observe = answers, reopen, observe
        self._queue: deque[_Item] = deque()
        self._came = asyncio.Event()
        self._seconds_per_image = 0.01
        self._thread = ThreadPoolExecutor(1, "striate-infer")
        self._task = asyncio.create_task(self._serve())

    @contextmanager
    def admit(self, images: int) -> Iterator[None]:
        """Room for this many images while they are decoded and answered; raises Refusal where there is none."""
        if not self.ready:
            raise starting()
        if self.admitted + images > self.max_queue:
            raise overloaded(self.admitted * self._seconds_per_image)
        self.admitted += images
        try:
            yield
        finally:
            self.admitted -= images

    async def answer(self, pixels: Pixels, deadline: float) -> Probabilities:
        """Probabilities of a request's images in their order; cancelled, those that still wait are never computed.

        `deadline` is a time of the monotonic clock; raises Refusal where it passes in the queue.
        (n, c, h, w) -> (n, k)
        """
        loop = asyncio.get_running_loop()
        items = [_Item(one, deadline, loop.create_future()) for one in pixels]
        self._queue.extend(items)
        self._came.set()
        try:
            return np.stack(await asyncio.gather(*(item.answer for item in items)))
        finally:
            for item in items:
                item.answer.cancel()

    async def close(self) -> None:
        """Answer what waits, then stop."""
        while self._queue or self.admitted:
            await asyncio.sleep(0.01)
        self._task.cancel()
        self._thread.shutdown(wait=False)

    async def _serve(self) -> None:
        while True:
            await self._came.wait()
            batch = self._take()
            if batch:
                await self._run(batch)
            elif not self._queue:
                self._came.clear()

    def _take(self) -> list[_Item]:
        """The next images that somebody still waits for, in the order in which they came."""
        batch: list[_Item] = []
        now = time.monotonic()
        while self._queue and len(batch) < self.max_batch:
            item = self._queue.popleft()
            if item.answer.done():
                continue
            if item.deadline < now:
                item.answer.set_exception(
                    Refusal(504, "deadline", "the request waited too long in the queue")
                )
            else:
                batch.append(item)
        return batch

    async def _run(self, batch: list[_Item]) -> None:
        began = time.monotonic()
        job = asyncio.get_running_loop().run_in_executor(
            self._thread, self._infer, np.stack([item.pixels for item in batch])
        )
        try:
            rows = await asyncio.wait_for(job, self.hang_timeout)
            if len(rows) != len(batch):
                raise ValueError(f"{len(rows)} answers for {len(batch)} images")
        except TimeoutError:
            _fail(batch, Refusal(504, "hung", "the model did not answer in time"))
            await self._open_anew()
            return
        except Exception:  # whatever a runtime raises: its members fail, the next batch is served
            _fail(batch, Refusal(500, "model_failed", "the model failed on this batch"))
            return
        seconds = time.monotonic() - began
        self._seconds_per_image += 0.1 * (seconds / len(batch) - self._seconds_per_image)
        self._observe(len(batch), seconds)
        for item, row in zip(batch, rows, strict=True):
            if not item.answer.done():
                if np.isfinite(row).all():
                    item.answer.set_result(row)
                else:
                    item.answer.set_exception(
                        Refusal(500, "not_finite", "the model's answer is not a number")
                    )

    def _infer(self, pixels: Pixels) -> Probabilities:
        """The batch, or halves of it where the device has no room for all."""
        try:
            return self._answers(pixels)
        except (MemoryError, torch.OutOfMemoryError):
            half = math.ceil(len(pixels) / 2)
            if len(pixels) == 1:
                raise
            return np.concatenate([self._infer(pixels[:half]), self._infer(pixels[half:])])

    async def _open_anew(self) -> None:
        """Leave the thread that hangs behind, and go on with a fresh engine."""
        self.ready = False
        self._thread.shutdown(wait=False)
        self._thread = ThreadPoolExecutor(1, "striate-infer")
        if self._reopen is not None:
            self._answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._reopen)
        self.ready = True


def _fail(batch: list[_Item], refusal: Refusal) -> None:
    for item in batch:
        if not item.answer.done():
            item.answer.set_exception(refusal)
