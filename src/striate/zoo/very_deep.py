"""The very deep plain network of the course notes, and what rescues it.

Idea     Stack hundreds of identical convolutions and watch the gradient die; batch norm keeps it alive,
         shortcuts let it pass.
Source   The notes' experiment on depth; He et al., 2015, arXiv:1512.03385, section 4.2 took it to 1202
         layers.
"""

from torch import nn

from striate.layers.chain import chain
from striate.layers.pool import GlobalAvgPool
from striate.layers.residual import Residual, plain
from striate.zoo.network import ZooNet, he_init
from striate.zoo.registry import Card, register


@register(Card("very_deep", "notes", "course notes", 2016, input=(3, 32, 32), min_side=4, params=464_618))
def very_deep(
    num_classes: int = 10,
    in_chans: int = 3,
    depth: int = 200,
    width: int = 16,
    kernel_size: int = 3,
    batch_norm: bool = False,
    shortcuts: bool = False,
) -> ZooNet:
    """A convolution, then `depth` more in three stages with pools between, global average, dense."""

    def layer(c_in: int) -> nn.Module:
        body = chain(conv=nn.Conv2d(c_in, width, kernel_size, padding=kernel_size // 2))
        if batch_norm:
            body.add_module("bn", nn.BatchNorm2d(width))
        return Residual(body) if shortcuts and c_in == width else plain(body)

    stages: dict[str, nn.Module] = {}
    for i in range(3):
        count = depth * (i + 1) // 3 - depth * i // 3
        stage = nn.Sequential(*(layer(width) for _ in range(count)))
        stages[f"stage{i + 1}"] = stage if i == 0 else nn.Sequential(nn.MaxPool2d(2), *stage)
    head = chain(pool=GlobalAvgPool(), fc=nn.Linear(width, num_classes))
    return ZooNet(layer(in_chans), stages, head, in_chans=in_chans, min_side=4, init=he_init)
