"""SE-ResNet 18/34/50/101/152.  Hu et al., 2018, arXiv:1709.01507.

Idea     Let the whole image decide, channel by channel, how much of a block's answer to keep.
Source   Where the gate sits: Fig. 3.  Plan: Table 1, middle.  Reduction 16: section 6.1.
Departs  Stride on the 3x3 and a padded pool, as ResNet here and `seresnet50` of timm; the authors' Caffe
         strides the first 1x1 and rounds the pool up: arguments `CAFFE`, as timm's `legacy_seresnet50`.
"""

from functools import partial
from typing import Any, Literal

from torch import nn

from striate.layers.residual import Residual, basic, bottleneck, projection
from striate.layers.squeeze_excite import SqueezeExcite
from striate.zoo.network import ZooNet, he_init
from striate.zoo.registry import Card, register
from striate.zoo.resnet import BLOCKS, head, stages, stem

CAFFE: dict[str, Any] = {"stride_on": "1x1", "ceil_pool": True}


def seresnet(
    depth: int,
    num_classes: int = 1000,
    in_chans: int = 3,
    reduction: int = 16,
    stride_on: Literal["1x1", "3x3"] = "3x3",
    ceil_pool: bool = False,
    dropout: float = 0.0,
) -> ZooNet:
    """ResNet with squeeze-and-excitation at the end of every block's body, before the addition."""
    expansion = 1 if depth < 50 else 4

    def block(c_in: int, width: int, stride: int) -> Residual:
        c_out = expansion * width
        if depth < 50:
            body = basic(c_in, width, stride)
        else:
            body = bottleneck(c_in, width, c_out, stride, stride_on=stride_on)
        body.add_module("se", SqueezeExcite(c_out, reduction))
        fits = stride == 1 and c_in == c_out
        return Residual(body, None if fits else projection(c_in, c_out, stride))

    net_stem = stem(in_chans, bias=False, norm=nn.BatchNorm2d)
    if ceil_pool:
        net_stem.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    return ZooNet(
        net_stem,
        stages(block, BLOCKS[depth], expansion),
        head(512 * expansion, num_classes, dropout),
        in_chans=in_chans,
        min_side=1,
        init=he_init,
    )


_card = partial(Card, family="senet", paper="1709.01507", year=2018, input=(3, 224, 224), min_side=1)
for _depth, _params in {
    18: 11_778_592,
    34: 21_958_868,
    50: 28_088_024,
    101: 49_326_872,
    152: 66_821_848,
}.items():
    register(_card(f"seresnet{_depth}", params=_params))(partial(seresnet, _depth))
