"""Pictures with what their colours mean: heat maps, overlays, sheets of panels; colours that all eyes tell apart."""

import math
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]  # (h, w, 3)
HEAT, SIGNED, GREY = "inferno", "PuOr", "gray"
GAP, LINE, BAR = 10, 16, 10  # px
SMALLEST, BETWEEN = 24, 225  # px of a tile in a grid; the grey between tiles
# seven colours of Okabe and Ito and one of Tol, which all eyes tell apart, and two greys
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
    "#882255",
    "#999999",
    "#5B5B5B",
)


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


def stretch(values: NDArray[Any], standard_deviations: float = 2.5) -> Pixels:
    """A signed picture (c, h, w), c 1 or 3, about middle grey, so many of its standard deviations wide."""
    far = standard_deviations * float(values.std()) or 1.0
    return to_pixels(np.round(127.5 + 127.5 * (values / far).clip(-1, 1)).astype(np.uint8))


def grid(tiles: Sequence[Pixels], columns: int | None = None) -> Pixels:
    """Tiles of one size side by side on light grey, tiny ones enlarged; by default as many rows as columns."""
    columns = columns or max(1, math.ceil(len(tiles) ** 0.5))
    times = -(-SMALLEST // max(tiles[0].shape))
    gap = max(2, max(tiles[0].shape) * times // 24)
    large = [tile.repeat(times, axis=0).repeat(times, axis=1) for tile in tiles]
    h, w = large[0].shape[:2]
    rows = -(-len(tiles) // columns)
    page = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), BETWEEN, np.uint8)
    for i, tile in enumerate(large):
        y, x = i // columns * (h + gap), i % columns * (w + gap)
        page[y : y + h, x : x + w] = tile
    return page


def sheet(panels: Sequence[Panel], columns: int, cell: int = 256, heading: str = "") -> Image.Image:
    """Panels in rows with title above and colour bar below; small pictures keep square pixels."""
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    head = LINE * any(p.title for p in panels)
    heights = [max(_size(p, cell)[1] + (BAR + LINE + 4) * bool(p.scale) for p in row) for row in rows]
    top = LINE + GAP if heading else 0
    width = max(map(len, rows)) * (cell + GAP) + GAP
    page = Image.new("RGB", (width, top + sum(heights) + len(rows) * (head + GAP) + GAP), "white")
    draw, y = ImageDraw.Draw(page), top + GAP
    draw.text((GAP, GAP // 2), _fit(heading, width - 2 * GAP, 13), "black", font(13))
    for row, height in zip(rows, heights, strict=True):
        for i, panel in enumerate(row):
            x, (w, h) = GAP + i * (cell + GAP), _size(panel, cell)
            draw.text((x, y - 2), _fit(panel.title, cell), "black", font())
            how = Image.Resampling.NEAREST if w >= 2 * panel.pixels.shape[1] else Image.Resampling.BILINEAR
            page.paste(Image.fromarray(panel.pixels).resize((w, h), how), (x + (cell - w) // 2, y + head))
            if panel.scale:
                _bar(page, panel.scale, x, y + head + h + 4, cell)
        y += head + height + GAP
    return page


def _size(panel: Panel, cell: int) -> tuple[int, int]:
    """(w, h) of a panel's picture on the sheet."""
    h, w = panel.pixels.shape[:2]
    factor = cell / max(h, w)
    return max(1, round(w * factor)), max(1, round(h * factor))


def _bar(page: Image.Image, scale: Scale, x: int, y: int, width: int) -> None:
    ramp = np.tile(np.linspace(scale.low, scale.high, width), (BAR, 1))
    page.paste(Image.fromarray(scale.paint(ramp)), (x, y))
    draw, low, high = ImageDraw.Draw(page), f"{scale.low:.3g}", f"{scale.high:.3g}"
    draw.text((x, y + BAR), low, "black", font())
    draw.text((x + width, y + BAR), high, "black", font(), anchor="ra")
    room = width - 2 * max(font().getlength(low), font().getlength(high)) - 12
    draw.text((x + width / 2, y + BAR), _fit(scale.unit, room), "dimgray", font(), anchor="ma")


@cache
def font(size: int = 11) -> Any:
    """The font of all pictures, in px."""
    return ImageFont.load_default(size)


def _fit(text: str, width: float, size: int = 11) -> str:
    """As much of a text as fits."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    if font(size).getlength(plain) <= width:
        return plain
    while plain and font(size).getlength(plain + "...") > width:
        plain = plain[:-1]
    return plain + "..."


def matplotlib() -> Any:
    """The library, whatever window the environment asks it for: nothing here opens one."""
    asked = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if asked is not None:
            os.environ["MPLBACKEND"] = asked
    if asked:
        with suppress(ValueError):  # that of a notebook whose kernel lives elsewhere
            matplotlib.rcParams["backend"] = asked
    return matplotlib


@cache
def _table(name: str) -> Pixels:
    return np.round(255 * matplotlib().colormaps[name](np.arange(256))[:, :3]).astype(np.uint8)
