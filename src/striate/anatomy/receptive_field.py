"""Which pixels of the image a value can depend on: exact interval arithmetic along every path of the graph.

Along one side, value i of a map sees pixels first + i*jump ... last + i*jump. A window of k values, d apart,
with stride s and p zeros before: first -= p*jump, last += (d*(k - 1) - p)*jump, jump *= s. Where branches
meet, the interval is their union if their centres agree; if not, no centre exists: the answer is a refusal.
Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", Distill 2019, sec. 2-4.
"""

from dataclasses import dataclass, field, replace

from striate.anatomy import kinds
from striate.diagram.graph import Graph, Node

Span = tuple[int, int]  # first and last pixel, inclusive


@dataclass(frozen=True, slots=True)
class Axis:
    """Value i sees pixels `first + i*jump` to `last + i*jump` of side 0 (height) or 1, padding included."""

    side: int
    first: int = 0
    last: int = 0
    jump: int = 1
    misaligned: str = field(default="", compare=False)  # which branches disagree about the centre

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def centre(self, i: int) -> float:
        return (self.first + self.last) / 2 + i * self.jump

    def window(self, kernel: int, stride: int, dilation: int, pad: int) -> "Axis":
        first = self.first - pad * self.jump
        last = self.last + (dilation * (kernel - 1) - pad) * self.jump
        return Axis(self.side, first, last, self.jump * stride, self.misaligned)

    def span(self, n: int) -> Span:
        """What n neighbouring values see together."""
        return (self.first, self.last + (n - 1) * self.jump)


@dataclass(frozen=True, slots=True)
class Field:
    """What the values of one node see: an axis where a dimension has positions, spans for what is global."""

    axes: tuple[Axis | None, ...]
    seen: tuple[Span | None, Span | None] = (None, None)  # (height, width): pixels that every value sees
    lost: str = ""  # where and why positions could not be followed

    @property
    def refused(self) -> str:
        """Why there is no receptive field, or nothing."""
        return self.lost or next((a.misaligned for a in self.axes if a and a.misaligned), "")

    @property
    def local(self) -> tuple[Axis, Axis] | None:
        """The axes of height and width, where values still have a position in both."""
        by_side = {a.side: a for a in self.axes if a is not None}
        return (by_side[0], by_side[1]) if len(by_side) == 2 and not self.refused else None

    def size(self, image: tuple[int, int]) -> tuple[int, int] | None:
        """(h, w) in pixels: of the window of a map, padding included, or of all that a global value sees."""
        by_side = {a.side: a for a in self.axes if a is not None}
        sizes = [by_side[s].size if s in by_side else _length(self.seen[s], image[s]) for s in (0, 1)]
        return None if self.refused or 0 in sizes else (sizes[0], sizes[1])

    @property
    def extent(self) -> tuple[int, int] | None:
        """(h, w) from the first to the last pixel that a value of the map sees, also where branches disagree."""
        by_side = {a.side: a for a in self.axes if a is not None}
        return (by_side[0].size, by_side[1].size) if len(by_side) == 2 else None

    @property
    def jump(self) -> tuple[int, int] | None:
        """Pixels from one value of the map to the next, (h, w)."""
        return (self.local[0].jump, self.local[1].jump) if self.local else None

    @property
    def padding(self) -> tuple[int, int] | None:
        """How far the first value of the map looks beyond the image, (top, left)."""
        return (-self.local[0].first, -self.local[1].first) if self.local else None

    def centre(self, row: int, column: int) -> tuple[float, float] | None:
        """The pixel in the middle of what the value at (row, column) sees; half pixels for even fields."""
        return (self.local[0].centre(row), self.local[1].centre(column)) if self.local else None


def receptive_fields(graph: Graph) -> list[Field]:
    """One `Field` for every node of the graph, in order."""
    fields: list[Field] = []
    for node in graph.nodes:
        if node.op == "input":
            image = len(node.shape) == 4
            fields.append(Field((None, None, Axis(0), Axis(1)) if image else (None,) * len(node.shape)))
        else:
            sources = [graph.nodes[i] for i in node.inputs]
            fields.append(_through(node, sources, [fields[i] for i in node.inputs]))
    return fields


def _through(node: Node, sources: list[Node], given: list[Field]) -> Field:
    """The field after `node`, from those of its inputs."""
    f, before = given[0], sources[0].shape
    if node.op in kinds.MERGE:
        return _merge(node, sources, given)
    if len({s.id for s in sources}) > 1:
        return _mix_inputs(node, sources, given)
    if node.op in kinds.POINTWISE:
        return f
    if node.op in kinds.WINDOW:
        a = node.args
        return _slide(f, a["kernel_size"], a["stride"], a["dilation"], a["pads"][::2])
    if node.op in kinds.ADAPTIVE:
        return _adaptive(node, sources[0], f)
    if node.op in kinds.REDUCE:
        return _drop(f, before, _dims(node.args.get("dim"), before), keep=len(node.shape) == len(before))
    if node.op in kinds.MIX:
        return _spread(f, before, _mixed(node, before))
    if node.op in ("linear", "matmul"):
        return _drop(f, before, {len(before) - 1})
    return _rearrange(node, sources[0], f)


