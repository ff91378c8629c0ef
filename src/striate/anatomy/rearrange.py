"""Receptive fields where the same numbers come in another order: slices, transposes, reshapes, padding."""

from dataclasses import replace

from striate.anatomy import kinds
from striate.anatomy.field import Axis, Field, add_span, drop, label, lose
from striate.diagram.graph import Node


def rearrange(node: Node, source: Node, f: Field) -> Field:
    """The field of values that `node` moves; of an operation that is not followed, positions are lost."""
    args, before, after = node.args, source.shape, node.shape
    if node.op == "flatten" and len(after) == 2:
        where = f"positions are joined at {label(node)}" if f.lost or any(f.axes) else f.flat
        return replace(drop(f, before, set(range(len(before)))), axes=(None, None), lost="", flat=where)
    if f.flat and (node.op in kinds.PRODUCT or _sides(before) != _sides(after)):
        return replace(f, axes=(None,) * len(after), lost=f.lost or f.flat)
    if not any(f.axes):
        return replace(f, axes=(None,) * len(after))
    if node.op not in kinds.KNOWN:
        return lose(node, [source], [f], "an unknown operation")
    if after == before and node.op in ("interpolate", "upsample"):
        return f
    if node.op == "pixel_unshuffle":
        return _unshuffle(f, before[-1] // after[-1])
    if node.op == "expand":
        return _expand(f, before, after)
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
    return lose(node, [source], [f], "positions are moved in a way not followed")


def _sides(shape: tuple[int, ...]) -> list[int]:
    return sorted(n for n in shape if n > 1)


def _unshuffle(f: Field, k: int) -> Field:
    """k x k neighbours become channels of one position."""
    axes = (axis and axis.window(k, k, 1, 0) for axis in f.axes)
    return replace(f, axes=tuple(axes))


def _expand(f: Field, before: tuple[int, ...], after: tuple[int, ...]) -> Field:
    """New dimensions come first; along a dimension of size 1 that grows, its one value is everywhere."""
    new = len(after) - len(before)
    grown = {d for d, n in enumerate(before) if n != after[new + d]}
    f = drop(f, before, grown)
    return replace(f, axes=(None,) * new + f.axes)


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
    f = drop(f, before, {d for d, n in enumerate(before) if n == 1})
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
            return lose(node, [source], [f], "positions are joined or split")
    return replace(f, axes=tuple(axes))


def _index(node: Node, source: Node, f: Field) -> Field:
    """x[:, None, 1:, ::2]: slices shift and stretch an axis, an integer picks a value, None is a new axis."""
    index, before = node.args["index"], source.shape
    index = index if isinstance(index, tuple) else (index,)
    if any(not isinstance(i, int | slice | None | type(...)) for i in index):
        return lose(node, [source], [f], "indexing by a tensor is not followed")
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
            f = replace(f, seen=add_span(f.seen, axis.side, (at, at + axis.size - 1)))
    return replace(f, axes=tuple(axes))
