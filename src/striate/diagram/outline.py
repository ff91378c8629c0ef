"""Networks whose paths cross (NASNet's cells read two maps each), drawn part by part.

Parts stand below each other in the order of computing; what a part reads from further up comes along an arc.
"""

from dataclasses import dataclass
from itertools import groupby

from torch import nn

from striate.diagram.drawing import COLOUR, Drawing, box, length, line, write
from striate.diagram.graph import Layer, trace
from striate.diagram.layout import layouts, size
from striate.diagram.units import Shape
from striate.diagram.words import MODULES

OPENED = ("stem", "stages", "head")  # the parts of a zoo network, drawn part by part themselves
UNIT = {
    "conv2d": "CONV",
    "linear": "FC",
    "batch_norm": "BN",
    "max_pool2d": "POOL",
    "mean": "GAP",
    "relu": "RELU",
}
HEIGHT, STEP, TOP = 30.0, 52.0, 26.0  # px: of a card, from card to card, of a frame above its first card
LEFT, LANE = 14.0, 16.0  # px: frame to card, arc to arc


@dataclass(frozen=True, slots=True)
class Part:
    """A module, or an operation between modules; `inputs` are the indices of the parts it reads."""

    path: str
    type: str
    fill: str
    size: str  # of what it gives
    inputs: tuple[int, ...]

    @property
    def text(self) -> str:
        name = self.path.rpartition(".")[2]
        return f"{self.type} {name}" if name.isdigit() else f"{name}: {self.type}" if name else self.type

    @property
    def frame(self) -> str:
        return self.path.rpartition(".")[0]


def outline(module: nn.Module, input_shape: Shape) -> Drawing:
    """The parts of any network, stages framed."""
    parts = read_parts(module, input_shape)
    width = max(length(part.text, 12) for part in parts) + 24
    tops, frames, y = [], [], 0.0
    for name, inside in groupby(parts, key=lambda part: part.frame):
        members = list(inside)
        framed = bool(name) and len(members) > 1
        first = y + TOP * framed
        tops += [first + STEP * i for i in range(len(members))]
        y = tops[-1] + STEP
        if framed:
            size = f'y="{first - TOP:.1f}" width="{width + 2 * LEFT:.1f}" height="{y - first + TOP - 12:.1f}"'
            frames.append(f'<rect class="f" {size} rx="8"/>')
            frames.append(write("n", 8, first - 9, name.rpartition(".")[2]))
            y += 10
    body = [*frames]
    for part, top in zip(parts, tops, strict=True):
        body.append(box(LEFT, top, width, HEIGHT, part.fill))
        body.append(write("t", LEFT + width / 2, top + 19, part.text))
    right = LEFT + width
    far = right
    for i, part in enumerate(parts):
        for j in part.inputs:
            if j == i - 1:
                middle = LEFT + width / 2
                body.append(line(f"M{middle:.1f},{tops[j] + HEIGHT:.1f} V{tops[i]:.1f}", True))
            else:
                bulge = right + 2 * LANE + LANE * (i - j) ** 0.5
                start, end = tops[j] + HEIGHT * 2 / 3, tops[i] + HEIGHT / 3
                body.append(
                    line(
                        f"M{right:.1f},{start:.1f} C{bulge:.1f},{start:.1f} {bulge:.1f},{end:.1f} "
                        f"{right:.1f},{end:.1f}",
                        True,
                    )
                )
                far = max(far, bulge)
    labels = [part.size for part in parts]
    for i, (label, top) in enumerate(zip(labels, tops, strict=True)):
        if i == 0 or label != labels[i - 1]:
            text = f'<text class="g" style="text-anchor:start" x="{far + 8:.1f}" y="{top + 19:.1f}">'
            body.append(f"{text}{label}</text>")
    return Drawing(far + 16 + max(length(label, 11) for label in labels), y, 0, 0, body)


def read_parts(module: nn.Module, input_shape: Shape) -> list[Part]:
    """The input, then every part in the order in which it is first computed."""
    graph = trace(module, input_shape, leaves=tuple(MODULES))
    modules = dict(module.named_modules())
    known = layouts(graph)
    parts = [Part("", "INPUT", COLOUR["INPUT"], size(known[0], graph.nodes[0].shape), ())]
    place = {0: 0}  # node -> part

    def key(numbered: tuple[int, Layer]) -> tuple[str, int]:
        i, layer = numbered
        path = _part(layer.path, modules)
        return path, -1 if path else i  # operations of the network itself stay apart

    for (path, _), group in groupby(enumerate(graph.layers), key=key):
        layers = [layer for _, layer in group]
        read = {place[i] for layer in layers for i in layer.inputs if i in place}
        inputs = tuple(sorted(read))
        m = modules[path] if path else None
        last = layers[-1].output
        kind, leaf = (type(m).__name__, not list(m.children())) if m else (layers[-1].type, True)
        fill = COLOUR.get(UNIT.get(last.op, ""), "#fff") if leaf else "#fff"
        parts.append(Part(path, kind, fill, size(known[last.id], last.shape), inputs))
        place |= {node.id: len(parts) - 1 for layer in layers for node in layer.nodes}
    return parts


def _part(path: str, modules: dict[str, nn.Module]) -> str:
    """The outermost module on the way to `path` that is more than a row of others."""
    names = path.split(".")
    for i in range(1, len(names)):
        prefix = ".".join(names[:i])
        if prefix not in OPENED and not isinstance(modules[prefix], nn.Sequential | nn.ModuleList):
            return prefix
    return path
