"""Module to flow: any network whose graph is units in a row and branches that meet in a sum or concatenation.

The network is traced (`graph`), each operation read as a unit (`words`), and the graph taken apart from its end: a
merge closes the branches that its immediate dominator opened, the last operation that every path to it passes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from torch import Tensor, nn

from striate import layers
from striate.diagram.faithful import needed, refuse_unfaithful, tensors
from striate.diagram.flow import Flow, Group, Merge, Node, Step, steps
from striate.diagram.graph import Graph, Layer, trace
from striate.diagram.graph import Node as Operation
from striate.diagram.network import Block
from striate.diagram.units import UNITS, Shape, sides
from striate.diagram.words import MODULES, OPERATIONS, Given, step, unsayable
from striate.errors import UsageError
from striate.layers.geometry import Window

MERGES = (layers.Add, layers.Concat)


def read(module: nn.Module, input_shape: Shape | None = None) -> Flow:
    """The flow of `module` for an input (c, h, w); UsageError names the first operation that has no unit."""
    shape = shape_of(module, input_shape)
    graph = trace(module, shape, leaves=tuple(MODULES))
    if len(graph.outputs) != 1:
        raise UsageError(f"{type(module).__name__} has {len(graph.outputs)} outputs, a diagram has one")
    taken_apart = _Decomposer(graph)
    refuse_unfaithful(module, shape, graph)
    return _grouped(_tidy(taken_apart.flow(graph.outputs[0], 0)), module)


def shape_of(module: nn.Module, input_shape: Shape | None) -> Shape:
    """The input (c, h, w) that the caller gives, else that of a diagram's network."""
    shape = input_shape or getattr(module, "input_shape", None)
    if not isinstance(shape, tuple | list) or len(shape) != 3:
        raise UsageError(f"{type(module).__name__}: unknown input shape", hint="pass input_shape=(c, h, w)")
    return tuple(shape)


# --- the graph taken apart ------------------------------------------------------------------------


@dataclass(slots=True)
class _Element:
    """A node of the reduced graph: a merge, or one unit."""

    inputs: tuple[int, ...]
    x: Shape
    y: Shape
    path: str
    op: str = ""  # "+" or "|"
    unit: Given | None = None


class _Decomposer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.elements: dict[int, _Element] = {}
        for layer in needed(graph):
            self.add(layer)
        self.share_prefixes()
        self.dominator: dict[int, int] = {0: 0}
        for i in sorted(self.elements):
            self.dominator[i] = self.common(self.elements[i].inputs)
        self.used: set[int] = set()

    def add(self, layer: Layer) -> None:
        reader = MODULES.get(type(layer.module)) if layer.module else None
        if reader is None:
            for node in layer.nodes:
                self.add_operation(node)
            return
        unit = reader(layer.module)
        if unit is None or len(layer.inputs) != 1:
            raise unsayable(layer.type, layer.path)
        (x,), y = map(self.shape, layer.inputs), layer.output.shape[1:]
        self.elements[layer.output.id] = _Element(layer.inputs, x, y, layer.path, unit=unit)

    def add_operation(self, node: Operation) -> None:
        x, y = self.shape(node.inputs[0]), node.shape[1:]
        element = _Element(node.inputs, x, y, node.path)
        if node.op == "cat" and node.args["dim"] in (1, 1 - len(node.shape)):
            element.op = "|"
        elif node.op == "add" and all(self.shape(i) == y for i in node.inputs):
            if len(node.inputs) == 2 and node.args.get("alpha", 1) == 1:
                element.op = "+"
            elif node.args.get("other") == 0:  # sum([a, b]) starts from 0
                element.unit = ("SKIP", {})
        elif node.op in OPERATIONS and len(node.inputs) == 1 and "output" not in node.args:
            element.unit = OPERATIONS[node.op](node.args, x, y)
        if not element.op and element.unit is None:
            raise unsayable(node.op, node.path)
        self.elements[node.id] = element

    def shape(self, i: int) -> Shape:
        return self.graph.nodes[i].shape[1:]

    def share_prefixes(self) -> None:
        """cat(a, b, c) with cat(a, b) at hand becomes cat(cat(a, b), c): DenseNet as its figure shows it."""
        made: dict[tuple[int, ...], int] = {}
        for i, element in self.elements.items():
            if element.op == "|":
                for n in range(len(element.inputs), 0, -1):
                    if n > 1 and element.inputs[:n] in made:
                        made[element.inputs] = i
                        element.inputs = (made[element.inputs[:n]], *element.inputs[n:])
                        break
                made.setdefault(element.inputs, i)

    def common(self, inputs: Iterable[int]) -> int:
        """The last node that every path to `inputs` passes."""
        found, *others = inputs
        for other in others:
            while found != other:
                if found > other:
                    found = self.dominator[found]
                else:
                    other = self.dominator[other]
        return found

    def flow(self, end: int, start: int) -> Flow:
        """What happens after node `start` until node `end`."""
        nodes: list[Node] = []
        while end != start:
            element = self.elements[end]
            if end in self.used:
                where = element.path or "the network itself"
                raise UsageError(
                    f"the paths cross at {where}: its result goes into two branches",
                    hint="a diagram has branches that start and end together",
                )
            self.used.add(end)
            start_of = self.dominator[end]
            if element.op:
                nodes.append(self.merge(element, start_of))
            elif element.unit and element.unit[0] in PIXEL:
                nodes.append(Step(*element.unit, element.x, element.y, path=element.path))
            elif element.unit and element.unit[0] != "SKIP":
                nodes.append(step(*element.unit, element.x, element.y, element.path))
            end = start_of
        return tuple(reversed(nodes))

    def merge(self, element: _Element, start: int) -> Merge:
        branches: list[Flow] = []
        for i in element.inputs:
            branch = _tidy(self.flow(i, start))
            if len(branch) == 1 and isinstance(branch[0], Merge) and branch[0].op == element.op:
                branches += branch[0].branches  # {{a + b} + c} is {a + b + c}
            else:
                branches.append(branch)
        return Merge(element.op, tuple(branches), self.shape(start), element.y, path=element.path)


