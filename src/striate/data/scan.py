"""The cheap look at every image before the first epoch: header, end marker, size, digest of the content.

Of a large file only the two ends are hashed together with its length: an edited picture differs there, where its format
packs pixels. The others are hashed whole.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from striate.data.decode import decode, deep, verify
from striate.data.header import Header, complete, header
from striate.data.scale import span
from striate.data.source import Digests
from striate.errors import DataError

END = 1 << 16  # bytes hashed at each end
SPAN = 64  # images a thread looks at in one go
THREADS = 8  # most of them wait for the disk
DECODED = ("GIF", "TIFF", "BMP", "PPM")  # rare, and no mark at their end says that they're whole


@dataclass
class Scan:
    """Arrays over the rows of one store; `bad` says why a row can't be used."""

    sizes: npt.NDArray[np.int32]  # (n, 2): height, width
    channels: npt.NDArray[np.uint8]
    digests: Digests
    peaks: npt.NDArray[np.float64]  # (n, 2): the largest integer, or float, where there are more than 8 bits
    bad: dict[int, str] = field(default_factory=dict)


def scan(n: int, encoded: Callable[[int], bytes], thorough: bool = False) -> Scan:
    """Looks at rows 0..n-1; `thorough` decodes every image, at an eighth of its size where that's possible."""
    found = Scan(np.zeros((n, 2), np.int32), np.zeros(n, np.uint8), np.zeros(n, np.uint64), np.zeros((n, 2)))

    def look(first: int) -> None:
        for row in range(first, min(n, first + SPAN)):
            try:
                data = encoded(row)
                head = header(data)
                complete(data, head)
                if head.deep:
                    found.peaks[row] = peak(data, head)
                elif thorough or head.format in DECODED:
                    decode(data, 1, at_least=(1, 1))
                if thorough:
                    verify(data, head)
            except DataError as e:
                found.bad[row] = str(e)
                continue
            found.sizes[row] = head.height, head.width
            found.channels[row] = head.channels
            found.digests[row] = file_digest(data, head.format)

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(look, range(0, n, SPAN)):
            pass
    found.bad = dict(sorted(found.bad.items()))
    return found


def peak(data: bytes, head: Header) -> tuple[float, float]:
    """The largest number of an image of more than 8 bits: as an integer and 0, or 0 and as a float."""
    values = deep(data, head)
    if values.dtype == np.uint8:
        return 0.0, 0.0
    low, high = span(values, "image")
    if low < 0:
        raise DataError(f"image: values {low:g}..{high:g}; none under 0 is expected")
    return (0.0, high) if values.dtype.kind == "f" else (high, 0.0)


def digest(data: "bytes | memoryview[int]") -> int:
    """The first eight bytes of BLAKE2b as a number."""
    return int.from_bytes(blake2b(data, digest_size=8).digest())


def file_digest(data: bytes, kind: str) -> int:
    """What tells an image file of this format from others."""
    return digest(data) if kind in DECODED else content(data)


def content(data: bytes) -> int:
    """Eight bytes of BLAKE2b over length and ends."""
    if len(data) > 2 * END:
        data = len(data).to_bytes(8) + data[:END] + data[-END:]
    return digest(data)
