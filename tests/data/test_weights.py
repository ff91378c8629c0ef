import numpy as np
import pytest
import torch

from striate.data import ArrayImages, class_weights, image_weights, positive_weights


def test_weights_make_classes_count_the_same() -> None:
    labels = np.repeat([0, 1, 2], [10, 30, 60])
    weights = class_weights(labels, 3)
    assert weights == pytest.approx([100 / 30, 100 / 90, 100 / 180])  # n / (k n_c)
    assert (weights[labels]).mean() == pytest.approx(1)
    assert class_weights(labels, 4)[3] == 0


def test_several_labels() -> None:
    hot = np.array([[1, 0], [1, 1], [1, 0], [0, 0]])
    assert positive_weights(hot) == pytest.approx([1 / 3, 3])
    assert class_weights(hot, 2) == pytest.approx([4 / 6, 4 / 2])


def test_an_image_counts_by_its_own_weight_and_by_its_class() -> None:
    pixels, own = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), np.array([1, 2, 1, 0], np.float32)
    one = np.array([0, 0, 0, 1])
    assert image_weights(ArrayImages(pixels, one, range(4)), 2, False) is None
    assert image_weights(ArrayImages(pixels, one, range(4), own), 2, False) is own
    by_class = [4 / 6, 4 / 6, 4 / 6, 4 / 2]
    assert image_weights(ArrayImages(pixels, one, range(4)), 2, True) == pytest.approx(by_class)
    assert image_weights(ArrayImages(pixels, one, range(4), own), 2, True) == pytest.approx(own * by_class)
    hot = np.array([[1, 0], [1, 1], [1, 0], [0, 0]], np.float32)
    yes = np.array([[1 / 3, 1], [1 / 3, 3], [1 / 3, 1], [1, 1]])
    assert image_weights(ArrayImages(pixels, hot, range(4), own), 2, True) == pytest.approx(
        yes * own[:, None]
    )
