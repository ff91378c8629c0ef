"""GoogLeNet (Inception v1), as published and with batch norm.  Szegedy et al., 2015, arXiv:1409.4842.

Idea     Look with 1x1, 3x3 and 5x5 filters at once and let 1x1 convolutions keep the cost down: 22 layers
         with a twelfth of AlexNet's parameters.
Source   Plan: Table 1.  Module: Fig. 2b.  Auxiliary classifiers: section 5.  Normalised stem: Fig. 3.
Departs  Pooling rounds up (ceil_mode), as the sizes in Table 1 demand; else `googlenet_lrn` is the paper's.
         `googlenet` is the one that torchvision publishes weights for: batch norm and no local response
         normalisation, 3x3 where the paper has 5x5, the last pool 2x2, auxiliary heads that pool adaptively.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from striate.layers import AvgPool2d, GlobalAvgPool, LocalResponseNorm, MaxPool2d, SqueezeExcite
from striate.layers.auxiliary import auxiliary_dense
from striate.layers.chain import chain
from striate.layers.inception import ConvUnit, conv_bn_relu, conv_relu, inception_reduced
from striate.zoo.auxiliary import AuxiliaryNet
from striate.zoo.registry import Card, register

# Table 1: 1x1, (3x3 reduce, 3x3), (5x5 reduce, 5x5), pool projection
PLAN = {
    "inception3": {
        "a": (64, (96, 128), (16, 32), 32),
        "b": (128, (128, 192), (32, 96), 64),
    },
    "inception4": {
        "a": (192, (96, 208), (16, 48), 64),
        "b": (160, (112, 224), (24, 64), 64),
        "c": (128, (128, 256), (24, 64), 64),
        "d": (112, (144, 288), (32, 64), 64),
        "e": (256, (160, 320), (32, 128), 128),
    },
    "inception5": {
        "a": (256, (160, 320), (32, 128), 128),
        "b": (384, (192, 384), (48, 128), 128),
    },
}
AUXILIARY = {"inception4_a": 512, "inception4_d": 528}  # the block it hangs off, its channels


def build(
    num_classes: int, in_chans: int, aux_heads: bool, dropout: float, dropout_aux: float, lrn: bool
) -> AuxiliaryNet:
    """Either network: `lrn` chooses the paper's."""
    conv: ConvUnit = conv_relu if lrn else conv_bn_relu
    heads = {
        name: auxiliary_dense(c, num_classes, to_4x4(lrn), conv, dropout_aux)
        for name, c in AUXILIARY.items()
        if aux_heads
    }
    return AuxiliaryNet(
        stem(in_chans, conv, lrn),
        stages(partial(inception_reduced, conv=conv, kernel5=5 if lrn else 3), last_pool=3 if lrn else 2),
        head(num_classes, dropout),
        heads,
        min_side_auxiliary=224 if lrn else 15,
        in_chans=in_chans,
        min_side=31 if lrn else 15,
        init=glorot if lrn else None,
    )


def stages(module: Callable[..., nn.Module], last_pool: int, se: bool = False) -> dict[str, nn.Module]:
    """The nine modules and the pools between them, each followed by squeeze-and-excitation if `se`."""
    made: dict[str, nn.Module] = {}
    c = 192
    for stage, plan in PLAN.items():
        blocks: dict[str, nn.Module] = {}
        if stage != "inception3":
            blocks["pool"] = halve(last_pool if stage == "inception5" else 3)
        for name, (c1, c3, c5, pool) in plan.items():
            blocks[name] = module(c, c1, c3, c5, pool)
            c = c1 + c3[1] + c5[1] + pool
            if se:
                blocks[f"{name}_se"] = SqueezeExcite(c)
        made[stage] = chain(**blocks)
    return made


def stem(c: int, conv: ConvUnit, lrn: bool) -> nn.Sequential:
    """7x7/2, pool, 1x1, 3x3, pool.    (n, c, h, w) -> (n, 192, h/8, w/8)"""
    layers: dict[str, nn.Module] = {"conv1": conv(c, 64, 7, 2, padding=3), "pool1": halve()}
    if lrn:
        layers["norm1"] = LocalResponseNorm()
    layers |= {"conv2": conv(64, 64, 1), "conv3": conv(64, 192, 3)}
    if lrn:
        layers["norm2"] = LocalResponseNorm()
    return chain(**layers, pool2=halve())


def head(num_classes: int, dropout: float) -> nn.Sequential:
    """Global average, dropout, dense.    (n, 1024, h, w) -> (n, k)"""
    return chain(pool=GlobalAvgPool(), drop=nn.Dropout(dropout), fc=nn.Linear(1024, num_classes))


def halve(kernel: int = 3) -> MaxPool2d:
    """Max-pool of stride 2 that rounds up.    (n, c, h, w) -> (n, c, h/2, w/2)"""
    return MaxPool2d(kernel, 2, ceil_mode=True)


def to_4x4(lrn: bool) -> nn.Module:
    """How an auxiliary head begins: the paper's 5x5/3 takes 14 x 14 to 4 x 4, larger maps adapt further."""
    adaptive = nn.AdaptiveAvgPool2d(4)
    return nn.Sequential(AvgPool2d(5, 3), adaptive) if lrn else adaptive


def glorot(module: nn.Module) -> None:
    """Glorot's uniform weights, which 22 layers without batch norm need to start at all."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@register(Card("googlenet", "googlenet", "1409.4842", 2014, (3, 224, 224), min_side=15, params=6_624_904))
def googlenet(
    num_classes: int = 1000,
    in_chans: int = 3,
    aux_heads: bool = False,
    dropout: float = 0.2,
    dropout_aux: float = 0.7,
) -> AuxiliaryNet:
    """GoogLeNet with batch normalisation, as torchvision builds it."""
    return build(num_classes, in_chans, aux_heads, dropout, dropout_aux, lrn=False)


@register(Card("googlenet_lrn", "googlenet", "1409.4842", 2014, (3, 224, 224), min_side=31, params=6_998_552))
def googlenet_lrn(
    num_classes: int = 1000,
    in_chans: int = 3,
    aux_heads: bool = False,
    dropout: float = 0.4,
    dropout_aux: float = 0.7,
) -> AuxiliaryNet:
    """GoogLeNet as published, with local response normalisation."""
    return build(num_classes, in_chans, aux_heads, dropout, dropout_aux, lrn=True)
