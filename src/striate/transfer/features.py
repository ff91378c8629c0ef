"""What a frozen base says of images: computed once an image, kept on disk, and found again by content."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from striate.data import Images, Loader, Preprocess
from striate.data.files import hold, home
from striate.files import write_whole
from striate.transfer.extract import BATCH, Extract, extractor

FORMAT = 2


class Features:
    """A frozen base and what it said.

    `prepare` standardises uint8 batches, `preprocess` is what made the pixels, `dtype` the arithmetic of the base.
    """

    def __init__(
        self,
        base: nn.Module,
        prepare: Callable[[Tensor], Tensor],
        preprocess: Preprocess,
        dtype: torch.dtype = torch.float32,
        cache: bool = True,
    ) -> None:
        self.base, self.prepare, self.dtype = base.eval(), prepare, dtype
        self.store = _Store(home() / "cache" / _key(base, preprocess, dtype)) if cache else None
        self.extract: Extract | None = None

    def of(self, images: Images, workers: int = 2) -> Tensor:
        """float32 (n, d) of a split, or (n, d, h, w) where the base ends in maps; computed where nobody did before."""
        digests, store = images.digests(), self.store
        rows = store.rows(digests) if store else np.full(len(images), -1)
        missing = np.flatnonzero(rows < 0)
        if store and not len(missing):
            return store.values[torch.from_numpy(rows)]
        parts: list[Tensor] = []
        try:
            parts.extend(self._compute(_Some(images, missing), workers))
        finally:  # what was computed before something came between is kept too
            fresh = torch.cat(parts) if parts else torch.empty(0)
            if store and parts:
                store.add(digests[missing[: len(fresh)]], fresh)
        if not store or len(missing) == len(rows):
            return fresh
        return store.values[torch.from_numpy(store.rows(digests))]

    def _compute(self, images: Images, workers: int) -> Iterator[Tensor]:
        if self.extract is None:
            self.extract = extractor(self.base, self.prepare, images.shape, self.dtype, len(images))
        loader = Loader(images, BATCH, shuffle=False, workers=workers)
        for x, _ in loader:
            yield self.extract(x)


class _Some(Images):
    """Some rows of a split."""

    def __init__(self, images: Images, which: np.ndarray) -> None:
        super().__init__(images.labels[which], [images.ids[i] for i in which])
        self.images, self.which = images, which

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.images.shape

    def read(self, indices: object, out: Tensor | None = None) -> Tensor:
        return self.images.read(self.which[np.asarray(indices)], out)

    def digests(self) -> np.ndarray:
        return self.images.digests()[self.which]


class _Store:
    """Features by the digest of their image, one file for all that one base has seen; a damaged file counts as none."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "features.safetensors"
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)  # the cache of pixels beside it evicts what was used longest ago
        self._read()

    def _read(self) -> None:
        self.digests, self.values = np.empty(0, np.uint64), torch.empty(0)
        with suppress(SafetensorError, OSError, KeyError):
            kept = load_file(self.path)
            self.digests, self.values = kept["digests"].numpy().view(np.uint64), kept["values"]

    def rows(self, digests: np.ndarray) -> np.ndarray:
        """The row of each image, -1 where there is none."""
        where = {d: i for i, d in enumerate(self.digests.tolist())}
        return np.array([where.get(d, -1) for d in digests.tolist()], np.int64)

    def add(self, digests: np.ndarray, values: Tensor) -> None:
        """Keep more, beside what another run has kept meanwhile; a full disk only keeps it from the next run."""
        lock = hold(self.path.with_name("lock"))
        try:
            self._read()
            _, first = np.unique(digests, return_index=True)
            new = first[self.rows(digests[first]) < 0]
            self.digests = np.concatenate([self.digests, digests[new]])
            self.values = torch.cat([self.values, values[new]]) if len(self.values) else values[new]
            kept = {"digests": torch.from_numpy(self.digests.view(np.int64)), "values": self.values}
            with suppress(OSError, SafetensorError):
                write_whole(self.path, lambda p: save_file(kept, p))
        finally:
            if lock is not None:
                os.close(lock)


def _key(base: nn.Module, preprocess: Preprocess, dtype: torch.dtype) -> str:
    """The base's weights and shape, everything that changes a pixel, and the arithmetic."""
    digest = blake2b(repr((FORMAT, str(base), preprocess, dtype)).encode(), digest_size=16)
    for name, value in base.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
