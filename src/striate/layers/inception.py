"""Inception modules: filters of several sizes look at the same input, and their answers lie side by side.

Naive and with 1x1 reduction   Szegedy et al., 2015, arXiv:1409.4842, Fig. 2.
Factorised, grid reduction     Szegedy et al., 2016, arXiv:1512.00567, Figs. 5, 6, 7 and 10.
Inception-ResNet               Szegedy et al., 2017, arXiv:1602.07261, section 3.2 and Fig. 16.

A module is a `Concat` of towers, a tower a line of data: `(c_out, kernel)` or `(c_out, kernel, stride)` for a
convolution with what belongs to it, or any module, such as a pool.
"""

from collections.abc import Callable

from torch import Tensor, nn

from striate.layers.chain import chain
from striate.layers.geometry import pair
from striate.layers.merge import Concat
from striate.layers.pool import AvgPool2d, MaxPool2d

Kernel = int | tuple[int, int]
Step = tuple[int, Kernel] | tuple[int, Kernel, int] | nn.Module
ConvUnit = Callable[..., nn.Sequential]


def conv_bn_relu(
    c_in: int, c_out: int, kernel_size: Kernel, stride: int = 1, padding: Kernel | None = None
) -> nn.Sequential:
    """relu(bn(w * x)).    (n, c_in, h, w) -> (n, c_out, h', w')

    Padding, unless given, keeps the size at stride 1 and is none at stride 2, as the Inception papers do.
    """
    padding = _padding(kernel_size, stride) if padding is None else padding
    conv = nn.Conv2d(c_in, c_out, kernel_size, stride, padding, bias=False)
    return chain(conv=conv, bn=nn.BatchNorm2d(c_out, eps=1e-3), relu=nn.ReLU())


def conv_relu(
    c_in: int, c_out: int, kernel_size: Kernel, stride: int = 1, padding: Kernel | None = None
) -> nn.Sequential:
    """relu(w * x + b), padded as `conv_bn_relu`.    (n, c_in, h, w) -> (n, c_out, h', w')"""
    padding = _padding(kernel_size, stride) if padding is None else padding
    conv = nn.Conv2d(c_in, c_out, kernel_size, stride, padding)
    return chain(conv=conv, relu=nn.ReLU())


def _padding(kernel_size: Kernel, stride: int) -> Kernel:
    kh, kw = pair(kernel_size, "kernel size")
    return (kh // 2, kw // 2) if stride == 1 else 0


def tower(c_in: int, *steps: Step, conv: ConvUnit = conv_bn_relu) -> nn.Module:
    """The steps one after the other.

    >>> tower(192, (16, 1), (32, 5))[1].conv
    Conv2d(16, 32, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2), bias=False)
    """
    layers: list[nn.Module] = []
    for step in steps:
        if isinstance(step, nn.Module):
            layers.append(step)
        else:
            layers.append(conv(c_in, *step))
            c_in = step[0]
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def max_pool() -> MaxPool2d:
    """3x3 maximum that keeps the size."""
    return MaxPool2d(3, 1, 1)


def avg_pool(count_include_pad: bool = False) -> AvgPool2d:
    """3x3 mean that keeps the size."""
    return AvgPool2d(3, 1, 1, count_include_pad=count_include_pad)


def inception_naive(c_in: int, c1: int, c3: int, c5: int, conv: ConvUnit = conv_bn_relu) -> Concat:
    """{1x1 | 3x3 | 5x5 | max-pool}, wider at every module.    (n, c_in, h, w) -> (n, c1+c3+c5+c_in, h, w)"""
    return Concat(
        tower(c_in, (c1, 1), conv=conv),
        tower(c_in, (c3, 3), conv=conv),
        tower(c_in, (c5, 5), conv=conv),
        max_pool(),
    )


def inception_reduced(
    c_in: int,
    c1: int,
    c3: tuple[int, int],
    c5: tuple[int, int],
    pool: int,
    conv: ConvUnit = conv_bn_relu,
    kernel5: int = 5,
) -> Concat:
    """{1x1 | 1x1 -> 3x3 | 1x1 -> 5x5 | max-pool -> 1x1}; c3 and c5 are (reduced, out) channels.

    (n, c_in, h, w) -> (n, c1 + c3[1] + c5[1] + pool, h, w)
    """
    return Concat(
        tower(c_in, (c1, 1), conv=conv),
        tower(c_in, (c3[0], 1), (c3[1], 3), conv=conv),
        tower(c_in, (c5[0], 1), (c5[1], kernel5), conv=conv),
        tower(c_in, max_pool(), (pool, 1), conv=conv),
    )


def inception_factorised(
    c_in: int, c: int, c_out: int, n: int = 7, pool: Callable[[], nn.Module] = avg_pool
) -> Concat:
    """`inception_reduced` with n x n filters as 1 x n after n x 1, and once more in a second, longer tower.

    {1x1 | 1x1 -> 1xn -> nx1 | 1x1 -> nx1 -> 1xn -> nx1 -> 1xn | average -> 1x1}.

    (n, c_in, h, w) -> (n, 4 c_out, h, w)
    """
    row, column = (1, n), (n, 1)
    return Concat(
        tower(c_in, (c_out, 1)),
        tower(c_in, (c, 1), (c, row), (c_out, column)),
        tower(c_in, (c, 1), (c, column), (c, row), (c, column), (c_out, row)),
        tower(c_in, pool(), (c_out, 1)),
    )


def split(c_in: int, c_out: int) -> Concat:
    """{1x3 | 3x1}, the fork at the end of the widest towers.    (n, c_in, h, w) -> (n, 2 c_out, h, w)"""
    return Concat(tower(c_in, (c_out, (1, 3))), tower(c_in, (c_out, (3, 1))))


class InceptionResidual(nn.Module):
    """relu(x + scale * (w * concat(towers(x)) + b)), w being 1x1.    (n, c, h, w) -> (n, c, h, w)

    The towers give `c_towers` channels together. A scale of 0.1 to 0.3 keeps the sum of many blocks small.
    """

    def __init__(self, c: int, towers: Concat, c_towers: int, scale: float, last: bool = False) -> None:
        super().__init__()
        self.towers = towers
        self.up = nn.Conv2d(c_towers, c, 1)
        self.scale = scale
        self.relu = nn.Identity() if last else nn.ReLU()

    def extra_repr(self) -> str:
        return f"scale={self.scale}"

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.scale * self.up(self.towers(x)))
