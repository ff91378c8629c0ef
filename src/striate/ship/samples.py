"""Real pictures of a run's splits as they lie in its data: decoded, but neither cut nor resized."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.data.arrays import ArrayStore, channels
from striate.data.classes import present, some
from striate.data.decode import decode
from striate.data.folder import FileStore
from striate.data.preprocess import Preprocess
from striate.data.source import Part, Pixels, open_source
from striate.data.splits import divide, restore
from striate.data.table import named_columns
from striate.errors import DataError
from striate.train import Model, Run

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
    return of_split(of_run(run), run.model(), split)


def of_run(run: Run) -> dict[str, Part]:
    """The parts of the data that the run was trained on, as it divided them."""
    try:
        columns, white = named_columns(run.recipe.columns), run.model().preprocess.white
        source = open_source(run.source, columns, offline=True, white=white)
        return restore(source, run.splits)
    except DataError as error:
        raise DataError(str(error), "--data DATA takes other pictures of the same classes") from error


def of_data(
    data: Path | str, model: Model, apart: bool, splits: Mapping[str, Any] | None = None
) -> dict[str, Part]:
    """The parts of other data; those that a run stored in `splits`, where it is the run's own, moved.

    Where it has no parts, all is `test`, or with `apart` what training leaves it.
    """
    source = open_source(str(data), offline=True, white=model.preprocess.white)
    if splits is not None:
        with suppress(DataError):
            return restore(source, splits)
    unknown = sorted({name for part in source.parts.values() for name in present(part)} - set(model.classes))
    if unknown:
        raise DataError(
            f"{data}: the network doesn't know {some(unknown)}", f"it knows {some(model.classes)}"
        )
    if len(source.parts) == 1 and not apart:
        return {"test": next(iter(source.parts.values()))}
    return divide(source, None, 0)


def of_split(parts: Mapping[str, Part], model: Model, *splits: str) -> Samples:
    """The pictures of the first of `splits` that has any."""
    found = next((parts[split] for split in splits if len(parts.get(split, ()))), None)
    if found is None:
        raise DataError(f"there are no images in {' or '.join(splits)} to compare on", "--data DATA")
    return Samples(found, model.classes, model.preprocess)


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
