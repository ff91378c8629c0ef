"""Auxiliary classifiers: small heads half-way up that bring gradient to the early layers while training."""

from torch import nn

from striate.layers.chain import chain
from striate.layers.inception import ConvUnit, conv_bn_relu
from striate.layers.pool import AvgPool2d, GlobalAvgPool


def auxiliary_dense(
    c_in: int, num_classes: int, pool: nn.Module, conv: ConvUnit = conv_bn_relu, dropout: float = 0.7
) -> nn.Sequential:
    """pool to 4x4 -> 1x1 convolution to 128 -> dense 1024 -> dropout -> dense.    (n, c_in, h, w) -> (n, k)

    GoogLeNet's.  Szegedy et al., 2015, arXiv:1409.4842, section 5.
    """
    return chain(
        pool=pool,  # (n, c_in, 4, 4)
        conv=conv(c_in, 128, 1),
        flatten=nn.Flatten(),  # (n, 2048)
        fc1=nn.Linear(128 * 4 * 4, 1024),
        relu=nn.ReLU(),
        drop=nn.Dropout(dropout),
        fc2=nn.Linear(1024, num_classes),
    )


def auxiliary_conv(c_in: int, num_classes: int) -> nn.Sequential:
    """5x5/3 average -> 1x1 convolution to 128 -> 5x5 to 768 -> global average -> dense.

    (n, c_in, h, w) -> (n, k) with h, w >= 17.  Inception v3's: arXiv:1512.00567, section 4 and Fig. 8.
    """
    return chain(
        pool=AvgPool2d(5, 3),  # 17 -> 5
        conv0=conv_bn_relu(c_in, 128, 1),
        conv1=conv_bn_relu(128, 768, 5, padding=0),  # 5 -> 1
        gap=GlobalAvgPool(),
        fc=nn.Linear(768, num_classes),
    )
