"""Which layers are worth looking at, found by running one image: no network has to name them."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from striate.errors import UsageError
from striate.explain.places import Followed, Layout, Places, layout_of
from striate.explain.probe import (
    Target,
    asked,
    call_of,
    images_of,
    layer_at,
    logits_of,
    predict,
    record,
    scores_of,
)
from striate.layers import AvgPool2d, MaxPool2d, MinPool2d

# what only passes on or thins out the maps of the layer before
_PASSES = (
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.LPPool2d, nn.Identity,
    nn.Dropout, nn.Dropout2d, nn.Flatten, nn.ZeroPad2d, nn.Upsample, MaxPool2d, MinPool2d, AvgPool2d,
)  # fmt: skip


WITHOUT_LAYERS = "saliency, smoothgrad, integrated-gradients and occlusion work for any network"


@dataclass(frozen=True)
class Maps:
    """A layer whose output `layout` turns into maps, `shape` (c, h, w)."""

    path: str
    shape: tuple[int, int, int]
    layout: Layout = field(repr=False, compare=False)


@dataclass(frozen=True)
class _Call:
    """A layer's call: `number` counts from 1, `last` is that of its last."""

    path: str
    number: int
    last: int
    module: nn.Module
    output: Tensor
    places: Places | None

    def maps(self) -> Maps | None:
        layout = layout_of(self.places)
        if layout is None:
            return None
        path = self.path if self.number == self.last else f"{self.path} ({self.number})"
        c, h, w = layout.maps(self.output.detach()).shape[1:]
        return Maps(path, (c, h, w), layout)


@dataclass(frozen=True)
class _Run:
    """What one image does in a network: every call of a layer that gives a tensor, and the way to the logits."""

    calls: list[_Call]
    passed: set[int]  # ids of outputs that a pooling or a dropout gave
    logits: Tensor
    followed: Followed

    def distinct(self) -> list[_Call]:
        """In the order they finish, without pooling and dropout: of calls that give one tensor the outermost."""
        found: dict[int, _Call] = {}
        for call in self.calls:
            if id(call.output) not in self.passed and not isinstance(call.module, _PASSES):
                found.pop(id(call.output), None)
                found[id(call.output)] = call
        return list(found.values())


def _run(net: nn.Module, x: Tensor) -> _Run:
    """One image (1, c, h, w) through a network that is being asked."""
    heard: list[tuple[nn.Module, int, Tensor, Places | None]] = []
    passed: set[int] = set()
    times: Counter[nn.Module] = Counter()
    names = {m: name for name, m in net.named_modules()}
    seen = x.requires_grad_().clone()  # a first layer may write into its input
    followed = Followed(seen)

    def hook(m: nn.Module, args: tuple[object, ...], output: object) -> None:
        times[m] += 1
        if isinstance(output, Tensor):
            heard.append((m, times[m], output, followed.of(output)))
            if isinstance(m, _PASSES) and not any(output is a for a in args):
                passed.add(id(output))

    handles = [
        m.register_forward_hook(hook) for m in names if names[m] and not isinstance(m, torch.jit.ScriptModule)
    ]
    try:
        with followed:
            logits = logits_of(net, seen)
    finally:
        for handle in handles:
            handle.remove()
    calls = [_Call(names[m], number, times[m], m, output, places) for m, number, output, places in heard]
    return _Run(calls, passed, logits, followed)


def map_layers(module: nn.Module, x: Tensor) -> list[Maps]:
    """Layers whose output has a value at every place of a grid, in the order they finish, pooling and dropout left out.

    A block stands beside its layers; where both give the same tensor the block alone is listed.
    """
    with asked(module) as net:
        found = [call.maps() for call in _run(net, images_of(net, x[:1])).distinct()]
    return [maps for maps in found if maps]


def choose(module: nn.Module, x: Tensor, layer: str | None = None, target: Target = None) -> Maps:
    """The layer of that name, or the last one that the scores of the targets depend on.

    Raises UsageError where there is none, or its values have no known place in the image.
    """
    with asked(module) as net:
        x = images_of(net, x)
        if layer is not None:
            return _named(net, x, layer)
        _, targets = predict(net, x, target)
        return _last(net, _run(net, x[:1]), targets.unique())


