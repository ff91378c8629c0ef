"""What best weights, patience, plateaus and searches may go by, as measured on the validation split.

Beside loss and accuracy: the mean recall of the classes, the mean of their F1, or how often the truth is among the k
most probable classes.
"""

import re

import numpy as np
from numpy.typing import NDArray

from striate.data import DataSet
from striate.errors import UsageError
from striate.train.labels import LabelEvaluation
from striate.train.metrics import Evaluation

ALWAYS = ("accuracy", "loss")  # measured in every run
TOP = r"top-[1-9][0-9]*"


def column(monitor: str) -> str:
    """The name of its figure: `macro-f1` is `val_macro_f1` of a run's metrics."""
    return monitor.replace("-", "_")


def refuse_unmeasurable(monitor: str, data: DataSet) -> None:
    """Raise UsageError where the data has nothing to measure `monitor` on, or another kind of labels."""
    if monitor in ALWAYS:
        return
    if not len(data.val):
        raise UsageError(f"--monitor {monitor} needs a validation split", "--split 70/15/15")
    if data.several and monitor != "macro-f1":
        raise UsageError(
            f"--monitor {monitor} is of one class an image; these images have several labels",
            "accuracy (their mean average precision), loss or macro-f1",
        )
    if re.fullmatch(TOP, monitor) and int(monitor[4:]) >= len(data.classes):
        raise UsageError(
            f"--monitor {monitor}: of {len(data.classes)} classes, it is always 1", "a smaller k"
        )


def measured(
    monitor: str, labels: NDArray[np.generic], probabilities: NDArray[np.float32]
) -> dict[str, float]:
    """The figure that is watched beside loss and accuracy, by its name.    (n, ...), (n, k)"""
    if monitor in ALWAYS:
        return {}
    kind = LabelEvaluation if labels.ndim == 2 else Evaluation
    names = tuple(map(str, range(probabilities.shape[1])))
    found = kind(names, ("",) * len(labels), labels, probabilities)  # type: ignore[arg-type]
    return {column(monitor): found.figure(column(monitor))}
