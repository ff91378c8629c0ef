"""Inception v3.  Szegedy et al., 2016, arXiv:1512.00567.

Idea     Factorise: two 3x3 for a 5x5, 1x7 and 7x1 for a 7x7; shrink maps by convolution beside pooling.
Source   Plan: Table 1 and Figs. 5 (mixed5), 6 (mixed6), 7 (mixed7), 10 (first block of mixed6 and mixed7);
         widths that the paper leaves open: the authors' TensorFlow-Slim code.  Auxiliary head: section 4.
Departs  mixed5 keeps one 5x5, as the authors' code does.
"""

from collections.abc import Callable

from torch import nn

from striate.layers import Concat, GlobalAvgPool, MaxPool2d
from striate.layers.auxiliary import auxiliary_conv
from striate.layers.chain import chain
from striate.layers.inception import avg_pool, conv_bn_relu, inception_factorised, split, tower
from striate.zoo.auxiliary import AuxiliaryNet
from striate.zoo.registry import Card, register

TORCHVISION = TIMM = {"count_include_pad": True}

Pool = Callable[[], nn.Module]
POOL5 = (32, 64, 64)  # width of the pooled tower in mixed5 b, c, d
WIDTH7 = (128, 160, 160, 192)  # width of the 1x7 and 7x1 towers in mixed6 b, c, d, e


def mixed5(c: int, c_pool: int, pool: Pool) -> Concat:
    """Fig. 5 with its 5x5.    (n, c, h, w) -> (n, 224 + c_pool, h, w)"""
    return Concat(
        tower(c, (64, 1)),
        tower(c, (48, 1), (64, 5)),
        tower(c, (64, 1), (96, 3), (96, 3)),
        tower(c, pool(), (c_pool, 1)),
    )


def mixed7(c: int, pool: Pool) -> Concat:
    """Fig. 7: the 3x3 towers end in a fork of 1x3 and 3x1.    (n, c, h, w) -> (n, 2048, h, w)"""
    return Concat(
        tower(c, (320, 1)),
        tower(c, (384, 1), split(384, 384)),
        tower(c, (448, 1), (384, 3), split(384, 384)),
        tower(c, pool(), (192, 1)),
    )


def reduce5(c: int) -> Concat:
    """Fig. 10.    (n, 288, h, w) -> (n, 768, h/2, w/2)"""
    return Concat(tower(c, (384, 3, 2)), tower(c, (64, 1), (96, 3), (96, 3, 2)), MaxPool2d(3, 2))


def reduce6(c: int) -> Concat:
    """Fig. 10 with a 7x7, factorised, before the second 3x3.    (n, 768, h, w) -> (n, 1280, h/2, w/2)"""
    return Concat(
        tower(c, (192, 1), (320, 3, 2)),
        tower(c, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)),
        MaxPool2d(3, 2),
    )


def stem(c: int) -> nn.Sequential:
    """Three 3x3, pool, 1x1, 3x3, pool; also Inception-ResNet v2's.    (n, c, 299, 299) -> (n, 192, 35, 35)"""
    return chain(
        conv1a=conv_bn_relu(c, 32, 3, 2),
        conv2a=conv_bn_relu(32, 32, 3, padding=0),
        conv2b=conv_bn_relu(32, 64, 3),
        pool3a=MaxPool2d(3, 2),
        conv3b=conv_bn_relu(64, 80, 1),
        conv4a=conv_bn_relu(80, 192, 3, padding=0),
        pool5a=MaxPool2d(3, 2),
    )


@register(
    Card("inception_v3", "inception", "1512.00567", 2015, (3, 299, 299), min_side=75, params=23_834_568)
)
def inception_v3(
    num_classes: int = 1000,
    in_chans: int = 3,
    aux_heads: bool = False,
    dropout: float = 0.2,
    count_include_pad: bool = False,
) -> AuxiliaryNet:
    """Inception v3, optionally with its auxiliary head.

    `count_include_pad` makes the average pools count the border as zeros, as torchvision's and timm's weights
    expect (`TORCHVISION`); the authors' own and Keras' average over the pixels that exist.
    """

    def pool() -> nn.Module:
        return avg_pool(count_include_pad)

    b, c, d = (mixed5(c_in, c_pool, pool) for c_in, c_pool in zip((192, 256, 288), POOL5, strict=True))
    stages = {
        "mixed5": chain(b=b, c=c, d=d),  # (n, 288, 35, 35)
        "mixed6": chain(a=reduce5(288)),  # (n, 768, 17, 17)
        "mixed7": chain(a=reduce6(768), b=mixed7(1280, pool), c=mixed7(2048, pool)),
    }
    for name, width in zip("bcde", WIDTH7, strict=True):
        stages["mixed6"].add_module(name, inception_factorised(768, width, 192, pool=pool))
    head = chain(pool=GlobalAvgPool(), drop=nn.Dropout(dropout), fc=nn.Linear(2048, num_classes))
    auxiliary = {"mixed6_e": auxiliary_conv(768, num_classes)} if aux_heads else {}
    return AuxiliaryNet(
        stem(in_chans), stages, head, auxiliary, min_side_auxiliary=299, in_chans=in_chans, min_side=75
    )