def _named(net: nn.Module, x: Tensor, layer: str) -> Maps:
    found, number = layer_at(net, layer), call_of(layer)[1]
    run = _run(net, x[:1])
    calls = [c for c in run.calls if c.module is found and c.number == (number or c.last)]
    if not calls:
        record(net, x[:1], [layer])  # says why
        raise UsageError(f"layer {layer} is never called")
    maps = calls[-1].maps()
    if maps is None:
        shape = (len(x), *calls[-1].output.shape[1:])
        raise UsageError(
            f"layer {layer} gives {shape}: it has no width and height to draw a map of",
            "name a convolution or a block, or leave the layer out",
        )
    return maps


def _last(net: nn.Module, run: _Run, targets: Tensor) -> Maps:
    """The last layer with maps that the score of every target depends on, by its slopes if there are any.

    Dense layers at each place, parts of their blocks, are taken only where there is nothing else.
    """
    found = [(call, maps) for call in run.distinct() if (maps := call.maps())]
    found = [pair for pair in found if not isinstance(pair[0].module, nn.Linear)] or found
    if not found:
        raise UsageError(_no_maps(net), WITHOUT_LAYERS)
    outputs = [call.output for call, _ in found]
    slopes = [_slopes(score, outputs) for score in scores_of(run.logits.expand(len(targets), -1), targets)]
    rules: tuple[Callable[[int], bool], ...] = (
        lambda i: all(s[i] is not None and bool(found[i][1].layout.maps(s[i]).any()) for s in slopes),
        lambda i: all(s[i] is not None for s in slopes),
        lambda i: run.followed.made_of(run.logits, outputs[i]),
    )
    for rule in rules:
        for i in reversed(range(len(found))):
            if rule(i):
                return found[i][1]
    raise UsageError(f"no layer with maps has a say in what {type(net).__name__} answers", WITHOUT_LAYERS)


def _slopes(score: Tensor, outputs: Sequence[Tensor]) -> list[Any]:
    """d score / d output of each; None where no gradient reaches it."""
    reached = [t for t in outputs if t.requires_grad]
    if not score.requires_grad or not reached:
        return [None] * len(outputs)
    found = iter(torch.autograd.grad(score, reached, retain_graph=True, allow_unused=True))
    return [next(found) if t.requires_grad else None for t in outputs]


def _no_maps(net: nn.Module) -> str:
    if any(isinstance(m, torch.jit.ScriptModule) for m in net.modules()):
        return f"{type(net).__name__} has parts that torch.jit compiled, which hides their layers"
    if any(isinstance(m, nn.Conv2d) for m in net.modules()):
        return f"{type(net).__name__} has no layer with maps: where its values belong in the image can't be followed"
    return f"{type(net).__name__} has no layer with maps: it isn't convolutional"


def last_maps(module: nn.Module, x: Tensor, target: Target = None) -> str:
    """The last layer that still knows where things are, before pooling and dense layers forget it.

    Of those that the score of `target`, by default the predicted class, depends on. `relu (2)` is the second call of
    `relu`; the plain name stands for its last.
    """
    return choose(module, x, target=target).path


def layout_at(module: nn.Module, x: Tensor, layer: str) -> Layout:
    """How the output of the layer of that name becomes maps, of one place where it has one value a channel.

    Raises UsageError where it isn't known.
    """
    with asked(module) as net:
        output = record(net, images_of(net, x[:1]), [layer])[layer]
    if output.dim() > 1 and output.shape[2:].numel() == 1:
        return Layout(tuple(range(2, output.dim())), torch.zeros(1, dtype=torch.long), (1, 1))
    return choose(module, x, layer).layout


def stage_layers(module: nn.Module, x: Tensor) -> list[Maps]:
    """One layer for each resolution, finest first: of the outermost blocks that have it, the last."""
    chosen: dict[int, Maps] = {}
    found = map_layers(module, x)
    if not found:
        raise UsageError(_no_maps(module), WITHOUT_LAYERS)
    for maps in found:
        size = math.prod(maps.shape[1:])
        if size not in chosen or maps.path.count(".") <= chosen[size].path.count("."):
            chosen[size] = maps
    return [chosen[size] for size in sorted(chosen, reverse=True)]
