"""A network is one line of text: read it, build it, write it back, as text, as PyTorch source, as a drawing.

Names load on first use, so that a mistake in a diagram is reported before torch is imported.
"""

from typing import TYPE_CHECKING

from striate.lazy import lazy

if TYPE_CHECKING:
    from striate.diagram.network import Network as Network
    from striate.diagram.network import build as build
    from striate.diagram.parser import parse as parse
    from striate.diagram.place import DiagramError as DiagramError
    from striate.diagram.read import weights as weights
    from striate.diagram.source import to_python as to_python
    from striate.diagram.svg import to_svg as to_svg
    from striate.diagram.text import to_text as to_text

_HOME = {
    "DiagramError": "place",
    "Network": "network",
    "build": "network",
    "parse": "parser",
    "to_python": "source",
    "to_svg": "svg",
    "to_text": "text",
    "weights": "read",
}
__all__ = list(_HOME)
__getattr__ = lazy(__name__, _HOME)
