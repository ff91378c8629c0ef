"""The pictures that are more than one image with a heat map: filters, maps, deconvnet, climbed images, data, health."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from striate.errors import UsageError
from striate.explain import deconvnet as zf
from striate.explain.embedding import embed, neighbour_panels, neighbours, plane, scatter
from striate.explain.filters import feature_panels, features, filter_panel, filters
from striate.explain.health import health
from striate.explain.health_chart import health_chart
from striate.explain.layers import layout_at, stage_layers
from striate.explain.maximisation import maximise
from striate.explain.picture import Panel, Pixels, grid, sheet, stretch, to_pixels
from striate.explain.probe import asked, images_of, record
from striate.explain.subject import Subject, View

BATCH = 64
CHANNELS = 16  # of a layer on a deconvnet page
CLIMBED, STEPS = 12, 200  # images of `maximise`, steps of their climb
EMBEDDED = 1000  # images of an embedding: t-SNE takes a minute for ten times as many
EXAMINED = 256  # images of a look at the health


class Pictures(Protocol):
    """A split of a data set: uint8 images by number, and their labels."""

    labels: NDArray[Any]

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Tensor:
        """-> uint8 (b, c, h, w)"""
        ...


def batches(subject: Subject, data: Pictures, rows: Sequence[int] | None = None) -> Iterator[Tensor]:
    """Normalised batches (b, c, h, w) of some images, of all by default."""
    rows = range(len(data)) if rows is None else rows
    for i in range(0, len(rows), BATCH):
        yield subject.normalise(data.read(list(rows[i : i + BATCH])))


def spread(n: int, most: int) -> list[int]:
    """At most so many of n numbers, from all over."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)).tolist()


def _classes(data: Pictures, rows: Sequence[int]) -> list[int]:
    if data.labels.ndim != 1:
        raise UsageError("images with several labels have no class of their own to compare by")
    return [int(y) for y in data.labels[list(rows)]]


def filter_page(subject: Subject, layer: str | None) -> View:
    """The kernels of a convolution, by default the first."""
    name, weights = filters(subject.module, layer)
    if not weights.isfinite().all():
        raise UsageError(f"{name} has weights that are no numbers")
    panel = filter_panel(weights, name)
    facts = {"layer": name, "shape": list(weights.shape)}
    return View(sheet([panel], 1, 640), facts, {"weights": weights.numpy()})


def feature_page(subject: Subject, pixels: Tensor, layer: str | None) -> View:
    """The maps of a layer, or of one layer for each resolution, for one image, uint8 (c, h, w)."""
    found = features(subject.module, subject.normalise(pixels[None]), None if layer is None else [layer])
    maps = {path: t[0] for path, t in found.items()}
    panels = [Panel(to_pixels(pixels.cpu().numpy()), "image"), *feature_panels(maps)]
    arrays = {path: t.float().cpu().numpy() for path, t in maps.items()}
    return View(sheet(panels, min(3, len(panels)), 400), {"layers": list(maps)}, arrays)


