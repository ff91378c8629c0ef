"""Pictures of the data: the first images with their labels, one image in numbers and planes, variants, problems."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from striate.data.augment import Augmentation
from striate.data.dataset import DataSet, load
from striate.data.decode import decode
from striate.data.doctor import Report
from striate.data.files import read_file
from striate.data.folder import FileStore
from striate.data.images import Images
from striate.data.preprocess import Preprocess
from striate.data.scale import White
from striate.data.source import Pixels, open_source
from striate.errors import DataError, UsageError

CELL = 128  # pixels of a picture on a sheet
LINE = 14  # pixels of a caption
GAP = 6


def sheet(pictures: Iterable[tuple[Pixels, str]], columns: int, cell: int = CELL) -> Image.Image:
    """uint8 (c, h, w) with captions -> one picture, `columns` to a row; pixels of small images stay square."""
    cells = list(pictures)
    rows = -(-len(cells) // columns)
    width, height = columns * (cell + GAP) + GAP, rows * (cell + LINE + GAP) + GAP
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    for i, (pixels, caption) in enumerate(cells):
        x, y = GAP + i % columns * (cell + GAP), GAP + i // columns * (cell + LINE + GAP)
        picture = as_image(pixels)
        scale = cell / max(picture.size)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        how = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.BILINEAR
        page.paste(picture.resize(size, how), (x + (cell - size[0]) // 2, y + (cell - size[1]) // 2))
        draw.text((x, y + cell), _short(caption, cell // 6), fill="black")
    return page


def as_image(pixels: Pixels) -> Image.Image:
    """uint8 (1 or 3, h, w) -> RGB"""
    rgb = np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels
    return Image.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)))


def _short(text: str, length: int) -> str:
    plain = "".join(c if c.isprintable() else "?" for c in text)
    return plain if len(plain) <= length else "…" + plain[-(length - 1) :]


def look(source: object, n: int = 25, *, split: str = "train", **options: Any) -> Image.Image:
    """The first n images of a split, as the network gets them, with their labels."""
    data = _data(source, options)
    images = _split(data, split)
    rows = range(min(n, len(images)))
    pictures = zip(images.read(rows).numpy(), (label_of(data, images.labels[r]) for r in rows), strict=True)
    return sheet(pictures, columns=max(1, round(len(rows) ** 0.5)))


def _split(data: DataSet, split: str) -> Images:
    if split not in data.parts():
        raise UsageError(f"no split {split!r}: expected train, val or test")
    return data.parts()[split]


def pick(data: DataSet, split: str, row: int) -> Pixels:
    """Image number `row` of a split, counted from 0 -> uint8 (c, h, w)."""
    images = _split(data, split)
    if not 0 <= row < len(images):
        raise UsageError(f"no image {row} in {split}: it has {len(images)}, counted from 0")
    return images.read([row])[0].numpy()


def label_of(data: DataSet, label: Any) -> str:
    """A class number, or a row of 0 and 1 -> its names."""
    if np.ndim(label) == 0:
        return data.classes[int(label)]
    return ", ".join(data.classes[k] for k in np.flatnonzero(label))


def preview(
    source: object,
    augment: Any = "photos",
    *,
    n: int = 6,
    variants: int = 7,
    seed: int = 0,
    **options: Any,
) -> Image.Image:
    """Originals in the first column, from all over the training split, and what augmentation makes of each."""
    data = _data(source, options)
    change = Augmentation.of(augment, len(data.classes))
    rows = np.unique(np.linspace(0, len(data.train) - 1, n).round().astype(np.int64))
    images = data.train.read(rows)
    labels = torch.from_numpy(data.train.labels[rows])
    generator = torch.Generator().manual_seed(seed)
    made = [
        change(images, labels, generator, torch.from_numpy(rows), epoch)[0].numpy()
        for epoch in range(variants)
    ]
    pictures: list[tuple[Pixels, str]] = []
    for i, row in enumerate(rows):
        pictures.append((images[i].numpy(), label_of(data, data.train.labels[row])))
        pictures += [(batch[i], f"variant {k + 1}") for k, batch in enumerate(made)]
    return sheet(pictures, columns=variants + 1)


def _data(source: object, options: Mapping[str, Any]) -> DataSet:
    return source if isinstance(source, DataSet) else load(source, **options)


def planes(source: str | Path | bytes | Pixels) -> Image.Image:
    """An image with its red, green and blue as three grey pictures."""
    pixels = one(source)
    named = zip(pixels, ("red", "green", "blue") if len(pixels) == 3 else ("grey",), strict=True)
    return sheet([(pixels, "image"), *((plane[None], name) for plane, name in named)], columns=4)


def one(source: str | Path | bytes | Pixels) -> Pixels:
    """A file, its bytes or its pixels -> uint8 (c, h, w) as it is, grey or RGB."""
    if isinstance(source, np.ndarray):
        return source
    data = source if isinstance(source, bytes) else read_file(source)
    pixels = decode(data, 3)
    grey = (pixels == pixels[..., :1]).all()
    return pixels[..., :1].transpose(2, 0, 1) if grey else pixels.transpose(2, 0, 1)


def values(source: str | Path | bytes | Pixels, most: int = 32) -> str:
    """The numbers of an image as text, a block a channel, a line a row; larger images are scaled to `most` pixels."""
    pixels = one(source)
    c, h, w = pixels.shape
    if max(h, w) > most:
        scale = most / max(h, w)
        size = max(1, round(h * scale)), max(1, round(w * scale))
        small = Preprocess(size, channels=c, mean=(0.0,) * c, std=(1.0,) * c)
        pixels = small.fit(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    names = ("red", "green", "blue") if c == 3 else ("grey",)
    blocks = [
        "\n".join(
            [f"{name} {len(plane)}x{len(plane[0])}", *(" ".join(f"{v:3d}" for v in row) for row in plane)]
        )
        for name, plane in zip(names, pixels, strict=True)
    ]
    return "\n\n".join(blocks)


def problem_sheet(source: object, report: Report, most: int = 60, columns: int = 6) -> Image.Image | None:
    """The files of a report as pictures, grouped by problem; None where there is nothing to show."""
    stores = {
        i: (p, row) for p in open_source(source).parts.values() for i, row in zip(p.ids, p.rows, strict=True)
    }
    pictures: list[tuple[Pixels, str]] = []
    for problem in report.problems:
        for name in problem.files:
            if name not in stores or len(pictures) == most:
                continue
            part, row = stores[name]
            pictures.append((_shown(part.store, int(row), report.white), f"{problem.kind} {name}"))
    return sheet(pictures, columns) if pictures else None


def _shown(store: Any, row: int, white: White) -> Pixels:
    """A small version, or a grey square where it can't be decoded."""
    small = Preprocess((CELL, CELL), "pad")
    try:
        if isinstance(store, FileStore):
            return small.fit(decode(store.encoded(row), 3, (CELL, CELL), white))
        return np.asarray(store.pixels(row, small))
    except DataError:
        return np.full((3, CELL, CELL), 200, np.uint8)


def save(picture: Image.Image, path: str | Path) -> Path:
    """Writes a sheet as PNG or by the name's ending."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except (OSError, ValueError) as e:
        raise DataError(f"{str(path)!r}: the picture can't be written: {e}") from e
    return path
