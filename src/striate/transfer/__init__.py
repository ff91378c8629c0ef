"""Weights from elsewhere, and ours for elsewhere."""

from striate.transfer.keras import keras_parameters, load_keras, to_keras
from striate.transfer.timm import load_timm, to_timm
from striate.transfer.torchvision import load_torchvision, to_torchvision
from striate.transfer.weights import Pretrained, load_weights

__all__ = [
    "Pretrained",
    "keras_parameters",
    "load_keras",
    "load_timm",
    "load_torchvision",
    "load_weights",
    "to_keras",
    "to_timm",
    "to_torchvision",
]
