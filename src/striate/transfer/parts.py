"""The parts of a network from its input to its output: what is frozen, what is trained, and how fast."""

import copy
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn

from striate.errors import UsageError
from striate.zoo.network import ZooNet, scorer


class Part(NamedTuple):
    """A piece of a network that is frozen or trained as a whole."""

    name: str
    modules: tuple[nn.Module, ...]


def parts(net: nn.Module) -> list[Part]:
    """Stem, stages, what of the head lies before the layer that scores the classes, and the rest: the new head."""
    net = _zoo(net)
    before, scoring = _divided(net)
    stages = [Part(name, (stage,)) for name, stage in net.stages.named_children()]
    heads = (*scoring, *getattr(net, "auxiliary", {}).values())
    found = [Part("stem", (net.stem,)), *stages, Part("neck", tuple(before)), Part("head", heads)]
    return [part for part in found if any(True for m in part.modules for _ in m.parameters())]


def base_and_tail(net: nn.Module) -> tuple[nn.Module, nn.Sequential]:
    """The network up to the layer that scores the classes, which is frozen, and that layer with what follows it.

    Both share the network's weights: tail(base(x)) is net(x).
    """
    net = _zoo(net)
    before, scoring = _divided(net)
    return Base(net, before), nn.Sequential(*scoring)


class Base(nn.Module):
    """(n, c, h, w) -> (n, d), or maps (n, d, h', w') where a convolution scores the classes."""

    def __init__(self, net: ZooNet, before: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stem, self.stages, self.neck = net.stem, net.stages, nn.Sequential(*before)

    def forward(self, x: Tensor) -> Tensor:
        return self.neck(self.stages(self.stem(x)))


def thaw(net: nn.Module, last: int) -> None:
    """Train the head and the `last` parts before it; freeze the others."""
    found = parts(net)
    for i, part in enumerate(reversed(found)):
        for m in part.modules:
            m.requires_grad_(i <= last)


def frozen(net: nn.Module) -> Iterable[nn.Module]:
    """The modules none of whose weights are trained: their batch norms keep the statistics they have."""
    for m in net.modules():
        weights = list(m.parameters())
        if weights and not any(p.requires_grad for p in weights):
            yield m


def rates(net: nn.Module, decay: float) -> dict[Tensor, float]:
    """Learning rates by weight: 1 for the head, `decay` times less for each part before.

    Howard & Ruder, 2018, arXiv:1801.06146, section 3.2, with `decay` = 1/2.6.
    """
    return {
        p: decay**i
        for i, part in enumerate(reversed(parts(net)))
        for m in part.modules
        for p in m.parameters()
    }


def _zoo(net: nn.Module) -> ZooNet:
    if not isinstance(net, ZooNet):
        raise UsageError("only networks of the zoo can be frozen part by part", "`striate models` lists them")
    return net


def _divided(net: ZooNet) -> tuple[list[nn.Module], list[nn.Module]]:
    """The steps of the head before the layer that scores the classes, and those from it on."""
    where = scorer(net.head)[0].split(".")[0]
    names = [name for name, _ in net.head.named_children()]
    steps = list(net.head.children())
    cut = names.index(where)
    return steps[:cut], steps[cut:]


def fused(module: nn.Module) -> nn.Module:
    """A copy for inference, each batch norm folded into the convolution right before it."""
    copied = copy.deepcopy(module).eval()
    for chain in [m for m in copied.modules() if isinstance(m, nn.Sequential)]:
        names = list(chain._modules)
        for a, b in pairwise(names):
            conv, norm = chain._modules[a], chain._modules[b]
            if isinstance(conv, nn.Conv2d) and type(norm) is nn.BatchNorm2d:
                chain._modules[a] = nn.utils.fuse_conv_bn_eval(conv, norm)
                chain._modules[b] = nn.Identity()
    return copied
