"""From a folder of images to batches of numbers, and nothing silently wrong on the way."""

from typing import TYPE_CHECKING

from striate.lazy import lazy

if TYPE_CHECKING:
    from striate.data.augment import Augmentation as Augmentation
    from striate.data.augment import Transform as Transform
    from striate.data.dataset import DataSet as DataSet
    from striate.data.dataset import fingerprint as fingerprint
    from striate.data.dataset import load as load
    from striate.data.doctor import Problem as Problem
    from striate.data.doctor import Report as Report
    from striate.data.doctor import check as check
    from striate.data.generator import ImageDataGenerator as ImageDataGenerator
    from striate.data.images import ArrayImages as ArrayImages
    from striate.data.images import Images as Images
    from striate.data.images import StoredImages as StoredImages
    from striate.data.loader import Loader as Loader
    from striate.data.loader import balanced as balanced
    from striate.data.loader import order as order
    from striate.data.preprocess import Preprocess as Preprocess
    from striate.data.published import download as download
    from striate.data.shapes import make_shapes as make_shapes
    from striate.data.sheets import look as look
    from striate.data.sheets import planes as planes
    from striate.data.sheets import preview as preview
    from striate.data.sheets import problem_sheet as problem_sheet
    from striate.data.sheets import values as values
    from striate.data.weights import class_weights as class_weights
    from striate.data.weights import image_weights as image_weights
    from striate.data.weights import positive_weights as positive_weights

_HOME = {  # public name -> module; looked up when used, so that the package costs nothing to import
    "Augmentation": "augment", "Transform": "augment",
    "DataSet": "dataset", "fingerprint": "dataset", "load": "dataset",
    "Problem": "doctor", "Report": "doctor", "check": "doctor",
    "ImageDataGenerator": "generator",
    "ArrayImages": "images", "Images": "images", "StoredImages": "images",
    "Loader": "loader", "balanced": "loader", "order": "loader",
    "Preprocess": "preprocess",
    "download": "published",
    "make_shapes": "shapes",
    "look": "sheets", "planes": "sheets", "preview": "sheets", "problem_sheet": "sheets", "values": "sheets",
    "class_weights": "weights", "image_weights": "weights", "positive_weights": "weights",
}  # fmt: skip
__all__ = sorted(_HOME)
__getattr__ = lazy(__name__, _HOME)
