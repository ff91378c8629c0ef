"""MLP 784-512-512-10, the network without convolutions that the others are measured against.

Idea     Forget that the input is an image: every pixel meets every unit.
Source   The Keras example `mnist_mlp`: two hidden layers of 512 ReLU with dropout 0.2.
"""

from collections import OrderedDict

from torch import nn

from striate.zoo.network import ZooNet
from striate.zoo.registry import Card, register


@register(Card("mlp", "mlp", "course notes", 2015, input=(1, 28, 28), min_side=1, params=669_706))
def mlp(
    num_classes: int = 10, in_chans: int = 1, img_size: int = 28, width: int = 512, dropout: float = 0.2
) -> ZooNet:
    """flatten -> [dense -> ReLU -> dropout] * 2 -> dense."""
    stages = {
        "hidden1": dense(in_chans * img_size**2, width, dropout),
        "hidden2": dense(width, width, dropout),
    }
    head = nn.Sequential(OrderedDict(fc=nn.Linear(width, num_classes)))
    return ZooNet(nn.Flatten(), stages, head, in_chans=in_chans, min_side=1, img_size=img_size)


def dense(c_in: int, c_out: int, dropout: float) -> nn.Sequential:
    """dropout(relu(Wx + b)).    (n, c_in) -> (n, c_out)"""
    return nn.Sequential(
        OrderedDict(fc=nn.Linear(c_in, c_out), relu=nn.ReLU(), drop=nn.Dropout(dropout)),
    )
