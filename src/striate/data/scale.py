"""What a number means as a pixel: one rule for arrays, files, requests and the generator; docs/data.md has the table.

A byte is a pixel as it is. Of wider integers and of floats something has to say which number is white: the type, or the
data set that a network was trained on. No image is brightened by its own largest value.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.source import Pixels
from striate.errors import DataError

Numbers = npt.NDArray[Any]
# which number is white among integers wider than a byte, and among floats; 0: not known
White = tuple[int, int]
UNKNOWN: White = (0, 0)
ROOM = 1 / 512  # half a level of 256, by which rounding may leave the range
CLEAR = 2  # floats that reach this are on 0..255: on that scale it's black still
GIVE = "give uint8, uint16, or floats of 0 to 1"


def to_uint8(array: Numbers, what: str, white: White = UNKNOWN) -> Pixels:
    """Numbers of any type -> 0..255 by the table in docs/data.md; DataError for those beyond its ranges.

    `white` is what a whole data set takes for white; without it the type says.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    low, high = span(array, what)
    top = _white(array.dtype, high, what, white)
    room = top * ROOM if array.dtype.kind == "f" else 0
    if low < -room or high > top + room:
        raise DataError(f"{what}: values {low:g}..{high:g}; expected 0..{top}", GIVE)
    if array.dtype.kind == "f":
        return np.clip(np.rint(array * np.float32(255 / top)), 0, 255).astype(np.uint8)
    if top == 255:
        return array.astype(np.uint8)
    return ((array.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)


def picture(array: Numbers, what: str, white: White) -> Pixels:
    """One picture from Python or a request, for a network whose data have this `white`.

    Refused where it lies in the range of the data and in the smaller one that its type has as well.
    """
    if array.dtype.kind in "iuf" and array.dtype != np.uint8 and not _is_16_bit(array.dtype):
        known, smaller = (white[1], 1) if array.dtype.kind == "f" else (white[0], 255)
        high = span(array, what)[1]
        if known > smaller and 0 < high <= smaller * (1 + ROOM):
            raise DataError(
                f"{what}: values to {high:g}, on a scale of {smaller}? The network's data have {known} as white",
                "give uint8, or uint16 on the scale of the data",
            )
    return to_uint8(array, what, white)


def white_of(arrays: Iterable[tuple[str, Numbers]], known: White = UNKNOWN) -> White:
    """One scale for all arrays of a data set, each with its name; DataError where floats contradict one another.

    What is `known` already, from the data that a network was trained on, stays.
    """
    integers, floats = 0, dict[str, float]()
    for name, array in arrays:
        if array.dtype.kind in "iu" and array.dtype != np.uint8 and array.size:
            high = span(array, name)[1]
            if _is_16_bit(array.dtype) or high > 255:
                integers = max(integers, int(high))
        elif array.dtype.kind == "f" and array.size:
            floats[name] = span(array, name)[1]
    small = [name for name, high in floats.items() if 0 < high <= 1 + ROOM]
    large = [name for name, high in floats.items() if high > 1 + ROOM]
    if small and large:
        raise DataError(
            f"{small[0]} goes to {floats[small[0]]:g}, {large[0]} to {floats[large[0]]:g}: not on one scale",
            GIVE,
        )
    name = max(floats, key=lambda name: floats[name], default="")
    return white_to(integers, floats.get(name, 0), known, name)


def white_to(integer: float, real: float, known: White = UNKNOWN, what: str = "float images") -> White:
    """The scale of data whose largest wide integer and largest float these are, 0 where there is none.

    Cameras and scanners of 10, 12 or 14 bits leave the upper bits of 16 empty: white is the largest number of as many
    bits as are used, 255 at least.
    """
    integers = min(65535, max(255, (1 << int(integer).bit_length()) - 1)) if integer > 0 else 0
    floats = _white_of_floats(real, what) if real > 0 else 0
    if floats and known[1] not in (0, floats):
        raise DataError(f"{what}: values to {real:g}; in the data of the network {known[1]} is white", GIVE)
    return known[0] or integers, known[1] or floats


def own_white(integer: float, real: float) -> White:
    """The scale by which an image shows most of itself, whatever the others say."""
    return white_to(integer, 0)[0], 255 if real > 1 + ROOM else 1


def on_one_scale(pictures: Iterable[Numbers], what: str) -> None:
    """DataError where some pictures of an array or a request are read on 0..1 and others on 0..255."""
    whites = {
        _white(p.dtype, high, what, UNKNOWN)
        for p in pictures
        if p.dtype.kind in "iuf" and p.size and (high := span(p, what)[1]) > 0
    }
    if len(whites) > 1:
        low, high = min(whites), max(whites)
        raise DataError(f"{what}: pictures on 0..{low} and on 0..{high} together", GIVE)


def brightest(array: Numbers) -> float:
    """White of numbers that may lie in any range: 1 for floats that go no further, else 255, or of 16 bits 65,535."""
    if array.dtype.kind in "fb":
        return 1.0 if array.size == 0 or array.max() <= 1 + ROOM else 255.0
    return 65535.0 if _is_16_bit(array.dtype) or array.max(initial=0) > 255 else 255.0


def span(array: Numbers, what: str) -> tuple[float, float]:
    """Smallest and largest number; DataError for what isn't a number."""
    if array.dtype.kind not in "iuf":
        raise DataError(f"{what}: pixels of type {array.dtype}; numbers are expected")
    if array.size == 0:
        return 0.0, 0.0
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{what}: holds NaN or infinite values")
    return low, high


def _white(kind: np.dtype[Any], high: float, what: str, white: White) -> int:
    if kind.kind in "iu":
        return white[0] or (65535 if _is_16_bit(kind) or high > 255 else 255)
    return white[1] or _white_of_floats(high, what)


def _white_of_floats(high: float, what: str) -> int:
    if 1 + ROOM < high < CLEAR:
        raise DataError(f"{what}: values to {high:g} are neither 0..1 nor 0..255", GIVE)
    return 1 if high <= 1 + ROOM else 255


def _is_16_bit(kind: np.dtype[Any]) -> bool:
    return kind.kind == "u" and kind.itemsize == 2  # in either order of bytes
