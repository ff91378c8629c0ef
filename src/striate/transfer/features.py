"""What a frozen base says of images: computed once an image, kept on disk, and found again by content."""

import os
from collections.abc import Callable
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
from striate.transfer.extract import BATCH, extractor, runtime

FORMAT = 1


def features(
    base: nn.Module,
    prepare: Callable[[Tensor], Tensor],
    images: Images,
    preprocess: Preprocess,
    dtype: torch.dtype = torch.float32,
    workers: int = 2,
    cache: bool = True,
) -> Tensor:
    """float32 (n, d) of a split, or (n, d, h, w) where the base ends in maps; only what no run computed before is.

    `prepare` standardises uint8 batches, `preprocess` is what made the pixels, `dtype` the arithmetic of the base.
    """
    digests = images.digests()
    folder = home() / "cache" / _key(base, preprocess, dtype)
    known = _Store(folder) if cache else None
    rows = known.rows(digests) if known else np.full(len(images), -1)
    missing = np.flatnonzero(rows < 0)
    if known and not len(missing):
        return known.values[torch.from_numpy(rows)]
    run = extractor(base, prepare, images.shape, dtype)
    loader = Loader(_Some(images, missing), BATCH, shuffle=False, workers=workers)
    fresh = torch.cat([run(x) for x, _ in loader])
    if known:
        known.add(digests[missing], fresh)
    if not known or len(missing) == len(rows):
        return fresh
    found = known.values[torch.from_numpy(rows)]
    found[torch.from_numpy(missing)] = fresh
    return found


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
        self.digests, self.values = np.empty(0, np.uint64), torch.empty(0)
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)  # the cache of pixels beside it evicts what was used longest ago
        with suppress(SafetensorError, OSError, KeyError):
            kept = load_file(self.path)
            self.digests, self.values = kept["digests"].numpy().view(np.uint64), kept["values"]

    def rows(self, digests: np.ndarray) -> np.ndarray:
        """The row of each image, -1 where there is none."""
        where = {d: i for i, d in enumerate(self.digests.tolist())}
        return np.array([where.get(d, -1) for d in digests.tolist()], np.int64)

    def add(self, digests: np.ndarray, values: Tensor) -> None:
        """Keep more, beside what another run may have kept meanwhile; a full disk keeps nothing."""
        with suppress(OSError):
            lock = hold(self.path.with_name("lock"))
            try:
                now = _Store(self.path.parent)
                _, first = np.unique(digests, return_index=True)
                new = first[now.rows(digests[first]) < 0]
                kept = {
                    "digests": torch.from_numpy(np.concatenate([now.digests, digests[new]]).view(np.int64)),
                    "values": torch.cat([now.values, values[new]]) if len(now.digests) else values[new],
                }
                write_whole(self.path, lambda p: save_file(kept, p))
            finally:
                if lock is not None:
                    os.close(lock)


def _key(base: nn.Module, preprocess: Preprocess, dtype: torch.dtype) -> str:
    """The base's weights and shape, everything that changes a pixel, and what computes."""
    digest = blake2b(
        repr((FORMAT, str(base), preprocess, runtime(), torch.__version__)).encode(), digest_size=16
    )
    for name, value in base.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
