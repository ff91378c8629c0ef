"""Real pictures of a run's splits as they lie in its data: decoded, but neither cut nor resized."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from striate.data.arrays import ArrayStore, channels
from striate.data.decode import decode
from striate.data.folder import FileStore
from striate.data.preprocess import Preprocess
from striate.data.source import Part, Pixels, open_source
from striate.data.splits import restore
from striate.data.table import named_columns
from striate.errors import DataError
from striate.train import Run

Labels = NDArray[np.bool_]  # which of the classes a picture has
Sample = tuple[Pixels, Pixels, Labels]


@dataclass(frozen=True)
class Samples:
    """Pictures of one split, each raw (h, w, c), as training read it (c, *size), and its labels (k,)."""

    part: Part
    classes: Sequence[str]
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.part)

    def __iter__(self) -> Iterator[Sample]:
        for row, target in zip(self.part.rows.tolist(), self.part.targets, strict=True):
            names = (target,) if isinstance(target, str) else target
            labels = np.array([name in names for name in self.classes])
            yield self._raw(row), self.part.store.pixels(row, self.preprocess), labels

    def _raw(self, row: int) -> Pixels:
        store, c = self.part.store, self.preprocess.channels
        if isinstance(store, ArrayStore):
            return np.ascontiguousarray(channels(store.array[row], c))
        if isinstance(store, FileStore):
            return decode(store.encoded(row), c, white=self.preprocess.white)
        raise DataError(f"no raw pictures in a {type(store).__name__}")

    def some(self, most: int) -> "Samples":
        """At most this many, spread evenly over the split."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(np.int64))
        return Samples(self.part.take(rows), self.classes, self.preprocess)


def samples(run: Run, split: str) -> Samples:
    """The pictures of `train`, `val` or `test`, from the data that the run was trained on."""
    model = run.model()
    columns, white = named_columns(run.recipe.columns), model.preprocess.white
    parts = restore(open_source(run.source, columns, offline=True, white=white), run.splits)
    if not len(parts[split]):
        raise DataError(f"{run.folder}: there are no images in its {split} split to compare on")
    return Samples(parts[split], model.classes, model.preprocess)


def batches(found: Samples, most: int) -> Iterator[Sample]:
    """Runs of pictures of one size: raw (n, h, w, c), as trained (n, c, *size), labels (n, k); n is at most `most`."""
    held: list[Sample] = []
    for sample in found:
        if held and (len(held) == most or held[0][0].shape != sample[0].shape):
            yield _stacked(held)
            held = []
        held.append(sample)
    if held:
        yield _stacked(held)


def _stacked(held: Sequence[Sample]) -> Sample:
    raw, trained, labels = zip(*held, strict=True)
    return np.stack(raw), np.stack(trained), np.stack(labels)
