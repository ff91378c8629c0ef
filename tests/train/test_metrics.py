"""Every figure of an evaluation against scikit-learn, and against a case small enough to count by hand."""

import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from striate.train.metrics import Evaluation


@pytest.fixture
def pets() -> Evaluation:
    """Five images, two mistakes: image 2 (a cat called dog at 0.9) and image 4 (a dog called cat at 0.6)."""
    probabilities = [[0.8, 0.2, 0.0], [0.5, 0.3, 0.2], [0.1, 0.9, 0.0], [0.0, 1.0, 0.0], [0.6, 0.4, 0.0]]
    return Evaluation(
        classes=("cat", "dog", "eel"),
        ids=("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"),
        labels=np.array([0, 0, 0, 1, 1]),
        probabilities=np.array(probabilities, dtype=np.float32),
    )


def test_counted_by_hand(pets: Evaluation) -> None:
    assert pets.accuracy == 3 / 5
    assert pets.loss == pytest.approx(-sum(map(math.log, (0.8, 0.5, 0.1, 1.0, 0.4))) / 5, rel=1e-6)
    assert pets.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    cat, dog, eel = pets.per_class
    assert cat == ("cat", 2 / 3, 2 / 3, pytest.approx(2 / 3), 3)
    assert dog == ("dog", 1 / 2, 1 / 2, 1 / 2, 2)
    assert eel == ("eel", 0, 0, 0, 0)  # never seen, never predicted
    assert pets.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)  # of the two that were seen
    assert pets.macro_f1 == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (pets.top(1), pets.top(2), pets.top(3)) == (3 / 5, 1, 1)


def test_worst_mistakes_first(pets: Evaluation) -> None:
    worst, second = pets.mistakes()
    assert (worst.id, worst.index, worst.true, worst.predicted) == ("c.jpg", 2, "cat", "dog")
    assert worst.probability == pytest.approx(0.9)
    assert worst.loss == pytest.approx(-math.log(0.1), rel=1e-6)
    assert (second.id, second.true, second.predicted) == ("e.jpg", "dog", "cat")
    assert pets.mistakes(1) == [worst]


def test_certain_and_wrong_costs_a_finite_loss() -> None:
    wrong = Evaluation(("a", "b"), ("x",), np.array([0]), np.array([[0, 1]], dtype=np.float32))
    assert wrong.loss == pytest.approx(126 * math.log(2))  # -ln of the smallest normal float32, 2**-126


def test_json_has_the_keys_scripts_rely_on(pets: Evaluation) -> None:
    report = json.loads(json.dumps(pets.to_json()))
    assert report["n"] == 5
    assert report["accuracy"] == 0.6
    assert report["per_class"][1] == {"name": "dog", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert report["loss"] == pets.loss
    assert report["confusion"] == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert (report["macro_f1"], report["balanced_accuracy"]) == (pets.macro_f1, pets.balanced_accuracy)


def test_shapes_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 labels of 3 classes need 2 ids and probabilities \(2, 3\)"):
        Evaluation(("a", "b", "c"), ("x", "y"), np.array([0, 1]), np.zeros((2, 2), dtype=np.float32))


@given(
    arrays(np.float32, (12, 4), elements=st.floats(0.0078125, 1, width=32)),
    arrays(np.int64, 12, elements=st.integers(0, 3)),
)
def test_equals_scikit_learn(scores: np.ndarray, labels: np.ndarray) -> None:
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    ours = Evaluation(tuple("abcd"), tuple(map(str, range(12))), labels, probabilities)
    predicted = probabilities.argmax(axis=1)
    everything = {"labels": [0, 1, 2, 3]}
    assert ours.accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert ours.confusion.tolist() == confusion_matrix(labels, predicted, **everything).tolist()
    assert ours.loss == pytest.approx(log_loss(labels, probabilities, **everything), rel=1e-5)
    theirs = precision_recall_fscore_support(labels, predicted, zero_division=0, **everything)
    for row, name, *figures in zip(ours.per_class, "abcd", *theirs, strict=True):
        assert row == (name, *map(pytest.approx, figures))
    assert ours.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))
    with warnings.catch_warnings(
        action="ignore", category=UserWarning
    ):  # of classes predicted and never true
        assert ours.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    for k in (1, 2, 3):
        # scikit-learn takes the last of equals, we the first
        apart = scores + np.float32(1e-6) * np.arange(4, 0, -1, dtype=np.float32)
        theirs = top_k_accuracy_score(labels, apart, k=k, labels=range(4))
        assert Evaluation(tuple("abcd"), ours.ids, labels, apart).top(k) == pytest.approx(theirs)
