"""Where in the image each value of a network is, followed through every operation from the pixels on.

A convolution lays out a new grid of places; views, permutations, windows and rolls move values about without losing
them; what happens at one place stays there; a mean or a dense layer over a block of places belongs to the block; what
an attention finds belongs to its query. What comes of no image, of places that form no block or of an operation that
isn't known here has no place: nothing is guessed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

MOVES = {
    "view", "_unsafe_view", "_reshape_alias", "permute", "transpose", "t", "expand", "repeat", "unsqueeze", "squeeze",
    "slice", "select", "split", "split_with_sizes", "unbind", "diagonal", "unfold", "im2col", "roll", "flip", "cat",
    "stack", "index", "index_select", "gather", "constant_pad_nd", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "native_channel_shuffle",
}  # fmt: skip
STAYS = {
    "alias", "detach", "clone", "_to_copy", "lift_fresh", "native_batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "native_layer_norm", "native_group_norm",
    "_fused_rms_norm", "_softmax", "_safe_softmax", "_log_softmax", "_prelu_kernel", "hardswish", "rsub",
    "native_dropout",
}  # fmt: skip
WINDOWS = {
    "convolution", "max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d",
    "upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d", "upsample_bicubic2d",
    "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "reflection_pad2d", "replication_pad2d",
}  # fmt: skip
MEANS = {"mean", "sum", "amax", "amin", "max", "min", "logsumexp"}
# their further tensors say which values, and have no place themselves
INDEXED = {
    "index",
    "index_select",
    "gather",
}
PRODUCTS = {"mm", "bmm", "addmm", "baddbmm"}
# of floats only
FRACTIONS = {
    "im2col",
    "pixel_shuffle",
    "pixel_unshuffle",
    "channel_shuffle",
    "native_channel_shuffle",
}
NOWHERE = -1


@dataclass(frozen=True)
class Places:
    """`at` has the tensor's shape: y * w + x of the grid (h, w), or -1 where a value has no place.

    `pair`: the place is that of a row, and columns have places too, as in the weights of an attention.
    """

    at: Tensor
    grid: tuple[int, int]
    pair: bool = False


@dataclass(frozen=True)
class Layout:
    """How an output (n, ...) becomes maps: its dimensions `dims`, flattened, hold the grid (h, w) in this `order`."""

    dims: tuple[int, ...]
    order: Tensor
    grid: tuple[int, int]

    def maps(self, output: Tensor) -> Tensor:
        """(n, ...) -> (n, c, h, w)"""
        rest = [d for d in range(1, output.dim()) if d not in self.dims]
        places = math.prod(output.shape[d] for d in self.dims)
        flat = output.permute(0, *rest, *self.dims).reshape(len(output), -1, places)
        return flat[:, :, self.order.to(output.device)].unflatten(2, self.grid)


def layout_of(places: Places | None) -> Layout | None:
    """The layout of what came of one image; None unless a whole grid is there, every place of it once."""
    if places is None or places.pair or places.at.dim() < 2 or len(places.at) != 1:
        return None
    at = _lean(places.at)
    dims = [d for d in range(1, at.dim()) if not _one(at, d)]
    plane = _thinned(replace(places, at=at.amax([d for d in range(at.dim()) if d not in dims]).flatten()))
    order = plane.at.argsort(stable=True)[int((plane.at < 0).sum()) :]
    total = math.prod(plane.grid)
    if total < 2 or not torch.equal(plane.at[order], torch.arange(total, dtype=at.dtype)):
        return None
    return Layout(tuple(dims), order, plane.grid)


class Followed(TorchDispatchMode):
    """While inside, learns the places of all that is computed from one image, (1, c, h, w), and what it came of."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        h, w = x.shape[2:]
        pixels = torch.arange(h * w, dtype=torch.int32).view(1, 1, h, w).expand(x.shape)
        self._places: dict[Any, Places | None] = {_key(x): Places(pixels, (h, w))}
        self._parents: dict[Any, set[Any]] = {}
        self._alive = [x]  # the memory of a dead tensor could become another's

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_inference_mode_enabled():  # operations come here before they are broken down
            with self:
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        out = func(*args, **(kwargs or {}))
        results = _tensors(out)
        found = [*_follow(self.of, func, args, kwargs or {}, results), *[None] * len(results)]
        behind = {_key(t) for t in _tensors((args, kwargs))}
        for result, places in zip(results, found, strict=False):
            self._places[_key(result)] = places
            self._parents.setdefault(_key(result), set()).update(behind)
        self._alive += results
        return out

    def of(self, t: Tensor) -> Places | None:
        """The places of a tensor's values, None where it has none."""
        return self._places.get(_key(t))

    def made_of(self, t: Tensor, part: Tensor) -> bool:
        """Whether `part`, or what it was computed from, went into `t`."""
        found, new = set(), {_key(t)}
        while new:
            found |= new
            new = {parent for key in new for parent in self._parents.get(key, ())} - found
        return _key(part) in found


