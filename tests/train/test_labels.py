"""Figures for several labels an image against scikit-learn's, and what a person can count."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    log_loss,
    multilabel_confusion_matrix,
    precision_recall_fscore_support,
)

from striate.train.labels import LabelEvaluation, mean_average_precision

rng = np.random.default_rng(0)
LABELS = (rng.random((40, 4)) < [0.5, 0.3, 0.1, 0.0]).astype(np.float32)
P = np.clip(0.6 * LABELS + 0.5 * rng.random((40, 4)), 0.01, 0.99).astype(np.float32)
EVALUATION = LabelEvaluation(tuple("abcd"), [str(i) for i in range(40)], LABELS, P)


def test_every_figure_is_that_of_scikit_learn():
    said = P >= 0.5
    expected = precision_recall_fscore_support(LABELS, said, zero_division=0)
    rows = EVALUATION.per_label
    for mine, theirs in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose([getattr(r, mine) for r in rows], theirs, rtol=1e-6)
    each = [average_precision_score(LABELS[:, k], P[:, k]) for k in range(3)]
    np.testing.assert_allclose([r.average_precision for r in rows[:3]], each)
    assert np.isnan(rows[3].average_precision)  # no image has label d
    assert EVALUATION.map == pytest.approx(np.mean(each))
    assert EVALUATION.macro_f1 == pytest.approx(f1_score(LABELS, said, average="macro", zero_division=0))
    np.testing.assert_array_equal(EVALUATION.confusion, multilabel_confusion_matrix(LABELS, said))
    assert EVALUATION.accuracy == accuracy_score(LABELS, said)
    losses = [log_loss(LABELS[:, k], P[:, k], labels=[0, 1]) for k in range(4)]
    assert EVALUATION.loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_average_precision_by_hand():
    # ranks of the two positives: 1 and 3, so precisions 1 and 2/3, a half of the recall each
    labels, scores = np.array([[1], [0], [1], [0]]), np.array([[4.0], [3.0], [2.0], [1.0]])
    assert mean_average_precision(labels, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert mean_average_precision(np.zeros((3, 2)), np.ones((3, 2))) == 0


def test_mistakes_name_what_was_missed_and_what_was_added():
    labels = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    p = np.array([[0.9, 0.1], [0.8, 0.6], [0.9, 0.01]], np.float32)
    found = LabelEvaluation(("cat", "dog"), ("a", "b", "c"), labels, p).mistakes()
    assert [(m.id, m.missed, m.added) for m in found] == [("c", ("dog",), ()), ("b", (), ("cat",))]
    assert found[1].loss == pytest.approx(-(np.log(0.2) + np.log(0.6)) / 2, rel=1e-5)