def _slide(f: Field, kernel: Span, stride: Span, dilation: Span, pads: Span) -> Field:
    """A window over the last two dimensions."""
    axes = list(f.axes)
    for i, d in enumerate((-2, -1)):
        if axis := axes[d]:
            axes[d] = axis.window(kernel[i], stride[i], dilation[i], pads[i])
    return replace(f, axes=tuple(axes))


def _adaptive(node: Node, source: Node, f: Field) -> Field:
    before = source.shape
    for d in (len(before) - 2, len(before) - 1):
        size, out = before[d], node.shape[d]
        axis = f.axes[d]
        if size == out or axis is None:
            continue
        if 1 in (size, out):
            f = _drop(f, before, {d})
        elif size % out == 0:
            k = size // out
            f = replace(f, axes=(*f.axes[:d], axis.window(k, k, 1, 0), *f.axes[d + 1 :]))
        else:
            return _lose(node, [source], [f], f"windows of unequal size, {size} values to {out},")
    return f


def _dims(dim: int | tuple[int, ...] | None, before: tuple[int, ...]) -> set[int]:
    n = len(before)
    return (
        set(range(n)) if dim in (None, ()) else {d % n for d in (dim if isinstance(dim, tuple) else (dim,))}
    )


def _mixed(node: Node, before: tuple[int, ...]) -> set[int]:
    """The dimensions along which a normalisation lets every value see every other."""
    n = len(before)
    if "normalized_shape" in node.args:
        return set(range(n - len(node.args["normalized_shape"]), n))
    if node.op in ("group_norm", "instance_norm"):
        return set(range(1, n))
    return _dims(node.args.get("dim", 1), before)


def _spread(f: Field, before: tuple[int, ...], dims: set[int]) -> Field:
    """Positions stay, but along `dims` each sees what all see."""
    seen = list(f.seen)
    for d in dims:
        if axis := f.axes[d]:
            seen[axis.side] = _hull(seen[axis.side], axis.span(before[d]))
    return replace(f, seen=(seen[0], seen[1]))


def _drop(f: Field, before: tuple[int, ...], dims: set[int], keep: bool = True) -> Field:
    """Positions along `dims` are gone; `keep` says whether the dimensions themselves stay."""
    axes = tuple(None if d in dims else a for d, a in enumerate(f.axes) if keep or d not in dims)
    return replace(_spread(f, before, dims), axes=axes)


def _hull(a: Span | None, b: Span | None) -> Span | None:
    return (min(a[0], b[0]), max(a[1], b[1])) if a and b else a or b


def _length(span: Span | None, side: int) -> int:
    return min(span[1], side - 1) - max(span[0], 0) + 1 if span else 0


def _lose(node: Node, sources: list[Node], given: list[Field], why: str) -> Field:
    """Positions can't be followed any more; what all values see together is kept, for a flatten to find."""
    spread = [_spread(f, s.shape, set(range(len(s.shape)))) for s, f in zip(sources, given, strict=True)]
    f = _common(node, spread)
    return replace(f, lost=f.lost or f"{why} at {label(node)}")


def label(node: Node) -> str:
    """`layer1.0 (add)`, for messages."""
    return f"{node.path} ({node.op})" if node.path else node.op


# --- where branches meet ---


def _merge(node: Node, sources: list[Node], given: list[Field]) -> Field:
    """The union of the branches, dimension by dimension, aligned at the right as broadcasting does."""
    n = len(node.shape)
    out = _common(node, given)
    axes: list[Axis | None] = []
    for d in range(-n, 0):
        met = [(s, a) for s, f in zip(sources, given, strict=True) if len(f.axes) >= -d and (a := f.axes[d])]
        joined = node.op == "cat" and node.args["dim"] % n == d % n
        maps = [(s, a) for s, a in met if joined or s.shape[d] == node.shape[d]]
        for s, a in met:
            if (s, a) not in maps:  # one value, broadcast to all positions
                out = replace(out, seen=_add_span(out.seen, a.side, a.span(s.shape[d])))
        if joined and maps:
            return _lose(node, sources, given, "maps are joined side by side")
        if len({(a.side, a.jump) for _, a in maps}) > 1:
            return _lose(node, sources, given, _disagreement(maps))
        axes.append(_union(maps, node))
    return replace(out, axes=tuple(axes))


def _common(node: Node, given: list[Field]) -> Field:
    """Without positions: what several inputs see globally, and whether one has lost its positions."""
    seen: tuple[Span | None, Span | None] = (None, None)
    for f in given:
        seen = (_hull(seen[0], f.seen[0]), _hull(seen[1], f.seen[1]))
    return Field((None,) * len(node.shape), seen, next((f.lost for f in given if f.lost), ""))


def _add_span(
    seen: tuple[Span | None, Span | None], side: int, span: Span
) -> tuple[Span | None, Span | None]:
    return (_hull(seen[0], span), seen[1]) if side == 0 else (seen[0], _hull(seen[1], span))


