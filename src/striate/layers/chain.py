"""A sequence whose steps have names, so that tables, hooks and weights read `stages.conv2.0.body.bn1`."""

from collections import OrderedDict

from torch import nn


def chain(**steps: nn.Module) -> nn.Sequential:
    """last(...(second(first(x)))), each step under its name.

    >>> list(chain(conv=nn.Conv2d(3, 8, 3), relu=nn.ReLU())._modules)
    ['conv', 'relu']
    """
    return nn.Sequential(OrderedDict(steps))
