"""ResNeXt 50 (32x4d) and 101 (32x4d, 32x8d).  Xie et al., 2017, arXiv:1611.05431.

Idea     Many narrow transformations of the same input, added: cardinality buys more than depth or width.
Source   Plan: Table 1.  Block: Fig. 3 (c), the grouped form.  Cardinality x width: Tables 2 and 3.
Departs  Nothing. Keras' weights fit with the arguments `KERAS`.
"""

from functools import partial
from typing import Any

from torch import nn

from striate.layers.residual import Residual, bottleneck, projection
from striate.zoo.network import ZooNet, he_init
from striate.zoo.registry import Card, register
from striate.zoo.resnet import BLOCKS, head, stages, stem

KERAS: dict[str, Any] = {"bn_eps": 1.001e-5}


def resnext(
    depth: int,
    cardinality: int,
    group_width: int,
    num_classes: int = 1000,
    in_chans: int = 3,
    bn_eps: float = 1e-5,
    dropout: float = 0.0,
) -> ZooNet:
    """ResNet whose 3x3s have `cardinality` groups of `group_width` channels, twice that each stage on."""
    norm = partial(nn.BatchNorm2d, eps=bn_eps)

    def block(c_in: int, width: int, stride: int) -> Residual:
        inner, c_out = cardinality * group_width * width // 64, 4 * width
        body = bottleneck(c_in, inner, c_out, stride, groups=cardinality, norm=norm)
        fits = stride == 1 and c_in == c_out
        return Residual(body, None if fits else projection(c_in, c_out, stride, norm=norm))

    return ZooNet(
        stem(in_chans, bias=False, norm=norm),
        stages(block, BLOCKS[depth], expansion=4),
        head(2048, num_classes, dropout),
        in_chans=in_chans,
        min_side=1,
        init=he_init,
    )


_card = partial(Card, family="resnext", paper="1611.05431", year=2017, input=(3, 224, 224), min_side=1)
register(_card("resnext50_32x4d", params=25_028_904))(partial(resnext, 50, 32, 4))
register(_card("resnext101_32x4d", params=44_177_704))(partial(resnext, 101, 32, 4))
register(_card("resnext101_32x8d", params=88_791_336))(partial(resnext, 101, 32, 8))
