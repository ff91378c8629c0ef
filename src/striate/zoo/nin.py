"""Network in Network, for CIFAR-10 and for ImageNet.  Lin, Chen and Yan, 2014, arXiv:1312.4400.

Idea     Slide a small perceptron instead of a linear filter (1x1 convolutions), and average class maps: no
         dense layer.
Source   mlpconv: section 3.1.  Global average pooling: section 3.2.  Widths, kernels and pools are not in
         the paper: they are those of the authors' definitions (`cifar-10_def`, `nin_imagenet` of the Caffe
         model zoo).
Departs  The class maps pass no ReLU: a class that it has silenced on every image never learns again. Pools
         round up, as cuda-convnet and Caffe do.
"""

from itertools import pairwise

from torch import nn

from striate.layers.chain import chain
from striate.layers.pool import GlobalAvgPool
from striate.zoo.network import ZooNet, he_init
from striate.zoo.registry import Card, register


def mlpconv(c_in: int, *widths: int, kernel: int, stride: int = 1, padding: int = 0) -> nn.Sequential:
    """relu(k x k), then relu(1x1) for every further width.    (n, c_in, h, w) -> (n, widths[-1], h', w')"""
    layer = chain(conv=nn.Conv2d(c_in, widths[0], kernel, stride, padding), relu=nn.ReLU())
    for i, (a, b) in enumerate(pairwise(widths), start=1):
        layer.add_module(f"cccp{i}", nn.Conv2d(a, b, 1))
        layer.add_module(f"relu{i}", nn.ReLU())
    return layer


def class_maps(c: int, num_classes: int) -> nn.Sequential:
    """A map for every class, averaged.    (n, c, h, w) -> (n, k)"""
    return chain(cccp=nn.Conv2d(c, num_classes, 1), pool=GlobalAvgPool())


@register(Card("nin", "nin", "1312.4400", 2013, input=(3, 32, 32), min_side=4, params=966_986))
def nin(num_classes: int = 10, in_chans: int = 3, dropout: float = 0.5) -> ZooNet:
    """Three mlpconv layers for CIFAR, dropout after the first two."""
    stages = {
        "mlpconv1": chain(
            mlp=mlpconv(in_chans, 192, 160, 96, kernel=5, padding=2),
            pool=nn.MaxPool2d(3, stride=2, ceil_mode=True),
            drop=nn.Dropout(dropout),
        ),
        "mlpconv2": chain(
            mlp=mlpconv(96, 192, 192, 192, kernel=5, padding=2),
            pool=nn.AvgPool2d(3, stride=2, ceil_mode=True),
            drop=nn.Dropout(dropout),
        ),
        "mlpconv3": mlpconv(192, 192, 192, kernel=3, padding=1),
    }
    head = class_maps(192, num_classes)
    return ZooNet(nn.Identity(), stages, head, in_chans=in_chans, min_side=4, init=he_init)


@register(Card("nin_imagenet", "nin", "1312.4400", 2014, input=(3, 224, 224), min_side=39, params=7_595_176))
def nin_imagenet(num_classes: int = 1000, in_chans: int = 3, dropout: float = 0.5) -> ZooNet:
    """Four mlpconv layers for ImageNet, dropout before the last."""
    stages = {
        "mlpconv1": chain(
            mlp=mlpconv(in_chans, 96, 96, 96, kernel=11, stride=4),
            pool=nn.MaxPool2d(3, stride=2, ceil_mode=True),
        ),
        "mlpconv2": chain(
            mlp=mlpconv(96, 256, 256, 256, kernel=5, padding=2),
            pool=nn.MaxPool2d(3, stride=2, ceil_mode=True),
        ),
        "mlpconv3": chain(
            mlp=mlpconv(256, 384, 384, 384, kernel=3, padding=1),
            pool=nn.MaxPool2d(3, stride=2, ceil_mode=True),
            drop=nn.Dropout(dropout),
        ),
        "mlpconv4": mlpconv(384, 1024, 1024, kernel=3, padding=1),
    }
    head = class_maps(1024, num_classes)
    return ZooNet(nn.Identity(), stages, head, in_chans=in_chans, min_side=39, init=he_init)
