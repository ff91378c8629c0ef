"""A network as its notation sees it: units in a row, branches that meet, named blocks.

The same tree comes out of a text (`plan`) and out of a module (`read`); the writer, the drawing, the Python source
and the builder all start from it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from striate.diagram.kinds import Args
from striate.diagram.place import Place
from striate.diagram.units import DENSE, POOLS, Shape


@dataclass(frozen=True, slots=True)
class Step:
    """One unit with its arguments; `x` is the shape before it, `y` after it."""

    unit: str
    args: Args
    x: Shape = ()
    y: Shape = ()
    place: Place | None = field(default=None, compare=False)
    inside: tuple[str, ...] = field(
        default=(), compare=False
    )  # the blocks and repeats around it, for messages
    path: str = field(default="", compare=False)  # of the module it was read from


@dataclass(frozen=True, slots=True)
class Merge:
    """Branches that start from one input; op "|" concatenates, "+" adds. An empty branch is SKIP."""

    op: str
    branches: tuple["Flow", ...]
    x: Shape = ()
    y: Shape = ()
    places: tuple[Place, ...] = field(default=(), compare=False)
    inside: tuple[str, ...] = field(default=(), compare=False)
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Group:
    """A named block, or a named part of a network that was read."""

    name: str
    body: "Flow"
    args: dict[str, Any] = field(default_factory=dict)
    block: bool = True  # False: a part of a network that no diagram named


Node = Step | Merge | Group
Flow = tuple[Node, ...]


def flat(flow: Flow) -> Iterator[Step | Merge]:
    """The nodes of a flow with its groups opened."""
    for node in flow:
        if isinstance(node, Group):
            yield from flat(node.body)
        else:
            yield node


def steps(flow: Flow) -> Iterator[Step]:
    """Every unit, in the order of the text."""
    for node in flat(flow):
        if isinstance(node, Step):
            yield node
        else:
            for branch in node.branches:
                yield from steps(branch)


def following(flow: Flow) -> dict[int, Step | Merge | None]:
    """For each node, by id(), the one after it in its branch."""
    nodes = list(flat(flow))
    after: dict[int, Step | Merge | None] = dict(zip(map(id, nodes), [*nodes[1:], None], strict=False))
    for node in nodes:
        if isinstance(node, Merge):
            for branch in node.branches:
                after |= following(branch)
    return after


def halves(step: Step) -> bool:
    """A pooling unit that makes the image smaller: the bare CONV after it has twice the filters."""
    return step.unit in POOLS and step.args["stride"] != 1


def is_dense(node: Node | None) -> bool:
    """A layer whose outputs can be class scores."""
    return isinstance(node, Step) and node.unit in DENSE
