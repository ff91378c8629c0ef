import numpy as np
import pytest

from striate.data import class_weights, positive_weights


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
