"""Weights from elsewhere, and ours for elsewhere; frozen features and new heads."""

from typing import TYPE_CHECKING

from striate.lazy import lazy

if TYPE_CHECKING:
    from striate.transfer.download import find_weights as find_weights
    from striate.transfer.export import save_weights as save_weights
    from striate.transfer.keras import keras_parameters as keras_parameters
    from striate.transfer.keras import load_keras as load_keras
    from striate.transfer.keras import to_keras as to_keras
    from striate.transfer.parts import base_and_tail as base_and_tail
    from striate.transfer.parts import rates as rates
    from striate.transfer.parts import thaw as thaw
    from striate.transfer.timm import load_timm as load_timm
    from striate.transfer.timm import to_timm as to_timm
    from striate.transfer.torchvision import load_torchvision as load_torchvision
    from striate.transfer.torchvision import to_torchvision as to_torchvision
    from striate.transfer.weights import Pretrained as Pretrained
    from striate.transfer.weights import load_weights as load_weights

_HOME = {  # public name -> module; looked up when used
    "find_weights": "download",
    "save_weights": "export",
    "keras_parameters": "keras", "load_keras": "keras", "to_keras": "keras",
    "base_and_tail": "parts", "rates": "parts", "thaw": "parts",
    "load_timm": "timm", "to_timm": "timm",
    "load_torchvision": "torchvision", "to_torchvision": "torchvision",
    "Pretrained": "weights", "load_weights": "weights",
}  # fmt: skip
__all__ = sorted(_HOME)
__getattr__ = lazy(__name__, _HOME)
