"""From the pictures of a request to rows of probabilities; the same way for every protocol."""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect, Request

from striate.data.header import header
from striate.data.source import Pixels
from striate.errors import DataError
from striate.ship.serve.contract import Refusal, bad, gone, unknown_version
from striate.ship.serve.models import Live, Served, Store
from striate.ship.sources import Picture, fitted

Row = NDArray[np.float32]
OUTCOMES = {429: "rejected", 503: "rejected", 504: "expired", 499: "cancelled", 500: "failed"}


@dataclass(frozen=True)
class Answered:
    """Which version answered; for each picture a row (k,), or why it can't be read."""

    live: Live
    rows: Sequence[Row | Refusal]

    @property
    def headers(self) -> dict[str, str]:
        """What names the version in protocols that have no place for it."""
        return {"X-Model-Version": self.live.version}

    def matrix(self) -> NDArray[np.float32]:
        """(n, k) where every picture was read; raises the first refusal."""
        for i, row in enumerate(self.rows):
            if isinstance(row, Refusal):
                raise Refusal(row.status, row.code, f"image {i}: {row}")
        return np.stack(self.rows)  # type: ignore[arg-type]  # no Refusal is left


@contextmanager
def arriving(store: Store, model: str | None) -> Iterator[Served]:
    """Around the reading of a body: none is read where the queue is full; what ends here counts as one image."""
    served = store.get(model)
    with _counted(store, served, 1):
        served.live.batcher.room()
        try:
            yield served
        except ClientDisconnect:
            raise gone() from None


async def answer(
    request: Request, store: Store, model: str | None, pictures: Sequence[Picture], version: str = ""
) -> Answered:
    """Admit, decode, batch. Raises Refusal where nothing can be answered; a client that leaves ends it all.

    `version` is the one that must answer, if any.
    """
    served, n, limit = store.get(model), len(pictures), store.settings.max_images
    if not 1 <= n <= limit:
        raise bad(f"{n} images in one request; 1 to {limit} are accepted", "images", 413 if n else 400)
    with _counted(store, served, n):
        live = served.live
        if version and version != live.version:
            raise unknown_version()
        waiting = store.metrics.waiting.labels(served.name)
        deadline = request.state.arrived + store.settings.timeout
        with live.batcher.admit(n):
            waiting.inc(n)
            try:
                rows = await _unless_gone(request, _in_time(_answer(store, live, pictures), deadline))
            finally:
                waiting.dec(n)
    unread = sum(isinstance(row, Refusal) for row in rows)
    store.metrics.images.labels(served.name, "answered").inc(n - unread)
    store.metrics.images.labels(served.name, "unreadable").inc(unread)
    return Answered(live, rows)


@contextmanager
def _counted(store: Store, served: Served, images: int) -> Iterator[None]:
    """Counts images that end without an answer."""
    try:
        yield
    except (Refusal, asyncio.CancelledError) as end:
        outcome = OUTCOMES.get(end.status) if isinstance(end, Refusal) else "cancelled"
        if outcome:
            store.metrics.images.labels(served.name, outcome).inc(images)
        raise


async def _in_time(work: Coroutine[Any, Any, list[Row | Refusal]], deadline: float) -> list[Row | Refusal]:
    """The result of `work`, which is cancelled at `deadline`, a time of the monotonic clock."""
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await work
    except TimeoutError:
        raise Refusal(504, "deadline", "the request waited too long") from None


async def _answer(store: Store, live: Live, pictures: Sequence[Picture]) -> list[Row | Refusal]:
    loop = asyncio.get_running_loop()
    most = store.settings.max_pixels
    jobs = (loop.run_in_executor(store.readers, _read, picture, live, most) for picture in pictures)
    read = await asyncio.gather(*jobs)
    good = [pixels for pixels in read if not isinstance(pixels, Refusal)]
    if not good:
        return list(read)  # type: ignore[arg-type]  # all of them are refusals
    rows = iter(await live.batcher.answer(good))
    return [one if isinstance(one, Refusal) else next(rows) for one in read]


def _read(picture: Picture, live: Live, most: int) -> Pixels | Refusal:
    try:
        if isinstance(picture, bytes):
            head = header(picture)
            if head.width * head.height > most:
                raise DataError(
                    f"{head.width}x{head.height} pixels: over the limit of {most:,} (--max-pixels)"
                )
        return fitted(picture, "image", live.predictor.preprocess)
    except DataError as error:
        return Refusal(422, "unreadable_image", str(error).removeprefix("'image': "))


async def _unless_gone(
    request: Request, work: Coroutine[Any, Any, list[Row | Refusal]]
) -> list[Row | Refusal]:
    """The result of `work`, which is cancelled when the client closes its connection."""
    job = asyncio.create_task(work)
    left = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({job, left}, return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            raise gone()
        return job.result()
    finally:
        left.cancel()
        job.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
