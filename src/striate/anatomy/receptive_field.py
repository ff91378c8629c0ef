"""Which pixels of the image a value can depend on: exact interval arithmetic along every path of the graph.

Along one side, value i of a map sees pixels first + i*jump ... last + i*jump. A window of k values, d apart,
with stride s and p zeros before: first -= p*jump, last += (d*(k - 1) - p)*jump, jump *= s. Where branches
meet, the interval is their union if their centres agree; if not, no centre exists: the answer is a refusal.
Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", Distill 2019, sec. 2-4.
"""

from dataclasses import replace

from striate.anatomy import kinds
from striate.anatomy.field import Axis, Field, Span, add_span, common, drop, label, lose, spread
from striate.anatomy.rearrange import rearrange
from striate.diagram.graph import Graph, Node


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
    if node.op in kinds.MERGE or (node.op in kinds.WRITE and _writes_in_place(node, sources, given)):
        return _merge(node, sources, given)
    if node.op == "stack":
        d = node.args["dim"] % len(node.shape)
        given = [replace(f, axes=(*f.axes[:d], None, *f.axes[d:])) for f in given]
        sources = [replace(s, shape=(*s.shape[:d], 1, *s.shape[d:])) for s in sources]
        return _merge(node, sources, given)
    if node.op in kinds.WINDOW and not any(any(kernel.axes) for kernel in given[1:]):
        f = replace(common(node, given), axes=f.axes)  # a kernel made of what the image is as a whole
    elif len({s.id for s in sources}) > 1:
        return _mix_inputs(node, sources, given)
    if node.op in kinds.POINTWISE and (node.shape == before or node.op == "glu"):
        return f
    if node.op in kinds.WINDOW:
        a = node.args
        return _slide(f, a["kernel_size"], a["stride"], a["dilation"], a["pads"][::2])
    if node.op in kinds.ADAPTIVE:
        return _adaptive(node, sources[0], f)
    if node.op in kinds.REDUCE:
        return drop(f, before, _dims(node.args.get("dim"), before), keep=len(node.shape) == len(before))
    if node.op in kinds.MIX:
        return spread(f, before, _mixed(node, before))
    if node.op == "linear" or (node.op == "matmul" and node.args["input"] != node.args["other"]):
        right = node.op == "matmul" and node.args["other"] == before
        return replace(drop(f, before, {len(before) - 1 - right}), flat="")
    return rearrange(node, sources[0], f)


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
        if axis is None or size == out > 1:
            continue
        if 1 in (size, out):
            f = drop(f, before, {d})
        elif size % out == 0:
            k = size // out
            f = replace(f, axes=(*f.axes[:d], axis.window(k, k, 1, 0), *f.axes[d + 1 :]))
        else:
            return lose(node, [source], [f], f"windows of unequal size, {size} values to {out},")
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
    dim = node.args.get("dim")
    return _dims(1 if dim is None else dim, before)


# --- where branches meet ---


def _merge(node: Node, sources: list[Node], given: list[Field]) -> Field:
    """The union of the branches, dimension by dimension, aligned at the right as broadcasting does."""
    n = len(node.shape)
    out = common(node, given)
    if _places_apart(node, given):
        return lose(node, sources, given, "values from several places are put side by side")
    axes: list[Axis | None] = []
    for d in range(-n, 0):
        met = [(s, a) for s, f in zip(sources, given, strict=True) if len(f.axes) >= -d and (a := f.axes[d])]
        joined = node.op == "cat" and node.args["dim"] % n == d % n
        maps = [(s, a) for s, a in met if joined or s.shape[d] == node.shape[d]]
        for s, a in met:
            if (s, a) not in maps:  # one value, broadcast to all positions
                out = replace(out, seen=add_span(out.seen, a.side, a.span(s.shape[d])))
        if joined and maps:
            return lose(node, sources, given, "maps are joined side by side")
        if len({(a.side, a.jump) for _, a in maps}) > 1:
            return lose(node, sources, given, _disagreement(maps))
        axes.append(_union(maps, node))
    return replace(out, axes=tuple(axes))


def _places_apart(node: Node, given: list[Field]) -> bool:
    """Rows or columns of an image are made of values that see different parts of it."""
    side_by_side = node.op in ("cat", "stack") and node.args["dim"] % len(node.shape) in (2, 3)
    return side_by_side and len(node.shape) == 4 and len({f.seen for f in given}) > 1


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


def _writes_in_place(node: Node, sources: list[Node], given: list[Field]) -> bool:
    """Part of a map is overwritten, and every value stays at its position: other channels, not other pixels."""
    index = node.args.get("index", ())
    plain = all(
        isinstance(i, int | slice | type(...)) for i in (index if isinstance(index, tuple) else (index,))
    )
    pairs = [(s.shape[d], node.shape[d]) for s, f in zip(sources, given, strict=True) for d in f.sliding]
    return plain and all(part == whole for part, whole in pairs)


def _mix_inputs(node: Node, sources: list[Node], given: list[Field]) -> Field:
    """An operation on several maps that is no merge (a product): known if all is global already."""
    if any(any(f.axes) for f in given):
        return lose(node, sources, given, f"{node.op} of several maps is not followed")
    return common(node, given)
