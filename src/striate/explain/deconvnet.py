"""The deconvnet: what in the pixels made a channel fire.  Zeiler and Fergus, 2014, arXiv:1311.2901, section 2.

Back from one activation: through the recorded pooling switches, rectification and the transposed filters. A backward
pass does just that once its rectifiers pass on what is positive; other layers pass their gradient.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.anatomy import anatomy
from striate.errors import StriateError, UsageError
from striate.explain.layers import Maps, choose, layout_at
from striate.explain.places import Layout
from striate.explain.probe import asked, hooked, images_of, logits_of, record, slope
from striate.explain.rectify import Rectified

CHUNK = 16  # images a projection pass
Box = tuple[int, int, int, int]  # top, bottom, left, right in pixels; the ends are left out


def project(module: nn.Module, x: Tensor, layer: str, channels: Tensor, places: Tensor) -> Tensor:
    """The activation of one channel at one place of each image, projected back to pixels.

    (n, c, h, w), (n,), (n, 2) as (row, column) -> (n, c, h, w)
    """
    layout = layout_at(module, x, layer)
    with asked(module) as net, Rectified(net):
        x = images_of(net, x)
        parts = zip(x.split(CHUNK), channels.split(CHUNK), places.split(CHUNK), strict=True)
        return torch.cat([_project(net, part, layer, layout, k, at) for part, k, at in parts])


def _project(
    net: nn.Module, x: Tensor, layer: str, layout: Layout, channels: Tensor, places: Tensor
) -> Tensor:
    leaf, kept = x.detach().requires_grad_(), {}

    def keep(path: str, output: Tensor) -> Tensor:
        kept[path] = output
        return output.clone()  # what follows may write into its input

    with hooked(net, [layer], keep):
        logits_of(net, leaf.clone())
    maps = layout.maps(kept[layer])
    seed = torch.zeros_like(maps)
    at = (torch.arange(len(x)), channels, places[:, 0], places[:, 1])
    seed[at] = maps.detach()[at]
    return slope(maps, leaf, seed=seed)


@dataclass(frozen=True)
class Strongest:
    """For every channel of a layer the k images in which it fires most, strongest first.

    `values` (c, k), `images` (c, k) in the order of the data, `places` (c, k, 2) as (row, column).
    """

    layer: str
    values: Tensor
    images: Tensor
    places: Tensor


def strongest(
    module: nn.Module, batches: Iterable[Tensor], layer: str | None = None, k: int = 9
) -> Strongest:
    """One pass over normalised batches (n, c, h, w); what is kept doesn't grow with the data.

    An image counts once for a channel, at its highest place. Fewer than k images leave a shorter list.
    """
    values: Tensor | None = None
    where: Maps | None = None
    images, places, seen = torch.empty(0), torch.empty(0), 0
    with asked(module) as net, torch.no_grad():
        for batch in batches:
            x = images_of(net, batch)
            where = where or choose(net, x, layer)
            maps = where.layout.maps(record(net, x, [where.path])[where.path])
            top, flat = maps.flatten(2).max(2)  # (n, c)
            place = torch.stack((flat // maps.shape[3], flat % maps.shape[3]), 2).transpose(0, 1)
            number = torch.arange(seen, seen + len(x), device=top.device).expand(top.shape[1], -1)
            seen += len(x)
            if values is None:
                values, images, places = top.T, number, place
            else:
                values = torch.cat((values, top.T), 1)
                images, places = torch.cat((images, number), 1), torch.cat((places, place), 1)
            values, order = values.topk(min(k, values.shape[1]), 1)
            images = images.gather(1, order)
            places = places.gather(1, order[:, :, None].expand(-1, -1, 2))
    if values is None or where is None:
        raise UsageError("there are no images to look at")
    return Strongest(where.path, values.cpu(), images.cpu(), places.cpu())


def boxes(module: nn.Module, shape: tuple[int, int, int], layer: str, places: Tensor) -> list[Box]:
    """The pixels that a layer's values at `places` (n, 2) depend on, inside the image of `shape` (c, h, w).

    The whole image where the network can't be followed by its shapes.
    """
    whole = (0, shape[1], 0, shape[2])
    try:
        found = anatomy(module, shape)
    except StriateError:
        return [whole] * len(places)
    nodes = [n.id for n in found.graph.nodes if n.path == layer or n.path.startswith(f"{layer}.")]
    local = found.fields[nodes[-1]].local if nodes else None
    if local is None:
        return [whole] * len(places)
    ends = []
    for place in places.tolist():
        spans = [
            (max(0, axis.first + i * axis.jump), min(side, axis.last + i * axis.jump + 1))
            for axis, i, side in zip(local, place, shape[1:], strict=True)
        ]
        ends.append((*spans[0], *spans[1]))
    return ends


@dataclass(frozen=True)
class Evidence:
    """One channel: its strongest patches as uint8 pixels, and what the deconvnet makes of each."""

    channel: int
    values: NDArray[np.float32]
    patches: list[NDArray[np.uint8]]
    projections: list[NDArray[np.float32]]


def evidence(
    module: nn.Module,
    found: Strongest,
    read: Callable[[list[int]], Tensor],
    normalise: Callable[[Tensor], Tensor],
    channels: Iterable[int],
) -> list[Evidence]:
    """Patches and projections of some channels; `read` gives the images of those numbers, uint8 (n, c, h, w)."""
    shown: list[Evidence] = []
    for channel in channels:
        pixels, places = read(found.images[channel].tolist()), found.places[channel]
        ks = torch.full((len(pixels),), channel)
        back = project(module, normalise(pixels), found.layer, ks, places).float().cpu().numpy()
        shape = (pixels.shape[1], pixels.shape[2], pixels.shape[3])
        cuts = boxes(module, shape, found.layer, places)
        patches = [
            p[:, top:end, left:right] for p, (top, end, left, right) in zip(pixels.numpy(), cuts, strict=True)
        ]
        projections = [
            p[:, top:end, left:right] for p, (top, end, left, right) in zip(back, cuts, strict=True)
        ]
        shown.append(Evidence(channel, found.values[channel].float().numpy(), patches, projections))
    return shown
