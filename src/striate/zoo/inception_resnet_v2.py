"""Inception-ResNet v2.  Szegedy et al., 2017, arXiv:1602.07261.

Idea     The towers of an Inception module only correct their input: x + 0.1 ... 0.2 * towers(x). It trains
         faster than Inception v4 at the same cost.
Source   Schema: Fig. 15.  Blocks: Figs. 16 (block35), 17 (block17), 19 (block8).  Reductions: Figs. 7 and 18.
         Scaled residuals: section 3.3.
Departs  As the authors' TensorFlow-Slim code, Keras and timm do: the stem of Inception v3 and one Inception
         module more (mixed5 b) for the stem of Fig. 3, and 10, 20, 10 blocks where the paper draws 5, 10, 5.
"""

from torch import nn

from striate.layers import Concat, GlobalAvgPool, MaxPool2d
from striate.layers.chain import chain
from striate.layers.inception import InceptionResidual, avg_pool, conv_bn_relu, tower
from striate.zoo.inception_v3 import stem
from striate.zoo.network import ZooNet
from striate.zoo.registry import Card, register


def mixed5(c: int) -> Concat:
    """The Inception module before the residual ones.    (n, 192, h, w) -> (n, 320, h, w)"""
    return Concat(
        tower(c, (96, 1)),
        tower(c, (48, 1), (64, 5)),
        tower(c, (64, 1), (96, 3), (96, 3)),
        tower(c, avg_pool(), (64, 1)),
    )


def block35(c: int = 320) -> InceptionResidual:
    """1x1, 3x3 and 5x5 as two 3x3.    (n, 320, h, w) -> (n, 320, h, w)"""
    towers = Concat(tower(c, (32, 1)), tower(c, (32, 1), (32, 3)), tower(c, (32, 1), (48, 3), (64, 3)))
    return InceptionResidual(c, towers, 128, scale=0.17)


def block17(c: int = 1088) -> InceptionResidual:
    """1x1 and 7x7 as 1x7 and 7x1.    (n, 1088, h, w) -> (n, 1088, h, w)"""
    towers = Concat(tower(c, (192, 1)), tower(c, (128, 1), (160, (1, 7)), (192, (7, 1))))
    return InceptionResidual(c, towers, 384, scale=0.1)


def block8(c: int = 2080, scale: float = 0.2, last: bool = False) -> InceptionResidual:
    """1x1 and 3x3 as 1x3 and 3x1.    (n, 2080, h, w) -> (n, 2080, h, w)"""
    towers = Concat(tower(c, (192, 1)), tower(c, (192, 1), (224, (1, 3)), (256, (3, 1))))
    return InceptionResidual(c, towers, 448, scale, last)


def reduce5(c: int = 320) -> Concat:
    """(n, 320, h, w) -> (n, 1088, h/2, w/2)"""
    return Concat(tower(c, (384, 3, 2)), tower(c, (256, 1), (256, 3), (384, 3, 2)), MaxPool2d(3, 2))


def reduce6(c: int = 1088) -> Concat:
    """(n, 1088, h, w) -> (n, 2080, h/2, w/2)"""
    return Concat(
        tower(c, (256, 1), (384, 3, 2)),
        tower(c, (256, 1), (288, 3, 2)),
        tower(c, (256, 1), (288, 3), (320, 3, 2)),
        MaxPool2d(3, 2),
    )


@register(
    Card(
        "inception_resnet_v2", "inception", "1602.07261", 2016, (3, 299, 299), min_side=75, params=55_843_464
    )
)
def inception_resnet_v2(num_classes: int = 1000, in_chans: int = 3, dropout: float = 0.2) -> ZooNet:
    """Inception-ResNet v2."""
    stages = {
        "mixed5": chain(
            b=mixed5(192), blocks=nn.Sequential(*(block35() for _ in range(10)))
        ),  # (n, 320, 35, 35)
        "mixed6": chain(
            a=reduce5(), blocks=nn.Sequential(*(block17() for _ in range(20)))
        ),  # (n, 1088, 17, 17)
        "mixed7": chain(  # (n, 1536, 8, 8)
            a=reduce6(),
            blocks=nn.Sequential(*(block8() for _ in range(9)), block8(scale=1.0, last=True)),
            conv7b=conv_bn_relu(2080, 1536, 1),
        ),
    }
    head = chain(pool=GlobalAvgPool(), drop=nn.Dropout(dropout), fc=nn.Linear(1536, num_classes))
    return ZooNet(stem(in_chans), stages, head, in_chans=in_chans, min_side=75)
