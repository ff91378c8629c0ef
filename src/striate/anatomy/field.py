"""What the values of a map see, as exact intervals along height and width."""

from dataclasses import dataclass, field, replace

from striate.diagram.graph import Node

Span = tuple[int, int]  # first and last pixel, inclusive
Spans = tuple[Span | None, Span | None]  # along height and width


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
    seen: Spans = (None, None)  # (height, width): pixels that every value sees
    lost: str = ""  # where and why positions could not be followed
    flat: str = ""  # where positions became features, of which no single one sees all that `seen` says

    @property
    def refused(self) -> str:
        """Why there is no receptive field, or nothing."""
        return self.lost or next((a.misaligned for a in self.axes if a and a.misaligned), "")

    @property
    def sliding(self) -> tuple[int, ...]:
        """The dimensions that have positions, counted from the last: -1, -2, ..."""
        return tuple(d - len(self.axes) for d, axis in enumerate(self.axes) if axis)

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


def spread(f: Field, before: tuple[int, ...], dims: set[int]) -> Field:
    """Positions stay, but along `dims` each sees what all see."""
    seen = list(f.seen)
    for d in dims:
        if axis := f.axes[d]:
            seen[axis.side] = hull(seen[axis.side], axis.span(before[d]))
    return replace(f, seen=(seen[0], seen[1]))


def drop(f: Field, before: tuple[int, ...], dims: set[int], keep: bool = True) -> Field:
    """Positions along `dims` are gone; `keep` says whether the dimensions themselves stay."""
    axes = tuple(None if d in dims else a for d, a in enumerate(f.axes) if keep or d not in dims)
    return replace(spread(f, before, dims), axes=axes)


def hull(a: Span | None, b: Span | None) -> Span | None:
    """From the first to the last pixel of both."""
    return (min(a[0], b[0]), max(a[1], b[1])) if a and b else a or b


def _length(span: Span | None, side: int) -> int:
    return min(span[1], side - 1) - max(span[0], 0) + 1 if span else 0


def lose(node: Node, sources: list[Node], given: list[Field], why: str) -> Field:
    """Positions can't be followed any more; what all values see together is kept, for a flatten to find."""
    known = [spread(f, s.shape, set(range(len(s.shape)))) for s, f in zip(sources, given, strict=True)]
    f = common(node, known)
    return replace(f, lost=f.lost or f"{why} at {label(node)}")


def label(node: Node) -> str:
    """`layer1.0 (add)`, for messages."""
    return f"{node.path} ({node.op})" if node.path else node.op


def common(node: Node, given: list[Field]) -> Field:
    """Without positions: what several inputs see globally, and whether one has lost its positions."""
    seen: Spans = (None, None)
    for f in given:
        seen = (hull(seen[0], f.seen[0]), hull(seen[1], f.seen[1]))
    lost, flat = (next(filter(None, why), "") for why in ((f.lost for f in given), (f.flat for f in given)))
    return Field((None,) * len(node.shape), seen, lost, flat)


def add_span(seen: Spans, side: int, span: Span) -> Spans:
    """What is seen when along one side `span` is seen too."""
    return (hull(seen[0], span), seen[1]) if side == 0 else (seen[0], hull(seen[1], span))
