"""What an argument of a unit may be, and what it is when nobody says it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Args = dict[str, Any]
LARGEST = 1_000_000  # of any size, channel count or unit count


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of argument: `read` gives its normal form, or None where the value is not of this kind."""

    expects: str
    read: Callable[[Any], Any]


def _is_int(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= LARGEST


def _whole(value: Any) -> int | None:
    return value if _is_int(value, 1) else None


def _pair(value: Any) -> Any:
    """k, or (k_h, k_w) where the two differ."""
    if isinstance(value, tuple) and len(value) == 2 and all(_is_int(v, 1) for v in value):
        return value[0] if value[0] == value[1] else value
    return _whole(value)


def _padding(value: Any) -> Any:
    """The shortest way to say it: "valid", "same", p, (p_h, p_w) or (top, bottom, left, right)."""
    if value in ("same", "valid"):
        return value
    sides = value if isinstance(value, tuple) else (value, value)
    if len(sides) not in (2, 4) or not all(_is_int(v, 0) for v in sides):
        return None
    if len(sides) == 4:
        top, bottom, left, right = sides
        if (top, left) != (bottom, right):
            return sides
        sides = (top, left)
    if sides == (0, 0):
        return "valid"
    return sides[0] if sides[0] == sides[1] else sides


def _even_padding(value: Any) -> Any:
    """Padding that is the same on opposite sides."""
    padding = _padding(value)
    return None if isinstance(padding, tuple) and len(padding) == 4 else padding


def _sides(value: Any) -> Any:
    """Pixels around an image, at least one."""
    padding = _padding(value)
    return None if isinstance(padding, str) else padding


def _flag(value: Any) -> bool | None:
    return bool(value) if isinstance(value, int) and value in (0, 1) else None


def _real(value: Any) -> float | None:
    real = isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300
    return float(value) if real else None


def _fraction(value: Any) -> float | None:
    p = _real(value)
    return p if p is not None and 0 <= p <= 1 else None


def show(value: Any) -> str:
    """The value as a diagram writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "x".join(map(str, value)) if len(value) == 2 else f"({', '.join(map(str, value))})"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


WHOLE = Kind(f"a whole number from 1 to {LARGEST:,}", _whole)
PAIR = Kind(f"a whole number from 1 to {LARGEST:,}, or two as in 1x7", _pair)
PADDING = Kind("same, valid, a number of pixels, 1x3, or (top, bottom, left, right)", _padding)
POOL_PADDING = Kind("same, valid, a number of pixels, or two as in 1x3", _even_padding)
SIDES = Kind("a number of pixels, two as in 1x3, or (top, bottom, left, right)", _sides)
FLAG = Kind("true or false", _flag)
FRACTION = Kind("a fraction from 0 to 1", _fraction)
REAL = Kind("a number", _real)


@dataclass(frozen=True, slots=True)
class Context:
    """What a default may look at."""

    pools: int  # how many pooling units halved the image so far
    following: str  # the next unit, "" at the end of a branch or of the network
    scores: int | None  # the number of classes, where this unit is the classifier


@dataclass(frozen=True, slots=True)
class Required:
    """A default for what has to be said."""


Default = Callable[[Args, Context], Any]
REQUIRED = Required()


def doubling(_: Args, at: Context) -> int:
    """32 filters, twice as many after each pooling."""
    return 32 << at.pools


def dense(_: Args, at: Context) -> int:
    """128 units, or one for each class."""
    return at.scores or 128


def unless_bn(_: Args, at: Context) -> bool:
    """A bias, but where batch normalisation would take it away again."""
    return at.following != "BN"


def as_kernel(args: Args, _: Context) -> Any:
    """The stride of windows that touch and don't overlap."""
    return args["kernel"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a unit; `default` is a value, or a function where it depends on the context."""

    name: str
    kind: Kind
    default: Any = REQUIRED
    shown: bool = False  # to_text writes it even where it is the default

    def otherwise(self, args: Args, context: Context) -> Any:
        return self.default(args, context) if callable(self.default) else self.default
