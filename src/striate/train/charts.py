"""Charts and pictures for a page: SVG coloured by the page's style sheet, images as data URIs."""

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 360, 230  # px of the page on a telephone, where 1 unit of the drawing is about 1 px
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 40


@dataclass(frozen=True)
class Line:
    """One curve: its points `(x, y)`, and the CSS class that colours it."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str


def line_chart(
    title: str,
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    form: Callable[[float], str],
    log: bool = False,
) -> str:
    """Curves over one x axis as SVG; `form` writes a y value with its unit; NaN and infinity are left out.

    `log` makes the y axis logarithmic where positive values span more than a factor of 20.
    """
    lines = [Line(line.name, [p for p in line.points if math.isfinite(p[1])], line.style) for line in lines]
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    scale = math.log10 if log and min(ys) > 0 and max(ys) / min(ys) > 20 else float
    y_ticks = decades(min(ys), max(ys)) if scale is math.log10 else ticks(min(ys), max(ys), 4)
    x_ticks, x_range = ticks(min(xs), max(xs), 5, whole=True), (min(xs), max(max(xs), min(xs) + 1))
    foot, top = scale(y_ticks[0]), scale(y_ticks[-1])

    def px(x: float) -> float:
        return LEFT + (x - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT)

    def py(y: float) -> float:
        return TOP + (top - scale(y)) / (top - foot) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py(y):.1f}" y2="{py(y):.1f}"/>'
        for y in y_ticks
    ]
    parts += [_text(form(y), LEFT - 6, py(y) + 4, "end") for y in y_ticks]
    parts += [_text(f"{x:g}", px(x), HEIGHT - BOTTOM + 17, "middle") for x in x_ticks if x <= x_range[1]]
    parts.append(_text(x_label, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, "middle"))
    for line in lines:
        parts.append(_curve(line, [(px(x), py(y)) for x, y in line.points], x_label, form))
    label = escape(f"{title}: {y_label} over {x_label}")
    box = f'class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"'
    return f"<svg {box}>{''.join(parts)}</svg>"


def _curve(line: Line, places: list[tuple[float, float]], x_label: str, form: Callable[[float], str]) -> str:
    """The curve; where its points are few, a disc at each, with the value as its tooltip."""
    path = " ".join(f"{'ML'[i > 0]}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(places))
    discs = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escape(line.name)}, {x_label} {at:g}: {form(value)}'
        "</title></circle>"
        for (x, y), (at, value) in zip(places, line.points, strict=True)
    )
    return f'<g class="{line.style}"><path d="{path}"/>{discs if len(places) <= 30 else ""}</g>'


def ticks(low: float, high: float, about: int, whole: bool = False) -> list[float]:
    """Round numbers, 1, 2 or 5 times a power of ten apart, that span low..high; `whole`: integers within it.

    >>> ticks(0.03, 0.97, 4)
    [0.0, 0.5, 1.0]
    >>> ticks(1, 30, 5, whole=True)
    [10, 20, 30]
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(m * power for m in (1, 2, 5, 10) if m * power * about >= span * 0.999)
    if whole:
        step = max(1, round(step))
        return [x for x in range(math.floor(low), math.floor(high) + 1) if x % step == 0 or low == high]
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    return [round(i * step, digits) for i in range(first, max(last, first + 1) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten that span low..high.

    >>> decades(0.003, 2.3)
    [0.001, 0.01, 0.1, 1.0, 10.0]
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = math.ceil((last - first) / 6)
    return [float(f"1e{e}") for e in range(first, last + step, step)]


def _text(words: str, x: float, y: float, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def picture(pixels: NDArray[np.uint8], most: int = 192) -> str:
    """A data URI of an image `(h, w, c)`, c 1 or 3: exact PNG when small, else JPEG of `most` px a side."""
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    small = max(image.size) <= 64
    if not small:
        image.thumbnail((most, most))
    out = io.BytesIO()
    options: dict[str, Any] = {"optimize": True} if small else {"quality": 82}
    image.save(out, "PNG" if small else "JPEG", **options)
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(out.getvalue()).decode()}"


def filters(weights: NDArray[np.float32]) -> list[str]:
    """First-layer weights `(n, c, h, w)`, c 1 or 3, as pictures on one scale: middle grey is 0."""
    largest = float(np.abs(weights).max()) or 1.0
    pixels = np.round(127.5 + 127.5 * weights / largest).astype(np.uint8)
    return [picture(p) for p in pixels.transpose(0, 2, 3, 1)]
