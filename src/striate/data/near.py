"""Which of many thumbnails look the same, without comparing every pair.

Two difference hashes of 64 bits (is a pixel brighter than its neighbour on the left, or above?) are cut in four words
each; only images that share a word are compared, by both hashes and then by pixel. Light and contrast don't count, nor
does colour where one of the two is grey.
Measured on CIFAR-10's 60,000 images: 355 pairs; of 96 looked at, nearly all are the same photograph.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

THUMB = 16  # side of a thumbnail
BITS = 28  # of both hashes together that may differ
GREY = 8.0  # mean difference of the grey thumbnails at a standard deviation of 50
TINT = 4.0  # mean difference of the colours, and half of what the more colourful one has may come on top
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green, blue: ITU-R BT.601
PALE = 2.0  # less colour than this is none
CROWD = 2000  # images that share a word: it says nothing then (all of them have a plain border, say)


def difference_hashes(thumbs: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """(n, 16, 16, 3) -> (2, n): against the left and against the upper neighbour, at 8x8"""
    coarse = (thumbs @ LUMA).reshape(-1, 8, 2, 8, 2).mean((2, 4))
    brighter = [(coarse > np.roll(coarse, 1, axis)).reshape(-1, 64) for axis in (2, 1)]
    return np.packbits(np.stack(brighter), axis=2).view(np.uint64)[..., 0]


def near_pairs(thumbs: npt.NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Pairs of rows whose thumbnails (n, 16, 16, 3) look the same; a pair may come more than once."""
    if len(thumbs) < 2:
        return
    hashes = difference_hashes(thumbs)
    for hash_ in hashes:
        for word in range(4):
            keys = (hash_ >> np.uint64(16 * word)) & np.uint64(0xFFFF)
            order = np.argsort(keys, kind="stable")
            for members in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
                if 1 < len(members) <= CROWD:
                    yield from _within(members, hashes, thumbs)


def _within(
    members: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64], thumbs: npt.NDArray[np.uint8]
) -> Iterator[tuple[int, int]]:
    for i, a in enumerate(members[:-1]):
        others = members[i + 1 :]
        close = others[np.bitwise_count(hashes[:, others] ^ hashes[:, a, None]).sum(0) <= BITS]
        if len(close):
            for b in close[same(thumbs[close], thumbs[a])]:
                yield int(a), int(b)


def same(some: npt.NDArray[np.uint8], one: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """(n, 16, 16, 3), (16, 16, 3) -> (n,): whether the thumbnails differ in light, contrast and details only."""
    (shape, colour), (shape1, colour1) = parted(some), parted(one[None])
    tint, tint1 = np.abs(colour).mean(1), np.abs(colour1).mean(1)
    apart = np.abs(colour - colour1).mean(1) > TINT + np.maximum(tint, tint1) / 2
    return (np.abs(shape - shape1).mean(1) <= GREY) & ~(apart & (tint > PALE) & (tint1 > PALE))


def parted(thumbs: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(n, 16, 16, 3) -> grey at a standard deviation of 50 around 0 (n, 256), what colour adds to grey (n, 768)"""
    grey = (thumbs @ LUMA).reshape(len(thumbs), -1)
    colour = (thumbs.reshape(len(thumbs), -1, 3) - grey[..., None]).reshape(len(thumbs), -1)
    grey -= grey.mean(1, keepdims=True)
    return grey * (50 / (grey.std(1, keepdims=True) + 8)), colour  # 8: flat pictures aren't blown up to noise
