"""The anatomy of a network: every number that a student computes by hand, layer by layer."""

import functools
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import RenderableType
from torch import nn

from striate.anatomy import cost, kinds
from striate.anatomy.advice import Advice, advise
from striate.anatomy.field import Field, label
from striate.anatomy.memory import Memory
from striate.anatomy.receptive_field import receptive_fields
from striate.anatomy.render import render
from striate.diagram.graph import Graph, Layer, Node, trace
from striate.diagram.meta import uncompiled

Pair = tuple[int, int]  # height, width


@dataclass(frozen=True, slots=True)
class Row:
    """One layer. MACs and comparisons are of one image, `activation_bytes` of the batch."""

    name: str
    type: str
    output: tuple[int, ...]  # of one image
    params: int
    trainable: int
    formula: str
    macs: int | None  # None: an operation that we don't know
    comparisons: int
    activation_bytes: int  # memory of its own that the output takes; 0 for views and in-place work
    receptive_field: Pair | None
    jump: Pair | None  # pixels between neighbouring values
    padding: Pair | None  # pixels that the first value looks beyond the image
    centre: tuple[float, float] | None  # the pixel in the middle of what the first value sees

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            key: _plain(getattr(self, key)) for key in ("receptive_field", "jump", "padding")
        }


@dataclass(frozen=True)
class Anatomy:
    """Rows and totals. Where `unknown` names operations, `macs` is a lower bound."""

    name: str
    input_shape: tuple[int, ...]
    batch: int
    rows: tuple[Row, ...]
    params: int
    trainable: int
    params_keras: int  # with the running statistics of batch norm, as Keras counts
    disk_bytes: int  # parameters and buffers
    unused: dict[str, int]  # parameters that no operation of this pass reads, by child module
    graph: Graph = field(repr=False)
    fields: tuple[Field, ...] = field(repr=False)

    @property
    def macs(self) -> int:
        return sum(row.macs or 0 for row in self.rows)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Operations whose cost we don't know."""
        return tuple(sorted({n.op for n in self.graph.nodes if n.op not in kinds.KNOWN}))

    @property
    def comparisons(self) -> int:
        return sum(row.comparisons for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        return sum(row.activation_bytes for row in self.rows)

    @property
    def receptive_field(self) -> Pair | None:
        """(h, w) in pixels, of the last feature map; None where it cannot be told, see `refused`."""
        return self._last.size(self.image) if self._last and self.image else None

    @property
    def extent(self) -> Pair | None:
        """(h, w) from the first to the last pixel that a value of the last map sees, also where `refused`."""
        return self._last.extent if self._last else None

    @property
    def jump(self) -> Pair | None:
        return self._last.jump if self._last else None

    @property
    def padding(self) -> Pair | None:
        return self._last.padding if self._last else None

    @property
    def refused(self) -> str:
        """Why there is no receptive field, or nothing."""
        return self._last.refused if self._last else ""

    @functools.cached_property
    def advice(self) -> tuple[Advice, ...]:
        return tuple(advise(self))

    # --- what the rules of advice ask ---

    @property
    def image(self) -> Pair | None:
        """Height and width of the input, if it is an image."""
        return (self.input_shape[1], self.input_shape[2]) if len(self.input_shape) == 3 else None

    @property
    def sees_all(self) -> bool:
        """A gate or a global branch lets every value of the last map see the whole image."""
        if not self._last or not self.image:
            return False
        spans = zip(self._last.seen, self.image, strict=True)
        return all(span is not None and span[0] <= 0 and span[1] >= side - 1 for span, side in spans)

    @property
    def head(self) -> str:
        """The operation that ends the last feature map: flatten, adaptive_avg_pool2d, mean."""
        users = self.graph.users[self.last_map] if self.last_map is not None else ()
        return self.graph.nodes[users[0]].op if users else ""

    @functools.cached_property
    def last_map(self) -> int | None:
        """The node of the last feature map that the output depends on; also one whose positions are not known."""
        needed: set[int] = set()
        for node in reversed(self.graph.nodes):
            if node.id == self.graph.outputs[0] or node.id in needed:
                if any(self.fields[node.id].axes) or self.fields[node.id].lost:
                    return node.id
                needed.update(node.inputs)
        return None

    @property
    def _last(self) -> Field | None:
        """The field of the last feature map; of the output if nothing slides over the image."""
        slides = any(node.op in kinds.WINDOW for node in self.graph.nodes)
        at = self.last_map if slides else self.graph.outputs[0]
        return None if at is None else self.fields[at]

    def before(self, node: Node) -> tuple[int, ...]:
        """The shape that enters `node`."""
        return self.graph.nodes[node.inputs[0]].shape

    def source(self, node: Node, op: str) -> bool:
        """Whether an operation `op` feeds `node`, perhaps through dropout."""
        source = self.graph.nodes[node.inputs[0]]
        while source.op in ("dropout", "identity"):
            source = self.graph.nodes[source.inputs[0]]
        return source.op == op

    def label(self, node: Node) -> str:
        return node.path or label(node)

    # --- for people and for programs ---

    def table(self, width: int = 100, memory: Memory | None = None) -> RenderableType:
        """The table of layers, totals, memory and advice, for `rich.print`."""
        return render(self, width, memory)

    def to_json(self, memory: Memory | None = None) -> dict[str, Any]:
        """Plain data; fields, jumps and paddings are one number where height and width agree, else [h, w]."""
        return ({"memory": memory.to_json()} if memory else {}) | {
            "name": self.name,
            "input": list(self.input_shape),
            "batch": self.batch,
            "params": self.params,
            "trainable": self.trainable,
            "params_keras": self.params_keras,
            "macs": self.macs,
            "macs_lower_bound": bool(self.unknown),
            "unknown_operations": list(self.unknown),
            "comparisons": self.comparisons,
            "receptive_field": _plain(self.receptive_field),
            "jump": _plain(self.jump),
            "padding": _plain(self.padding),
            "refused": self.refused or None,
            "extent": _plain(self.extent),
            "activation_bytes": self.activation_bytes,
            "disk_bytes": self.disk_bytes,
            "unused": self.unused,
            "rows": [row.to_json() for row in self.rows],
            "advice": [asdict(advice) for advice in self.advice],
        }


def anatomy(
    module: nn.Module,
    input_shape: tuple[int, ...],
    batch: int = 1,
    leaves: tuple[type[nn.Module], ...] = (),
    name: str = "",
) -> Anatomy:
    """Count, measure and judge any network from one pass without arithmetic, in eval mode.

    >>> net = nn.Sequential(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 36, 10))
    >>> row = anatomy(net, (32, 8, 8)).rows[0]
    >>> row.formula, row.params, row.macs == 3 * 3 * 32 * 64 * 6 * 6
    ('(3*3*32 + 1)*64', 18496, True)
    """
    module = uncompiled(module)
    graph = trace(module, input_shape, leaves=leaves)
    fields = tuple(receptive_fields(graph))
    counts = cost.parameters(graph, module)
    image = (input_shape[1], input_shape[2]) if len(input_shape) == 3 else (0, 0)
    rows = [
        _row(layer, count, graph, fields[layer.output.id], image, batch)
        for layer, count in zip(graph.layers, counts, strict=True)
    ]
    held = {id(t): t for t in (*module.parameters(), *module.buffers())}
    return Anatomy(
        name=name or type(module).__name__,
        input_shape=tuple(input_shape),
        batch=batch,
        rows=tuple(rows),
        params=(params := sum(p.numel() for p in module.parameters())),
        trainable=sum(p.numel() for p in module.parameters() if p.requires_grad),
        params_keras=params + cost.running_statistics(module),
        disk_bytes=sum(t.nbytes for t in held.values()),
        unused=_unused(graph, module),
        graph=graph,
        fields=fields,
    )


def _row(layer: Layer, count: cost.Parameters, graph: Graph, f: Field, image: Pair, batch: int) -> Row:
    macs = [cost.macs(node, graph) for node in layer.nodes]
    shape = layer.output.shape
    return Row(
        name=layer.path if layer.module else ".".join(filter(None, (layer.path, layer.type))),
        type=layer.type,
        output=shape[1:] if shape[0] == 1 else shape,
        params=count.count,
        trainable=count.trainable,
        formula=count.formula,
        macs=None if None in macs else sum(filter(None, macs)),
        comparisons=sum(cost.comparisons(node, graph) for node in layer.nodes),
        activation_bytes=batch * _bytes(layer),
        receptive_field=f.size(image),
        jump=f.jump,
        padding=f.padding,
        centre=f.centre(0, 0),
    )


def _bytes(layer: Layer) -> int:
    """Of the output, unless all that the layer does is a view or in place."""
    return math.prod(layer.output.shape) * layer.output.itemsize if any(n.fresh for n in layer.nodes) else 0


def _unused(graph: Graph, module: nn.Module) -> dict[str, int]:
    """Parameters that this pass never reads (auxiliary heads), by the outermost module that has no reader."""
    used = {name for node in graph.nodes for name in node.params}
    used |= {
        f"{layer.path}.{n}"
        for layer in graph.layers
        if layer.module
        for n, _ in layer.module.named_parameters()
    }
    unused: dict[str, int] = {}
    for name, p in module.named_parameters():
        if name not in used:
            prefixes = [name[:i] for i, c in enumerate(name) if c == "."]
            free = [prefix for prefix in prefixes if not any(u.startswith(prefix + ".") for u in used)]
            key = free[0] if free else name
            unused[key] = unused.get(key, 0) + p.numel()
    return unused


def _plain(pair: Pair | None) -> int | list[int] | None:
    return None if pair is None else pair[0] if pair[0] == pair[1] else list(pair)
