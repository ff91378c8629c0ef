"""ResNet 18/34/50/101/152 and the plain 18 and 34.  He et al., 2015, arXiv:1512.03385.

Idea     Let a block learn what to add to its input, so that doing nothing is easy and depth stops hurting.
Source   Plan: Table 1.  Blocks: Fig. 5.  Shortcuts: section 3.3, option B.  Plain twins: Fig. 3, middle.
Departs  Bottlenecks put their stride on the 3x3, as torchvision and fb.resnet.torch do; `stride_on="1x1"`
         is the paper's. Keras' weights fit with the arguments `KERAS`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from torch import nn

from striate.layers.chain import chain
from striate.layers.pool import GlobalAvgPool
from striate.layers.residual import Residual, basic, bottleneck, plain, projection
from striate.zoo.network import ZooNet, he_init
from striate.zoo.registry import Card, register

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
WIDTHS = (64, 128, 256, 512)
KERAS: dict[str, Any] = {"stride_on": "1x1", "conv_bias": True, "bn_eps": 1.001e-5}

# (c_in, width, stride) -> a block that ends in expansion * width channels
Block = Callable[[int, int, int], nn.Module]


def resnet(
    depth: int,
    num_classes: int = 1000,
    in_chans: int = 3,
    stride_on: Literal["1x1", "3x3"] = "3x3",
    conv_bias: bool = False,
    bn_eps: float = 1e-5,
    dropout: float = 0.0,
    shortcuts: bool = True,
) -> ZooNet:
    """Stem, four stages of residual blocks, global average, dense.

    `stride_on` is where a bottleneck halves the image; `shortcuts=False` is the plain twin.
    """
    norm = partial(nn.BatchNorm2d, eps=bn_eps)
    expansion = 1 if depth < 50 else 4

    def block(c_in: int, width: int, stride: int) -> nn.Module:
        c_out = expansion * width
        if depth < 50:
            body = basic(c_in, width, stride, bias=conv_bias, norm=norm)
        else:
            body = bottleneck(c_in, width, c_out, stride, stride_on=stride_on, bias=conv_bias, norm=norm)
        if not shortcuts:
            return plain(body)
        if stride == 1 and c_in == c_out:
            return Residual(body)
        return Residual(body, projection(c_in, c_out, stride, bias=conv_bias, norm=norm))

    return ZooNet(
        stem(in_chans, conv_bias, norm),
        stages(block, BLOCKS[depth], expansion),
        head(WIDTHS[-1] * expansion, num_classes, dropout),
        in_chans=in_chans,
        min_side=1,
        init=he_init,
    )


def stem(in_chans: int, bias: bool, norm: Callable[[int], nn.Module]) -> nn.Sequential:
    """7x7/2, norm, ReLU, 3x3/2 max-pool.    (n, c, h, w) -> (n, 64, h / 4, w / 4)"""
    return chain(
        conv1=nn.Conv2d(in_chans, 64, 7, stride=2, padding=3, bias=bias),
        bn1=norm(64),
        relu=nn.ReLU(),
        pool=nn.MaxPool2d(3, stride=2, padding=1),
    )


def stages(block: Block, blocks: Sequence[int], expansion: int) -> dict[str, nn.Module]:
    """conv2 ... conv5 of Table 1; all but conv2 begin with stride 2."""
    plan: dict[str, nn.Module] = {}
    c = 64
    for i, (count, width) in enumerate(zip(blocks, WIDTHS, strict=True)):
        stage = nn.Sequential()
        for j in range(count):
            stage.append(block(c, width, 2 if i > 0 and j == 0 else 1))
            c = expansion * width
        plan[f"conv{i + 2}"] = stage
    return plan


def head(c: int, num_classes: int, dropout: float = 0.0) -> nn.Sequential:
    """Global average, dense.    (n, c, h, w) -> (n, k)"""
    return chain(pool=GlobalAvgPool(), drop=nn.Dropout(dropout), fc=nn.Linear(c, num_classes))


_card = partial(Card, family="resnet", paper="1512.03385", year=2015, input=(3, 224, 224), min_side=1)
for _depth, _params in {
    18: 11_689_512,
    34: 21_797_672,
    50: 25_557_032,
    101: 44_549_160,
    152: 60_192_808,
}.items():
    register(_card(f"resnet{_depth}", params=_params))(partial(resnet, _depth))
for _depth, _params in {18: 11_515_688, 34: 21_623_848}.items():
    register(_card(f"plain{_depth}", params=_params))(partial(resnet, _depth, shortcuts=False))
