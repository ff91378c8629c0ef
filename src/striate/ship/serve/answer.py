"""From the pictures of a request to rows of probabilities; the same way for every protocol."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from striate.data.header import header
from striate.data.source import Pixels
from striate.errors import DataError
from striate.ship.serve.contract import Refusal, bad
from striate.ship.serve.models import Live, Store
from striate.ship.sources import Picture, fitted

Row = NDArray[np.float32]


@dataclass(frozen=True)
class Answered:
    """Which version answered; for each picture a row (k,), or why it can't be read."""

    live: Live
    rows: Sequence[Row | Refusal]

    def matrix(self) -> NDArray[np.float32]:
        """(n, k) where every picture was read; raises the first refusal."""
        for i, row in enumerate(self.rows):
            if isinstance(row, Refusal):
                raise Refusal(row.status, row.code, f"image {i}: {row}")
        return np.stack(self.rows)  # type: ignore[arg-type]  # no Refusal is left


async def answer(request: Request, store: Store, model: str | None, pictures: Sequence[Picture]) -> Answered:
    """Admit, decode, batch. Raises Refusal where nothing can be answered; a client that leaves ends it all."""
    served = store.get(model)
    count = store.metrics.images
    if not 1 <= len(pictures) <= store.settings.max_images:
        limit = store.settings.max_images
        raise bad(
            f"{len(pictures)} images in one request; 1 to {limit} are accepted",
            "images",
            413 if pictures else 400,
        )
    n = len(pictures)
    try:
        live = served.live
        with live.batcher.admit(n), store.metrics.waiting.labels(served.name).track_inprogress():
            rows = await _unless_gone(request, _answer(store, live, pictures))
    except asyncio.CancelledError:
        count.labels(served.name, "cancelled").inc(n)
        raise
    except Refusal as refusal:
        outcome = {429: "rejected", 503: "rejected", 504: "expired", 499: "cancelled"}.get(
            refusal.status, "failed"
        )
        count.labels(served.name, outcome).inc(n)
        raise
    unread = sum(isinstance(row, Refusal) for row in rows)
    count.labels(served.name, "answered").inc(n - unread)
    count.labels(served.name, "unreadable").inc(unread)
    return Answered(live, rows)


async def _answer(store: Store, live: Live, pictures: Sequence[Picture]) -> list[Row | Refusal]:
    deadline = time.monotonic() + store.settings.timeout
    loop = asyncio.get_running_loop()
    most = store.settings.max_pixels
    jobs = (loop.run_in_executor(store.readers, _read, picture, live, most) for picture in pictures)
    read = await asyncio.gather(*jobs)
    good = [pixels for pixels in read if not isinstance(pixels, Refusal)]
    if not good:
        return list(read)  # type: ignore[arg-type]  # all of them are refusals
    rows = iter(await live.batcher.answer(np.stack(good), deadline))
    return [one if isinstance(one, Refusal) else next(rows) for one in read]


def _read(picture: Picture, live: Live, most: int) -> Pixels | Refusal:
    try:
        if isinstance(picture, bytes):
            head = header(picture)
            if head.width * head.height > most:
                raise DataError(f"{head.width}x{head.height} pixels: over the limit of {most:,}")
        return fitted(picture, "image", live.predictor.preprocess)
    except DataError as error:
        return Refusal(422, "unreadable_image", str(error).removeprefix("'image': "))


async def _unless_gone(
    request: Request, work: Coroutine[Any, Any, list[Row | Refusal]]
) -> list[Row | Refusal]:
    """The result of `work`, which is cancelled when the client closes its connection."""
    job = asyncio.create_task(work)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({job, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            raise Refusal(499, "client_gone", "the client closed the connection")
        return job.result()
    finally:
        gone.cancel()
        job.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
