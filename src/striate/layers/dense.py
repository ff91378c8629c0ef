"""Dense block and transition.  Huang et al., 2017, arXiv:1608.06993, section 3."""

import torch
from torch import Tensor, nn

from striate.layers.chain import chain
from striate.layers.residual import Norm


class DenseLayer(nn.Module):
    """concat(x, f(x)), f = 3x3 . relu . bn . 1x1 . relu . bn.    (n, c, h, w) -> (n, c + growth, h, w)

    The 1x1 narrows to 4 * growth first: the "B" of DenseNet-BC.
    """

    def __init__(self, c_in: int, growth: int, dropout: float = 0.0, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.body = chain(
            bn1=norm(c_in),
            relu1=nn.ReLU(),
            conv1=nn.Conv2d(c_in, 4 * growth, 1, bias=False),
            bn2=norm(4 * growth),
            relu2=nn.ReLU(),
            conv2=nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
            drop=nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.body(x)), dim=1)


def dense_block(
    c_in: int, layers: int, growth: int, dropout: float = 0.0, norm: Norm = nn.BatchNorm2d
) -> nn.Sequential:
    """Every layer sees what all before it made.    (n, c_in, h, w) -> (n, c_in + layers * growth, h, w)"""
    return nn.Sequential(*(DenseLayer(c_in + i * growth, growth, dropout, norm) for i in range(layers)))


def transition(c_in: int, c_out: int, norm: Norm = nn.BatchNorm2d) -> nn.Sequential:
    """Fewer channels, half the size, between blocks.    (n, c_in, h, w) -> (n, c_out, h / 2, w / 2)"""
    return chain(
        bn=norm(c_in),
        relu=nn.ReLU(),
        conv=nn.Conv2d(c_in, c_out, 1, bias=False),
        pool=nn.AvgPool2d(2),
    )