def projection_page(subject: Subject, pixels: Tensor, layer: str | None) -> View:
    """The nine channels of a layer that one image excites most: patch and projection."""
    x = subject.normalise(pixels[None])
    stages = [layer] if layer else [m.path for m in stage_layers(subject.module, x)]
    layer = stages[len(stages) // 2]
    found = zf.strongest(subject.module, [x], layer, 1)
    best = found.values[:, 0].argsort(descending=True)[:9].tolist()

    def read(rows: list[int]) -> Tensor:
        return pixels[None].expand(len(rows), -1, -1, -1)

    shown = zf.evidence(subject.module, found, read, subject.normalise, best)
    panels = [Panel(to_pixels(pixels.cpu().numpy()), "image")]
    side = max(max(e.patches[0].shape[1:]) for e in shown)
    for e in shown:
        pair = [_padded(p, side) for p in (stretch(e.projections[0]), to_pixels(e.patches[0]))]
        panels.append(Panel(grid(pair, 2), f"channel {e.channel}, activation {e.values[0]:.3g}"))
    heading = f"The channels of {layer} that fire most: projection back to pixels, and the patch they see"
    arrays = {f"{e.channel}": e.projections[0] for e in shown}
    return View(sheet(panels, 5, heading=heading), {"layer": layer, "channels": best}, arrays)


def deconvnet_page(subject: Subject, data: Pictures, layer: str | None) -> View:
    """For every resolution, or one layer: the patches of a data set that excite its channels most, projected."""
    paths = [layer] if layer else [m.path for m in stage_layers(subject.module, next(batches(subject, data)))]
    panels, facts = [], {}
    for path in paths:
        found = zf.strongest(subject.module, batches(subject, data), path)
        alive = found.values[:, 0].argsort(descending=True)[:CHANNELS].sort().values.tolist()
        shown = zf.evidence(subject.module, found, lambda rows: data.read(rows), subject.normalise, alive)
        facts[path] = {str(e.channel): found.images[e.channel].tolist() for e in shown}
        panels += [_nine(e, f"{path}, channel {e.channel}, up to {e.values[0]:.3g}") for e in shown]
    heading = f"The strongest patches of {len(data):,} images: projections left, patches right"
    return View(sheet(panels, 4, 300, heading), {"layers": paths, "images": facts})


def _nine(e: zf.Evidence, title: str) -> Panel:
    side = max(max(p.shape[1:]) for p in e.patches)
    left = [_padded(stretch(p), side) for p in e.projections]
    right = [_padded(to_pixels(p), side) for p in e.patches]
    return Panel(grid([grid(left, 3), grid(right, 3)], 2), title)


def _padded(pixels: Pixels, side: int) -> Pixels:
    """A patch cut off by the border, on middle grey."""
    page = np.full((side, side, 3), 128, np.uint8)
    h, w = pixels.shape[:2]
    page[(side - h) // 2 : (side - h) // 2 + h, (side - w) // 2 : (side - w) // 2 + w] = pixels
    return page


def climbed_page(
    subject: Subject, shape: tuple[int, int, int], target: int | None, layer: str | None
) -> View:
    """The images that some classes, or the first channels of a layer, like best."""
    if layer is None:
        wanted = [target] if target is not None else list(range(min(CLIMBED, len(subject.classes))))
        names = [subject.classes[k] for k in wanted]
    else:
        x = torch.zeros(1, *shape)
        with asked(subject.module) as net:
            found = layout_at(net, x, layer).maps(record(net, images_of(net, x), [layer])[layer])
        wanted = list(range(min(CLIMBED, found.shape[1])))
        names = [f"{layer}, channel {k}" for k in wanted]
    black, white = (
        subject.normalise(torch.full((1, *shape), v, dtype=torch.uint8))[0, :, :1, :1] for v in (0, 255)
    )
    climbed = maximise(subject.module, shape, wanted, layer, STEPS, low=black, high=white).cpu()
    pixels = (255 * (climbed - black) / (white - black)).round().to(torch.uint8).numpy()
    panels = [Panel(to_pixels(image), name) for image, name in zip(pixels, names, strict=True)]
    what = f"channels of {layer}" if layer else "classes"
    view = sheet(panels, min(4, len(panels)), heading=f"Images that the {what} like best")
    return View(view, {"wanted": names}, {"images": climbed.numpy()})


def embedding_page(subject: Subject, data: Pictures, how: str = "tsne") -> View:
    """A data set on a plane by what enters the last layer, and the nearest neighbours of some images."""
    rows = spread(len(data), EMBEDDED)
    points = embed(subject.module, batches(subject, data, rows))
    places = plane(points, how)
    pictures = [to_pixels(p) for p in data.read(rows).numpy()]
    labels = _classes(data, rows)
    picture = scatter(places, pictures, labels, subject.classes)
    facts = {"images": len(rows), "dimensions": points.shape[1], "how": how}
    return View(picture, facts, {"features": points, "places": places, "labels": np.array(labels)})


def neighbour_page(subject: Subject, data: Pictures, shown: int = 10) -> View:
    """Some images beside the five that are nearest in feature space."""
    rows = spread(len(data), EMBEDDED)
    near = neighbours(embed(subject.module, batches(subject, data, rows)))
    pictures = [to_pixels(p) for p in data.read(rows).numpy()]
    names = [subject.classes[y] for y in _classes(data, rows)]
    panels = neighbour_panels(near, pictures, names, spread(len(rows), shown))
    return View(
        sheet(panels, 2, 420, "An image and its nearest in feature space"),
        {"images": len(rows)},
        {"near": near},
    )


def health_page(subject: Subject, data: Pictures) -> View:
    """Gradients and activations over some images."""
    rows = spread(len(data), EXAMINED)
    labels = torch.tensor(_classes(data, rows))
    look = health(subject.module, zip(batches(subject, data, rows), labels.split(BATCH), strict=True))
    return View(health_chart(look), look.to_json())
