"""LeNet-5.  LeCun et al., 1998, "Gradient-based learning applied to document recognition", Proc. IEEE 86.

Idea     Local receptive fields, shared weights and sub-sampling: digits recognised wherever they sit.
Source   Plan: Fig. 2 and section II.B.
Departs  C3 sees all six maps (not the 60 connections of Table I), sub-sampling is a plain average without a
         weight and bias of its own, tanh is not scaled, and the output layer is dense instead of radial
         basis functions.
"""

from torch import nn

from striate.layers.activation import activation as named
from striate.layers.chain import chain
from striate.zoo.network import ZooNet
from striate.zoo.registry import Card, register


@register(Card("lenet5", "lenet", "10.1109/5.726791", 1998, input=(1, 32, 32), min_side=32, params=61_706))
def lenet5(num_classes: int = 10, in_chans: int = 1, img_size: int = 32, activation: str = "tanh") -> ZooNet:
    """C1 - S2 - C3 - S4 - C5 - F6 - output."""
    stem = chain(
        c1=nn.Conv2d(in_chans, 6, 5),  # 28 x 28
        act1=named(activation),
        s2=nn.AvgPool2d(2),  # 14 x 14
    )
    stages = {
        "c3": chain(c3=nn.Conv2d(6, 16, 5), act3=named(activation), s4=nn.AvgPool2d(2)),  # 5 x 5
        "c5": chain(c5=nn.Conv2d(16, 120, 5), act5=named(activation)),  # 1 x 1
    }
    side = ((img_size - 4) // 2 - 4) // 2 - 4
    head = chain(
        flatten=nn.Flatten(),
        f6=nn.Linear(120 * side**2, 84),
        act6=named(activation),
        fc=nn.Linear(84, num_classes),
    )
    return ZooNet(stem, stages, head, in_chans=in_chans, min_side=32, img_size=img_size)
