"""MobileNet v2.  Sandler et al., 2018, arXiv:1801.04381.

Idea     Carry the signal through narrow linear layers and expand only inside a block, where depthwise is
         cheap.
Source   Plan: Table 2.  Block: Fig. 3 (b) and Table 1.  Width multiplier: section 5.
Departs  Channels are rounded to multiples of 8, as in the authors' code. Keras' weights fit with `KERAS`.
"""

from functools import partial
from typing import Any, Literal

from torch import nn

from striate.layers.chain import chain
from striate.layers.inverted_residual import InvertedResidual, conv_bn_relu6
from striate.layers.pool import GlobalAvgPool
from striate.zoo.network import ZooNet, he_init
from striate.zoo.registry import Card, register

PLAN = (  # expansion, channels, blocks, stride of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
KERAS: dict[str, Any] = {"padding": "same", "bn_eps": 1e-3}


def mobilenet_v2(
    num_classes: int = 1000,
    in_chans: int = 3,
    width: float = 1.0,
    padding: Literal[1, "same"] = 1,
    bn_eps: float = 1e-5,
    dropout: float = 0.2,
) -> ZooNet:
    """3x3/2, 17 inverted residuals, 1x1 to 1280 channels, global average, dense."""
    norm = partial(nn.BatchNorm2d, eps=bn_eps)
    c = eights(32 * width)
    stem = conv_bn_relu6(in_chans, c, 3, 2, padding, norm=norm)
    stages: dict[str, nn.Module] = {}
    for i, (expand, channels, blocks, stride) in enumerate(PLAN, start=1):
        stage = nn.Sequential()
        for j in range(blocks):
            c_out = eights(channels * width)
            stage.append(InvertedResidual(c, c_out, stride if j == 0 else 1, expand, padding, norm))
            c = c_out
        stages[f"stage{i}"] = stage
    last = eights(1280 * max(width, 1.0))
    stages["end"] = conv_bn_relu6(c, last, 1, padding=0, norm=norm)
    head = chain(pool=GlobalAvgPool(), drop=nn.Dropout(dropout), fc=nn.Linear(last, num_classes))
    return ZooNet(stem, stages, head, in_chans=in_chans, min_side=1, init=he_init)


def eights(c: float) -> int:
    """The multiple of 8 nearest to c, at least 8 and never more than 10 % below c.

    >>> [eights(c) for c in (3, 24 * 0.75, 320 * 0.35)]
    [8, 24, 112]
    """
    rounded = max(8, int(c + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * c else rounded + 8


register(
    Card("mobilenet_v2", "mobilenet", "1801.04381", 2018, input=(3, 224, 224), min_side=1, params=3_504_872)
)(mobilenet_v2)
