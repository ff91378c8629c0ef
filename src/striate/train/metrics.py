"""What a classifier got right, what it got wrong, and how sure it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TINY = float(np.finfo(np.float32).tiny)  # a probability that underflowed to 0 costs 87 nats, not infinity


class ClassScore(NamedTuple):
    """One row of the per-class report; `support` counts the true members of the class."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Mistake:
    """An image given to the wrong class; `index` is its place in the evaluated split."""

    index: int
    id: str
    true: str
    predicted: str
    probability: float
    loss: float


@dataclass(frozen=True)
class Evaluation:
    """Class probabilities `(n, k)` beside true labels `(n,)`, and every figure that follows from them."""

    classes: Sequence[str]
    ids: Sequence[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    notes: tuple[str, ...] = ()  # what is to be known of these images

    def __post_init__(self) -> None:
        n, k = len(self.labels), len(self.classes)
        if self.probabilities.shape != (n, k) or len(self.ids) != n:
            raise ValueError(
                f"{n} labels of {k} classes need {n} ids and probabilities ({n}, {k}), "
                f"not {len(self.ids)} and {self.probabilities.shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def predictions(self) -> NDArray[np.int64]:
        """The most probable class of each image, `(n,)`; the first of equals."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """-ln of the probability given to the truth, `(n,)`, in nats."""
        truth = np.take_along_axis(self.probabilities, self.labels[:, None], axis=1)[:, 0]
        return -np.log(np.maximum(truth.astype(np.float64), TINY))

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return float(self.losses.mean())

    @property
    def accuracy(self) -> float:
        """Share of images whose most probable class is the true one, 0 to 1."""
        return float((self.predictions == self.labels).mean())

    def top(self, k: int) -> float:
        """Share of images whose true class is among the k most probable, 0 to 1; of equals the first come first."""
        best = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k]
        return float((best == self.labels[:, None]).any(axis=1).mean())

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that some image is of, 0 to 1."""
        return float(np.mean([c.recall for c in self.per_class if c.support]))

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that some image is of or was taken for, 0 to 1."""
        met = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        return float(np.mean([c.f1 for c, n in zip(self.per_class, met, strict=True) if n]))

    def figure(self, name: str) -> float:
        """`accuracy`, `loss`, `balanced_accuracy`, `macro_f1` or `top_k` by its name."""
        return self.top(int(name[4:])) if name.startswith("top_") else float(getattr(self, name))

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """`(k, k)` counts: row = true class, column = predicted class."""
        k = len(self.classes)
        return np.bincount(self.labels * k + self.predictions, minlength=k * k).reshape(k, k)

    @cached_property
    def per_class(self) -> list[ClassScore]:
        """Precision, recall and F1 of every class; a ratio with nothing below the line counts as 0."""
        hits = self.confusion.diagonal()
        predicted, support = self.confusion.sum(axis=0), self.confusion.sum(axis=1)
        precision = hits / np.maximum(predicted, 1)
        recall = hits / np.maximum(support, 1)
        f1 = 2 * hits / np.maximum(predicted + support, 1)
        columns = (precision.tolist(), recall.tolist(), f1.tolist(), support.tolist())
        return [ClassScore(*row) for row in zip(self.classes, *columns, strict=True)]

    def mistakes(self, most: int | None = None) -> list[Mistake]:
        """Wrongly classified images, the highest loss first."""
        wrong = np.flatnonzero(self.predictions != self.labels)
        worst = wrong[np.argsort(-self.losses[wrong], kind="stable")][:most]
        return [self._mistake(int(i)) for i in worst]

    def _mistake(self, i: int) -> Mistake:
        predicted = int(self.predictions[i])
        return Mistake(
            index=i,
            id=str(self.ids[i]),
            true=self.classes[int(self.labels[i])],
            predicted=self.classes[predicted],
            probability=float(self.probabilities[i, predicted]),
            loss=float(self.losses[i]),
        )

    def to_json(self) -> dict[str, Any]:
        """The figures that scripts rely on."""
        return {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "loss": self.loss,
            "n": len(self),
            "per_class": [score._asdict() for score in self.per_class],
            "confusion": self.confusion.tolist(),
            "notes": list(self.notes),
        }
