"""Module to flow: any network whose graph is units in a row and branches that meet in a sum or a concatenation.

The network is traced (`graph`), each operation read as a unit, and the graph taken apart from its end: a sum or
concatenation closes the branches that its immediate dominator opened, the last operation that every path passes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from torch import Tensor, nn

from striate import layers
from striate.diagram.network import Block
from striate.diagram.flow import Flow, Group, Merge, Node, Step, steps
from striate.diagram.graph import Graph, Layer, trace
from striate.diagram.graph import Node as Operation
from striate.diagram.kinds import REQUIRED, Args
from striate.diagram.units import UNITS, Shape
from striate.errors import UsageError
from striate.layers.geometry import Window

Given = tuple[str, dict[str, Any]]  # a unit and its arguments
MERGES = (layers.Add, layers.Concat)


def read(module: nn.Module, input_shape: Shape | None = None) -> Flow:
    """The flow of `module` for an input (c, h, w); UsageError names the first operation that has no unit."""
    shape = input_shape or getattr(module, "input_shape", None)
    if not shape:
        raise UsageError(f"the input shape of {type(module).__name__} is unknown", hint="pass input_shape=(c, h, w)")
    graph = trace(module, tuple(shape), leaves=tuple(MODULES))
    if len(graph.outputs) != 1:
        raise UsageError(f"{type(module).__name__} has {len(graph.outputs)} outputs, a diagram has one")
    return _grouped(_tidy(_Decomposer(graph).flow(graph.outputs[0], 0)), module)


# --- one operation, one unit ---------------------------------------------------------------------------------------


def _conv(a: Args, x: Shape, y: Shape) -> Given:
    depthwise = a["groups"] == x[0] > 1
    how = {"multiplier": y[0] // x[0]} if depthwise else {"filters": y[0], "groups": a["groups"]}
    given = {"dilation": a["dilation"], "bias": a["bias"] is not None, **how}
    return ("DWCONV" if depthwise else "CONV"), _windowed(a, given)


def _windowed(a: Args, given: dict[str, Any]) -> dict[str, Any]:
    return {"kernel": a["kernel_size"], "stride": a["stride"], "padding": a["pads"], **given}


def _pool(unit: str) -> Callable[[Args, Shape, Shape], Given | None]:
    def pool(a: Args, x: Shape, y: Shape) -> Given | None:
        if a["dilation"] != (1, 1) or a.get("divisor_override"):
            return None
        count = {"count_pad": a["count_include_pad"]} if unit == "AVGPOOL" else {}
        return unit, _windowed(a, {"ceil": a["ceil_mode"], **count})

    return pool


def _adaptive(unit: str) -> Callable[[Args, Shape, Shape], Given | None]:
    def adaptive(a: Args, x: Shape, y: Shape) -> Given | None:
        if x == y:
            return "SKIP", {}
        if x[1] % y[1] or x[2] % y[2]:
            return None
        kernel = (x[1] // y[1], x[2] // y[2])
        return unit, {"kernel": kernel, "stride": kernel}

    return adaptive


def _over_image(whole: str, windowed: str) -> Callable[[Args, Shape, Shape], Given | None]:
    def reduce(a: Args, x: Shape, y: Shape) -> Given | None:
        dim = a["dim"]
        if len(x) != 3 or not isinstance(dim, tuple) or {d % 4 for d in dim} != {2, 3}:
            return None
        return (windowed, {"kernel": x[1:], "stride": x[1:]}) if a["keepdim"] else (whole, {})

    return reduce


def _linear(a: Args, x: Shape, y: Shape) -> Given | None:
    return ("FC", {"units": y[0], "bias": a["bias"] is not None}) if len(x) == 1 else None


def _batch_norm(a: Args, x: Shape, y: Shape) -> Given | None:
    whole = a["weight"] and a["bias"] and a["running_mean"] and not a["training"] and a["momentum"] is not None
    return ("BN", {"eps": a["eps"], "momentum": a["momentum"]}) if whole else None


def _reflected(a: Args, x: Shape, y: Shape) -> Given | None:
    zeros = a["mode"] == "constant" and not a["value"] and a["pads"]
    return ("PAD", {"pads": a["pads"]}) if zeros else None


def _dropout(unit: str) -> Callable[[Args, Shape, Shape], Given]:
    return lambda a, x, y: (unit, {"p": a["p"]}) if a["p"] else ("SKIP", {})


def _plain(unit: str, **names: str) -> Callable[[Args, Shape, Shape], Given]:
    return lambda a, x, y: (unit, {ours: a[theirs] for ours, theirs in names.items()})


def _only(unit: str, **expected: Any) -> Callable[[Args, Shape, Shape], Given | None]:
    return lambda a, x, y: (unit, {}) if all(a[k] == v for k, v in expected.items()) else None


OPERATIONS: dict[str, Callable[[Args, Shape, Shape], Given | None]] = {
    "conv2d": _conv,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "local_response_norm": _plain("LRN", size="size", alpha="alpha", beta="beta", k="k"),
    "relu": _plain("RELU"),
    "relu6": _plain("RELU6"),
    "hardtanh": _only("RELU6", min_val=0.0, max_val=6.0),
    "leaky_relu": _plain("LRELU", slope="negative_slope"),
    "prelu": lambda a, x, y: ("PRELU", {"shared": a["weight"] == (1,) and x[0] > 1}),
    "elu": _plain("ELU", alpha="alpha"),
    "selu": _plain("SELU"),
    "gelu": _only("GELU", approximate="none"),
    "silu": _plain("SWISH"),
    "tanh": _plain("TANH"),
    "sigmoid": _plain("SIGMOID"),
    "max_pool2d": _pool("POOL"),
    "avg_pool2d": _pool("AVGPOOL"),
    "adaptive_avg_pool2d": _adaptive("AVGPOOL"),
    "adaptive_max_pool2d": _adaptive("POOL"),
    "mean": _over_image("GAP", "AVGPOOL"),
    "amax": _over_image("GMP", "POOL"),
    "flatten": _plain("FLATTEN"),
    "dropout": _dropout("DO"),
    "dropout2d": _dropout("SDO"),
    "identity": _plain("SKIP"),
    "pad": _reflected,
}


def _window_of(m: Any) -> dict[str, Any]:
    return {"kernel": m.window.kernel, "stride": m.window.stride, "padding": m.window.padding}


def _our_conv(m: layers.Conv2d) -> Given:
    depthwise = m.groups == m.in_channels > 1
    given = _window_of(m) | {"dilation": m.window.dilation, "bias": m.bias is not None}
    if depthwise:
        return "DWCONV", given | {"multiplier": m.out_channels // m.in_channels}
    return "CONV", given | {"filters": m.out_channels, "groups": m.groups}


def _separable(m: layers.SeparableConv2d) -> Given:
    d, p = m.depthwise, m.pointwise
    given = _window_of(d) | {"dilation": d.window.dilation, "multiplier": d.out_channels // d.in_channels}
    return "SEPCONV", given | {"filters": p.out_channels, "bias": p.bias is not None}


MODULES: dict[type[nn.Module], Callable[[Any], Given]] = {
    layers.Conv2d: _our_conv,
    layers.SeparableConv2d: _separable,
    layers.MaxPool2d: lambda m: ("POOL", _window_of(m) | {"ceil": m.ceil_mode}),
    layers.MinPool2d: lambda m: ("MINPOOL", _window_of(m) | {"ceil": m.ceil_mode}),
    layers.AvgPool2d: lambda m: ("AVGPOOL", _window_of(m) | {"ceil": m.ceil_mode, "count_pad": m.count_include_pad}),
    layers.GlobalAvgPool: lambda m: ("GAP", {}),
    layers.GlobalMaxPool: lambda m: ("GMP", {}),
    layers.DepthMaxPool: lambda m: ("DEPTHPOOL", {"groups": m.groups}),
    layers.Maxout: lambda m: ("MAXOUT", {"k": m.groups_of}),
    layers.LocalResponseNorm: lambda m: (
        "LRN",
        {"size": m.size, "alpha": m.alpha, "beta": m.beta, "k": m.k, "within": m.within_channel},
    ),
    layers.DropConnectLinear: lambda m: (
        "DROPCONNECT",
        {"units": m.out_features, "p": m.p, "bias": m.bias is not None},
    ),
    layers.StochasticDepth: lambda m: ("DROPPATH", {"p": m.p}) if m.p else ("SKIP", {}),
    layers.SqueezeExcite: lambda m: ("SE", {"reduction": _reduction(m)}),
}


def _reduction(m: layers.SqueezeExcite) -> int:
    """16 where that fits, else the smallest that gives as many squeezed channels."""
    c, squeezed = m.squeeze.in_features, m.squeeze.out_features
    return 16 if max(c // 16, 1) == squeezed else c // squeezed


def step(unit: str, given: dict[str, Any], x: Shape, y: Shape, path: str = "") -> Step:
    """A step with every argument in its unit's order and in normal form."""
    args: Args = {}
    for parameter in UNITS[unit].parameters:
        value = given.get(parameter.name, parameter.default)
        assert value is not REQUIRED
        assert not callable(value)
        args[parameter.name] = parameter.kind.read(value)
        if args[parameter.name] is None:
            raise _unsayable(f"{unit} with {parameter.name} {value}", path)
    if args.get("padding") == "valid" and "count_pad" in args:
        args["count_pad"] = False  # nothing to count
    if args.get("stride") == 1 and "ceil" in args:
        args["ceil"] = False  # every window fits
    if "padding" in args:
        args["padding"] = _shortest_padding(unit, args)
    return Step(unit, args, x, y, path=path)


