"""DenseNet 121/161/169/201/264.  Huang et al., 2017, arXiv:1608.06993.

Idea     Give every layer the maps of all layers before it: L(L+1)/2 connections, narrow layers, features
         reused.
Source   Plan: Table 1; DenseNet-161 (growth 48): section 4.3 and the authors' code.  Stem and end: Table 1.
Departs  Nothing; the plan that Table 1 prints for DenseNet-264 has 265 layers. Keras' weights fit with the
         arguments `KERAS`.
"""

from functools import partial
from typing import Any

from torch import nn

from striate.layers.chain import chain
from striate.layers.dense import dense_block, transition
from striate.layers.pool import GlobalAvgPool
from striate.zoo.network import ZooNet, he_init
from striate.zoo.registry import Card, register

PLAN = {  # layers of each dense block, growth rate
    121: ((6, 12, 24, 16), 32),
    161: ((6, 12, 36, 24), 48),
    169: ((6, 12, 32, 32), 32),
    201: ((6, 12, 48, 32), 32),
    264: ((6, 12, 64, 48), 32),
}
KERAS: dict[str, Any] = {"bn_eps": 1.001e-5}


def densenet(
    depth: int,
    num_classes: int = 1000,
    in_chans: int = 3,
    compression: float = 0.5,
    dropout: float = 0.0,
    bn_eps: float = 1e-5,
) -> ZooNet:
    """Stem, four dense blocks with transitions between, norm, ReLU, global average, dense.

    `dropout` follows every 3x3; a transition keeps `compression` of its channels.
    """
    norm = partial(nn.BatchNorm2d, eps=bn_eps)
    blocks, growth = PLAN[depth]
    c = 2 * growth
    stem = chain(
        conv0=nn.Conv2d(in_chans, c, 7, stride=2, padding=3, bias=False),
        bn0=norm(c),
        relu0=nn.ReLU(),
        pool0=nn.MaxPool2d(3, stride=2, padding=1),
    )
    stages: dict[str, nn.Module] = {}
    for i, layers in enumerate(blocks, start=1):
        stages[f"dense{i}"] = dense_block(c, layers, growth, dropout, norm)
        c += layers * growth
        if i < len(blocks):
            stages[f"transition{i}"] = transition(c, int(c * compression), norm)
            c = int(c * compression)
    stages["end"] = chain(bn=norm(c), relu=nn.ReLU())
    head = chain(pool=GlobalAvgPool(), fc=nn.Linear(c, num_classes))
    return ZooNet(stem, stages, head, in_chans=in_chans, min_side=29, init=he_init)


_card = partial(Card, family="densenet", paper="1608.06993", year=2017, input=(3, 224, 224), min_side=29)
for _depth, _params in {
    121: 7_978_856,
    161: 28_681_000,
    169: 14_149_480,
    201: 20_013_928,
    264: 33_337_704,
}.items():
    register(_card(f"densenet{_depth}", params=_params))(partial(densenet, _depth))
