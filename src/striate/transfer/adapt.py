"""Other input channels than the weights were trained with, the way timm does it."""

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from striate import zoo
from striate.data import Preprocess
from striate.errors import UsageError
from striate.transfer.state import put
from striate.zoo.network import ZooNet

if TYPE_CHECKING:
    from striate.transfer.weights import Pretrained


def first_layer(module: nn.Module) -> tuple[str, nn.Conv2d | nn.Linear]:
    """The layer that sees the image, with its name."""
    return next((name, m) for name, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear))


def adapt_channels(found: "Pretrained", in_chans: int) -> ZooNet:
    """The same network for images of `in_chans` channels."""
    old, values = found.module, found.module.state_dict()
    where, layer = first_layer(old)
    if isinstance(layer, nn.Linear):
        raise UsageError(
            f"the first layer of {found.network} is dense: its weights are for {old.in_chans} channels alone"
        )
    name = f"{where}.weight"
    values[name] = adapt_kernel(values[name], in_chans)
    with torch.device("meta"):
        module = zoo.build(found.network, num_classes=old.num_classes, in_chans=in_chans, **found.arguments)
    put(module, values)
    return cast(ZooNet, module)


def adapt_kernel(kernel: Tensor, c: int) -> Tensor:
    """One channel gets the sum of all, more repeat them at 3/c their size.    (n, 3, h, w) -> (n, c, h, w)

    A grey image shown as one channel or as three equal ones then gives the same answer.
    """
    if c == 1:
        return kernel.sum(1, keepdim=True)
    repeated = kernel.repeat(1, ceil(c / kernel.shape[1]), 1, 1)[:, :c]
    return repeated * (kernel.shape[1] / c)


def adapt_preprocess(prepare: Preprocess, in_chans: int) -> Preprocess:
    """Mean and spread of grey are those of the colours, averaged; those of each colour are grey's."""
    if in_chans == prepare.channels or in_chans not in (1, 3):
        return prepare
    if in_chans == 3:
        return replace(prepare, channels=3, mean=prepare.mean * 3, std=prepare.std * 3)
    mean, std = (sum(v) / len(v) for v in (prepare.mean, prepare.std))
    return replace(prepare, channels=1, mean=(mean,), std=(std,))