def _shortest_padding(unit: str, args: Args) -> Any:
    """Of the spellings that pad alike at every input size the unit's default, else same, else the numbers."""
    w = Window(args["kernel"], args["stride"], args["padding"], args.get("dilation", 1))
    same = Window(args["kernel"], args["stride"], "same", args.get("dilation", 1))
    free = all(s == 1 or k == 1 for s, k in zip(w.stride, w.kernel, strict=True))  # same at any size alike
    alike = args["padding"] == "same" or (free and w.pads(1, 1) == same.pads(1, 1))
    if free and alike and not any(w.pads(1, 1)):
        return next(p.default for p in UNITS[unit].parameters if p.name == "padding")
    return "same" if alike else args["padding"]


# --- the graph taken apart -----------------------------------------------------------------------------------------


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
        for layer in self.needed():
            self.add(layer)
        self.share_prefixes()
        self.dominator: dict[int, int] = {0: 0}
        for i in sorted(self.elements):
            self.dominator[i] = self.common(self.elements[i].inputs)
        self.used: set[int] = set()

    def needed(self) -> list[Layer]:
        """The layers on a path to the output, in order."""
        wanted = set(self.graph.outputs)
        found = []
        for layer in reversed(self.graph.layers):
            if wanted & {node.id for node in layer.nodes}:
                found.append(layer)
                wanted |= {i for node in layer.nodes for i in node.inputs}
        return found[::-1]

    def add(self, layer: Layer) -> None:
        reader = MODULES.get(type(layer.module)) if layer.module else None
        if reader is None:
            for node in layer.nodes:
                self.add_operation(node)
        elif len(layer.inputs) != 1:
            raise _unsayable(layer.type, layer.path)
        else:
            self.elements[layer.output.id] = _Element(
                layer.inputs, self.shape(layer.inputs[0]), layer.output.shape[1:], layer.path, unit=reader(layer.module)
            )

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
            raise _unsayable(node.op, node.path)
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
                raise UsageError(
                    f"the paths cross at {element.path or 'the network itself'}: its result goes to two branches at once",
                    hint="a diagram has branches that start and end together",
                )
            self.used.add(end)
            start_of = self.dominator[end]
            if element.op:
                nodes.append(self.merge(element, start_of))
            elif element.unit and element.unit[0] == "PAD":
                nodes.append(Step("PAD", element.unit[1], element.x, element.y, path=element.path))
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


