"""ResNet for CIFAR 20/32/44/56/110, their plain twins, and the ResNet-8 of MLPerf Tiny.

Idea     The same blocks, thin and for 32x32 images: depth is all that varies, so what depth does can be
         seen.
Source   He et al., 2015, arXiv:1512.03385, section 4.2: 6n + 2 layers, widths 16, 32, 64, shortcuts A (no
         parameters). ResNet-8: mlcommons/tiny, image classification (the weights published there fit).
Departs  Nothing; ResNet-8 is one block a stage with biases, projections without norm, and SAME padding
         (TensorFlow's).
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from striate.layers.chain import chain
from striate.layers.conv import Conv2d
from striate.layers.pool import GlobalAvgPool
from striate.layers.residual import PadChannels, Residual, basic, plain
from striate.zoo.network import ZooNet, he_init
from striate.zoo.registry import Card, register

WIDTHS = (16, 32, 64)


def resnet_cifar(depth: int, num_classes: int = 10, in_chans: int = 3, shortcuts: bool = True) -> ZooNet:
    """3x3, three stages of (depth - 2) / 6 basic blocks, global average, dense; plain without `shortcuts`."""

    def block(c_in: int, c_out: int, stride: int) -> nn.Module:
        body = basic(c_in, c_out, stride)
        if not shortcuts:
            return plain(body)
        return Residual(body, PadChannels(c_in, c_out, stride) if c_in != c_out else None)

    stem = chain(
        conv1=nn.Conv2d(in_chans, 16, 3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(16),
        relu=nn.ReLU(),
    )
    return assemble(stem, block, (depth - 2) // 6, num_classes, in_chans)


def resnet8(num_classes: int = 10, in_chans: int = 3) -> ZooNet:
    """3x3, one basic block at each of 16, 32 and 64 channels, global average, dense."""
    norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)  # Keras' defaults; its momentum is 1 - torch's

    def block(c_in: int, c_out: int, stride: int) -> Residual:
        body = basic(c_in, c_out, stride, padding="same", bias=True, norm=norm)
        return Residual(body, nn.Conv2d(c_in, c_out, 1, stride) if c_in != c_out else None)

    stem = chain(conv1=Conv2d(in_chans, 16, 3), bn1=norm(16), relu=nn.ReLU())
    return assemble(stem, block, 1, num_classes, in_chans)


def assemble(
    stem: nn.Module, block: Callable[[int, int, int], nn.Module], count: int, num_classes: int, in_chans: int
) -> ZooNet:
    """Three stages of `count` blocks(c_in, c_out, stride); the second and third halve the image."""
    stages: dict[str, nn.Module] = {}
    c = 16
    for i, width in enumerate(WIDTHS):
        stage = nn.Sequential()
        for j in range(count):
            stage.append(block(c, width, 2 if i > 0 and j == 0 else 1))
            c = width
        stages[f"conv{i + 2}"] = stage
    head = chain(pool=GlobalAvgPool(), fc=nn.Linear(c, num_classes))
    return ZooNet(stem, stages, head, in_chans=in_chans, min_side=1, init=he_init)


_card = partial(Card, family="resnet_cifar", year=2015, input=(3, 32, 32), min_side=1)
for _depth, _params in {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}.items():
    _he = partial(_card, paper="1512.03385", params=_params)  # shortcuts A have no parameters
    register(_he(f"resnet{_depth}_cifar"))(partial(resnet_cifar, _depth))
    register(_he(f"plain{_depth}_cifar"))(partial(resnet_cifar, _depth, shortcuts=False))
register(_card("resnet8", paper="2106.07597", year=2021, params=78_186))(resnet8)
