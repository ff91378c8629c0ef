"""Flow to what a drawing shows: cards of layers, forks, frames around blocks and repeats."""

import re
from dataclasses import dataclass
from typing import Any

from striate.diagram.flow import Flow, Group, Merge, Step, following
from striate.diagram.fold import Repeat, fold
from striate.diagram.text import STARTERS, word
from striate.diagram.units import UNITS, Shape

# Layers that are drawn as a strip of the card before them.
STRIPS = {"BN", "LRN", "DO", "SDO", "DROPPATH", "SCALE", "FLATTEN"} | {
    u.name for u in UNITS.values() if u.before
}


@dataclass(frozen=True, slots=True)
class Card:
    """A layer, with the small ones that follow it."""

    steps: tuple[Step, ...]
    words: tuple[str, ...]  # as the diagram says them

    @property
    def x(self) -> Shape:
        return self.steps[0].x

    @property
    def y(self) -> Shape:
        return self.steps[-1].y


@dataclass(frozen=True, slots=True)
class Fork:
    """Branches and what joins them; an empty one is the input itself."""

    op: str
    branches: tuple["Scene", ...]
    x: Shape
    y: Shape


@dataclass(frozen=True, slots=True)
class Frame:
    """Something with a name, or something that comes `count` times."""

    title: str
    count: int
    inside: "Scene"
    y: Shape

    @property
    def x(self) -> Shape:
        return self.inside[0].x


Item = Card | Fork | Frame
Scene = tuple[Item, ...]


def scene(flow: Flow) -> Scene:
    """The cards, forks and frames of a flow, repeats folded."""
    return _Stage(flow).scene(flow)


class _Stage:
    def __init__(self, flow: Flow) -> None:
        self.after = following(flow)

    def scene(self, flow: Flow) -> Scene:
        items: list[Item] = []
        for node in flow:
            match node:
                case Group(name, body, _, block):
                    title = re.sub(r"[_\d]+$", "", name) or name if block else name
                    inside = self.scene(body)
                    single = len(inside) == 1 and isinstance(inside[0], Card)
                    items += inside if single else [Frame(title, 1, inside, inside[-1].y)]
                case Merge(op, branches, x, y):
                    items.append(Fork(op, tuple(map(self.scene, branches)), x, y))
                case Step(unit):
                    said = word(node, self.after[id(node)])
                    last = items[-1] if items else None
                    if unit in STRIPS and isinstance(last, Card) and len(last.steps) < 5:
                        items[-1] = Card((*last.steps, node), (*last.words, said))
                    else:
                        items.append(Card((node,), (said,)))
        return _folded(items)


def _folded(items: list[Item]) -> Scene:
    starts = [not isinstance(item, Card) or item.steps[0].unit in STARTERS for item in items]
    return tuple(map(_framed, fold(items, [_key(item) for item in items], starts)))


def _framed(item: Any) -> Item:
    if not isinstance(item, Repeat):
        return item
    y = item.rounds[-1][-1].y
    inside = tuple(map(_framed, item.body))
    if len(inside) == 1 and isinstance(inside[0], Frame) and inside[0].count == 1:
        return Frame(inside[0].title, item.count, inside[0].inside, y)
    return Frame("", item.count, inside, y)


def _key(item: Item) -> Any:
    """What two items share that look alike but for their shapes."""
    match item:
        case Card():
            return item.words
        case Fork(op, branches):
            return op, tuple(tuple(map(_key, branch)) for branch in branches)
        case Frame(title, count, inside):
            return title, count, tuple(map(_key, inside))
