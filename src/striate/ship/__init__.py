"""One file that takes raw pixels, the predictor, and the server."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'striate.ship' has no attribute {name!r}")
    return getattr(import_module(f"striate.ship.{_HOME[name]}"), name)
