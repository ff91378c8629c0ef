"""SqueezeNet 1.0 and 1.1.  Iandola et al., 2016, arXiv:1602.07360.

Idea     Swap 3x3 filters for 1x1, squeeze what feeds the 3x3s, down-sample late: AlexNet's accuracy, 50x
         fewer weights.
Source   Fire module: Fig. 1.  Plan 1.0: Table 1.  Plan 1.1: the authors' SqueezeNet_v1.1 README.
Departs  Pooling rounds up (ceil_mode), as the authors' Caffe does.
"""

from functools import partial

import torch
from torch import Tensor, nn

from striate.layers.chain import chain
from striate.layers.pool import GlobalAvgPool
from striate.zoo.network import ZooNet, he_init
from striate.zoo.registry import Card, register

PLAN = {  # stem (channels, kernel), then stages of Fires (squeeze, expand), with a 3x3/2 max-pool before each
    "1.0": (
        (96, 7),
        ((16, 64), (16, 64), (32, 128)),
        ((32, 128), (48, 192), (48, 192), (64, 256)),
        ((64, 256),),
    ),
    "1.1": (
        (64, 3),
        ((16, 64), (16, 64)),
        ((32, 128), (32, 128)),
        ((48, 192), (48, 192), (64, 256), (64, 256)),
    ),
}


class Fire(nn.Module):
    """concat(relu(1x1 e), relu(3x3 e)) of relu(1x1 s).    (n, c, h, w) -> (n, 2e, h, w)"""

    def __init__(self, c: int, s: int, e: int) -> None:
        super().__init__()
        self.squeeze = chain(conv=nn.Conv2d(c, s, 1), relu=nn.ReLU())
        self.expand1 = chain(conv=nn.Conv2d(s, e, 1), relu=nn.ReLU())
        self.expand3 = chain(conv=nn.Conv2d(s, e, 3, padding=1), relu=nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        s = self.squeeze(x)
        return torch.cat((self.expand1(s), self.expand3(s)), dim=1)


def squeezenet(version: str, num_classes: int = 1000, in_chans: int = 3, dropout: float = 0.5) -> ZooNet:
    """Convolution, eight Fires, 1x1 convolution to the classes, global average."""
    (c, kernel), *plan = PLAN[version]
    stem = chain(conv1=nn.Conv2d(in_chans, c, kernel, stride=2), relu1=nn.ReLU())
    stages: dict[str, nn.Module] = {}
    for i, fires in enumerate(plan, start=1):
        stage = chain(pool=nn.MaxPool2d(3, stride=2, ceil_mode=True))
        for squeeze, expand in fires:
            stage.append(Fire(c, squeeze, expand))
            c = 2 * expand
        stages[f"stage{i}"] = stage
    head = chain(
        drop=nn.Dropout(dropout), conv10=nn.Conv2d(c, num_classes, 1), relu=nn.ReLU(), pool=GlobalAvgPool()
    )
    side = {7: 21, 3: 17}[kernel]
    return ZooNet(stem, stages, head, in_chans=in_chans, min_side=side, init=he_init)


_card = partial(Card, family="squeezenet", paper="1602.07360", year=2016, input=(3, 224, 224))
register(_card("squeezenet1_0", min_side=21, params=1_248_424))(partial(squeezenet, "1.0"))
register(_card("squeezenet1_1", min_side=17, params=1_235_496))(partial(squeezenet, "1.1"))