# --- tidying --------------------------------------------------------------------------------------

# Not units: the mean or maximum over an image that leaves 1x1 is GAP or GMP once it is flattened, else a pool as large
# as the image.
PIXEL = {"MEAN": ("GAP", "AVGPOOL"), "MAX": ("GMP", "POOL")}


def _tidy(flow: Flow) -> Flow:
    """The flow in units only, single branches opened."""
    tidy: list[Node] = []
    for node in flow:
        last = tidy[-1] if tidy else None
        if isinstance(node, Merge) and len(node.branches) == 1:
            tidy += node.branches[0]
        elif isinstance(node, Step) and isinstance(last, Step) and _takes_padding(node, last):
            tidy[-1] = _padded(last, node)
        elif isinstance(node, Step) and node.unit == "FLATTEN":
            _flatten(tidy, node)
        else:
            tidy.append(node)
    return tuple(_settled(node) for node in tidy if not _does_nothing(node))


def _does_nothing(node: Node) -> bool:
    return isinstance(node, Step) and node.unit in PIXEL and node.x == node.y


def _settled(node: Node) -> Node:
    if not isinstance(node, Step) or node.unit not in PIXEL:
        return node
    return step(PIXEL[node.unit][1], {"kernel": node.x[1:], "stride": node.x[1:]}, node.x, node.y, node.path)


def _takes_padding(conv: Step, pad: Step) -> bool:
    return pad.unit == "PAD" and conv.unit in ("CONV", "DWCONV") and conv.args["padding"] != "same"


def _padded(pad: Step, conv: Step) -> Step:
    """A convolution that does the padding before it by itself."""
    own = Window(conv.args["kernel"], conv.args["stride"], conv.args["padding"]).pads(1, 1)
    both = tuple(a + b for a, b in zip(sides(pad.args), own, strict=True))
    return step(conv.unit, conv.args | {"padding": both}, pad.x, conv.y, conv.path)


def _flatten(tidy: list[Node], flatten: Step) -> None:
    """Append FLATTEN, or move it up to the mean or maximum that left 1x1, past elementwise units."""
    i = len(tidy) - 1
    while i >= 0 and _is_elementwise(tidy[i]):
        i -= 1
    pool = tidy[i] if i >= 0 else None
    if isinstance(pool, Step) and pool.unit in PIXEL:
        tidy[i] = replace(pool, unit=PIXEL[pool.unit][0], y=flatten.y)
        tidy[i + 1 :] = [replace(n, x=flatten.y, y=flatten.y) for n in tidy[i + 1 :] if isinstance(n, Step)]
    else:
        tidy.append(flatten)


def _is_elementwise(node: Node) -> bool:
    if not isinstance(node, Step) or node.unit not in UNITS:
        return False
    return node.x == node.y and (node.unit == "DO" or bool(UNITS[node.unit].before))


def _grouped(flow: Flow, module: nn.Module) -> Flow:
    """Neighbours from one block of a diagram or one named part of a network (or of its `stages`) form a group."""
    owners: dict[str, nn.Module] = {}
    for path, m in module.named_modules():
        top = "." not in path or (path.startswith("stages.") and path.count(".") == 1)
        part = top and path not in ("", "stages") and list(m.children()) and not isinstance(m, MERGES)
        if part or isinstance(m, Block):
            owners[path] = m
    return _within(flow, owners, "")


def _within(flow: Flow, owners: dict[str, nn.Module], around: str) -> Flow:
    def owner(node: Node) -> str:
        """The outermost owner of a node inside `around`."""
        path = "" if isinstance(node, Group) else node.path
        ends = [i for i, c in enumerate(f"{path}.") if c == "." and i > len(around)]
        return next((path[:i] for i in ends if path[:i] in owners), "")

    grouped: list[Node] = []
    for path, nodes in groupby(flow, key=owner):
        if path:
            arguments = getattr(owners[path], "arguments", None)
            block = isinstance(owners[path], Block)
            name = path.rpartition(".")[2]
            grouped.append(Group(name, _within(tuple(nodes), owners, path), arguments or {}, block=block))
        else:
            grouped += nodes
    return tuple(grouped)


def weights(module: nn.Module, input_shape: Shape | None = None) -> list[Tensor]:
    """The tensors of the module's state dict in the order of its diagram.

    That is the order of the state dict of `build(to_text(module))` and of the class that `to_python` writes.
    """
    modules = dict(module.named_modules())
    weighted = (s.path for s in steps(read(module, input_shape)) if UNITS[s.unit].weights(s.x, s.args))
    return [t for path in dict.fromkeys(weighted) for t in tensors(modules[path]).values()]
