"""ResNet v2 (pre-activation) 18/34/50/101/152.  He et al., 2016, arXiv:1603.05027.

Idea     Move norm and ReLU in front of the convolutions: the shortcut then carries the signal untouched end
         to end.
Source   Block: Fig. 4 (e).  Last unit: appendix.  Plan: Table 1 of arXiv:1512.03385.
Departs  As Keras (after TF-Slim): a stage halves the image in its last block, the stem pools before any
         norm with zeros as padding, and convolutions that no norm follows have a bias. `TIMM` undoes all
         three: stride in the first block, as in the paper, and no biases.
"""

from functools import partial
from typing import Any, Literal

from torch import nn

from striate.layers.chain import chain
from striate.layers.residual import PreActivation, preact_basic, preact_bottleneck
from striate.zoo.network import ZooNet, he_init
from striate.zoo.registry import Card, register
from striate.zoo.resnet import BLOCKS, WIDTHS, head

KERAS: dict[str, Any] = {"bn_eps": 1.001e-5}
TIMM: dict[str, Any] = {"stride_in": "first", "bias": False, "zero_pad": False}


def resnet_v2(
    depth: int,
    num_classes: int = 1000,
    in_chans: int = 3,
    stride_in: Literal["first", "last"] = "last",
    bias: bool = True,
    zero_pad: bool = True,
    bn_eps: float = 1e-5,
    dropout: float = 0.0,
) -> ZooNet:
    """Stem, four stages of pre-activation blocks, norm, ReLU, global average, dense.

    `stride_in` is the block of a stage that halves the image; `zero_pad`: zeros compete in the first pool.
    """
    norm = partial(nn.BatchNorm2d, eps=bn_eps)
    expansion = 1 if depth < 50 else 4

    def block(c_in: int, width: int, stride: int) -> PreActivation:
        c_out = expansion * width
        if depth < 50:
            body = preact_basic(c_in, width, stride, bias=bias, norm=norm)
        else:
            body = preact_bottleneck(c_in, width, c_out, stride, bias=bias, norm=norm)
        if c_in != c_out:
            projection = nn.Conv2d(c_in, c_out, 1, stride, bias=bias)
            return PreActivation(c_in, body, projection, projects=True, norm=norm)
        shortcut = nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()  # 1x1: every second pixel
        return PreActivation(c_in, body, shortcut, norm=norm)

    stages: dict[str, nn.Module] = {}
    c = 64
    for i, (count, width) in enumerate(zip(BLOCKS[depth], WIDTHS, strict=True)):
        halves, where = (i > 0, 0) if stride_in == "first" else (i < 3, count - 1)
        stage = nn.Sequential()
        for j in range(count):
            stage.append(block(c, width, 2 if halves and j == where else 1))
            c = expansion * width
        stages[f"conv{i + 2}"] = stage
    stages["end"] = chain(bn=norm(c), relu=nn.ReLU())

    return ZooNet(
        stem(in_chans, bias, zero_pad),
        stages,
        head(c, num_classes, dropout),
        in_chans=in_chans,
        min_side=1,
        init=he_init,
    )


def stem(in_chans: int, bias: bool, zero_pad: bool) -> nn.Sequential:
    """7x7/2, 3x3/2 max-pool.    (n, c, h, w) -> (n, 64, h / 4, w / 4)"""
    conv = nn.Conv2d(in_chans, 64, 7, stride=2, padding=3, bias=bias)
    if not zero_pad:
        return chain(conv1=conv, pool=nn.MaxPool2d(3, stride=2, padding=1))
    return chain(conv1=conv, pad=nn.ZeroPad2d(1), pool=nn.MaxPool2d(3, stride=2))


_card = partial(Card, family="resnet_v2", paper="1603.05027", year=2016, input=(3, 224, 224), min_side=1)
for _depth, _params in {
    18: 11_690_600,
    34: 21_800_616,
    50: 25_568_360,
    101: 44_577_896,
    152: 60_236_904,
}.items():
    register(_card(f"resnet{_depth}v2", params=_params))(partial(resnet_v2, _depth))
