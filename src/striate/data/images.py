"""Images of one split: labels and names in memory, pixels read when asked for."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from striate.data.preprocess import Preprocess
from striate.data.source import Indices, Store
from striate.errors import DataError

Digests = npt.NDArray[np.uint64]  # eight bytes of BLAKE2b an image


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
    """Pixels decoded and resized at each read."""

    def __init__(
        self,
        store: Store,
        rows: Indices,
        preprocess: Preprocess,
        digests: Digests,
        labels: npt.NDArray[Any],
        ids: Sequence[str],
        weights: npt.NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__(labels, ids, weights)
        self.store, self.rows, self.preprocess, self._digests = store, rows, preprocess, digests

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.preprocess.shape

    def read(self, indices: Indices | Sequence[int], out: Tensor | None = None) -> Tensor:
        rows = self.rows[np.asarray(indices, np.int64)]
        if out is None:
            out = torch.empty((len(rows), *self.shape), dtype=torch.uint8)
        target = out.numpy()
        for i, row in enumerate(rows.tolist()):
            try:
                target[i] = self.store.pixels(row, self.preprocess)
            except DataError as e:
                raise DataError(f"{os.fspath(self.store.name(row))!r}: {e}", e.hint) from e
        return out

    def digests(self) -> Digests:
        return self._digests


def digest(data: "bytes | memoryview[int]") -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest())


def array_digests(pixels: npt.NDArray[np.uint8]) -> Digests:
    """`pixels` (n, ...) -> (n,)"""
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    return np.fromiter((digest(row.data) for row in rows), np.uint64, len(rows))
