"""Who wrote into whose memory: what a tensor holds after in-place work on another tensor that shares its storage."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

Place = tuple[int, tuple[int, ...], tuple[int, ...]]  # offset in the storage, shape, stride


@dataclass(frozen=True, slots=True)
class Write:
    """`node` wrote all values at `place`; `version` is the storage's count of writes."""

    node: int
    version: int
    place: Place

    def covers(self, t: Tensor) -> bool:
        """`t` is the tensor that was written, or the same values under another name."""
        return self.place == _place(t)

    def touches(self, t: Tensor) -> bool:
        """Some value of `t` may lie where was written."""
        place = _place(t)
        return self.place[0] <= _last(place) and place[0] <= _last(self.place)


class Writes:
    """All in-place writes of a pass, by storage."""

    def __init__(self) -> None:
        self._by_storage: dict[int, list[Write]] = {}

    def record(self, t: Tensor, node: int) -> None:
        write = Write(node, t._version, _place(t))
        self._by_storage.setdefault(t.untyped_storage()._cdata, []).append(write)

    def since(self, version: int, t: Tensor) -> Iterator[Write]:
        """What was written into the storage of `t` after `version`, in order."""
        written = self._by_storage.get(t.untyped_storage()._cdata, [])
        return (write for write in written if write.version > version)


def _place(t: Tensor) -> Place:
    return int(t.storage_offset()), tuple(t.shape), t.stride()


def _last(place: Place) -> int:
    offset, shape, stride = place
    return offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
