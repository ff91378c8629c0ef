"""Design a convolutional network in one line of text, see every number before training, train it, take it apart."""

import sys
from typing import TYPE_CHECKING

from striate.lazy import lazy

if TYPE_CHECKING:
    from striate.ship import load as load
    from striate.train.estimator import ConvNetClassifier as ConvNetClassifier

# `import openvino` reports to its makers through this package; without it, it says nothing to anybody
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

__version__ = "0.1.0"
_HOME = {"ConvNetClassifier": "train.estimator", "load": "ship.predictor"}  # imported when asked for
__all__ = ["__version__", *sorted(_HOME)]
__getattr__ = lazy(__name__, _HOME)
