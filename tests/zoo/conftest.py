"""How the zoo's tests compare a network with the same network of a peer."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

Compare = Callable[[nn.Module, nn.Module, tuple[int, ...]], None]


@pytest.fixture
def same_logits() -> Compare:
    """Ours with the peer's weights, copied in order of the state dicts, answers what the peer answers."""

    def compare(ours: nn.Module, peer: nn.Module, shape: tuple[int, ...]) -> None:
        randomise(peer)
        copy_in_order(peer, ours)
        x = torch.randn(shape, dtype=torch.float64)
        with torch.no_grad():
            expected = peer.double().eval()(x)
            torch.testing.assert_close(ours.double().eval()(x), expected, rtol=1e-9, atol=1e-9)

    return compare


def randomise(net: nn.Module) -> None:
    """Random batch-norm scales, shifts and statistics, so that none can be mixed up unnoticed."""
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, std=0.1)
            nn.init.normal_(m.running_mean, std=0.1)
            nn.init.uniform_(m.running_var, 0.5, 1.5)


def copy_in_order(source: nn.Module, target: nn.Module) -> None:
    """The i-th tensor of one state dict becomes the i-th of the other; only 1x1 axes may be dropped."""
    theirs, ours = source.state_dict(), target.state_dict()
    pairs = zip(ours.items(), theirs.values(), strict=True)
    target.load_state_dict({name: value.reshape(old.shape) for (name, old), value in pairs})
