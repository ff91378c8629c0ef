"""Ours against the same network of a peer, weight for weight.

The peer gets random weights and random batch-norm statistics, ours a copy; then the logits in eval mode and the
gradients of a loss in train mode must be the same, in single and in double precision.
"""

import gc
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


class Peer(Protocol):
    """The peer's network in its own names."""

    def to(self, dtype: torch.dtype) -> None: ...
    def copy_into(self, ours: nn.Module) -> None: ...
    def logits(self, x: Tensor) -> Tensor: ...  # in eval mode
    def all_logits(self, x: Tensor) -> list[Tensor]: ...  # in train mode: auxiliary ones behind
    def gradients(self) -> Mapping[str, Tensor]: ...
    def export(self, ours: nn.Module) -> Mapping[str, Tensor]: ...


class TorchPeer:
    """A network of torchvision or timm."""

    def __init__(self, net: nn.Module, load: Callable, export: Callable) -> None:
        self.net, self.load, self.export = net, load, export
        randomise(net)

    def to(self, dtype: torch.dtype) -> None:
        self.net.to(dtype)

    def copy_into(self, ours: nn.Module) -> None:
        self.load(ours, self.net.state_dict())

    def logits(self, x: Tensor) -> Tensor:
        return self.net.eval()(x)

    def all_logits(self, x: Tensor) -> list[Tensor]:
        self.net.zero_grad(set_to_none=True)
        outputs = self.net.train()(x)
        if isinstance(outputs, Tensor):
            return [outputs]
        return [outputs[0], *reversed(outputs[1:])]  # torchvision hands out its last auxiliary head first

    def gradients(self) -> Mapping[str, Tensor]:
        return {name: p.grad for name, p in self.net.named_parameters()}


def randomise(net: nn.Module) -> None:
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, std=0.1)
            nn.init.normal_(m.running_mean, std=0.1)
            nn.init.uniform_(m.running_var, 1, 4)  # with less a hundred residual blocks blow any rounding up


@pytest.fixture
def torch_peer() -> type[TorchPeer]:
    return TorchPeer


@pytest.fixture
def same_network() -> Iterator[Callable[[nn.Module, Peer, tuple[int, ...]], None]]:
    def check(ours: nn.Module, peer: Peer, shape: tuple[int, ...]) -> None:
        image, mine, theirs = torch.randn(shape), {}, {}
        for dtype in TOLERANCE:
            ours.to(dtype)
            peer.to(dtype)
            peer.copy_into(ours)
            x = image.to(dtype)
            error = logits_error(ours, peer, x)
            print(f"{dtype}: relative error of the logits {error:.1e}")
            assert error <= TOLERANCE[dtype]
            mine[dtype], theirs[dtype] = gradients(ours, peer, x)
        error, where = distance(mine[torch.float64], theirs[torch.float64])
        print(f"torch.float64: relative error of the gradients {error:.1e}, worst at {where}")
        assert error <= TOLERANCE[torch.float64], where
        # Where the peer calls other kernels, rounding decides at the kinks of ReLU, and in single precision its own
        # gradients are up to 2 % from those in double precision: ours must not be further from it than that. All
        # parameters at once: which side of a kink one of them finds itself on is chance.
        rounding = overall(theirs[torch.float32], theirs[torch.float64])
        error = overall(mine[torch.float32], theirs[torch.float32])
        print(
            f"torch.float32: relative error of the gradients {error:.1e}, the peer's own rounding {rounding:.1e}"
        )
        assert error <= max(TOLERANCE[torch.float32], 3 * rounding)

    yield check
    gc.collect()  # hundreds of megabytes of weights


def logits_error(ours: nn.Module, peer: Peer, x: Tensor) -> float:
    """Largest difference over largest value."""
    with torch.no_grad():
        mine, theirs = ours.eval()(x), peer.logits(x)
    return float((mine - theirs).abs().max() / theirs.abs().max())


def gradients(ours: nn.Module, peer: Peer, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Ours and theirs, by their names."""
    labels = torch.arange(len(x)) % 10
    loss(all_logits(ours.train(), x), labels).backward()
    loss(peer.all_logits(x), labels).backward()
    theirs = {name: grad.clone() for name, grad in peer.gradients().items()}
    return {name: grad for name, grad in in_their_names(ours, peer).items() if name in theirs}, theirs


def distance(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> tuple[float, str]:
    """Norm of the difference over norm, and which parameter it is largest for.

    A bias in front of a batch norm has gradient 0 up to rounding, so nothing is relative to less than a thousandth
    of the largest norm.
    """
    least = 1e-3 * max(float(grad.norm()) for grad in theirs.values())
    return max(
        (float((mine[name] - grad).norm()) / max(float(grad.norm()), least), name)
        for name, grad in theirs.items()
    )


def overall(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Norm of the difference of all gradients over the norm of theirs."""
    pairs = [(mine[name].double(), grad.double()) for name, grad in theirs.items()]
    apart = sum(float((a - b).square().sum()) for a, b in pairs)
    return float((apart / sum(float(b.square().sum()) for _, b in pairs)) ** 0.5)


def in_their_names(ours: nn.Module, peer: Peer) -> Mapping[str, Tensor]:
    """Our gradients as the peer would call and lay them out: export them as if they were weights."""
    with torch.no_grad():
        for p in ours.parameters():
            p.copy_(p.grad)
    ours.zero_grad()
    return {name: value.clone() for name, value in peer.export(ours).items()}


def all_logits(net: nn.Module, x: Tensor) -> list[Tensor]:
    if getattr(net, "auxiliary", None):
        logits, auxiliary = net.forward_with_auxiliary(x)
        return [logits, *auxiliary]
    return [net(x)]


def loss(logits: list[Tensor], labels: Tensor) -> Tensor:
    first, *auxiliary = (F.cross_entropy(scores, labels) for scores in logits)
    return first + 0.3 * sum(auxiliary)
