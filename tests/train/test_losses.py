"""Each loss against Keras' of the same name, and what counts as right."""

import keras
import numpy as np
import pytest
import torch

from striate.train.losses import loss_function, right, to_probabilities

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.3, -2.0], [-1.0, 4.0, 1.0], [0.1, 0.2, 0.3]])
NUMBERS = torch.tensor([0, 2, 1, 1])
HOT = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])


def of_keras(loss, y, logits):
    return float(
        loss(keras.ops.convert_to_tensor(np.asarray(y)), keras.ops.convert_to_tensor(logits.numpy()))
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_class_an_image(smoothing):
    one_hot = np.eye(3, dtype=np.float32)[NUMBERS]
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    mine = loss_function("cross-entropy", smoothing)(LOGITS, NUMBERS)
    assert float(mine) == pytest.approx(of_keras(theirs, one_hot, LOGITS), rel=1e-5)
    theirs = keras.losses.CategoricalFocalCrossentropy(
        alpha=1.0, gamma=1.5, from_logits=True, label_smoothing=smoothing
    )
    mine = loss_function("focal", smoothing, 1.5)(LOGITS, NUMBERS)
    assert float(mine) == pytest.approx(of_keras(theirs, one_hot, LOGITS), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_several_labels_an_image(smoothing):
    theirs = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)
    mine = loss_function("binary-cross-entropy", smoothing, several=True)(LOGITS, HOT)
    assert float(mine) == pytest.approx(of_keras(theirs, HOT, LOGITS), rel=1e-5)
    theirs = keras.losses.BinaryFocalCrossentropy(gamma=1.5, from_logits=True, label_smoothing=smoothing)
    mine = loss_function("focal", smoothing, 1.5, several=True)(LOGITS, HOT)
    assert float(mine) == pytest.approx(of_keras(theirs, HOT, LOGITS), rel=1e-5)


def test_one_logit_is_the_log_odds_of_the_second_class():
    logits, y = torch.tensor([[0.7], [-2.0]]), torch.tensor([1, 0])
    p = 1 / (1 + np.exp([-0.7, 2.0]))
    expected = -(np.log(p[0]) + np.log(1 - p[1])) / 2
    loss = loss_function("binary-cross-entropy")
    assert float(loss(logits, y)) == pytest.approx(expected, rel=1e-5)
    mixed = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert float(loss(logits, mixed)) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(to_probabilities(logits)[:, 1], p, rtol=1e-5)


def test_focal_with_gamma_0_is_cross_entropy():
    mine, plain = (loss_function(name, 0.1, 0.0)(LOGITS, NUMBERS) for name in ("focal", "cross-entropy"))
    assert float(mine) == pytest.approx(float(plain), rel=1e-6)


@pytest.mark.parametrize("several", [False, True])
def test_focal_of_what_is_quite_sure_has_a_gradient(several):
    """(1 - p)^(1/2) has an infinite slope where p rounds to 1."""
    logits = torch.tensor([[300.0, -300.0]], requires_grad=True)
    y = torch.tensor([[1.0, 0.0]]) if several else torch.tensor([0])
    loss = loss_function("focal", gamma=0.5, several=several)(logits, y)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-9)
    assert logits.grad.abs().max() < 1e-9


def test_a_mixture_of_classes_is_the_mixture_of_losses():
    other = torch.tensor([1, 1, 0, 2])
    mixed = 0.3 * torch.eye(3)[NUMBERS] + 0.7 * torch.eye(3)[other]
    for name in ("cross-entropy", "focal"):
        loss = loss_function(name)
        expected = 0.3 * loss(LOGITS, NUMBERS) + 0.7 * loss(LOGITS, other)
        assert float(loss(LOGITS, mixed)) == pytest.approx(float(expected), rel=1e-5)


def test_what_is_right():
    assert right(LOGITS, NUMBERS).tolist() == [True, False, True, False]
    assert right(LOGITS, torch.eye(3)[NUMBERS]).tolist() == [True, False, True, False]
    assert right(LOGITS[:, :1], torch.tensor([1, 0, 0, 0])).tolist() == [True, True, True, False]
    # logits above 0: {0, 2}, {1}, {1, 2}, all
    assert right(LOGITS, HOT, several=True).tolist() == [True, False, True, True]


def test_weights_are_those_of_keras():
    w = torch.tensor([1.0, 0.0, 2.0, 0.5])
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)
    each = theirs(keras.ops.convert_to_tensor(NUMBERS.numpy()), keras.ops.convert_to_tensor(LOGITS.numpy()))
    expected = float((each * w).mean())
    assert float(loss_function("cross-entropy")(LOGITS, NUMBERS, w)) == pytest.approx(expected, rel=1e-5)
    assert float(loss_function("focal", gamma=0.0)(LOGITS, NUMBERS, w)) == pytest.approx(expected, rel=1e-5)
    several = loss_function("binary-cross-entropy", several=True)
    each = torch.nn.functional.binary_cross_entropy_with_logits(LOGITS, HOT, reduction="none")
    assert float(several(LOGITS, HOT, w)) == pytest.approx(float((each * w[:, None]).mean()))
    matrix = torch.arange(12.0).view(4, 3)
    assert float(several(LOGITS, HOT, matrix)) == pytest.approx(float((each * matrix).mean()))
