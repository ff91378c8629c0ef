"""Network to diagram: the shortest canonical text that builds it again."""

from typing import Any

from torch import nn

from striate.diagram.flow import Flow, Merge, Step, flat, following
from striate.diagram.fold import Repeat, fold
from striate.diagram.kinds import Context, show
from striate.diagram.read import read, shape_of
from striate.diagram.units import DENSE, UNITS, Shape

WIDTH = 100
STARTERS = DENSE | {"CONV", "DWCONV", "SEPCONV"}


def to_text(module: nn.Module, input_shape: Shape | None = None) -> str:
    """The diagram of a network for an input (c, h, w), with everything bound and repeats folded.

    >>> to_text(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)), (3, 8, 8))
    'INPUT(8, 8, 3) => CONV(8, padding=valid) => RELU => FC(10)'
    """
    return text(read(module, input_shape), shape_of(module, input_shape))


def text(flow: Flow, input_shape: Shape) -> str:
    """The diagram of a flow."""
    c, h, w = input_shape
    items = (f"INPUT({h}, {w}, {c})", *_Writer(flow).items(flow))
    return "\n".join(_lines(items, ""))


def word(step: Step, after: Step | Merge | None) -> str:
    """A unit with those of its arguments that differ from the default."""
    unit = UNITS[step.unit]
    context = Context(0, after.unit if isinstance(after, Step) else "", None)
    written: list[str] = []
    for i, parameter in enumerate(unit.parameters):
        value = step.args[parameter.name]
        if parameter.shown or value != parameter.otherwise(step.args, context):
            bare = i < unit.bare and len(written) == i
            written.append(show(value) if bare else f"{parameter.name}={show(value)}")
    return f"{step.unit}({', '.join(written)})" if written else step.unit


class _Braces(tuple[tuple[Any, ...], ...]):
    """Branches, each a row of items."""

    op: str


class _Writer:
    """Items: a word, _Braces, or a Repeat of items."""

    def __init__(self, flow: Flow) -> None:
        self.after = following(flow)

    def items(self, flow: Flow) -> tuple[Any, ...]:
        items: list[Any] = []
        for node in flat(flow):
            after = self.after[id(node)]
            if isinstance(node, Merge):
                braces = _Braces(self.items(branch) or ("SKIP",) for branch in node.branches)
                braces.op = node.op
                items.append(braces)
            elif not (node.unit == "FLATTEN" and isinstance(after, Step) and after.unit in DENSE):
                items.append(word(node, after))
        return fold(items, [_line(item) for item in items], [_starts(item) for item in items])


def _starts(item: Any) -> bool:
    """Does a repeated part read best when it begins here: at a layer with weights, or at branches?"""
    return isinstance(item, _Braces) or item.split("(")[0] in STARTERS


def _line(item: Any) -> str:
    """An item on one line."""
    if isinstance(item, _Braces):
        return f"{{ {f' {item.op} '.join(_row(branch) for branch in item)} }}"
    if isinstance(item, Repeat):
        return f"{_bracket(item)}*{item.count}"
    return str(item)


def _row(items: tuple[Any, ...]) -> str:
    return " => ".join(map(_line, items))


def _bracket(repeat: Repeat[Any]) -> str:
    one = len(repeat.body) == 1 and isinstance(repeat.body[0], _Braces)
    return _row(repeat.body) if one else f"[{_row(repeat.body)}]"


def _lines(items: tuple[Any, ...], indent: str) -> list[str]:
    """Items over as many lines as they need; one that is longer than a line is opened."""
    lines: list[str] = []
    current = ""
    for item in items:
        text = _line(item)
        arrow = f"{current} => {text}" if current else text
        if len(indent) + len(arrow) <= WIDTH:
            current = arrow
            continue
        if current:
            lines.append(indent + current)
        lead = "=> " if lines else ""
        if len(indent) + len(lead + text) <= WIDTH or isinstance(item, str):
            current = lead + text
        else:
            opened = _opened(item, indent)
            lines += [f"{indent}{lead}{opened[0].strip()}", *opened[1:-1]]
            current = opened[-1].strip()
    return [*lines, indent + current] if current else lines


def _opened(item: Any, indent: str) -> list[str]:
    """An item over several lines, the closing bracket on the last."""
    if isinstance(item, Repeat):
        if len(item.body) == 1 and isinstance(item.body[0], _Braces):
            *lines, last = _opened(item.body[0], indent)
            return [*lines, f"{last}*{item.count}"]
        return [f"{indent}[", *_lines(item.body, indent + "    "), f"{indent}]*{item.count}"]
    lines = [f"{indent}{{"]
    for i, branch in enumerate(item):
        first, *rest = _lines(branch, indent + "    ")
        lines += [f"{indent}  {item.op if i else ' '} {first.strip()}", *rest]
    return [*lines, f"{indent}}}"]
