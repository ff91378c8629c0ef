"""Weight initialisation by name, over every convolution and dense layer of a network.

Glorot: Glorot and Bengio, 2010, eq. 12 and 16.  He: He et al., 2015, arXiv:1502.01852, eq. 10.  LeCun: LeCun
et al., 1998, "Efficient BackProp", eq. 16.  Zero gamma: Goyal et al., 2017, arXiv:1706.02677, section 5.1.
Partial identity: Jordan, 2024, arXiv:2404.00498.
"""

from math import prod, sqrt

import torch
from torch import Generator, nn

from striate.errors import UsageError, nearest
from striate.layers.dropout import StochasticDepth
from striate.layers.inverted_residual import InvertedResidual
from striate.layers.merge import Add
from striate.layers.residual import Residual
from striate.layers.squeeze_excite import SqueezeExcite

_VARIANCE = {
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}
_ALIASES = {"xavier": "glorot", "kaiming": "he"}
_WIDTH = 0.05  # of the plain schemes, as Keras has it: U(-0.05, 0.05) and N(0, 0.05^2)
SCHEMES = (
    *(f"{name}_{shape}" for name in (*_VARIANCE, *_ALIASES) for shape in ("uniform", "normal")),
    *("uniform", "normal", "zeros", "dirac", "identity", "partial_identity", "zero_gamma"),
)
_NORMS = (nn.BatchNorm2d, nn.GroupNorm)
_KEEP_ZERO = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
    StochasticDepth,
    SqueezeExcite,
    nn.MaxPool2d,
)  # after a norm


def initialise(module: nn.Module, scheme: str, generator: Generator | None = None) -> None:
    """Draw the weights of every convolution and dense layer in `module` by `scheme`; set their biases to 0.

    "zero_gamma" leaves those alone and makes every residual block start out as its shortcut. "partial_identity" makes
    as many filters of a convolution hand on a channel as channels come in, group by group; the other weights stay.
    """
    if check_scheme(scheme) == "zero_gamma":
        if not sum(zero_gamma(branch) for m in module.modules() for branch in _residuals(m)):
            raise UsageError(
                "zero_gamma needs a residual branch that ends in a norm, and this network has none"
            )
        return
    with torch.no_grad():
        for m in module.modules():
            if scheme == "partial_identity":
                if isinstance(m, nn.Conv2d):
                    _identity(m)
            elif isinstance(m, nn.Conv2d | nn.Linear):
                _fill(m, scheme, generator)
                if m.bias is not None:
                    m.bias.zero_()


def check_scheme(scheme: str) -> str:
    """`scheme`, if it is one; raises UsageError that names the nearest."""
    if scheme not in SCHEMES:
        hint = nearest(scheme, SCHEMES) or f"known: {', '.join(SCHEMES)}"
        raise UsageError(f"unknown initialisation {scheme!r}", hint=hint)
    return scheme


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
    last = branch
    while steps := [m for m in last.children() if not isinstance(m, _KEEP_ZERO)]:
        last = steps[-1]
    if not isinstance(last, _NORMS):
        return False
    nn.init.zeros_(last.weight)
    return True


def _residuals(m: nn.Module) -> list[nn.Module]:
    """The branches that `m` adds to its shortcut, in an Add the one with the fewest convolutions."""
    if isinstance(m, Residual) or (isinstance(m, InvertedResidual) and m.adds):
        return [m.body]
    if not isinstance(m, Add):
        return []
    depths = {branch: sum(isinstance(part, nn.Conv2d) for part in branch.modules()) for branch in m}
    return [branch for branch, depth in depths.items() if depth > min(depths.values())]


def _fill(layer: nn.Conv2d | nn.Linear, scheme: str, generator: Generator | None) -> None:
    weight = layer.weight
    name, _, shape = scheme.rpartition("_")
    if scheme == "zeros":
        weight.zero_()
    elif scheme in ("dirac", "identity"):
        weight.zero_()
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
    """Pass every channel through the first filters; an even kernel has its centre where SAME padding puts it."""
    if isinstance(layer, nn.Linear):
        nn.init.eye_(layer.weight)
        return
    row, col = ((k - 1) // 2 for k in layer.kernel_size)
    for group in layer.weight.chunk(layer.groups):
        first = group[: layer.weight.shape[1]].zero_()
        first[:, :, row, col].fill_diagonal_(1)
