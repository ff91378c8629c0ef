"""One file that takes raw pixels, the predictor, and the server."""

from typing import TYPE_CHECKING

from striate.lazy import lazy

if TYPE_CHECKING:
    from striate.ship.export import export as export
    from striate.ship.parity import Certificate as Certificate
    from striate.ship.predictor import Prediction as Prediction
    from striate.ship.predictor import Predictor as Predictor
    from striate.ship.predictor import load as load

_HOME = {
    "export": "export",
    "Certificate": "parity",
    "Prediction": "predictor",
    "Predictor": "predictor",
    "load": "predictor",
}
__all__ = sorted(_HOME)
__getattr__ = lazy(__name__, _HOME)