def _union(maps: list[tuple[Node, Axis]], node: Node) -> Axis | None:
    axes = [a for _, a in maps]
    if not axes:
        return None
    why = next((a.misaligned for a in axes if a.misaligned), "") or _disagreement(maps)
    if why and " at " not in why:
        why = f"{why} at {label(node)}"
    return Axis(axes[0].side, min(a.first for a in axes), max(a.last for a in axes), axes[0].jump, why)


def _disagreement(maps: list[tuple[Node, Axis]]) -> str:
    """The two paths that disagree about the centre, or nothing."""
    first, other = maps[0]
    for source, axis in maps[1:]:
        if (axis.side, axis.jump, axis.centre(0)) != (other.side, other.jump, other.centre(0)):
            a = f"{label(first)} is centred on pixel {other.centre(0):g} + {other.jump}i"
            b = f"{label(source)} on {axis.centre(0):g} + {axis.jump}i"
            return f"branches are not aligned ({('height', 'width')[axis.side]}): {a}, {b},"
    return ""


def _mix_inputs(node: Node, sources: list[Node], given: list[Field]) -> Field:
    """An operation on several maps that is no merge (a product, a write): known if all is global already."""
    if any(any(f.axes) for f in given):
        return _lose(node, sources, given, f"{node.op} of several maps is not followed")
    return _common(node, given)


# --- the same numbers in another order ---


def _rearrange(node: Node, source: Node, f: Field) -> Field:
    args, before, after = node.args, source.shape, node.shape
    if node.op not in kinds.KNOWN:
        return _lose(node, [source], [f], "an unknown operation")
    if node.op == "flatten" and len(after) == 2:
        return replace(_drop(f, before, set(range(len(before)))), axes=(None, None), lost="")
    if not any(f.axes):
        return replace(f, axes=(None,) * len(after))
    if node.op == "pad":
        return _pad(f, args["pad"])
    if node.op == "permute":
        return replace(f, axes=tuple(f.axes[d] for d in args["dims"]))
    if node.op == "transpose":
        order = list(range(len(before)))
        order[args["dim0"]], order[args["dim1"]] = order[args["dim1"]], order[args["dim0"]]
        return replace(f, axes=tuple(f.axes[d] for d in order))
    if node.op in ("reshape", "flatten", "unflatten", "squeeze", "unsqueeze"):
        return _reshape(node, source, f)
    if node.op == "getitem":
        return _index(node, source, f)
    if node.op in ("chunk", "split", "tensor_split") and f.axes[args.get("dim", 0)] is None:
        return f
    return _lose(node, [source], [f], "positions are moved in a way not followed")


def _pad(f: Field, pad: tuple[int, ...]) -> Field:
    """torch's order: before and after the last dimension, then the one before it."""
    axes = list(f.axes)
    for i, before in enumerate(pad[::2]):
        if axis := axes[-1 - i]:
            axes[-1 - i] = axis.window(1, 1, 1, before)
    return replace(f, axes=tuple(axes))


def _reshape(node: Node, source: Node, f: Field) -> Field:
    """Dimensions that come through whole keep their axis (a channel shuffle); split or joined, it is lost."""
    axes: list[Axis | None] = []
    before = source.shape
    old = [d for d, n in enumerate(before) if n != 1]
    f = _drop(f, before, {d for d, n in enumerate(before) if n == 1})
    rest = list(node.shape)
    while rest:
        if rest[0] == 1:
            axes.append(None)
            rest.pop(0)
            continue
        taken, given = [old.pop(0)], [rest.pop(0)]
        p, q = before[taken[0]], given[0]
        while p != q:
            if p < q:
                taken.append(old.pop(0))
                p *= before[taken[-1]]
            else:
                given.append(rest.pop(0))
                q *= given[-1]
        kept = len(taken) == len(given) == 1
        axes += [f.axes[taken[0]]] if kept else [None] * len(given)
        if not kept and any(f.axes[d] for d in taken):
            return _lose(node, [source], [f], "positions are joined or split")
    return replace(f, axes=tuple(axes))


def _index(node: Node, source: Node, f: Field) -> Field:
    """x[:, None, 1:, ::2]: slices shift and stretch an axis, an integer picks a value, None is a new axis."""
    index, before = node.args["index"], source.shape
    index = index if isinstance(index, tuple) else (index,)
    if any(not isinstance(i, int | slice | None | type(...)) for i in index):
        return _lose(node, [source], [f], "indexing by a tensor is not followed")
    if ... in index:
        at = index.index(...)
        free = len(before) - sum(i is not None for i in index) + 1
        index = (*index[:at], *(slice(None),) * free, *index[at + 1 :])
    axes: list[Axis | None] = []
    old = iter(range(len(before)))
    for i in (*index, *(slice(None),) * len(before)):
        if i is None:
            axes.append(None)
            continue
        d = next(old, None)
        if d is None:
            break
        axis = f.axes[d]
        if isinstance(i, slice):
            start, _, step = i.indices(before[d])
            axes.append(axis and axis.window(1, step, 1, -start))
        elif axis:
            at = axis.first + (i % before[d]) * axis.jump
            f = replace(f, seen=_add_span(f.seen, axis.side, (at, at + axis.size - 1)))
    return replace(f, axes=tuple(axes))
