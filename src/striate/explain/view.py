"""One call, one picture: what `striate explain` shows of a network, by the names of its methods."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from striate.errors import UsageError, nearest
from striate.explain.attribution import METHODS, Attribution, attribute, method_called
from striate.explain.picture import Panel, heat_scale, overlay, sheet, to_pixels
from striate.explain.probe import asked, images_of, logits_of
from striate.files import write_whole

BRIGHTEST = 0.995  # of the pixels of a gradient; the few beyond would leave the others black


@dataclass(frozen=True)
class Subject:
    """A trained network with its class names and what turns uint8 images (n, c, h, w) into its input."""

    module: nn.Module
    classes: Sequence[str]
    normalise: Callable[[Tensor], Tensor]

    def class_number(self, word: str | None) -> int | None:
        """The number of a class named by its name or number; raises UsageError with the nearest names."""
        if word is None or word in self.classes:
            return None if word is None else list(self.classes).index(word)
        if word.isdecimal() and int(word) < len(self.classes):
            return int(word)
        raise UsageError(
            f"unknown class {word!r}", nearest(word, self.classes) or f"0 to {len(self.classes) - 1}"
        )

    def says(self, x: Tensor) -> tuple[str, float]:
        """The predicted class of one normalised image and its probability."""
        with asked(self.module) as net, torch.no_grad():
            logits = logits_of(net, images_of(net, x))[0].float()
        p = (
            logits.softmax(0)
            if len(logits) > 1
            else torch.stack((1 - logits.sigmoid(), logits.sigmoid()))[:, 0]
        )
        return self.classes[int(p.argmax())], float(p.max())


@dataclass(frozen=True)
class View:
    """A picture, what scripts want to know about it, and the arrays behind it."""

    picture: Image.Image
    facts: dict[str, Any]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


def look(
    subject: Subject,
    images: Sequence[tuple[Path, Tensor]],
    methods: Sequence[str],
    target: str | None = None,
    layer: str | None = None,
    opacity: float = 0.5,
) -> Iterator[tuple[str, View]]:
    """(name, view) of everything asked for; `images` are (file, uint8 (c, h, w)).

    Raises UsageError before the first view where something is unknown.
    """
    for method in methods:
        method_called(method)
    number = subject.class_number(target)
    if not images:
        raise UsageError(f"{methods[0]} explains images: none was given", "striate explain RUN FILE...")
    if layer is not None and not any(METHODS[m].of_layer for m in methods):
        raise UsageError(f"no method asked for looks at a layer: {', '.join(methods)}")
    what = methods[0] if len(methods) == 1 else "methods"
    for name, (file, pixels) in zip(_names([file for file, _ in images]), images, strict=True):
        view = attributions(subject, pixels, methods, number, layer, opacity)
        view.facts["file"] = str(file)
        yield f"{name}-{what}", view


def _names(files: Sequence[Path]) -> list[str]:
    """A name of its own for each file: its stem, numbered where several have the same."""
    stems = [file.stem for file in files]
    return [
        stem if stems.count(stem) == 1 else f"{stem}-{stems[: i + 1].count(stem)}"
        for i, stem in enumerate(stems)
    ]


def save(view: View, folder: Path, name: str, npz: bool = False) -> dict[str, Any]:
    """Write `name`.png, and `name`.npz if asked for; returns the view's facts with the paths."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"can't write to {folder}: {error.strerror}") from None
    path = folder / f"{name}.png"
    write_whole(path, lambda p: view.picture.save(p, "PNG"))
    facts = {"picture": str(path), **view.facts}
    if npz:
        arrays: dict[str, Any] = dict(view.arrays)
        facts["arrays"] = str(write_whole(folder / f"{name}.npz", lambda p: _savez(p, arrays)))
    return facts


def _savez(path: Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as f:
        np.savez_compressed(f, **arrays)


def attributions(
    subject: Subject,
    pixels: Tensor,
    methods: Sequence[str] = tuple(METHODS),
    target: int | None = None,
    layer: str | None = None,
    opacity: float = 0.5,
) -> View:
    """An image, uint8 (c, h, w), beside what each method lays over it."""
    x = subject.normalise(pixels[None])
    image = to_pixels(pixels.cpu().numpy())
    label, probability = subject.says(x)
    looked_at: str | None = None
    arrays: dict[str, NDArray[Any]] = {"image": image}
    panels = [Panel(image, f"{label} {probability:.1%}")]
    for method in methods:
        where = layer if METHODS[method].of_layer else None
        found = attribute(subject.module, x, method, target, where)
        looked_at = found.layer or looked_at
        panels.append(_panel(image, found, opacity))
        arrays |= {f"{method}.{name}": a for name, a in found.arrays(0).items()}
    explained = subject.classes[int(found.targets[0])]
    heading = f"What speaks for {explained}" + (f", layer {looked_at}" if looked_at else "")
    facts = {"label": label, "probability": probability, "target": explained, "layer": looked_at}
    return View(sheet(panels, min(5, len(panels)), heading=heading), facts, arrays)


def _panel(image: NDArray[np.uint8], found: Attribution, opacity: float) -> Panel:
    heat = found.heat[0].float().cpu().numpy()
    if found.raw.dim() == 4:  # pixels: their own picture, there is nothing to see through them
        scale = heat_scale(heat, found.unit, BRIGHTEST)
        return Panel(scale.paint(heat), found.method, scale)
    scale = heat_scale(heat, found.unit)
    return Panel(overlay(image, heat, scale, opacity), found.method, scale)
