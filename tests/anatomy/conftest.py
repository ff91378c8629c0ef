"""torchvision's networks, built without values and measured once for all tests of this folder."""

import functools
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn

from striate.anatomy import Anatomy, anatomy


@pytest.fixture(scope="session")
def peer() -> Callable[[str], nn.Module]:
    """A fresh network of torchvision by name; auxiliary heads only where the published count has them."""

    def build(name: str) -> nn.Module:
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        with torch.device("meta"):
            net: nn.Module = getattr(torchvision.models, name)(**options)
        if name == "googlenet":
            net.aux1 = net.aux2 = None
        return net

    return build


@pytest.fixture(scope="session")
def measured(peer: Callable[[str], nn.Module]) -> Callable[[str], Anatomy]:
    """Its anatomy, at the size that it is published for."""

    @functools.cache
    def measure(name: str) -> Anatomy:
        side = 299 if name == "inception_v3" else 224
        return anatomy(peer(name), (3, side, side))

    return measure
