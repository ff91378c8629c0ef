"""What rare classes count, so that frequent ones don't drown them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.images import Images


def class_weights(labels: npt.NDArray[Any], k: int) -> npt.NDArray[np.float32]:
    """n / (k n_c) for class c of k: their mean over the images is 1.    labels (n,), or (n, k) of 0 and 1 -> (k,)

    A class without an image counts 0.
    """
    counts = np.bincount(labels, minlength=k) if labels.ndim == 1 else labels.sum(0)
    present = np.maximum(counts, 1)
    return np.where(counts > 0, counts.sum() / (k * present), 0).astype(np.float32)


def positive_weights(labels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """(n - n_c) / n_c, the `pos_weight` of binary cross-entropy.    labels (n, k) of 0 and 1 -> (k,)"""
    positive = labels.sum(0)
    return ((len(labels) - positive) / np.maximum(positive, 1)).astype(np.float32)


def image_weights(images: Images, k: int, by_class: bool) -> npt.NDArray[np.float32] | None:
    """What each image counts in the loss: its own weight, and `by_class` that of its class; None if all count 1.

    (n,); where images have several of k labels (n, k), which counts a yes to a rare label more.
    """
    if not by_class:
        return images.weights
    labels = images.labels
    if labels.ndim == 1:
        weights = class_weights(labels, k)[labels]
    else:
        weights = np.where(labels > 0.5, positive_weights(labels), np.float32(1))
    return weights if images.weights is None else (weights.T * images.weights).T
