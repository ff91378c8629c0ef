"""Charts of a network's health: where the gradient goes, which units are dead or stuck."""

import math
from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
from PIL import Image

from striate.explain.health import Health
from striate.explain.picture import COLOURS, matplotlib

NAMED = 40  # layers up to which their names are written


def gradient_chart(looks: Mapping[str, Health]) -> Image.Image:
    """Root mean square of each layer's gradient over its depth, a line for every network."""
    figure, (axes,) = _figure(1)
    for (name, look), colour, mark in zip(looks.items(), cycle(COLOURS), cycle("os^Dv"), strict=False):
        sizes = [g.rms or math.nan for g in look.gradients]
        axes.semilogy(range(1, len(sizes) + 1), sizes, f"{mark}-", color=colour, label=name, ms=3)
    axes.set(xlabel="layer with weights, from the image on", ylabel="rms of d loss / d weight")
    axes.legend(frameon=False)
    return _drawn(figure)


def health_chart(look: Health) -> Image.Image:
    """Gradient of every layer with weights; dead units and stuck values of every activation."""
    figure, (above, below) = _figure(2)
    names = [g.layer for g in look.gradients]
    above.semilogy([g.rms or math.nan for g in look.gradients], "o-", color=COLOURS[0], ms=3)
    above.set(ylabel="rms of d loss / d weight")
    _name(above, names)
    at = np.arange(len(look.activities))
    dead, stuck = ([100 * getattr(a, kind) for a in look.activities] for kind in ("dead", "saturated"))
    below.bar(at - 0.2, dead, 0.4, color=COLOURS[3], label="units that never fire")
    below.bar(at + 0.2, stuck, 0.4, color=COLOURS[5], label="values at the end of their range")
    below.set(ylabel="%", ylim=(0, 100))
    below.legend(frameon=False)
    _name(below, [a.layer for a in look.activities])
    return _drawn(figure)


def _figure(rows: int) -> tuple[Any, list[Any]]:
    matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, 1, i + 1) for i in range(rows)]
    for each in axes:
        each.grid(alpha=0.3)
    return figure, axes


def _name(axes: Any, names: list[str]) -> None:
    if len(names) <= NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    else:
        axes.set_xlabel("layer, from the image on")


def _drawn(figure: Any) -> Image.Image:
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
