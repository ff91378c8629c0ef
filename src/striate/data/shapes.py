"""Small folders of real JPEGs to teach and test with: a coloured shape somewhere on a cluttered ground.

The shape is the class; its colour, size, place and angle and the clutter say nothing about it. The same arguments give
the same pictures.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from striate.errors import UsageError

Points = list[tuple[float, float]]
OVER = 2  # drawn larger and scaled down, for soft edges


def _star(tips: int, inner: float, start: float = -90) -> Points:
    """Points on the unit circle and between them on one of radius `inner`."""
    turn = [math.radians(start + 180 * i / tips) for i in range(2 * tips)]
    return [(math.cos(a) * r, math.sin(a) * r) for i, a in enumerate(turn) for r in [inner if i % 2 else 1.0]]


def _polygon(sides: int, start: float = -90) -> Points:
    turn = [math.radians(start + 360 * i / sides) for i in range(sides)]
    return [(math.cos(a), math.sin(a)) for a in turn]


def _heart() -> Points:
    turn = [math.tau * i / 60 for i in range(60)]
    return [
        (
            math.sin(a) ** 3,
            -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 16,
        )
        for a in turn
    ]


def _ring(radius: float, start: float, end: float) -> Points:
    """A band from `start` to `end` degrees between `radius` and 1."""
    turn = [math.radians(start + (end - start) * i / 60) for i in range(61)]
    outside = [(math.cos(a), math.sin(a)) for a in turn]
    return outside + [(x * radius, y * radius) for x, y in reversed(outside)]


CROSS = [(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3), (0.3, 1), (-0.3, 1), (-0.3, 0.3),
         (-1, 0.3), (-1, -0.3), (-0.3, -0.3)]  # fmt: skip
ARROW = [(-1, -0.3), (0.1, -0.3), (0.1, -0.8), (1, 0), (0.1, 0.8), (0.1, 0.3), (-1, 0.3)]
SHAPES: dict[str, Callable[[], Points]] = {
    "circle": lambda: _polygon(72),
    "square": lambda: _polygon(4, 45),
    "triangle": lambda: _polygon(3),
    "star": lambda: _star(5, 0.42),
    "cross": lambda: list(CROSS),
    "heart": _heart,
    "ring": lambda: _ring(0.55, 0, 360),
    "arrow": lambda: list(ARROW),
    "hexagon": lambda: _polygon(6),
    "crescent": lambda: _ring(0.55, 20, 200),
    "gear": lambda: _star(9, 0.75),
    "bar": lambda: [(-1, -0.22), (1, -0.22), (1, 0.22), (-1, 0.22)],
}


def make_shapes(
    folder: str | Path,
    classes: int = 3,
    per_class: int = 250,
    size: int = 96,
    seed: int = 0,
) -> Path:
    """Writes `folder/<shape>/0000.jpg` and so on; the folder must be new or empty."""
    if not 2 <= classes <= len(SHAPES):
        raise UsageError(f"{classes} classes: expected 2 to {len(SHAPES)} ({', '.join(SHAPES)})")
    if per_class < 1 or not 16 <= size <= 2048:
        raise UsageError(
            f"{per_class} images of {size} pixels a class: expected at least 1, of 16 to 2048 pixels"
        )
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{str(folder)!r} is not an empty folder", "name a new one: nothing is overwritten")
    for number, name in enumerate(list(SHAPES)[:classes]):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            rng = np.random.default_rng([seed, number, i])
            draw_shape(name, size, rng).save(folder / name / f"{i:04d}.jpg", quality=90)
    return folder


def draw_shape(name: str, size: int, rng: np.random.Generator) -> Image.Image:
    """One picture of `size` x `size` pixels."""
    side = size * OVER
    image = _ground(side, rng)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(3, 9)):
        _clutter(draw, side, rng)
    ground = np.asarray(image.resize((1, 1)))[0, 0].astype(int)
    radius = side * rng.uniform(0.16, 0.36)
    x, y = rng.uniform(radius, side - radius, 2)
    angle = rng.uniform(0, math.tau)
    cos, sin = math.cos(angle), math.sin(angle)
    points = [
        (x + radius * (px * cos - py * sin), y + radius * (px * sin + py * cos)) for px, py in SHAPES[name]()
    ]
    draw.polygon(points, fill=_colour(rng, ground))
    image = image.resize((size, size), Image.Resampling.BOX)
    noise = rng.normal(0, 6, (size, size, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _colour(rng: np.random.Generator, away_from: npt.NDArray[np.int64] | None = None) -> tuple[int, int, int]:
    """Any colour, or one that can be told from another."""
    while True:
        r, g, b = rng.integers(0, 256, 3).tolist()
        if away_from is None or np.abs(away_from - (r, g, b)).sum() > 220:
            return r, g, b


def _ground(side: int, rng: np.random.Generator) -> Image.Image:
    """A gradient between four colours."""
    corners = rng.integers(40, 216, (2, 2, 3)).astype(np.uint8)
    return Image.fromarray(corners).resize((side, side), Image.Resampling.BILINEAR)


def _clutter(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """A line or a speck, smaller than any shape."""
    x, y = rng.uniform(0, side, 2)
    if rng.random() < 0.5:
        dx, dy = rng.normal(0, side / 3, 2)
        draw.line((x, y, x + dx, y + dy), fill=_colour(rng), width=int(rng.integers(1, max(2, side // 40))))
    else:
        r = rng.uniform(0.01, 0.05) * side
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_colour(rng))
