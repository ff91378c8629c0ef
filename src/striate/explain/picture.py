"""Pictures with what their colours mean: heat maps, overlays, sheets of panels; colours that all eyes tell apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]  # (h, w, 3)
HEAT, SIGNED, GREY = "inferno", "PuOr", "gray"
GAP, LINE, BAR = 10, 16, 10  # px


@dataclass(frozen=True)
class Scale:
    """What the colours mean: `low` to `high` of `unit`, by the name of a matplotlib colour map."""

    low: float
    high: float
    unit: str = ""
    colours: str = HEAT

    def paint(self, values: NDArray[Any]) -> Pixels:
        """(h, w) -> (h, w, 3)"""
        span = self.high - self.low
        share = (np.asarray(values, np.float64) - self.low) / span if span > 0 else np.zeros(np.shape(values))
        return _table(self.colours)[np.round(255 * share.clip(0, 1)).astype(np.uint8)]


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet."""

    pixels: Pixels
    title: str = ""
    scale: Scale | None = None


def heat_scale(values: NDArray[Any], unit: str, quantile: float = 1.0) -> Scale:
    """From 0 to the largest value, or to a quantile where a few pixels would leave the others black."""
    return Scale(0.0, float(np.quantile(values, quantile)), unit, HEAT)


def signed_scale(values: NDArray[Any], unit: str = "", colours: str = SIGNED) -> Scale:
    """As far below 0 as above: 0 is the middle colour."""
    far = float(np.abs(values).max(initial=0))
    return Scale(-far, far, unit, colours)


def overlay(image: Pixels, heat: NDArray[Any], scale: Scale, opacity: float = 0.5) -> Pixels:
    """The image in grey under the heat."""
    grey = image.mean(2, keepdims=True)
    return np.round((1 - opacity) * grey + opacity * scale.paint(heat)).astype(np.uint8)


def to_pixels(image: NDArray[Any]) -> Pixels:
    """(1 or 3, h, w) uint8 -> (h, w, 3)"""
    rgb = np.repeat(image, 3, axis=0) if len(image) == 1 else image
    return np.ascontiguousarray(rgb.transpose(1, 2, 0))


def stretch(values: NDArray[Any], standard_deviations: float = 3.0) -> Pixels:
    """A signed picture (c, h, w), c 1 or 3, about middle grey, so many of its standard deviations wide."""
    far = standard_deviations * float(values.std()) or 1.0
    return to_pixels(np.round(127.5 + 127.5 * (values / far).clip(-1, 1)).astype(np.uint8))


def sheet(panels: Sequence[Panel], columns: int, cell: int = 256, heading: str = "") -> Image.Image:
    """Panels in rows with title above and colour bar below; small pictures keep square pixels."""
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    titled, scaled = any(p.title for p in panels), any(p.scale for p in panels)
    height = cell + titled * LINE + scaled * (BAR + LINE + 4) + GAP
    top = LINE + GAP if heading else 0
    size = (max(map(len, rows)) * (cell + GAP) + GAP, top + len(rows) * height + GAP)
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    draw.text((GAP, GAP // 2), _fit(heading, size[0] - 2 * GAP, 13), "black", _font(13))
    for r, row in enumerate(rows):
        for c, panel in enumerate(row):
            x, y = GAP + c * (cell + GAP), top + GAP + r * height
            draw.text((x, y - 2), _fit(panel.title, cell), "black", _font())
            _put(page, panel.pixels, x, y + titled * LINE, cell)
            if panel.scale:
                _bar(page, panel.scale, x, y + titled * LINE + cell + 4, cell)
    return page


def _put(page: Image.Image, pixels: Pixels, x: int, y: int, cell: int) -> None:
    picture = Image.fromarray(pixels)
    factor = cell / max(picture.size)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    how = Image.Resampling.NEAREST if factor >= 2 else Image.Resampling.BILINEAR
    page.paste(picture.resize(size, how), (x + (cell - size[0]) // 2, y + (cell - size[1]) // 2))


def _bar(page: Image.Image, scale: Scale, x: int, y: int, width: int) -> None:
    ramp = np.tile(np.linspace(scale.low, scale.high, width), (BAR, 1))
    page.paste(Image.fromarray(scale.paint(ramp)), (x, y))
    draw, low, high = ImageDraw.Draw(page), f"{scale.low:.3g}", f"{scale.high:.3g}"
    draw.text((x, y + BAR), low, "black", _font())
    draw.text((x + width, y + BAR), high, "black", _font(), anchor="ra")
    room = width - 2 * max(_font().getlength(low), _font().getlength(high)) - 12
    draw.text((x + width / 2, y + BAR), _fit(scale.unit, room), "dimgray", _font(), anchor="ma")


@cache
def _font(size: int = 11) -> Any:
    return ImageFont.load_default(size)


def _fit(text: str, width: float, size: int = 11) -> str:
    """As much of a text as fits."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    if _font(size).getlength(plain) <= width:
        return plain
    while plain and _font(size).getlength(plain + "...") > width:
        plain = plain[:-1]
    return plain + "..."


@cache
def _table(name: str) -> Pixels:
    import matplotlib as mpl

    return np.round(255 * mpl.colormaps[name](np.arange(256))[:, :3]).astype(np.uint8)