def _key(t: Tensor) -> Any:
    """What a tensor shares with its aliases of the same form: autograd hands out several for one result."""
    return (t.untyped_storage().data_ptr(), t.storage_offset(), t.shape, t.stride(), t.dtype)


def _tensors(tree: Any) -> list[Tensor]:
    return [t for t in tree_leaves(tree) if isinstance(t, Tensor) and t.layout == torch.strided]


def _follow(of: Any, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> Sequence[Places | None]:
    """The places of the first results of an operation; the others have none."""
    name = func._schema.name.removeprefix("aten::")
    name = name.removesuffix("_") if len(name) > 1 else name
    tensors = _tensors(args)
    given = [of(t) for t in tensors]
    if not any(given) or not results:
        return []
    if name in MOVES:
        return _moved(func, name, args, kwargs, dict(zip(map(id, tensors), given, strict=True)), results[0])
    if name in STAYS or name == "copy":
        source = given[name == "copy"]
        return [source and replace(source, at=source.at.expand(results[0].shape))]
    if name in WINDOWS:
        return [_windows(given[0], results[0])]
    if name in MEANS:
        return [_mean(given[0], args[1:], kwargs)] * len(results)
    if name in PRODUCTS:
        return [_product(given[-2], given[-1], results[0])]
    if name.startswith("_scaled_dot_product"):
        return [_product(given[0], None, results[0])]
    if torch.Tag.pointwise in func.tags:
        return [_together([p for p in given if p], results[0])]
    return []


def _moved(
    func: Any, name: str, args: Any, kwargs: Any, given: dict[int, Places | None], result: Tensor
) -> Sequence[Places]:
    """The same operation on the places themselves."""
    same = _finest({i: p for i, p in given.items() if p})
    grid, pair = next(iter(same.values())).grid, any(p.pair for p in same.values())
    first, *_ = given

    def places(t: Any) -> Any:
        if not isinstance(t, Tensor):
            return t
        if name in INDEXED and id(t) != first:
            return t.cpu()
        at = same[id(t)].at if id(t) in same else torch.full((1,), NOWHERE, dtype=torch.int32).expand(t.shape)
        return at.double() + 1 if name in FRACTIONS else at  # what these fill in is 0

    if name in ("view", "_unsafe_view", "_reshape_alias"):
        at = places(args[0])
        return [Places(at.reshape(result.shape), grid, pair)] if at.numel() == result.numel() else []
    if name == "constant_pad_nd":
        return [Places(F.pad(places(args[0]), args[1], value=NOWHERE), grid, pair)]
    moved = tree_leaves(func(*tree_map(places, args), **kwargs))
    if name in FRACTIONS:
        moved = [(at - 1).round().int() for at in moved]
    return [Places(at, grid, pair) for at in moved]


def _windows(given: Places | None, result: Tensor) -> Places | None:
    """A new grid, where the windows slide over one that is upright: (1, c, h, w) with rows and columns in order."""
    if given is None or given.at.dim() != 4 or len(given.at) != 1 or given.pair or not _upright(given):
        return None
    h, w = result.shape[2:]
    at = torch.arange(h * w, dtype=torch.int32).view(1, 1, h, w)
    return Places(at.expand(result.shape), (h, w)) if h * w > 1 else None


def _upright(given: Places) -> bool:
    plane, width = given.at.amax((0, 1)), given.grid[1]
    for axis, of_line in ((1, plane // width), (0, plane % width)):
        line = torch.where(plane < 0, NOWHERE, of_line).amax(axis)
        held = line[line >= 0]
        if not ((plane < 0) | (of_line == line.unsqueeze(axis))).all() or (held.diff() < 0).any():
            return False
    return True


def _mean(given: Places | None, rest: Sequence[Any], kwargs: Any) -> Places | None:
    """Of mean(x, dim, keepdim) and its like."""
    dim = kwargs.get("dim", rest[0] if rest else None)
    keep = kwargs.get("keepdim", rest[1] if len(rest) > 1 else False)
    dims = [dim] if isinstance(dim, int) else dim
    if given is None or not isinstance(dims, list | tuple) or not dims:
        return None
    merged = _merged(given, [*dims])
    if merged is None or keep:
        return merged
    gone = [d % given.at.dim() for d in dims]
    return replace(merged, at=merged.at.squeeze(gone))


def _product(a: Places | None, b: Places | None, result: Tensor) -> Places | None:
    """a @ b: each row of the result is where the row of `a` is; where that has no place, the columns' of `b` count."""
    rows = _merged(a, [-1]) if a else None
    columns = _merged(b, [-2]) if b else None
    if rows:
        assert a is not None
        pair = not a.pair and b is not None and columns is not None and _one(b.at, -2)
        return Places(rows.at.expand(result.shape), rows.grid, pair)
    if columns is None or b is None or columns.grid != b.grid:
        return None
    return replace(columns, at=columns.at.expand(result.shape))


def _together(known: list[Places], result: Tensor) -> Places:
    """Values that meet element by element are where they all are; those without a place don't count."""
    known = list(_finest(dict(enumerate(known))).values())
    low, high = _ends(torch.stack(torch.broadcast_tensors(*(_lean(p.at) for p in known))), [0])
    at = torch.where(low == high, high, NOWHERE)[0]
    return Places(at.expand(result.shape), known[0].grid, any(p.pair for p in known))


def _merged(given: Places, dims: list[int]) -> Places | None:
    """What a mix of values along `dims`, which are kept, belongs to: their place or, of a coarser grid, their block."""
    (h, w), lean = given.grid, _lean(given.at)
    top, bottom = _ends(torch.where(lean < 0, NOWHERE, lean // w), dims)
    left, right = _ends(torch.where(lean < 0, NOWHERE, lean % w), dims)
    some = bottom >= 0
    if not some.any():
        return None
    high, wide = (int((last - first)[some].max()) + 1 for first, last in ((top, bottom), (left, right)))
    if (
        h % high
        or w % wide
        or ((top // high != bottom // high) | (left // wide != right // wide))[some].any()
    ):
        thinned = _thinned(given)
        return None if thinned.grid == given.grid else _merged(thinned, dims)
    grid = (h // high, w // wide)
    at = torch.where(some, top // high * grid[1] + left // wide, NOWHERE)
    kept = [d % at.dim() for d in dims]
    at = at.expand([1 if d in kept else side for d, side in enumerate(given.at.shape)])
    return Places(at, grid, given.pair) if grid != (1, 1) else None


def _thinned(given: Places) -> Places:
    """On a grid of only those rows and columns that are left, where these are evenly spaced over the image."""
    h, w = given.grid
    held = given.at[given.at >= 0]
    ys, xs = held.div(w, rounding_mode="floor").unique(), (held % w).unique()
    high, wide = _spacing(ys, h), _spacing(xs, w)
    if high is None or wide is None or high * wide == 1:
        return given
    at = torch.where(given.at < 0, NOWHERE, given.at // w // high * len(xs) + given.at % w // wide)
    return replace(given, at=at, grid=(len(ys), len(xs)))


def _spacing(line: Tensor, side: int) -> int | None:
    """The step of evenly spaced numbers from one end of 0 .. side - 1 to the other."""
    step = -(-side // max(1, len(line)))
    even = torch.arange(0, side, step, dtype=line.dtype)
    return step if len(line) and line[0] < step and torch.equal(line - line[0], even[: len(line)]) else None


def _finest(known: dict[int, Places]) -> dict[int, Places]:
    """Of places on grids that differ, those on the finest: what comes from afar doesn't say where a value is."""
    if len({p.grid for p in known.values()}) > 1:
        known = {i: _thinned(p) for i, p in known.items()}
    finest = max((p.grid for p in known.values()), key=math.prod)
    return {i: p for i, p in known.items() if p.grid == finest}


def _ends(at: Tensor, dims: list[int]) -> tuple[Tensor, Tensor]:
    """The first and the last place along `dims`, which are kept; -1 where there is none."""
    last = at.amax(dims, keepdim=True)
    first = torch.where(at < 0, torch.iinfo(at.dtype).max, at).amin(dims, keepdim=True)
    return torch.minimum(first, last), last


def _lean(at: Tensor) -> Tensor:
    """One of the copies along each dimension that was expanded."""
    return at[tuple(slice(0, None if step else 1) for step in at.stride())]


def _one(at: Tensor, dim: int) -> bool:
    """Whether values along a dimension share their place."""
    first, last = _ends(at, [dim])
    return torch.equal(first, last)
