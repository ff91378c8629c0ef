"""MobileNet v1.  Howard et al., 2017, arXiv:1704.04861.

Idea     Split every 3x3 into a depthwise 3x3 and a 1x1: eight to nine times fewer multiplications.
Source   Plan: Table 1.  Block: Fig. 3, right.  Width multiplier: section 3.3.
Departs  The last depthwise keeps the size (Table 1 prints stride 2 on a 7x7 map that stays 7x7); ReLU6 and
         dropout as in the authors' code. Keras' weights fit with the arguments `KERAS`.
"""

from functools import partial
from typing import Any, Literal

from torch import nn

from striate.layers.chain import chain
from striate.layers.inverted_residual import conv_bn_relu6
from striate.layers.pool import GlobalAvgPool
from striate.zoo.network import ZooNet, he_init
from striate.zoo.registry import Card, register

PLAN = (  # (c_out, stride) of each separable block; a stage begins where the image is halved
    ((64, 1),),
    ((128, 2), (128, 1)),
    ((256, 2), (256, 1)),
    ((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    ((1024, 2), (1024, 1)),
)
KERAS: dict[str, Any] = {"padding": "same", "bn_eps": 1e-3}


def mobilenet_v1(
    num_classes: int = 1000,
    in_chans: int = 3,
    width: float = 1.0,
    padding: Literal[1, "same"] = 1,
    bn_eps: float = 1e-5,
    dropout: float = 0.001,
) -> ZooNet:
    """3x3/2, 13 depthwise-separable blocks, global average, dense; all channels times `width`."""
    norm = partial(nn.BatchNorm2d, eps=bn_eps)
    c = int(32 * width)
    stem = conv_bn_relu6(in_chans, c, 3, 2, padding, norm=norm)
    stages: dict[str, nn.Module] = {}
    for i, plan in enumerate(PLAN, start=1):
        stage = nn.Sequential()
        for c_out, stride in plan:
            c_out = int(c_out * width)
            depthwise = conv_bn_relu6(c, c, 3, stride, padding, groups=c, norm=norm)
            stage.append(
                chain(depthwise=depthwise, pointwise=conv_bn_relu6(c, c_out, 1, padding=0, norm=norm))
            )
            c = c_out
        stages[f"stage{i}"] = stage
    head = chain(pool=GlobalAvgPool(), drop=nn.Dropout(dropout), fc=nn.Linear(c, num_classes))
    return ZooNet(stem, stages, head, in_chans=in_chans, min_side=1, init=he_init)


register(
    Card("mobilenet_v1", "mobilenet", "1704.04861", 2017, input=(3, 224, 224), min_side=1, params=4_231_976)
)(mobilenet_v1)
