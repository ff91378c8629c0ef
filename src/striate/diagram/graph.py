"""What a network really computes: every operation of one forward pass, in order, without the arithmetic.

A copy of the module runs once on torch's meta device, where tensors have shapes and no values. A
`TorchFunctionMode` sees each operation, module hooks tell whose it is. Works for any `nn.Module`: functional
calls, in-place operations, modules called twice. Operations on weights alone (a mask, a norm) are no
nodes: they don't depend on the image.
"""

import functools
import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from striate.chance import Stream
from striate.diagram.meta import TraceError, float_type, meta_copy, tensors, uncompiled
from striate.diagram.operations import CONSTANTS, SHAPED_AS, TRANSPARENT, canonical, name_of
from striate.diagram.shapes import Hollow
from striate.diagram.writes import Writes

LARGEST_INPUT = 2**40  # values; beyond, sizes of later layers no longer fit torch's integers


@dataclass(frozen=True, slots=True)
class Node:
    """One operation on something that depends on the input; one output tensor.

    `args` are by name, tensors replaced by their shapes. Windowed operations always have `kernel_size`,
    `stride`, `dilation` as (h, w) and `pads` as (top, bottom, left, right). An operation with several outputs
    (chunk, split) is several nodes with `args["output"]` = 0, 1, ...
    """

    id: int
    op: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    args: dict[str, Any] = field(default_factory=dict)
    path: str = ""  # the innermost module call, "" is the network itself
    params: tuple[
        str, ...
    ] = ()  # full names of the parameters that enter here, directly or as part of a tensor
    call: int | None = None  # which call of a leaf module, None: outside any leaf
    fresh: bool = True  # False: a view of an input, or written in place
    itemsize: int = 4  # bytes of one value


@dataclass(frozen=True, slots=True)
class Layer:
    """One call of a leaf module with all its operations, or one operation outside any leaf (module None)."""

    path: str
    type: str
    module: nn.Module | None
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]  # ids of the nodes outside this layer that feed it

    @property
    def output(self) -> Node:
        return self.nodes[-1]


@dataclass(frozen=True)
class Graph:
    """`nodes[i].id == i`, `nodes[0]` is the input, inputs come before their users; `outputs` are node ids.

    `reworked` are the parameters from which the network computes other tensors before they meet the image.
    """

    nodes: tuple[Node, ...]
    layers: tuple[Layer, ...]
    outputs: tuple[int, ...]
    reworked: frozenset[str] = frozenset()

    @functools.cached_property
    def users(self) -> tuple[tuple[int, ...], ...]:
        """For each node the ids of the nodes that read it."""
        users: list[list[int]] = [[] for _ in self.nodes]
        for node in self.nodes:
            for i in node.inputs:
                users[i].append(node.id)
        return tuple(map(tuple, users))


@torch.inference_mode(False)  # whose tensors don't count writes
def trace(
    module: nn.Module,
    input_shape: tuple[int, ...],
    batch: int = 1,
    leaves: tuple[type[nn.Module], ...] = (),
    training: bool = False,
) -> Graph:
    """The graph of `module` for an input `(batch, *input_shape)`, in eval mode unless `training`; it stays untouched.

    A leaf is a module without children or an instance of `leaves`.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    >>> [(node.op, node.path, node.shape) for node in trace(net, (3, 8, 8)).nodes[:3]]
    [('input', '', (1, 3, 8, 8)), ('conv2d', '0', (1, 8, 6, 6)), ('relu', '1', (1, 8, 6, 6))]
    """
    if not input_shape or any(not isinstance(side, int) or side < 1 for side in (batch, *input_shape)):
        raise TraceError(f"input shape {(batch, *input_shape)}: positive whole numbers are wanted")
    if math.prod((batch, *input_shape)) > LARGEST_INPUT:
        raise TraceError(
            f"input shape {(batch, *input_shape)}: no memory holds {math.prod(input_shape):.2g} values"
        )
    if not isinstance(module, nn.Module):
        raise TraceError(
            f"a network is an nn.Module, not {_told(module)}", "build it first, and give the whole of it"
        )
    module = uncompiled(module)
    shadow = meta_copy(module).train(training)
    originals = dict(zip(shadow.modules(), module.modules(), strict=True))
    x = torch.empty((batch, *input_shape), dtype=float_type(shadow), device="meta")
    tracer = _Tracer(shadow, x, leaves)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Stream(0).drawing(),
            torch.no_grad(),
            Hollow(),
            tracer,
        ):
            y = shadow(x)
    except Exception as error:
        raise _explain(error, tracer.stack[-1]) from error
    outputs = tracer.sources(y)
    if not outputs:
        raise TraceError(f"{type(module).__name__} returns no tensor that depends on its input")
    layers = _layers(tracer, originals)
    return Graph(tuple(tracer.nodes), layers, outputs, frozenset(tracer.reworked))


