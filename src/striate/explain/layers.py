"""Which layers are worth looking at, found by running one image: no network has to name them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from striate.errors import UsageError
from striate.explain.probe import asked, images_of, logits_of
from striate.layers import AvgPool2d, MaxPool2d, MinPool2d

# what only passes on or thins out the maps of the layer before
_PASSES = (
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.LPPool2d, nn.Identity,
    nn.Dropout, nn.Dropout2d, nn.Flatten, nn.ZeroPad2d, nn.Upsample, MaxPool2d, MinPool2d, AvgPool2d,
)  # fmt: skip


@dataclass(frozen=True)
class Maps:
    """A layer whose output is maps, `shape` (c, h, w)."""

    path: str
    shape: tuple[int, int, int]


def map_layers(module: nn.Module, x: Tensor) -> list[Maps]:
    """Layers whose output has a width and a height, in the order they finish, pooling and dropout left out.

    A block stands beside its layers; where both give the same tensor the block alone is listed.
    """
    calls: list[tuple[str, Tensor]] = []
    passed: set[int] = set()
    names: dict[nn.Module, str] = {}
    alive: list[Tensor] = []  # a dead tensor's id could be taken by another

    def hook(m: nn.Module, args: tuple[object, ...], output: object) -> None:
        if not isinstance(output, Tensor) or not is_maps(output) or not _upright(output, x):
            return
        alive.append(output)
        if isinstance(m, _PASSES):
            if not any(output is a for a in args):
                passed.add(id(output))
        elif names[m]:
            calls.append((names[m], output))

    with asked(module) as net, torch.no_grad():
        names |= {m: name for name, m in net.named_modules()}
        handles = [m.register_forward_hook(hook) for m in net.modules()]
        try:
            logits_of(net, images_of(net, x[:1]))
        finally:
            for handle in handles:
                handle.remove()
    last: dict[int, Maps] = {}  # of the layers that give one tensor, the outermost finishes last
    for path, t in calls:
        if id(t) not in passed:
            last.pop(id(t), None)
            last[id(t)] = Maps(path, (t.shape[1], t.shape[2], t.shape[3]))
    return list({m.path: m for m in last.values()}.values())


def is_maps(t: Tensor) -> bool:
    """(n, c, h, w) of more than one pixel."""
    return t.dim() == 4 and t.shape[2] * t.shape[3] > 1


def _upright(t: Tensor, x: Tensor) -> bool:
    """Whether the last two axes can be height and width: some networks put channels last inside."""
    return 0.25 < t.shape[2] * x.shape[3] / (t.shape[3] * x.shape[2]) < 4


def last_maps(module: nn.Module, x: Tensor) -> str:
    """The last layer that still knows where things are, before pooling and dense layers forget it."""
    return _some(module, x)[-1].path


def stage_layers(module: nn.Module, x: Tensor) -> list[Maps]:
    """One layer for each resolution, finest first: of the outermost blocks that have it, the last."""
    chosen: dict[int, Maps] = {}
    for maps in _some(module, x):
        size = math.prod(maps.shape[1:])
        if size not in chosen or maps.path.count(".") <= chosen[size].path.count("."):
            chosen[size] = maps
    return [chosen[size] for size in sorted(chosen, reverse=True)]


def _some(module: nn.Module, x: Tensor) -> list[Maps]:
    found = map_layers(module, x)
    if not found:
        raise UsageError(
            f"{type(module).__name__} has no layer with maps: it isn't convolutional",
            "saliency, smoothgrad, integrated-gradients and occlusion work for any network",
        )
    return found