def _unsayable(what: str, path: str) -> UsageError:
    return UsageError(f"a diagram has no word for {what} at {path or 'the network itself'}")


# --- tidying -------------------------------------------------------------------------------------------------------


def _tidy(flow: Flow) -> Flow:
    """Padding joins its convolution, pooling to 1x1 and flattening become GAP or GMP, single branches open."""
    tidy: list[Node] = []
    for node in flow:
        last = tidy[-1] if tidy else None
        if isinstance(node, Merge) and len(node.branches) == 1:
            tidy += node.branches[0]
        elif not isinstance(node, Step):
            tidy.append(node)
        elif isinstance(last, Step) and last.unit == "PAD":
            tidy[-1] = _padded(last, node)
        elif node.unit == "FLATTEN":
            _flatten(tidy, node)
        else:
            tidy.append(node)
    if tidy and isinstance(tidy[-1], Step) and tidy[-1].unit == "PAD":
        raise _unsayable("pad", tidy[-1].path)
    return tuple(tidy)


def _padded(pad: Step, conv: Step) -> Step:
    if conv.unit not in ("CONV", "DWCONV") or conv.args["padding"] == "same":
        raise _unsayable("pad", pad.path)
    own = Window(conv.args["kernel"], conv.args["stride"], conv.args["padding"]).pads(1, 1)
    sides = tuple(a + b for a, b in zip(pad.args["pads"], own, strict=True))
    return step(conv.unit, conv.args | {"padding": sides}, pad.x, conv.y, conv.path)


def _flatten(tidy: list[Node], flatten: Step) -> None:
    """Append FLATTEN; behind a pool that left 1x1 (and perhaps dropout) it turns the pool into GAP or GMP."""
    i = len(tidy)
    while i and (node := tidy[i - 1]) and isinstance(node, Step) and node.x == node.y and node.unit in ("DO", "RELU"):
        i -= 1
    pool = tidy[i - 1] if i else None
    globally = {"AVGPOOL": "GAP", "POOL": "GMP"}
    if isinstance(pool, Step) and pool.unit in globally and pool.args["padding"] == "valid":
        kernel = pool.args["kernel"]
        if (kernel if isinstance(kernel, tuple) else (kernel, kernel)) == pool.x[1:]:
            tidy[i - 1] = replace(pool, unit=globally[pool.unit], args={}, y=flatten.y)
            tidy[i:] = [replace(n, x=flatten.y, y=flatten.y) for n in tidy[i:] if isinstance(n, Step)]
            return
    tidy.append(flatten)


def _grouped(flow: Flow, module: nn.Module) -> Flow:
    """Neighbours from one block of a diagram, or one named part of a network (or of its `stages`), become a group."""
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
    weighted = (s for s in steps(read(module, input_shape)) if UNITS[s.unit].weights(s.x, s.args))
    return [t for s in weighted for t in modules[s.path].state_dict().values()]
