"""Building blocks: every layer a plain nn.Module, usable alone and in a diagram.  (n, c, h, w) throughout."""

from torch.nn import BatchNorm1d, BatchNorm2d, Dropout, Dropout2d, Flatten, Identity, Linear, ZeroPad2d

from striate.layers.activation import ACTIVATIONS, activation
from striate.layers.chain import chain
from striate.layers.conv import Conv2d, depthwise, pointwise
from striate.layers.dense import DenseLayer
from striate.layers.dropout import DropConnectConv2d, DropConnectLinear, StochasticDepth
from striate.layers.geometry import leftover, output_size, same_pads
from striate.layers.init import SCHEMES, initialise
from striate.layers.inverted_residual import InvertedResidual
from striate.layers.maxout import Maxout
from striate.layers.merge import Add, Concat
from striate.layers.norm import LocalResponseNorm
from striate.layers.pool import AvgPool2d, DepthMaxPool, GlobalAvgPool, GlobalMaxPool, MaxPool2d, MinPool2d
from striate.layers.residual import PadChannels, PreActivation, Residual
from striate.layers.scale import Scale
from striate.layers.separable import SeparableConv2d
from striate.layers.squeeze_excite import SqueezeExcite

__all__ = [
    "ACTIVATIONS",
    "SCHEMES",
    "Add",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Concat",
    "Conv2d",
    "DenseLayer",
    "DepthMaxPool",
    "DropConnectConv2d",
    "DropConnectLinear",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Identity",
    "InvertedResidual",
    "Linear",
    "LocalResponseNorm",
    "MaxPool2d",
    "Maxout",
    "MinPool2d",
    "PadChannels",
    "PreActivation",
    "Residual",
    "Scale",
    "SeparableConv2d",
    "SqueezeExcite",
    "StochasticDepth",
    "ZeroPad2d",
    "activation",
    "chain",
    "depthwise",
    "initialise",
    "leftover",
    "output_size",
    "pointwise",
    "same_pads",
]
