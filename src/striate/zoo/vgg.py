"""VGG 11/13/16/19, with and without batch norm.  Simonyan and Zisserman, 2015, arXiv:1409.1556.

Idea     Nothing but 3x3: two see as far as a 5x5 with fewer weights and a ReLU more; then go deep.
Source   Plan: Table 1, columns A, B, D, E.
Departs  The `_bn` variants put batch norm behind every convolution (2015 came later), as torchvision; sizes
         other than 224 are averaged to 7 x 7 before fc6.
"""

from functools import partial

from torch import nn

from striate.layers.chain import chain
from striate.zoo.alexnet import dense_head
from striate.zoo.network import ZooNet, he_init
from striate.zoo.registry import Card, register

WIDTHS = (64, 128, 256, 512, 512)
CONVS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # of each stage


def vgg(
    depth: int, num_classes: int = 1000, in_chans: int = 3, batch_norm: bool = False, dropout: float = 0.5
) -> ZooNet:
    """Five stages of 3x3 convolutions, each ended by a 2x2 max-pool, and three dense layers."""
    stages: dict[str, nn.Module] = {}
    c = in_chans
    for i, (width, convs) in enumerate(zip(WIDTHS, CONVS[depth], strict=True), start=1):
        stage = chain()
        for j in range(1, convs + 1):
            stage.add_module(f"conv{j}", nn.Conv2d(c, width, 3, padding=1))
            if batch_norm:
                stage.add_module(f"bn{j}", nn.BatchNorm2d(width))
            stage.add_module(f"relu{j}", nn.ReLU())
            c = width
        stage.add_module("pool", nn.MaxPool2d(2))
        stages[f"conv{i}"] = stage
    head = dense_head(c, 7, num_classes, dropout)
    return ZooNet(nn.Identity(), stages, head, in_chans=in_chans, min_side=32, init=he_init)


_card = partial(Card, family="vgg", paper="1409.1556", year=2014, input=(3, 224, 224), min_side=32)
for _depth, _params, _with_bn in (
    (11, 132_863_336, 132_868_840),
    (13, 133_047_848, 133_053_736),
    (16, 138_357_544, 138_365_992),
    (19, 143_667_240, 143_678_248),
):
    register(_card(f"vgg{_depth}", params=_params))(partial(vgg, _depth))
    register(_card(f"vgg{_depth}_bn", params=_with_bn))(partial(vgg, _depth, batch_norm=True))
