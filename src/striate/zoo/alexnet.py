"""AlexNet: the two-tower network of 2012 and the one-tower variant of today.

Idea     Deep, wide, ReLU, dropout, overlapping pools: the network that won ImageNet 2012 by ten points.
Source   Two towers: Krizhevsky et al., 2012, "ImageNet classification with deep convolutional neural
         networks", section 3 and Fig. 2.  One tower: Krizhevsky, 2014, arXiv:1404.5997, with the widths of
         torchvision.
Departs  conv1 is padded by 2, so that 224 pixels give the 55 x 55 of Fig. 2 (unpadded, 227 would); other
         sizes are averaged to 6 x 6. One tower has no local response norm, and drops out before fc6 and fc7
         as torchvision.
"""

from functools import partial
from typing import Literal

from torch import nn

from striate.layers.chain import chain
from striate.layers.norm import LocalResponseNorm
from striate.zoo.network import ZooNet
from striate.zoo.registry import Card, register

WIDTHS = {1: (64, 192, 384, 256, 256), 2: (96, 256, 384, 384, 256)}  # conv1 ... conv5, by number of towers


def alexnet(
    num_classes: int = 1000, in_chans: int = 3, towers: Literal[1, 2] = 1, dropout: float = 0.5
) -> ZooNet:
    """Five convolutions, three of them pooled, and three dense layers.

    With two `towers` conv2, conv4 and conv5 have two groups, and a response norm follows conv1 and conv2.
    """
    c1, c2, c3, c4, c5 = WIDTHS[towers]
    norm = response_norm if towers == 2 else nn.Identity
    stem = chain(
        conv1=nn.Conv2d(in_chans, c1, 11, stride=4, padding=2),  # 55 x 55
        relu1=nn.ReLU(),
        norm1=norm(),
        pool1=nn.MaxPool2d(3, stride=2),  # 27 x 27
    )
    stages = {
        "conv2": chain(
            conv=nn.Conv2d(c1, c2, 5, padding=2, groups=towers),
            relu=nn.ReLU(),
            norm=norm(),
            pool=nn.MaxPool2d(3, stride=2),  # 13 x 13
        ),
        "conv3": chain(conv=nn.Conv2d(c2, c3, 3, padding=1), relu=nn.ReLU()),
        "conv4": chain(conv=nn.Conv2d(c3, c4, 3, padding=1, groups=towers), relu=nn.ReLU()),
        "conv5": chain(
            conv=nn.Conv2d(c4, c5, 3, padding=1, groups=towers),
            relu=nn.ReLU(),
            pool=nn.MaxPool2d(3, stride=2),  # 6 x 6
        ),
    }
    head = dense_head(c5, 6, num_classes, dropout, drop_first=towers == 1)
    return ZooNet(stem, stages, head, in_chans=in_chans, min_side=63)


def response_norm() -> LocalResponseNorm:
    """Section 3.3: n = 5, k = 2, beta = 0.75, alpha = 1e-4 times the sum, so 5e-4 times our mean."""
    return LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)


def dense_head(
    c: int, side: int, num_classes: int, dropout: float, drop_first: bool = False
) -> nn.Sequential:
    """fc6 and fc7 of 4096 units and fc8 over a side x side map; dropout in front of or behind fc6 and fc7."""
    return chain(
        pool=nn.AdaptiveAvgPool2d(side),
        flatten=nn.Flatten(),
        fc6=dense(c * side**2, 4096, dropout, drop_first),
        fc7=dense(4096, 4096, dropout, drop_first),
        fc8=nn.Linear(4096, num_classes),
    )


def dense(c_in: int, c_out: int, dropout: float, drop_first: bool) -> nn.Sequential:
    """relu(Wx + b), with dropout in front of it or behind.    (n, c_in) -> (n, c_out)"""
    layer, drop = {"fc": nn.Linear(c_in, c_out), "relu": nn.ReLU()}, {"drop": nn.Dropout(dropout)}
    return chain(**drop, **layer) if drop_first else chain(**layer, **drop)


_card = partial(Card, family="alexnet", input=(3, 224, 224), min_side=63)
register(_card("alexnet", paper="1404.5997", year=2014, params=61_100_840))(alexnet)
register(_card("alexnet_2012", paper="NIPS 2012", year=2012, params=60_965_224))(partial(alexnet, towers=2))
