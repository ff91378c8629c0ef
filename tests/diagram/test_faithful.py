"""Networks that a diagram would change: refused by the name of the layer, and what only looks like them is not."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from striate.diagram import build, to_python, to_text, weights
from striate.errors import UsageError

SHAPE = (3, 8, 8)


class Forward(nn.Module):
    """Named children and a function of them and the image."""

    def __init__(
        self, forward: Callable[[nn.Module, Tensor], Tensor], **children: nn.Module | nn.Parameter
    ) -> None:
        super().__init__()
        self.function = forward
        for name, child in children.items():
            setattr(self, name, child)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def conv() -> nn.Conv2d:
    return nn.Conv2d(3, 3, 3, padding=1)


def tied() -> nn.Module:
    net = nn.Sequential(conv(), nn.ReLU(), conv())
    net[2].weight = net[0].weight
    return net


def pruned() -> nn.Module:
    return nn.Sequential(prune.l1_unstructured(conv(), "weight", 0.5))


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x) if self.training else x


class DropPath(nn.Module):
    """Stochastic depth as timm and torchvision write it."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0 or not self.training:
            return x
        return x * x.new_empty(len(x), 1, 1, 1).bernoulli_(1 - self.p) / (1 - self.p)


class Standardised(nn.Conv2d):
    """Weight standardisation.  Qiao et al., 2019, arXiv:1903.10520."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


class Blur(nn.Module):
    """A kernel that isn't trained."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.full((3, 1, 3, 3), 1 / 9))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, padding=1, groups=3)


CHANGED = {
    "called twice": (Forward(lambda m, x: m.a(m.a(x).relu()), a=conv()), r"used twice \(a\.weight\) at a"),
    "Siamese": (
        Forward(lambda m, x: torch.cat([m.twin(x), m.twin(x.relu())], 1), twin=nn.Sequential(conv(), nn.ReLU())),
        r"used twice \(twin\.0\.weight\) at twin\.0",
    ),
    "shared norm": (
        Forward(lambda m, x: m.bn(m.bn(x).relu()), bn=nn.BatchNorm2d(3)),
        r"used twice \(bn\.weight\) at bn",
    ),
    "one kernel in two convolutions": (
        Forward(lambda m, x: F.conv2d(F.conv2d(x, m.kernel), m.kernel), kernel=nn.Parameter(torch.ones(3, 3, 3, 3))),
        r"used twice \(kernel\)",
    ),
    "tied": (tied(), r"used twice \(0\.weight\) at 2"),
    "tied to its transpose": (
        Forward(lambda m, x: F.linear(m.fc(x.flatten(1)), m.fc.weight.t()), fc=nn.Linear(192, 4)),
        "no word for weights made of fc.weight",
    ),
    "pruned": (pruned(), r"weights made of 0\.weight_orig, 0\.weight_mask, 0\.bias at 0"),
    "weight norm": (
        nn.Sequential(parametrizations.weight_norm(conv())),
        r"weights made of 0\.parametrizations\.weight\.original0, .*, 0\.bias at 0",
    ),
    "spectral norm": (
        nn.Sequential(nn.utils.spectral_norm(conv())),
        r"weights made of 0\.weight_orig, 0\.weight_u, 0\.weight_v, 0\.bias at 0",
    ),
    "standardised weights": (nn.Sequential(Standardised(3, 4, 3)), r"weights made of 0\.weight, 0\.bias at 0"),
    "a fixed kernel": (nn.Sequential(Blur()), r"weights made of 0\.kernel at 0"),
    "stochastic depth": (
        Forward(lambda m, x: x + m.path(m.conv(x)), conv=conv(), path=DropPath(0.2)),
        "no word for what DropPath does in training alone at path",
    ),
    "noise": (nn.Sequential(conv(), Noise()), "no word for what Noise does in training alone at 1"),
    "an activation in evaluation alone": (
        Forward(lambda m, x: m.conv(x) if m.training else m.conv(x).relu(), conv=conv()),
        "no word for what relu does in evaluation alone at the network itself",
    ),
    "dropout that never stops": (
        Forward(lambda m, x: F.dropout(m.conv(x)), conv=conv()),
        "no word for dropout that is the same in training and evaluation",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:`torch.nn.utils:FutureWarning")
@pytest.mark.parametrize("kind", CHANGED)
def test_what_a_diagram_would_change_is_refused_by_name(kind: str) -> None:
    net, says = CHANGED[kind]
    for write in (to_text, to_python, weights):
        with pytest.raises(UsageError, match=says):
            write(net, SHAPE)


def baked() -> nn.Module:
    net = nn.Sequential(parametrizations.weight_norm(conv()), pruned()[0])
    parametrize.remove_parametrizations(net[0], "weight")
    prune.remove(net[1], "weight")
    return net


PLAIN = {
    "baked in": (baked(), "[CONV(3)]*2"),
    "layers without weights called twice": (
        Forward(lambda m, x: m.act(m.conv(m.act(x))), act=nn.ReLU(), conv=conv()),
        "RELU => CONV(3) => RELU",
    ),
    "stochastic depth of 0": (
        Forward(lambda m, x: x + m.path(m.conv(x)), conv=conv(), path=DropPath(0)),
        "{ SKIP + CONV(3) }",
    ),
    "dropout as a function": (
        Forward(lambda m, x: F.dropout(m.conv(x), 0.3, m.training), conv=conv()),
        "CONV(3) => DO(0.3)",
    ),
    "an auxiliary head in training": (
        Forward(lambda m, x: (m.a(x), m.b(x)) if m.training else m.a(x), a=conv(), b=conv()),
        "CONV(3)",
    ),
    "weights as the arguments of a function": (
        Forward(
            lambda m, x: F.conv2d(F.conv2d(x, m.w).relu(), m.v),
            w=nn.Parameter(torch.randn(4, 3, 3, 3)),
            v=nn.Parameter(torch.randn(5, 4, 1, 1)),
        ),
        "CONV(4, padding=valid, bias=false) => RELU => CONV(5, 1, bias=false)",
    ),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_what_only_looks_like_them_is_written(kind: str) -> None:
    net, text = PLAIN[kind]
    assert to_text(net, SHAPE) == f"INPUT(8, 8, 3) => {text}"
    copy = build(to_text(net, SHAPE)).eval()
    copy.load_state_dict(dict(zip(copy.state_dict(), weights(net, SHAPE), strict=True)))
    x = torch.randn(2, *SHAPE)
    torch.testing.assert_close(copy(x), net.eval()(x))