def _told(thing: object) -> str:
    """`the class ReLU`, `a dict`, for messages."""
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"a {type(thing).__name__}"


def _explain(error: Exception, call: "_Call") -> TraceError:
    """One line: who failed, on what, and whether it is the shapes or the values that are at fault."""
    text = str(error).strip().split("\n")[0][:200]
    if any(clue in str(error) for clue in VALUES_NEEDED):
        return TraceError(
            f"forward of {call.name} depends on the values of the image, not on its shape alone: {text}",
            "take the decision on values out of forward",
        )
    return TraceError(f"{call.name} cannot take a tensor of shape {call.given}: {text}")


VALUES_NEEDED = ("meta tensor", "Meta tensor", "data-independent", "meta device type")


@dataclass(slots=True)
class _Call:
    """A module call in progress: its path and, inside a leaf, which leaf call it belongs to."""

    path: str
    module: nn.Module
    leaf: int | None
    given: tuple[int, ...]  # the shape of its first argument

    @property
    def name(self) -> str:
        """`conv1 (Conv2d(3, 64, kernel_size=(7, 7)))`, for messages."""
        kind = type(self.module).__name__ if self.module._modules else repr(self.module)
        return f"{self.path} ({kind})" if self.path else kind


class _Tracer(TorchFunctionMode):
    """Turns every torch function that touches the input's descendants into a node."""

    def __init__(self, shadow: nn.Module, x: Tensor, leaves: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self.made_by: dict[
            int, tuple[int, int]
        ] = {}  # id(tensor) -> (node, version of the tensor when it was made)
        self.writes = Writes()
        self.twins: dict[
            int, Tensor
        ] = {}  # stand-ins on meta of real tensors that the forward pass made for itself
        self.alive: list[Tensor] = []  # a dead tensor's id could be taken by another
        self.names: dict[int, tuple[str, ...]] = {id(p): (name,) for name, p in shadow.named_parameters()}
        self.reworked: set[str] = set()
        self.stack = [_Call("", shadow, None, tuple(x.shape))]
        self.calls: list[_Call] = []  # every call of a leaf, by number
        for path, module in shadow.named_modules():
            leaf = not module._modules.keys() - {"parametrizations"} or isinstance(module, leaves)
            if path or leaf:
                module.register_forward_pre_hook(functools.partial(self._enter, path, leaf))
                module.register_forward_hook(self._leave)
        self.made(x, self.add("input", (), x))

    def _enter(self, path: str, is_leaf: bool, module: nn.Module, args: Any) -> None:
        given = next((tuple(t.shape) for t in tensors(args)), ())
        call = _Call(path, module, self.stack[-1].leaf, given)
        if is_leaf and call.leaf is None:
            call.leaf = len(self.calls)
            self.calls.append(call)
        self.stack.append(call)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Close the call; a leaf that did nothing visible still gets its node."""
        call = self.stack[-1]
        outermost = call.leaf is not None and self.stack[-2].leaf is None
        silent = outermost and not (self.nodes and self.nodes[-1].call == call.leaf)
        if silent and isinstance(output, Tensor) and (inputs := self.sources(args)):
            op, inputs = ("identity", itself) if (itself := self.sources(output)) else ("opaque", inputs)
            output = (
                output.detach()
            )  # the input itself came back: give this call's result an identity of its own
            self.made(output, self.add(op, inputs, output, fresh=op == "opaque"))
        self.stack.pop()
        return output

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [*tensors(args), *tensors(kwargs)]
        if any(t.is_meta or id(t) in self.twins for t in given):
            args, kwargs = self._on_meta(args), self._on_meta(kwargs)
            given = [*tensors(args), *tensors(kwargs)]
        shaped_as = getattr(func, "__name__", "") in SHAPED_AS
        inputs = self.sources(args[:1] if shaped_as else (args, kwargs))
        versions = [t._version for t in given]
        out = func(*args, **kwargs)
        name = name_of(func)
        written = [t for t, version in zip(given, versions, strict=True) if t._version != version]
        results = written[:1] or list(tensors(out))
        if not results or name in CONSTANTS:
            return out
        params = tuple(dict.fromkeys(name for t in given for name in self.names.get(id(t), ())))
        if not inputs:
            self._weights(results, params)
            return out
        if not written and any(out is t for t in given):
            out = results[0] = out.detach()  # dropout in eval mode hands its input back
        if name in TRANSPARENT:
            self.made(results[0], inputs[0])
            return out
        before, after = self.nodes[inputs[0]].shape, tuple(results[0].shape)
        op, bound = canonical(func, name, args, kwargs, before, after)
        taken = {t.untyped_storage()._cdata for t in given}
        for i, t in enumerate(results):
            extra = {"output": i} if len(results) > 1 else {}
            fresh = t.untyped_storage()._cdata not in taken
            node = self.add(op, inputs, t, bound | extra, params if i == 0 else (), fresh)
            self.made(t, node)
        if written:
            self.writes.record(results[0], node)
        return out

    def _weights(self, results: list[Tensor], params: tuple[str, ...]) -> None:
        """Remember which parameters a tensor was made of: a masked kernel, a position table."""
        if params:
            self.alive += results
            self.reworked |= set(params)
            self.names |= {id(t): params for t in results}

    def add(
        self,
        op: str,
        inputs: tuple[int, ...],
        t: Tensor,
        args: dict[str, Any] | None = None,
        params: tuple[str, ...] = (),
        fresh: bool = True,
    ) -> int:
        call = self.stack[-1]
        node = Node(
            len(self.nodes),
            op,
            inputs,
            tuple(t.shape),
            args or {},
            call.path,
            params,
            call.leaf,
            fresh,
            t.itemsize,
        )
        self.nodes.append(node)
        return node.id

    def made(self, t: Tensor, node: int) -> None:
        self.made_by[id(t)] = (node, t._version)
        self.alive.append(t)

    def sources(self, tree: Any) -> tuple[int, ...]:
        """The nodes that made the tensors in `tree`; tensors that don't depend on the input have none."""
        found = (self.twins.get(id(t), t) for t in tensors(tree))
        return tuple(self._source(t) for t in found if id(t) in self.made_by)

    def _on_meta(self, tree: Any) -> Any:
        if isinstance(tree, Tensor):
            if tree.is_meta:
                return tree
            if id(tree) not in self.twins:
                self.alive.append(tree)
                self.twins[id(tree)] = tree.to("meta")
            return self.twins[id(tree)]
        if type(tree) in (tuple, list):
            return type(tree)(map(self._on_meta, tree))
        return {k: self._on_meta(v) for k, v in tree.items()} if isinstance(tree, dict) else tree

    def _source(self, t: Tensor) -> int:
        node, version = self.made_by[id(t)]
        if t._version == version:
            return node
        for write in self.writes.since(version, t):
            if write.covers(t):
                node = write.node
            elif write.touches(t):
                node = self.add("write", (node, write.node), t, fresh=False)
        self.made(t, node)
        return node


def _layers(tracer: _Tracer, originals: dict[nn.Module, nn.Module]) -> tuple[Layer, ...]:
    groups: dict[tuple[str, int], list[Node]] = {}  # in order of the first operation
    for node in tracer.nodes[1:]:
        key = ("node", node.id) if node.call is None else ("call", node.call)
        groups.setdefault(key, []).append(node)
    layers = []
    for (kind, i), nodes in groups.items():
        inside = {node.id for node in nodes}
        inputs = tuple(dict.fromkeys(i for node in nodes for i in node.inputs if i not in inside))
        if kind == "node":
            layers.append(Layer(nodes[0].path, nodes[0].op, None, tuple(nodes), inputs))
        else:
            call = tracer.calls[i]
            module = originals[call.module]
            layers.append(Layer(call.path, type(module).__name__, module, tuple(nodes), inputs))
    return tuple(layers)
