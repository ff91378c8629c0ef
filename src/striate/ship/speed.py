"""Size and latency of exported files, beside each other on this machine."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from striate.ship import formats, parity
from striate.ship.formats import Opened
from striate.ship.places import files


@dataclass(frozen=True)
class Timing:
    """Megabytes of all its files; median milliseconds of a batch of 1 and of 16 pictures at the network's size."""

    path: str
    runtime: str
    precision: str
    megabytes: float
    ms_batch_1: float
    ms_batch_16: float


def timings(paths: Sequence[Path], seconds: float = 2.0) -> list[Timing]:
    """Each file for about `seconds` a batch size; they take turns, so that a machine that drifts slows all."""
    opened = [_vouched(path) for path in paths]
    measured = {n: _rounds(opened, n, seconds) for n in (1, 16)}
    return [
        Timing(
            str(o.path),
            o.runtime,
            o.facts["precision"],
            sum(f.stat().st_size for f in files(o.path)) / 1e6,
            *(1000 * statistics.median(measured[n][i]) for n in (1, 16)),
        )
        for i, o in enumerate(opened)
    ]


def _vouched(path: Path) -> Opened:
    parity.verify(path)
    return formats.of(path).open(path)


def _rounds(opened: Sequence[Opened], n: int, seconds: float) -> list[list[float]]:
    rng = np.random.default_rng(0)
    pictures = [_noise(rng, o, n) for o in opened]
    taken: list[list[float]] = [[] for _ in opened]
    for o, x in zip(opened, pictures, strict=True):
        o.call(x)  # the first call plans and allocates
    until = time.perf_counter() + seconds * len(opened)
    while time.perf_counter() < until or len(taken[0]) < 3:
        for o, x, times in zip(opened, pictures, taken, strict=True):
            began = time.perf_counter()
            o.call(x)
            times.append(time.perf_counter() - began)
    return taken


def _noise(
    rng: np.random.Generator, opened: Opened, n: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    p = opened.facts["preprocess"]
    return rng.integers(0, 256, (n, *p["size"], p["channels"]), dtype=np.uint8)
