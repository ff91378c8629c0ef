"""From a folder of images to batches of numbers, and nothing silently wrong on the way."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from striate.data.augment import Augmentation as Augmentation
    from striate.data.dataset import DataSet as DataSet
    from striate.data.dataset import load as load
    from striate.data.generator import ImageDataGenerator as ImageDataGenerator
    from striate.data.images import ArrayImages as ArrayImages
    from striate.data.images import Images as Images
    from striate.data.loader import Loader as Loader
    from striate.data.loader import order as order
    from striate.data.preprocess import Preprocess as Preprocess
    from striate.data.published import download as download

_HOME = {  # public name -> module; looked up when used, so that the package costs nothing to import
    "DataSet": "dataset", "load": "dataset", "Images": "images", "ArrayImages": "images", "Loader": "loader",
    "order": "loader", "Preprocess": "preprocess",
    "Augmentation": "augment", "ImageDataGenerator": "generator", "download": "published",
}  # fmt: skip
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'striate.data' has no attribute {name!r}")
    return getattr(import_module(f"striate.data.{_HOME[name]}"), name)
