"""The cheap look at every image before the first epoch: header, end marker, size, digest of the content.

Of a large file only the two ends are hashed together with its length: an edited picture differs there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from striate.data.header import complete, header
from striate.data.source import Digests
from striate.errors import DataError

END = 1 << 16  # bytes hashed at each end


@dataclass
class Scan:
    """Arrays over the rows of one store; `bad` says why a row can't be used."""

    sizes: npt.NDArray[np.int32]  # (n, 2): height, width
    channels: npt.NDArray[np.uint8]
    digests: Digests
    bad: dict[int, str] = field(default_factory=dict)


def scan(n: int, encoded: Callable[[int], bytes]) -> Scan:
    """Headers and digests of n encoded images; nothing is decoded, what is damaged is listed with its cause."""
    found = Scan(np.zeros((n, 2), np.int32), np.zeros(n, np.uint8), np.zeros(n, np.uint64))
    for row in range(n):
        try:
            data = encoded(row)
            head = header(data)
            complete(data, head)
        except DataError as e:
            found.bad[row] = str(e)
            continue
        found.sizes[row] = head.height, head.width
        found.channels[row] = head.channels
        found.digests[row] = content(data)
    return found


def digest(data: "bytes | memoryview[int]") -> int:
    """The first eight bytes of BLAKE2b as a number."""
    return int.from_bytes(blake2b(data, digest_size=8).digest())


def content(data: bytes) -> int:
    """Eight bytes of BLAKE2b over length and ends."""
    if len(data) > 2 * END:
        data = len(data).to_bytes(8) + data[:END] + data[-END:]
    return digest(data)
