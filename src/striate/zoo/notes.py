"""The small networks that the course notes train, all told in Keras there.

mnist_cnn          two convolutions and a dense layer: 99.20 % on MNIST after 10 epochs
three_conv         Chollet, 2017, "Deep learning with Python", section 5.1: MNIST in a classroom
cifar10_cnn        2x2 kernels, 16 - 32 - 64: 44 % on CIFAR-10 after one epoch
dogs_vs_cats       Chollet, 2017, section 5.2: one logit, is it a dog?
fashion_mnist_cnn  Géron, 2019, "Hands-on machine learning", chapter 14

A flatten before the first dense layer fixes the image size; `img_size` builds the network for another one.
"""

from functools import partial

from torch import nn

from striate.layers.chain import chain
from striate.layers.conv import Conv2d
from striate.zoo.network import ZooNet
from striate.zoo.registry import Card, register


def conv(c_in: int, c_out: int, kernel: int, padding: int = 0, pool: bool = True) -> nn.Sequential:
    """Convolution, ReLU, and a 2x2 max-pool if so wished.    (n, c_in, h, w) -> (n, c_out, h', w')"""
    steps = {"conv": nn.Conv2d(c_in, c_out, kernel, padding=padding), "relu": nn.ReLU()}
    return chain(**steps, pool=nn.MaxPool2d(2)) if pool else chain(**steps)


_notes = partial(Card, family="notes", paper="course notes")


@register(_notes("mnist_cnn", year=2017, input=(1, 28, 28), min_side=4, params=220_234))
def mnist_cnn(num_classes: int = 10, in_chans: int = 1, img_size: int = 28, dropout: float = 0.5) -> ZooNet:
    """3x3 32 - pool - 3x3 64 - pool - dense 64 - dropout - dense."""
    stages = {"conv2": conv(32, 64, 3, padding=1)}
    head = chain(
        flatten=nn.Flatten(),
        fc1=nn.Linear(64 * (img_size // 4) ** 2, 64),
        relu=nn.ReLU(),
        drop=nn.Dropout(dropout),
        fc2=nn.Linear(64, num_classes),
    )
    return ZooNet(
        conv(in_chans, 32, 3, padding=1), stages, head, in_chans=in_chans, min_side=4, img_size=img_size
    )


@register(_notes("three_conv", year=2017, input=(1, 28, 28), min_side=18, params=93_322))
def three_conv(num_classes: int = 10, in_chans: int = 1, img_size: int = 28) -> ZooNet:
    """3x3 32 - pool - 3x3 64 - pool - 3x3 64 - dense 64 - dense, nothing padded."""
    stages = {"conv2": conv(32, 64, 3), "conv3": conv(64, 64, 3, pool=False)}
    side = ((img_size - 2) // 2 - 2) // 2 - 2
    head = chain(
        flatten=nn.Flatten(),
        fc1=nn.Linear(64 * side**2, 64),
        relu=nn.ReLU(),
        fc2=nn.Linear(64, num_classes),
    )
    return ZooNet(conv(in_chans, 32, 3), stages, head, in_chans=in_chans, min_side=18, img_size=img_size)


@register(_notes("cifar10_cnn", year=2017, input=(3, 32, 32), min_side=8, params=528_054))
def cifar10_cnn(
    num_classes: int = 10, in_chans: int = 3, img_size: int = 32, dropouts: tuple[float, float] = (0.3, 0.4)
) -> ZooNet:
    """2x2 16 - pool - 2x2 32 - pool - 2x2 64 - pool - dropout - dense 500 - dropout - dense."""

    def stage(c_in: int, c_out: int) -> nn.Sequential:
        # Keras' "same": an even kernel can only be padded on one side
        return chain(conv=Conv2d(c_in, c_out, 2, padding="same"), relu=nn.ReLU(), pool=nn.MaxPool2d(2))

    stages = {"conv2": stage(16, 32), "conv3": stage(32, 64)}
    head = chain(
        drop1=nn.Dropout(dropouts[0]),
        flatten=nn.Flatten(),
        fc1=nn.Linear(64 * (img_size // 8) ** 2, 500),
        relu=nn.ReLU(),
        drop2=nn.Dropout(dropouts[1]),
        fc2=nn.Linear(500, num_classes),
    )
    return ZooNet(stage(in_chans, 16), stages, head, in_chans=in_chans, min_side=8, img_size=img_size)


@register(_notes("dogs_vs_cats", year=2017, input=(3, 150, 150), min_side=46, params=3_453_121))
def dogs_vs_cats(
    num_classes: int = 1, in_chans: int = 3, img_size: int = 150, dropout: float = 0.5
) -> ZooNet:
    """[3x3 - pool] with 32, 64, 128, 128 channels - dropout - dense 512 - dense."""
    stages = {"conv2": conv(32, 64, 3), "conv3": conv(64, 128, 3), "conv4": conv(128, 128, 3)}
    side = img_size
    for _ in range(4):
        side = (side - 2) // 2
    head = chain(
        flatten=nn.Flatten(),
        drop=nn.Dropout(dropout),
        fc1=nn.Linear(128 * side**2, 512),
        relu=nn.ReLU(),
        fc2=nn.Linear(512, num_classes),
    )
    return ZooNet(conv(in_chans, 32, 3), stages, head, in_chans=in_chans, min_side=46, img_size=img_size)


@register(_notes("fashion_mnist_cnn", year=2019, input=(1, 28, 28), min_side=8, params=1_413_834))
def fashion_mnist_cnn(
    num_classes: int = 10, in_chans: int = 1, img_size: int = 28, dropout: float = 0.5
) -> ZooNet:
    """7x7 64 - pool - [3x3 128]*2 - pool - [3x3 256]*2 - pool - [dense - dropout] with 128, 64 - dense."""
    stages = {
        "conv2": conv(64, 128, 3, padding=1, pool=False),
        "conv3": conv(128, 128, 3, padding=1),
        "conv4": conv(128, 256, 3, padding=1, pool=False),
        "conv5": conv(256, 256, 3, padding=1),
    }
    head = chain(
        flatten=nn.Flatten(),
        fc1=nn.Linear(256 * (img_size // 8) ** 2, 128),
        relu1=nn.ReLU(),
        drop1=nn.Dropout(dropout),
        fc2=nn.Linear(128, 64),
        relu2=nn.ReLU(),
        drop2=nn.Dropout(dropout),
        fc3=nn.Linear(64, num_classes),
    )
    return ZooNet(
        conv(in_chans, 64, 7, padding=3), stages, head, in_chans=in_chans, min_side=8, img_size=img_size
    )
