"""The surface that every network of the zoo shares: stem, stages, head, `features`, `reset_head`."""

from collections.abc import Callable, Mapping
from math import sqrt

import torch
from torch import Tensor, nn

from striate.errors import UsageError
from striate.layers.init import fans

Init = Callable[[nn.Module], None]


class ZooNet(nn.Module):
    """head(stages(stem(x))), logits always.    (n, c, h, w) -> (n, k)

    `init` is called on every module after construction; the layer that scores the classes then starts even.
    `img_size` is the side that a flatten before the first dense layer fixes; None where any will do.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Mapping[str, nn.Module],
        head: nn.Module,
        *,
        in_chans: int,
        min_side: int,
        img_size: int | None = None,
        init: Init | None = None,
    ) -> None:
        super().__init__()
        self.in_chans, self.min_side, self.img_size = in_chans, min_side, img_size
        self.stem = stem
        self.stages = nn.Sequential()
        for name, stage in stages.items():
            self.stages.add_module(name, stage)
        self.head = head
        self.init = init
        if init is not None:
            self.apply(init)
            start_even(scorer(head)[1])

    def features(self, x: Tensor) -> Tensor:
        """What the head sees.    (n, c, h, w) -> (n, c', h', w')"""
        check_input(x, self.in_chans, self.min_side, self.img_size)
        return self.stages(self.stem(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def reset_head(self, num_classes: int) -> None:
        """Replace the layer that scores the classes by a fresh one for `num_classes`."""
        fresh = replace_scorer(self.head, num_classes)
        if self.init is not None:
            start_even(fresh)

    @property
    def num_classes(self) -> int:
        """k, the width of the logits."""
        layer = scorer(self.head)[1]
        return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def check_input(x: Tensor, in_chans: int, min_side: int, img_size: int | None = None) -> None:
    """Refuse what the network can't digest, in one line, before a layer deep inside does."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined]
        return  # sizes are symbols there, and what is exported has none to refuse
    if x.dim() != 4 or x.shape[1] != in_chans:
        raise UsageError(f"expected images (n, {in_chans}, h, w), got {tuple(x.shape)}: check in_chans")
    h, w = x.shape[2:]
    if img_size is not None and (h != img_size or w != img_size):
        hint = f"resize the images or build the network with img_size={h}"
        raise UsageError(f"this network takes {img_size}x{img_size} images, got {h}x{w}", hint=hint)
    if h < min_side or w < min_side:
        raise UsageError(f"this network needs images of at least {min_side}x{min_side}, got {h}x{w}")


def he_init(module: nn.Module) -> None:
    """Convolutions N(0, 2 / outputs of an input), dense N(0, 0.01^2), biases 0.  arXiv:1502.01852, eq. 14."""
    if isinstance(module, nn.Conv2d):
        _normal(module, sqrt(2 / fans(module)[1]))
    elif isinstance(module, nn.Linear):
        _normal(module, 0.01)


def start_even(layer: nn.Linear | nn.Conv2d) -> None:
    """N(0, 0.01^2) for the layer that scores the classes: none is preferred before training."""
    _normal(layer, 0.01)


def _normal(layer: nn.Linear | nn.Conv2d, std: float) -> None:
    if layer.weight.is_meta:
        return  # nothing to draw there, and torch takes milliseconds a layer to do so
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def scorer(head: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """The last dense or 1x1 convolution layer of a head, the one that scores the classes, with its path."""
    layers = [(path, m) for path, m in head.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return layers[-1]


def replace_scorer(head: nn.Module, num_classes: int) -> nn.Linear | nn.Conv2d:
    """Put a fresh layer with `num_classes` outputs where the scorer was, on its device; returns it."""
    if num_classes < 1:
        raise UsageError(f"num_classes must be at least 1, got {num_classes}")
    path, old = scorer(head)
    bias = old.bias is not None
    fresh: nn.Linear | nn.Conv2d
    if isinstance(old, nn.Linear):
        fresh = nn.Linear(old.in_features, num_classes, bias)
    else:
        fresh = nn.Conv2d(old.in_channels, num_classes, 1, bias=bias)
    fresh.to(old.weight)
    head.set_submodule(path, fresh)
    return fresh
