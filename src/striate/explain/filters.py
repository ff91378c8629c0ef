"""What the layers have learnt to look for (filters) and what they find in an image (feature maps)."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.errors import UsageError
from striate.explain.layers import choose, stage_layers
from striate.explain.picture import (
    HEAT,
    SIGNED,
    Panel,
    Scale,
    grid,
    signed_scale,
    to_pixels,
)
from striate.explain.probe import asked, images_of, layer_at, record

MOST = 64  # pictures of one layer


def filters(module: nn.Module, layer: str | None = None) -> tuple[str, Tensor]:
    """The name and the kernels (n, c, h, w) of a convolution, by default the first one."""
    if layer is None:
        found = [name for name, m in module.named_modules() if isinstance(m, nn.Conv2d)]
        if not found:
            raise UsageError(f"{type(module).__name__} has no convolution, so no filters to show")
        layer = found[0]
    weight = getattr(layer_at(module, layer), "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 4:
        raise UsageError(f"layer {layer} has no filters: expected the name of a convolution")
    return layer, weight.detach().float().cpu()


def filter_panel(weights: Tensor, title: str, most: int = MOST) -> Panel:
    """Kernels on one scale about 0: in colour where they see 1 or 3 channels, else each plane by itself."""
    n, c = weights.shape[:2]
    if c == 3:
        far = float(weights.abs().max()) or 1.0
        shades = np.round(127.5 + 127.5 * (weights[:most] / far).numpy()).astype(np.uint8)
        tiles = [to_pixels(kernel) for kernel in shades]
        return Panel(
            grid(tiles), f"{title}: {_of(len(tiles), n)} filters", Scale(-far, far, "weight", "gray")
        )
    side = max(1, int(most**0.5))
    planes = weights[:most] if c == 1 else weights[:side, :side]
    scale = signed_scale(planes.numpy(), "weight", SIGNED)
    tiles = [scale.paint(plane) for kernel in planes for plane in kernel.numpy()]
    what = f"{_of(len(planes), n)} filters" + (
        f" (rows) x {_of(planes.shape[1], c)} channels" if c > 1 else ""
    )
    return Panel(grid(tiles, None if c == 1 else planes.shape[1]), f"{title}: {what}", scale)


def features(module: nn.Module, x: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Outputs (n, c, h, w) of the named layers, by default one for each resolution.

    Raises UsageError for a layer without maps.
    """
    shown = stage_layers(module, x) if layers is None else [choose(module, x, path) for path in layers]
    with asked(module) as net:
        found = record(net, images_of(net, x), [maps.path for maps in shown])
    return {maps.path: maps.layout.maps(found[maps.path]) for maps in shown}


def feature_panels(maps: Mapping[str, Tensor], most: int = MOST) -> list[Panel]:
    """A panel a layer for one image's maps (c, h, w): the most active channels first, on one scale."""
    return [_feature_panel(path, t.float().cpu(), most) for path, t in maps.items()]


def _feature_panel(path: str, maps: Tensor, most: int) -> Panel:
    c, h, w = maps.shape
    order = maps.abs().mean((1, 2)).argsort(descending=True)[:most]
    shown = maps[order].numpy()
    scale = _feature_scale(shown)
    tiles = [scale.paint(m) for m in shown]
    return Panel(grid(tiles), f"{path}: {_of(len(tiles), c)} maps of {h}x{w}", scale)


def _feature_scale(shown: NDArray[np.float32]) -> Scale:
    """From 0 up after a rectifier, about 0 elsewhere."""
    if shown.min() >= 0:
        return Scale(0.0, float(shown.max()), "activation", HEAT)
    return signed_scale(shown, "activation", SIGNED)


def _of(shown: int, n: int) -> str:
    return str(n) if shown == n else f"{shown} of {n}"
