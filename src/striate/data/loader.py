"""Batches in an order that depends on the seed and the epoch only, read ahead by threads.

OpenCV, zlib and file reads let go of Python's lock, so threads are enough: no process to start, feed or lose.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from striate.data.images import Images
from striate.data.source import Indices
from striate.errors import DataError, UsageError

AHEAD = 3  # batches being read while one is in use
CHUNK = 16  # images a thread reads at a time: a batch is shared out, so the first one is ready soon


def order(n: int, seed: int, epoch: int) -> Indices:
    """The permutation of 0..n-1 of one epoch."""
    return np.random.default_rng([seed, epoch, 0x0DE5]).permutation(n)


def balanced(labels: Indices, seed: int, epoch: int) -> Indices:
    """As many draws as images, each class equally often; none repeats before all of its class were drawn."""
    rng = np.random.default_rng([seed, epoch, 0xBA1A])
    classes = [np.flatnonzero(labels == k) for k in np.unique(labels)]
    n, k = len(labels), len(classes)
    counts = np.full(k, n // k)
    counts[rng.permutation(k)[: n % k]] += 1
    drawn = []
    for members, count in zip(classes, counts, strict=True):
        rounds = -(-count // len(members))
        drawn.append(np.concatenate([rng.permutation(members) for _ in range(rounds)])[:count])
    return rng.permutation(np.concatenate(drawn))


class Loader:
    """Iterates (uint8 (b, c, h, w), labels (b,)) once over one epoch, counted from 1, from batch `start` on.

    `indices` is the whole order of the epoch and `rows` a batch of it, for names, sample weights, alternating flips.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        *,
        seed: int = 0,
        epoch: int = 0,
        shuffle: bool = True,
        start: int = 0,
        workers: int | None = None,
        sampling: Literal["all", "balanced"] = "all",
        drop_last: bool = False,
    ) -> None:
        if batch_size < 1 or start < 0:
            raise UsageError(f"batch size {batch_size} from batch {start}: expected at least 1 and 0")
        if sampling == "balanced" and images.labels.ndim != 1:
            raise UsageError("balanced sampling needs one label an image; these have several")
        self.images, self.batch_size, self.epoch, self.start = images, batch_size, epoch, start
        self.workers = workers if workers is not None else min(8, os.cpu_count() or 1)
        n = len(images)
        if sampling == "balanced":
            self.indices = balanced(images.labels, seed, epoch)
        else:
            self.indices = order(n, seed, epoch) if shuffle else np.arange(n)
        self.batches = n // batch_size if drop_last else -(-n // batch_size)
        self._labels = torch.from_numpy(images.labels)

    def __len__(self) -> int:
        """Batches that are left from `start` on."""
        return max(0, self.batches - self.start)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.images.in_memory or self.workers < 1:
            for b in range(self.start, self.batches):
                rows = self.rows(b)
                yield self._read(rows), self._labels[torch.from_numpy(rows)]
        else:
            yield from self._ahead()

    def rows(self, batch: int) -> Indices:
        """Numbers of the images of one batch of the epoch."""
        return self.indices[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _read(self, rows: Indices, out: Tensor | None = None) -> Tensor:
        try:
            return self.images.read(rows, out)
        except DataError as e:
            raise DataError(f"{e} (epoch {self.epoch})" if self.epoch else str(e), e.hint) from e

    def _ahead(self) -> Iterator[tuple[Tensor, Tensor]]:
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="striate-data")

        def begin(batch: int) -> tuple[Indices, Tensor, list[Future[Tensor]]]:
            rows = self.rows(batch)
            out = torch.empty((len(rows), *self.images.shape), dtype=torch.uint8)
            pieces = [slice(i, i + CHUNK) for i in range(0, len(rows), CHUNK)]
            return rows, out, [pool.submit(self._read, rows[p], out[p]) for p in pieces]

        try:
            waiting = iter(range(self.start, self.batches))
            queue = deque(begin(b) for b in islice(waiting, AHEAD))
            while queue:
                rows, out, parts = queue.popleft()
                for part in parts:
                    part.result()
                queue.extend(begin(b) for b in islice(waiting, 1))
                yield out, self._labels[torch.from_numpy(rows)]
        finally:  # also when the reader stops in the middle: nothing is read for nobody
            pool.shutdown(wait=True, cancel_futures=True)
