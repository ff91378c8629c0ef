"""Weight initialisation by name, over every convolution and dense layer of a network.

Glorot: Glorot and Bengio, 2010, eq. 12 and 16.  He: He et al., 2015, arXiv:1502.01852, eq. 10.  LeCun: LeCun
et al., 1998, "Efficient BackProp", eq. 16.  Zero gamma: Goyal et al., 2017, arXiv:1706.02677, section 5.1.
"""

from math import prod, sqrt

import torch
from torch import Generator, nn

from striate.errors import UsageError, nearest
from striate.layers.dropout import StochasticDepth
from striate.layers.merge import Add

_VARIANCE = {
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}
_ALIASES = {"xavier": "glorot", "kaiming": "he"}
_WIDTH = 0.05  # of the plain schemes, as Keras has it: U(-0.05, 0.05) and N(0, 0.05^2)
SCHEMES = (
    *(f"{name}_{shape}" for name in (*_VARIANCE, *_ALIASES) for shape in ("uniform", "normal")),
    *("uniform", "normal", "zeros", "dirac", "identity", "zero_gamma"),
)
_NORMS = (nn.BatchNorm2d, nn.GroupNorm)
_NO_WEIGHTS = (nn.Identity, nn.Dropout, nn.Dropout2d, StochasticDepth)


def initialise(module: nn.Module, scheme: str, generator: Generator | None = None) -> None:
    """Draw the weights of every convolution and dense layer in `module` by `scheme`; set their biases to 0.

    "zero_gamma" leaves those alone and makes every addition start out as its shortcut.
    """
    if scheme not in SCHEMES:
        hint = nearest(scheme, SCHEMES) or f"known: {', '.join(SCHEMES)}"
        raise UsageError(f"unknown initialisation {scheme!r}", hint=hint)
    with torch.no_grad():
        for m in module.modules():
            if scheme == "zero_gamma":
                if isinstance(m, Add):
                    _silence_residuals(m)
            elif isinstance(m, nn.Conv2d | nn.Linear):
                _fill(m, scheme, generator)
                if m.bias is not None:
                    m.bias.zero_()


def fans(layer: nn.Conv2d | nn.Linear) -> tuple[int, int]:
    """(inputs of one output, outputs of one input): a group sees only its own channels."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    k = prod(layer.kernel_size)
    return layer.in_channels // layer.groups * k, layer.out_channels // layer.groups * k


def zero_gamma(branch: nn.Module) -> bool:
    """Zero the weight of the norm that ends `branch`; False, with nothing done, where none does.

    A norm further up must keep its weight: what follows would be fed zeros and could never learn.
    """
    leaves = [m for m in branch.modules() if not list(m.children()) and not isinstance(m, _NO_WEIGHTS)]
    if not leaves or not isinstance(leaves[-1], _NORMS):
        return False
    with torch.no_grad():
        leaves[-1].weight.zero_()
    return True


def _silence_residuals(add: Add) -> None:
    """The shortcut is the branch with the fewest convolutions (none, or a projection)."""
    depths = [sum(isinstance(m, nn.Conv2d) for m in branch.modules()) for branch in add]
    for branch, depth in zip(add, depths, strict=True):
        if depth > min(depths):
            zero_gamma(branch)


def _fill(layer: nn.Conv2d | nn.Linear, scheme: str, generator: Generator | None) -> None:
    weight = layer.weight
    name, _, shape = scheme.rpartition("_")
    if scheme == "zeros":
        weight.zero_()
    elif scheme in ("dirac", "identity"):
        _identity(layer)
    elif scheme == "uniform":
        weight.uniform_(-_WIDTH, _WIDTH, generator=generator)
    elif scheme == "normal":
        weight.normal_(0, _WIDTH, generator=generator)
    else:
        std = sqrt(_VARIANCE[_ALIASES.get(name, name)](*fans(layer)))
        if shape == "normal":
            weight.normal_(0, std, generator=generator)
        else:
            weight.uniform_(-sqrt(3) * std, sqrt(3) * std, generator=generator)


def _identity(layer: nn.Conv2d | nn.Linear) -> None:
    """Pass every channel through; an even kernel has its centre where SAME padding puts it."""
    if isinstance(layer, nn.Linear):
        nn.init.eye_(layer.weight)
        return
    layer.weight.zero_()
    row, col = ((k - 1) // 2 for k in layer.kernel_size)
    for group in layer.weight.chunk(layer.groups):
        group[:, :, row, col].fill_diagonal_(1)
