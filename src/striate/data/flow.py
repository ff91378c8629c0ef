"""Endless batches for ImageDataGenerator: what `flow` and `flow_from_directory` return."""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from striate.data.cache import RamCache, memory
from striate.data.decode import decode
from striate.data.header import header
from striate.data.scale import UNKNOWN, White, white_to
from striate.data.scan import digest, scan
from striate.data.source import Indices, Pixels
from striate.data.tree import Folder, Tree, natural
from striate.errors import DataError, UsageError, nearest

if TYPE_CHECKING:
    from striate.data.generator import ImageDataGenerator

ClassMode = Literal["categorical", "binary", "sparse", "input"]
CLASS_MODES = ("categorical", "binary", "sparse", "input")
COLOURS = {"grayscale": 1, "rgb": 3}


class Flow(Iterator[Any]):
    """Batches without end, in a new order each epoch; `len` is the number of batches in one.

    A batch is (images, labels, sample weights), or as many of these as there are; images alone come alone. `white` is
    the brightest that a pixel can be.
    """

    white = 255.0

    def __init__(
        self,
        generator: "ImageDataGenerator",
        rows: Indices,
        batch_size: int,
        shuffle: bool,
        seed: int | None,
        augment: bool,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size {batch_size}: expected 1 or more")
        self.generator, self.batch_size, self.shuffle, self.augment = generator, batch_size, shuffle, augment
        self.samples = self.n = len(rows)
        self._rows = rows
        self._rng = np.random.RandomState(seed)
        self._order = self._new_order()
        self._next = 0
        self.save: tuple[str, str, str] | None = None  # folder, prefix, format

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __next__(self) -> Any:
        if self._next >= len(self):
            self.reset()
        self._next += 1
        return self[self._next - 1]

    def __getitem__(self, batch: int) -> Any:
        rows = self._order[batch * self.batch_size : (batch + 1) * self.batch_size]
        images = self.generator.batch(self.images(rows), self._rng if self.augment else None, self.white)
        if self.save:
            self._write(images, rows)
        targets = self.targets(rows)
        if not targets:
            return images
        return (images, *(images.clone() if isinstance(t, str) else t for t in targets))

    def reset(self) -> None:
        """Starts a new epoch."""
        self._order = self._new_order()
        self._next = 0

    def _new_order(self) -> Indices:
        return self._rng.permutation(self._rows) if self.shuffle else self._rows

    def images(self, rows: Indices) -> Tensor:
        """-> float32 (b, c, h, w)"""
        raise NotImplementedError

    def targets(self, rows: Indices) -> tuple[Any, ...]:
        """Labels and weights of the rows, if there are any; the word `images` where the images are the labels."""
        raise NotImplementedError

    def _write(self, images: Tensor, rows: Indices) -> None:
        folder, prefix, kind = self.save or ("", "", "")
        for row, image in zip(rows.tolist(), self.generator.first(images).cpu(), strict=True):
            low, high = image.min(), image.max()
            seen = (
                ((image - low) * (255 / (high - low).clamp(min=1e-6)))
                .to(torch.uint8)
                .permute(1, 2, 0)
                .numpy()
            )
            number = self._rng.randint(10_000_000)
            Image.fromarray(seen.squeeze()).save(os.path.join(folder, f"{prefix}_{row}_{number}.{kind}"))


class ArrayFlow(Flow):
    """Of arrays in memory."""

    def __init__(self, x: Tensor, white: float, y: Any, weights: Any, *flow: Any) -> None:
        self.white = white
        self._x, self._targets = x, [torch.as_tensor(np.asarray(t)) for t in (y, weights) if t is not None]
        super().__init__(*flow)

    def images(self, rows: Indices) -> Tensor:
        return self._x[torch.from_numpy(rows)].float()

    def targets(self, rows: Indices) -> tuple[Any, ...]:
        return tuple(t[torch.from_numpy(rows)] for t in self._targets)


class FileFlow(Flow):
    """Of image files, decoded when first needed."""

    def __init__(self, found: "ImageFiles", target_size: tuple[int, int], *flow: Any) -> None:
        self._found, self.target_size = found, target_size
        super().__init__(*flow)
        self.filenames = [found.paths[r] for r in self._rows]
        self.filepaths = [os.path.join(found.root, p) for p in self.filenames]
        self._cache = RamCache(len(found.paths), (found.channels, *target_size), memory() // 4)

    def images(self, rows: Indices) -> Tensor:
        out = np.empty((len(rows), self._found.channels, *self.target_size), np.uint8)
        for row, image in zip(rows.tolist(), out, strict=True):
            if not self._cache.get(row, image):
                image[:] = self._found.read(row, self.target_size)
                self._cache.put(row, image)
        return torch.from_numpy(out).float()


class DirectoryFlow(FileFlow):
    """Of image files in class folders; `classes` are the labels of all files, `class_indices` what they mean."""

    def __init__(
        self, found: "ClassFolders", target_size: tuple[int, int], class_mode: ClassMode | None, *flow: Any
    ):
        if class_mode is not None and class_mode not in CLASS_MODES:
            raise UsageError(f"unknown class_mode {class_mode!r}", nearest(str(class_mode), CLASS_MODES))
        self._labels, self.class_mode = found.labels, class_mode
        self.class_indices, self.num_classes = found.class_indices, len(found.class_indices)
        super().__init__(found, target_size, *flow)
        self.classes = found.labels[self._rows]

    def targets(self, rows: Indices) -> tuple[Any, ...]:
        labels = torch.from_numpy(self._labels[rows])
        if self.class_mode == "categorical":
            return (torch.nn.functional.one_hot(labels, self.num_classes).float(),)
        if self.class_mode == "input":
            return ("images",)
        return () if self.class_mode is None else (labels.float(),)


class ImageFiles:
    """Image files by path, and how pixels are made of them."""

    paths: list[str]

    def __init__(self, tree: Tree, colour: str, interpolation: str, keep_aspect_ratio: bool) -> None:
        if colour not in COLOURS:
            raise UsageError(
                f"color_mode {colour!r}: expected 'grayscale' or 'rgb'", nearest(colour, COLOURS)
            )
        methods = {m.name.lower(): m for m in Image.Resampling}
        if interpolation not in methods:
            raise UsageError(f"unknown interpolation {interpolation!r}", nearest(interpolation, methods))
        self.tree, self.root, self.channels = tree, tree.root, COLOURS[colour]
        self._method, self._keep = methods[interpolation], keep_aspect_ratio

    @cached_property
    def white(self) -> White:
        """The scale of all files of more than 8 bits together, looked for when the first of them is read."""
        peaks = scan(len(self.paths), lambda row: self.tree.read(self.paths[row])).peaks
        return white_to(*peaks.max(0).tolist())

    def read(self, row: int, size: tuple[int, int]) -> Pixels:
        """uint8 (c, h, w)"""
        try:
            data = self.tree.read(self.paths[row])
            pixels = decode(data, self.channels, white=self.white if header(data).deep else UNKNOWN)
        except DataError as e:
            raise DataError(f"{self.paths[row]!r}: {e}", e.hint) from e
        image = Image.fromarray(pixels.squeeze(2) if self.channels == 1 else pixels)
        (w, h), (th, tw) = image.size, size
        cw, ch = (min(w, h * tw // th), min(h, w * th // tw)) if self._keep else (w, h)
        left, top = (w - cw) // 2, (h - ch) // 2
        small = np.asarray(image.resize((tw, th), self._method, (left, top, left + cw, top + ch)))
        return small.reshape(*size, self.channels).transpose(2, 0, 1)


class ClassFolders(ImageFiles):
    """The image files below a directory, a class a folder."""

    def __init__(
        self,
        directory: str | Path,
        classes: Sequence[str] | None,
        colour: str,
        interpolation: str,
        keep_aspect_ratio: bool,
        follow_links: bool,
    ) -> None:
        tree = Folder(str(directory), follow_links)
        super().__init__(tree, colour, interpolation, keep_aspect_ratio)
        if not Path(directory).is_dir():
            raise DataError(f"{self.root!r}: no folder")
        there = [f for f in tree.folders() if "/" not in f]
        names = list(classes) if classes else sorted(there, key=natural)
        if missing := [c for c in names if c not in there]:
            raise DataError(f"{self.root!r}: no folder for class {missing[0]!r}", nearest(missing[0], there))
        self.class_indices = {name: i for i, name in enumerate(names)}
        self.paths = [p for p in tree.images() if p.split("/")[0] in self.class_indices and "/" in p]
        self.labels = np.array([self.class_indices[p.split("/")[0]] for p in self.paths], np.int64)
        if not self.paths:
            raise DataError(f"{self.root!r}: no images in class folders")


def subset_rows(
    labels: npt.NDArray[Any], validation: float, subset: str | None, names: Sequence[str] | None = None
) -> Indices:
    """All rows; or the training or the validation rows of a stratified split that is always the same.

    Where the rows have names, these decide on which side one is, so that few change it as rows are added.
    """
    from striate.data.splits import stratified

    if subset is None:
        return np.arange(len(labels))
    if subset not in ("training", "validation"):
        raise UsageError(f"subset {subset!r}: expected 'training' or 'validation'")
    if not validation:
        raise UsageError(f"subset {subset!r} needs a generator with validation_split")
    digests = None if names is None else np.array([digest(os.fsencode(n)) for n in names], np.uint64)
    training, held_out = stratified(labels, (1 - validation, validation), 0, digests)
    return training if subset == "training" else held_out
