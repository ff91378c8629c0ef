"""One call, many pictures: what `striate explain` shows, by the names of its methods."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from striate.errors import UsageError, nearest
from striate.explain import pages
from striate.explain.attribution import METHODS, Attribution, attribute
from striate.explain.kernels import KERNELS, grey, kernel_sheet
from striate.explain.picture import Panel, heat_scale, overlay, sheet, to_pixels
from striate.explain.probe import layer_at
from striate.explain.subject import Subject, View
from striate.files import write_whole

BRIGHTEST = 0.995  # of the pixels of a gradient; the few beyond would leave the others black
OF_IMAGE = (*METHODS, "features", "deconvnet", "kernels")
OF_NETWORK = ("filters", "maximise")
OF_DATA = ("deconvnet", "embedding", "neighbours", "health")
NAMES = tuple(dict.fromkeys((*OF_IMAGE, *OF_NETWORK, *OF_DATA)))


def look(
    subject: Subject,
    methods: Sequence[str],
    images: Sequence[tuple[Path, Tensor]] = (),
    data: Callable[[], pages.Pictures] | None = None,
    target: str | None = None,
    layer: str | None = None,
    opacity: float = 0.5,
) -> Iterator[tuple[str, View]]:
    """(name, view) of everything asked for; `images` are (file, uint8 (c, h, w)), `data` opens a split.

    Raises UsageError before the first view where a name is unknown or something is missing.
    """
    number = _checked(subject, methods, bool(images), data is not None, target, layer)
    for name, (file, pixels) in zip(_names([file for file, _ in images]), images, strict=True):
        for what, view in _of_one(subject, methods, pixels, number, layer, opacity):
            view.facts["file"] = str(file)
            yield f"{name}-{what}", view
    for method in methods:
        if method not in OF_IMAGE or not images:
            yield method, _page(subject, method, data, number, layer)


def _of_one(
    subject: Subject,
    methods: Sequence[str],
    pixels: Tensor,
    target: int | None,
    layer: str | None,
    opacity: float,
) -> Iterator[tuple[str, View]]:
    """What there is to see of one image: the heat maps on one sheet, other methods on their own."""
    heats = [m for m in methods if m in METHODS]
    if heats:
        view = attributions(subject, pixels, heats, target, layer, opacity)
        yield heats[0] if len(heats) == 1 else "methods", view
    if "features" in methods:
        yield "features", pages.feature_page(subject, pixels, layer)
    if "deconvnet" in methods:
        yield "deconvnet", pages.projection_page(subject, pixels, layer)
    if "kernels" in methods:
        yield "kernels", View(kernel_sheet(grey(pixels)), {"kernels": list(KERNELS)})


def _page(
    subject: Subject,
    method: str,
    data: Callable[[], pages.Pictures] | None,
    target: int | None,
    layer: str | None,
) -> View:
    """A page that isn't about one image."""
    if method == "filters":
        return pages.filter_page(subject, layer)
    if method == "maximise":
        return pages.climbed_page(subject, subject.shape, target, layer)
    assert data is not None
    images = data()
    if not len(images):
        raise UsageError(f"{method}: the split has no images", "--split test")
    if method == "deconvnet":
        return pages.deconvnet_page(subject, images, layer)
    makers: dict[str, Callable[[Subject, pages.Pictures], View]] = {
        "embedding": pages.embedding_page,
        "neighbours": pages.neighbour_page,
        "health": pages.health_page,
    }
    return makers[method](subject, images)


def _checked(
    subject: Subject, methods: Sequence[str], images: bool, data: bool, target: str | None, layer: str | None
) -> int | None:
    """The number of the class asked for; raises what can be known before anything is computed."""
    for method in methods:
        if method not in NAMES:
            raise UsageError(
                f"unknown method {method!r}", nearest(method, NAMES) or f"one of all, {', '.join(NAMES)}"
            )
        if not images and method in OF_IMAGE and method not in OF_DATA:
            raise UsageError(f"{method} explains images: none was given", "striate explain RUN FILE...")
        if not data and method in OF_DATA and not (images and method in OF_IMAGE):
            raise UsageError(f"{method} looks at a data set: name a run folder, which knows its own")
    if "maximise" in methods and layer is not None and target is not None:
        raise UsageError(
            "maximise climbs to a class or to the channels of a layer: leave --target or --layer out"
        )
    takers = [m for m in methods if m not in METHODS or METHODS[m].of_layer]
    if layer is not None:
        layer_at(subject.module, layer)
        if not set(takers) - {"kernels", "embedding", "neighbours", "health"}:
            raise UsageError(f"no method asked for looks at a layer: {', '.join(methods)}")
    return subject.class_number(target)


def _names(files: Sequence[Path]) -> list[str]:
    """A name of its own for each file: its stem, numbered where several have the same."""
    stems = [file.stem for file in files]
    names: list[str] = []
    for stem in stems:
        numbered = (f"{stem}-{i}" for i in count(1))
        free = (n for n in numbered if n not in names and n not in stems)
        names.append(stem if stems.count(stem) == 1 else next(free))
    return names


def save(view: View, folder: Path | str, name: str, npz: bool = False) -> dict[str, Any]:
    """Write `name`.png, and `name`.npz if asked for; returns the view's facts with the paths."""
    folder = Path(folder)
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
