"""Where a sliding window stops: padding, output size and the columns that no window reaches."""

from collections.abc import Sequence
from typing import Any

from striate.errors import UsageError

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]  # top, bottom, left, right
Padding = str | int | Sequence[int]


def same_pads(size: int, k: int, s: int = 1, d: int = 1) -> Pair:
    """Padding (before, after) that gives ceil(size / s) outputs; TensorFlow puts the odd one after.

    >>> same_pads(32, k=3, s=2)
    (0, 1)
    """
    # (size - 1) // s, not -(-size // s): a traced size must not be negative, ONNX divides towards zero
    total = max((size - 1) // s * s + d * (k - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def output_size(size: int, k: int, s: int = 1, pads: Pair = (0, 0), d: int = 1, ceil: bool = False) -> int:
    """floor((size + pads - d (k - 1) - 1) / s) + 1; `ceil` rounds up if the last window starts inside.

    >>> output_size(227, k=11, s=4)
    55
    """
    span = d * (k - 1) + 1
    n = (size + sum(pads) - span + (s - 1) * ceil) // s + 1
    if ceil and (n - 1) * s >= size + pads[0]:
        n -= 1
    if n < 1:
        padded = f"{size} + {sum(pads)} of padding" if any(pads) else f"{size}"
        raise UsageError(
            f"a window of {span} does not fit into an input of {padded}",
            hint='use a larger input, a smaller kernel, padding "same" or fewer strides before this layer',
        )
    return n


def leftover(size: int, k: int, s: int = 1, pads: Pair = (0, 0), d: int = 1) -> int:
    """Input columns after the end of the last window, so never seen: 0 where (W - F + 2P)/S + 1 is whole.

    >>> leftover(224, k=11, s=4), leftover(227, k=11, s=4)
    (1, 0)
    """
    end = (output_size(size, k, s, pads, d) - 1) * s + d * (k - 1) + 1
    return max(pads[0] + size - end, 0)


def pair(value: int | Sequence[int], what: str, least: int = 1) -> Pair:
    """(h, w) from one number or two."""
    h, w = (value, value) if isinstance(value, int) else _ints(value, what, (2,))
    if min(h, w) < least:
        raise UsageError(f"{what} must be at least {least}, got {value}")
    return h, w


def _ints(values: Sequence[int], what: str, lengths: tuple[int, ...]) -> tuple[int, ...]:
    whole = isinstance(values, tuple | list) and all(isinstance(v, int) for v in values)
    if not whole or len(values) not in lengths:
        expected = " or ".join(map(str, lengths))
        raise UsageError(f"{what} takes one whole number or {expected}, got {values!r}")
    return tuple(values)


def _explicit(padding: Padding) -> Pads:
    """(top, bottom, left, right) of any padding but "same"."""
    if padding == "valid":
        return 0, 0, 0, 0
    if isinstance(padding, str):
        raise UsageError(f"unknown padding {padding!r}", hint='expected "same", "valid" or numbers')
    if isinstance(padding, int):
        padding = (padding, padding)
    values = _ints(padding, "padding", (2, 4))
    if min(values) < 0:
        raise UsageError(f"padding must be at least 0, got {padding}")
    top, bottom, left, right = values if len(values) == 4 else (values[0], values[0], values[1], values[1])
    return top, bottom, left, right


class Window:
    """Kernel, stride, dilation and padding of a layer that slides over (h, w).

    Padding is "same" (TensorFlow's, at any stride), "valid", p, (p_h, p_w) or (top, bottom, left, right).
    """

    def __init__(
        self,
        kernel: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: Padding = "valid",
        dilation: int | Sequence[int] = 1,
    ) -> None:
        self.kernel = pair(kernel, "kernel size")
        self.stride = pair(stride, "stride")
        self.dilation = pair(dilation, "dilation")
        self.padding = padding if isinstance(padding, str | int) else tuple(padding)
        self._fixed = self._independent_of_size()

    def _independent_of_size(self) -> Pads | None:
        """The padding where every input gets the same one: the forward pass then needs no arithmetic."""
        if self.padding != "same":
            return _explicit(self.padding)
        if all(s == 1 or k == 1 for s, k in zip(self.stride, self.kernel, strict=True)):
            return self._same(1, 1)
        return None

    def _same(self, h: int, w: int) -> Pads:
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        return (*same_pads(h, kh, sh, dh), *same_pads(w, kw, sw, dw))

    def pads(self, h: int, w: int) -> Pads:
        """(top, bottom, left, right) for an input of h x w."""
        return self._fixed if self._fixed is not None else self._same(h, w)

    def torch_padding(self) -> Any:
        """What torch's `padding` attribute should say: (h, w) where torch can express it, else our words."""
        if self._fixed is None:
            return "same"
        top, bottom, left, right = self._fixed
        return (top, left) if (top, left) == (bottom, right) else self._fixed

    def output(self, h: int, w: int, ceil: bool = False) -> Pair:
        """(h, w) after the window has passed; raises UsageError where nothing is left."""
        top, bottom, left, right = self.pads(h, w)
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        return (
            output_size(h, kh, sh, (top, bottom), dh, ceil),
            output_size(w, kw, sw, (left, right), dw, ceil),
        )


class Windowed:
    """A layer with a sliding window."""

    window: Window

    @property
    def pad_spec(self) -> Padding:
        """The padding as the caller gave it."""
        return self.window.padding

    def pads(self, h: int, w: int) -> Pads:
        """The padding as it comes out on an h x w input: (top, bottom, left, right)."""
        return self.window.pads(h, w)
