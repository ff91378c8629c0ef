"""Xception.  Chollet, 2017, arXiv:1610.02357.

Idea     An Inception module with as many towers as channels is a depthwise-separable convolution: build a
         residual network of nothing else.
Source   Fig. 5: entry flow, middle flow eight times, exit flow.
"""

from functools import partial
from typing import Any

from torch import nn

from striate.layers import GlobalAvgPool, SeparableConv2d
from striate.layers.chain import chain
from striate.layers.geometry import Padding
from striate.layers.xception import xception_block
from striate.zoo.network import ZooNet
from striate.zoo.registry import Card, register

TIMM: dict[str, Any] = {"pool_padding": 1, "bn_eps": 1e-5}


@register(Card("xception", "xception", "1610.02357", 2016, (3, 299, 299), min_side=7, params=22_855_952))
def xception(
    num_classes: int = 1000,
    in_chans: int = 3,
    dropout: float = 0.5,
    pool_padding: Padding = "same",
    bn_eps: float = 1e-3,
) -> ZooNet:
    """Xception.

    The author's code, in Keras, pads its max-pools by TensorFlow's rule and has 1e-3 in its batch norms;
    timm's port of the weights needs `TIMM`.
    """
    block = partial(xception_block, pool_padding=pool_padding, eps=bn_eps)
    stages = {
        "entry": nn.Sequential(
            block(64, 128, 128, stride=2, relu_first=False),  # (n, 128, 74, 74)
            block(128, 256, 256, stride=2),  # (n, 256, 37, 37)
            block(256, 728, 728, stride=2),  # (n, 728, 19, 19)
        ),
        "middle": nn.Sequential(*(block(728, 728, 728, 728) for _ in range(8))),
        "exit": chain(
            block=block(728, 728, 1024, stride=2),  # (n, 1024, 10, 10)
            separable1=separable_unit(1024, 1536, bn_eps),
            separable2=separable_unit(1536, 2048, bn_eps),
        ),
    }
    head = chain(pool=GlobalAvgPool(), drop=nn.Dropout(dropout), fc=nn.Linear(2048, num_classes))
    return ZooNet(stem(in_chans, bn_eps), stages, head, in_chans=in_chans, min_side=7)


def stem(c: int, eps: float) -> nn.Sequential:
    """3x3/2 and 3x3, unpadded.    (n, c, 299, 299) -> (n, 64, 147, 147)"""
    return chain(
        conv1=nn.Conv2d(c, 32, 3, 2, bias=False),
        bn1=nn.BatchNorm2d(32, eps=eps),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(32, 64, 3, bias=False),
        bn2=nn.BatchNorm2d(64, eps=eps),
        relu2=nn.ReLU(),
    )


def separable_unit(c_in: int, c_out: int, eps: float) -> nn.Sequential:
    """relu(bn(separable(x))).    (n, c_in, h, w) -> (n, c_out, h, w)"""
    separable = SeparableConv2d(c_in, c_out, 3, bias=False)
    return chain(separable=separable, bn=nn.BatchNorm2d(c_out, eps=eps), relu=nn.ReLU())
