"""From a picture to what the network sees; one object for training, prediction, serving and export.

Stored with every run, so that a file is never resized one way in training and another way later.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from striate.data.decode import decode
from striate.data.files import read_file
from striate.data.scale import UNKNOWN, White
from striate.data.source import Pixels
from striate.errors import DataError, UsageError, nearest

RESIZE = ("squash", "crop", "pad")
INTERPOLATION = ("bilinear", "bicubic")
FAR = 1e18  # the root of the largest float32
TIE = 0.501  # rounds halves up whatever the last bits say, so that an exported file in float32 cuts the same way


@dataclass(frozen=True)
class Preprocess:
    """How a picture is cut and scaled to `size` (h, w), and which `mean` and `std` (0..1 scale) normalise it.

    `squash` ignores the aspect, `crop` keeps the largest centred part of the right aspect, `pad` adds black
    bars. `crop_pct` is how much of the crop is kept: 0.875 is the 256 -> 224 of the ImageNet papers.
    Either `interpolation` is antialiased, the same as Pillow's. `white` is the scale of the data, where they have more
    than 8 bits: which integer is white and which float, 0 where it isn't known (see `striate.data.scale`).
    """

    size: tuple[int, int]
    resize: str = "squash"
    channels: int = 3
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    crop_pct: float = 1.0
    interpolation: str = "bilinear"
    white: White = UNKNOWN

    def __post_init__(self) -> None:
        if self.resize not in RESIZE:
            raise UsageError(
                f"unknown resize {self.resize!r}", nearest(str(self.resize), RESIZE) or f"one of {RESIZE}"
            )
        if self.interpolation not in INTERPOLATION:
            raise UsageError(f"interpolation {self.interpolation!r}: one of {', '.join(INTERPOLATION)}")
        if self.channels not in (1, 3) or type(self.channels) is not int:
            raise UsageError(f"{self.channels} image channels: only 1 (grey) or 3 (RGB) can be read")
        sides = _numbers("size", self.size)
        if len(sides) != 2 or not all(isinstance(s, int | np.integer) and 1 <= s <= 1 << 14 for s in sides):
            raise UsageError(f"image size {self.size}: (height, width) of 1 to 16384 pixels is expected")
        if not 0 < _numbers("crop_pct", (self.crop_pct,))[0] <= 1:
            raise UsageError(f"crop_pct {self.crop_pct}: expected over 0, up to 1")
        if len(self.white) != 2 or not (
            self.white[0] in (0, *range(255, 65536)) and self.white[1] in (0, 1, 255)
        ):
            raise UsageError(f"white {self.white}: expected an integer of 255 to 65535, and 1 or 255; or 0")
        for name in ("mean", "std"):
            value = tuple(float(v) for v in _numbers(name, getattr(self, name)))
            if len(value) == 3 and self.channels == 1 and len(set(value)) == 1:
                value = value[:1]
            if len(value) != self.channels:
                raise UsageError(f"{name} has {len(value)} values for {self.channels} channels")
            object.__setattr__(self, name, value)
        if min(self.std) < 1 / FAR:
            raise UsageError(f"std {self.std}: must be positive")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one image."""
        return (self.channels, *self.size)

    def read(self, source: str | Path | bytes) -> Tensor:
        """A file, or its bytes -> uint8 (c, h, w)."""
        if isinstance(source, bytes):
            pixels = self.fit(decode(source, self.channels, self.least, self.white))
            return torch.from_numpy(np.ascontiguousarray(pixels))
        try:
            return self.read(read_file(source))
        except DataError as e:
            name = repr(str(source))
            raise DataError(str(e) if str(e).startswith(name) else f"{name}: {e}", e.hint) from e

    @property
    def least(self) -> tuple[int, int]:
        """The sides under which a picture must not be decoded, as what is cut from it would have to be enlarged."""
        part = self.crop_pct if self.resize == "crop" else 1.0
        return math.ceil(self.size[0] / part), math.ceil(self.size[1] / part)

    def fit(self, image: Pixels) -> Pixels:
        """uint8 (..., h, w, c) of any size -> uint8 (..., c, *size)."""
        return fit(image, self.size, self.resize, self.crop_pct, self.interpolation)

    def normalise(self, batch: Tensor) -> Tensor:
        """(x / 255 - mean) / std.    uint8 or float on 0..255 (n, c, h, w) -> float32 (n, c, h, w)"""
        std = torch.tensor(self.std, device=batch.device).view(-1, 1, 1)
        mean = torch.tensor(self.mean, device=batch.device).view(-1, 1, 1)
        return batch.to(torch.float32, copy=True).mul_(1 / (255 * std)).sub_(mean / std)

    def to_dict(self) -> dict[str, Any]:
        return {
            "size": list(self.size), "resize": self.resize, "channels": self.channels,
            "mean": list(self.mean), "std": list(self.std), "crop_pct": self.crop_pct,
            "interpolation": self.interpolation, "white": list(self.white),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Preprocess":
        """The inverse of `to_dict`; raises UsageError for what is no preprocessing."""
        known = cls.__dataclass_fields__
        if not isinstance(fields, Mapping):
            raise UsageError(f"expected {', '.join(known)}, got {fields!r:.60}")
        if unknown := sorted(set(fields) - set(known)):
            raise UsageError(f"unknown preprocessing field {unknown[0]!r}", nearest(unknown[0], known))
        if "size" not in fields:
            raise UsageError("size is missing")
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(**plain)


def _numbers(name: str, values: Any) -> Sequence[Any]:
    """What holds numbers and nothing else, none of them so far out that float32 can't divide by another."""
    if not isinstance(values, tuple | list) or not all(
        isinstance(v, int | float | np.number) and not isinstance(v, bool) and -FAR <= v <= FAR
        for v in values
    ):
        raise UsageError(f"{name} {values!r}: expected numbers")
    return values


def fit(
    image: Pixels, size: tuple[int, int], mode: str, crop_pct: float = 1.0, interpolation: str = "bilinear"
) -> Pixels:
    """uint8 (..., h, w, c) -> (..., c, *size)"""
    (h, w), (th, tw) = image.shape[-3:-1], size
    if mode == "squash":
        return resized(image, size, interpolation)
    if mode == "crop":
        scale = min(h / th, w / tw) * crop_pct  # source pixels for each of ours
        ch, cw = min(h, _near(th * scale)), min(w, _near(tw * scale))
        top, left = (h - ch) // 2, (w - cw) // 2
        return resized(image[..., top : top + ch, left : left + cw, :], size, interpolation)
    scale = min(th / h, tw / w)
    ih, iw = min(th, _near(h * scale)), min(tw, _near(w * scale))
    top, left = (th - ih) // 2, (tw - iw) // 2
    padded = np.zeros((*image.shape[:-3], image.shape[-1], th, tw), np.uint8)
    padded[..., top : top + ih, left : left + iw] = resized(image, (ih, iw), interpolation)
    return padded


def _near(pixels: float) -> int:
    return max(1, math.floor(pixels + TIE))


def resized(image: Pixels, size: tuple[int, int], interpolation: str = "bilinear") -> Pixels:
    """uint8 (..., h, w, c) -> (..., c, *size)

    NumPy around one serial torch kernel, so that many threads may do this at once without a team for each.
    """
    planes = np.moveaxis(image, -1, -3)
    if image.shape[-3:-1] == size:
        return planes
    if size[1] == 1:  # torch 2.13 is wrong at a width of one
        flat = [Image.fromarray(plane) for plane in planes.reshape(-1, *planes.shape[-2:])]
        kind = Image.Resampling[interpolation.upper()]
        column = [np.asarray(plane.resize((1, size[0]), kind)) for plane in flat]
        return np.stack(column).reshape(*planes.shape[:-2], *size)
    batch = torch.from_numpy(planes if planes.flags.writeable else planes.copy())
    batch = batch.view(-1, *planes.shape[-3:])
    out = F.interpolate(batch, size=size, mode=interpolation, antialias=True).numpy()
    return out.reshape(*planes.shape[:-2], *size)
