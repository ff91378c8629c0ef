"""What a network got right where an image has several labels, or none."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.5  # a label is given where its probability reaches this
TINY = float(np.finfo(np.float32).tiny)


class LabelScore(NamedTuple):
    """One row of the per-label report; `support` counts the images that have the label.

    `average_precision` is the mean precision over the ranks at which the label's images appear; NaN without any.
    """

    name: str
    average_precision: float
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class WrongLabels:
    """An image whose labels aren't all right; `index` is its place in the evaluated split."""

    index: int
    id: str
    missed: tuple[str, ...]
    added: tuple[str, ...]
    loss: float


@dataclass(frozen=True)
class LabelEvaluation:
    """Probabilities and true labels `(n, k)`, each label for itself, and every figure that follows from them."""

    classes: Sequence[str]
    ids: Sequence[str]
    labels: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    notes: tuple[str, ...] = ()  # what is to be known of these images

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def predictions(self) -> NDArray[np.bool_]:
        """Which labels are given, `(n, k)`."""
        return self.probabilities >= THRESHOLD

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """Mean binary cross-entropy over the labels of each image, `(n,)`, in nats."""
        truth = self.labels > THRESHOLD
        p = np.where(truth, self.probabilities, 1 - self.probabilities.astype(np.float64))
        return -np.log(np.maximum(p, TINY)).mean(axis=1)

    @property
    def loss(self) -> float:
        """Mean binary cross-entropy in nats."""
        return float(self.losses.mean())

    @property
    def accuracy(self) -> float:
        """Share of images with every label right, 0 to 1."""
        return float((self.predictions == (self.labels > THRESHOLD)).all(axis=1).mean())

    @cached_property
    def per_label(self) -> list[LabelScore]:
        """Average precision, precision, recall and F1 of every label; a ratio over nothing counts as 0."""
        truth = self.labels > THRESHOLD
        hits, given, support = ((a).sum(axis=0) for a in (self.predictions & truth, self.predictions, truth))
        columns = (
            average_precisions(self.labels, self.probabilities).tolist(),
            (hits / np.maximum(given, 1)).tolist(),
            (hits / np.maximum(support, 1)).tolist(),
            (2 * hits / np.maximum(given + support, 1)).tolist(),
            support.tolist(),
        )
        return [LabelScore(*row) for row in zip(self.classes, *columns, strict=True)]

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """`(k, 2, 2)` counts of each label: row = whether an image has it, column = whether it was given."""
        truth, given = self.labels > THRESHOLD, self.predictions
        counts = [(t & g).sum(axis=0) for t in (~truth, truth) for g in (~given, given)]
        return np.stack(counts, axis=1).reshape(-1, 2, 2)

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the labels, 0 to 1."""
        return float(np.mean([c.f1 for c in self.per_label]))

    def figure(self, name: str) -> float:
        """`accuracy`, `loss`, `map` or `macro_f1` by its name."""
        return float(getattr(self, name))

    @property
    def map(self) -> float:
        """Mean average precision over the labels that some image has, 0 to 1."""
        return mean_average_precision(self.labels, self.probabilities)

    def mistakes(self, most: int | None = None) -> list[WrongLabels]:
        """Images with a wrong label, the highest loss first."""
        truth = self.labels > THRESHOLD
        wrong = np.flatnonzero((self.predictions != truth).any(axis=1))
        worst = wrong[np.argsort(-self.losses[wrong], kind="stable")][:most]
        return [
            WrongLabels(
                int(i),
                str(self.ids[i]),
                self._names(truth[i] & ~self.predictions[i]),
                self._names(self.predictions[i] & ~truth[i]),
                float(self.losses[i]),
            )
            for i in worst
        ]

    def _names(self, chosen: NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(name for name, yes in zip(self.classes, chosen, strict=True) if yes)

    def to_json(self) -> dict[str, Any]:
        """The figures that scripts rely on."""
        return {
            "accuracy": self.accuracy,
            "map": self.map,
            "macro_f1": self.macro_f1,
            "loss": self.loss,
            "n": len(self),
            "per_label": [score._asdict() for score in self.per_label],
            "confusion": self.confusion.tolist(),
            "notes": list(self.notes),
        }


def average_precisions(labels: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.float64]:
    """sum_i (R_i - R_i-1) P_i over the thresholds of each label; NaN where no image has it.    (n, k) -> (k,)"""
    from sklearn.metrics import average_precision_score

    found = np.full(labels.shape[1], np.nan)
    for k in np.flatnonzero((labels > THRESHOLD).any(axis=0)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found[k] = average_precision_score(labels[:, k] > THRESHOLD, scores[:, k])
    return found


def mean_average_precision(labels: NDArray[Any], scores: NDArray[Any]) -> float:
    """Mean over the labels that some image has; 0 where none has any.    (n, k) -> 0 to 1"""
    found = average_precisions(labels, scores)
    return float(np.nanmean(found)) if np.isfinite(found).any() else 0.0
