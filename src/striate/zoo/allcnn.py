"""All-CNN and the networks it is compared with.  Springenberg et al., 2015, arXiv:1412.6806.

Idea     A max-pool is a convolution with a fixed p-norm: replace it by a strided convolution, and lose
         nothing.
Source   Base models A, B, C: Table 1.  What replaces the pool of C: Table 2.  Dropout: section 3.2.1.
Departs  The class maps pass no ReLU: a class that it has silenced on every image never learns again. Pools
         round up, so that 32 pixels become 16 and 8 whichever variant halves them.
"""

from typing import Literal

from torch import nn

from striate.layers.chain import chain
from striate.layers.pool import GlobalAvgPool
from striate.zoo.network import ZooNet, he_init
from striate.zoo.registry import Card, register

KERNELS = {"a": (5,), "b": (5, 1), "c": (3, 3)}  # the convolutions in front of each of the two poolings
WIDTHS = (96, 192)
Down = Literal["pool", "stride", "convpool", "conv"]


def allcnn(
    model: Literal["a", "b", "c"] = "c",
    down: Down = "conv",
    num_classes: int = 10,
    in_chans: int = 3,
    input_dropout: float = 0.2,
    dropout: float = 0.5,
) -> ZooNet:
    """Two stages that halve the image, 3x3, 1x1, 1x1 to the classes, global average.

    `down` halves by a max-pool ("pool", the base model), by a stride of the convolution before it ("stride"),
    by a 3x3/2 convolution in its place ("conv", All-CNN), or by the pool behind one more 3x3 ("convpool").
    """
    stages: dict[str, nn.Module] = {}
    c = in_chans
    for i, width in enumerate(WIDTHS, start=1):
        stages[f"stage{i}"] = chain(convs=halving(c, width, KERNELS[model], down), drop=nn.Dropout(dropout))
        c = width
    stages["stage3"] = chain(
        conv1=nn.Conv2d(c, c, 3),  # 8 x 8 -> 6 x 6
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(c, c, 1),
        relu2=nn.ReLU(),
    )
    head = chain(conv=nn.Conv2d(c, num_classes, 1), pool=GlobalAvgPool())
    return ZooNet(nn.Dropout(input_dropout), stages, head, in_chans=in_chans, min_side=9, init=he_init)


def halving(c_in: int, c_out: int, kernels: tuple[int, ...], down: Down) -> nn.Sequential:
    """The convolutions of a stage and what halves it.    (n, c_in, h, w) -> (n, c_out, h / 2, w / 2)"""
    if down in ("conv", "convpool"):
        kernels = (*kernels, 3)
    layers = chain()
    for i, kernel in enumerate(kernels, start=1):
        stride = 2 if i == len(kernels) and down in ("conv", "stride") else 1
        layers.add_module(f"conv{i}", nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2))
        layers.add_module(f"relu{i}", nn.ReLU())
        c_in = c_out
    if down in ("pool", "convpool"):
        layers.add_module("pool", nn.MaxPool2d(3, stride=2, ceil_mode=True))
    return layers


register(Card("allcnn", "allcnn", "1412.6806", 2014, input=(3, 32, 32), min_side=9, params=1_369_738))(allcnn)
