"""Images of one split: labels and names in memory, pixels read when asked for."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from striate.data.cache import Cache
from striate.data.preprocess import Preprocess
from striate.data.scan import digest
from striate.data.source import Digests, Indices, Pixels, Store
from striate.errors import DataError


class Images(ABC):
    """`labels` are int64 class numbers (n,), or float32 (n, k) of 0 and 1 where an image has several."""

    in_memory = False

    def __init__(
        self, labels: npt.NDArray[Any], ids: Sequence[str], weights: npt.NDArray[np.float32] | None = None
    ) -> None:
        self.labels, self.ids, self.weights = labels, ids, weights

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w)"""

    @abstractmethod
    def read(self, indices: Indices | Sequence[int], out: Tensor | None = None) -> Tensor:
        """Rows in the order given, repeats allowed -> uint8 (b, c, h, w), in `out` if given."""

    @abstractmethod
    def digests(self) -> Digests:
        """(n,) One number an image, by which a change of its content shows."""


class ArrayImages(Images):
    """Pixels kept as one uint8 tensor (n, c, h, w)."""

    in_memory = True

    def __init__(
        self,
        pixels: Tensor,
        labels: npt.NDArray[Any],
        ids: Sequence[str],
        weights: npt.NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__(labels, ids, weights)
        self.pixels = pixels

    @property
    def shape(self) -> tuple[int, int, int]:
        c, h, w = self.pixels.shape[1:]
        return c, h, w

    def read(self, indices: Indices | Sequence[int], out: Tensor | None = None) -> Tensor:
        rows = torch.as_tensor(np.asarray(indices, np.int64), device=self.pixels.device)
        if out is None:
            return self.pixels.index_select(0, rows)
        return torch.index_select(self.pixels, 0, rows, out=out)

    def digests(self) -> Digests:
        return array_digests(self.pixels.numpy())


class StoredImages(Images):
    """Pixels decoded and resized when first read, and taken from the cache from then on."""

    def __init__(
        self,
        store: Store,
        rows: Indices,
        preprocess: Preprocess,
        digests: Digests,
        labels: npt.NDArray[Any],
        ids: Sequence[str],
        weights: npt.NDArray[np.float32] | None = None,
        cache: Cache | None = None,
    ) -> None:
        super().__init__(labels, ids, weights)
        self.store, self.rows, self.preprocess, self.cache, self._digests = (
            store,
            rows,
            preprocess,
            cache,
            digests,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.preprocess.shape

    def read(self, indices: Indices | Sequence[int], out: Tensor | None = None) -> Tensor:
        rows = self.rows[np.asarray(indices, np.int64)].tolist()
        if out is None:
            out = torch.empty((len(rows), *self.shape), dtype=torch.uint8)
        for row, target in zip(rows, out.numpy(), strict=True):
            if self.cache is None or not self.cache.get(row, target):
                target[:] = self._decoded(row)
                if self.cache is not None:
                    self.cache.put(row, target)
        return out

    def _decoded(self, row: int) -> Pixels:
        try:
            return self.store.pixels(row, self.preprocess)
        except DataError as e:
            raise DataError(f"{self.store.name(row)!r}: {e}", e.hint) from e

    def digests(self) -> Digests:
        return self._digests


def array_digests(pixels: npt.NDArray[np.uint8]) -> Digests:
    """`pixels` (n, ...) -> (n,)"""
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), int(np.prod(pixels.shape[1:])))
    return np.fromiter((digest(row.data) for row in rows), np.uint64, len(rows))
