"""Which images train, which choose the best epoch, which are looked at once. Stratified, seeded, stored."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.classes import present, some
from striate.data.source import Digests, Indices, Part, Source
from striate.errors import DataError, UsageError

SPLITS = ("train", "val", "test")
SHARES = (0.7, 0.15, 0.15)
OTHER_DATA = "this is not the data that the run was trained on"
FEW = 100  # groups, of which every pair is tried in the other's place
ABSENT = 1e6  # a class that doesn't train outweighs any share
# train, and the one of val and test that is taken from it where the source has the other
BESIDE = (0.9, 0.1, 0.1)


def fractions(split: Sequence[float]) -> tuple[float, ...]:
    """`(70, 15, 15)` or `(0.7, 0.15, 0.15)` -> train, val, test as parts of one; two are train and val."""
    parts = tuple(float(p) for p in split)
    if len(parts) not in (2, 3) or min(parts) < 0 or not parts[0] > 0:
        raise UsageError(
            f"split {split}: expected train, val and test parts as in 70/15/15, or two as in 90/10"
        )
    total = sum(parts)
    if abs(total - 1) > 1e-6 and abs(total - 100) > 1e-6:
        raise UsageError(f"split {split}: the parts add up to {total:g}, not to 1 or 100")
    parts = tuple(p / total for p in parts)
    return parts if len(parts) == 3 else (*parts, 0.0)


def divide(
    source: Source, share: Sequence[float] | None, seed: int, digests: Callable[[Part], Digests] | None = None
) -> dict[str, Part]:
    """The source's own splits, with val or test taken from train if it lacks one; or all by `share`.

    What is taken from train is in the proportion that `share` gives the two, a tenth without. `digests` gives a
    number for the content of each image, by which it keeps its split in a data set that grows.
    """
    parts = dict(source.parts)
    if len(parts) == 1:
        (whole,) = parts.values()
        cut = _cut(whole, share or SHARES, seed, digests)
        return {split: whole.take(rows) for split, rows in zip(SPLITS, cut, strict=True)}
    for lacking in {"val", "test"} - set(parts):
        of = dict(zip(SPLITS, share or BESIDE, strict=True))
        taken = of[lacking] / (of["train"] + of[lacking])
        rows, rest = _cut(parts["train"], (1 - taken, taken), seed, digests)
        parts |= {"train": parts["train"].take(rows), lacking: parts["train"].take(rest)}
    return parts


def _cut(
    part: Part, share: Sequence[float], seed: int, digests: Callable[[Part], Digests] | None
) -> tuple[Indices, ...]:
    number = {name: i for i, name in enumerate(sorted(present(part)))}
    if part.groups is None and (not len(part) or isinstance(part.targets[0], str)):
        labels = [number[str(t)] for t in part.targets]
        return stratified(labels, share, seed, digests(part) if digests else None)
    hot = np.zeros((len(part), len(number)))
    for row, names in zip(hot, part.targets, strict=True):
        row[[number[t] for t in ((names,) if isinstance(names, str) else names)]] = 1
    return grouped(hot, np.arange(len(part)) if part.groups is None else part.groups, share, seed)


def stratified(
    labels: npt.ArrayLike, share: Sequence[float], seed: int, digests: Digests | None = None
) -> tuple[Indices, ...]:
    """Sorted indices of each part; every class is divided in the given proportions to within one image.

    A remainder goes where the split as a whole is furthest behind, so that the totals come out right as well;
    but the first image of a class always trains. The images of a class stand in an order that seed and digest decide,
    train first and test last: as images are added, few cross a border, and hardly any from train to test.
    """
    y = np.asarray(labels)
    rng = np.random.default_rng([seed, 0x5917])
    key = mixed(np.arange(len(y), dtype=np.uint64) if digests is None else digests, seed)
    parts = np.asarray(share, float)
    taken, seen = np.zeros(len(parts)), 0
    chosen: list[list[Indices]] = [[] for _ in parts]
    by_class = np.split(np.lexsort((key, y)), np.flatnonzero(np.diff(np.sort(y))) + 1)
    for k in rng.permutation(len(by_class)):
        members = by_class[k]
        seen += len(members)
        exact = parts * len(members)
        counts = np.floor(exact + 1e-9)
        for _ in range(len(members) - int(counts.sum())):
            behind = np.where((counts > exact) | (parts == 0), -np.inf, parts * seen - taken - counts)
            counts[0 if counts[0] == 0 else int(np.argmax(behind))] += 1
        taken += counts
        for piece, part in zip(np.split(members, np.cumsum(counts[:-1]).astype(int)), chosen, strict=True):
            part.append(piece)
    return tuple(np.sort(np.concatenate(part)) for part in chosen)


def mixed(numbers: Digests, seed: int) -> Digests:
    """Each number in a random place that it and the seed decide alone (SplitMix64; Steele et al., 2014, figure 15)."""
    z = numbers + np.random.default_rng([seed, 0x5917]).integers(0, 2**64, 1, np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def grouped(
    hot: npt.NDArray[np.float64], groups: npt.ArrayLike, share: Sequence[float], seed: int
) -> tuple[Indices, ...]:
    """For labels (n, k) of 0 and 1; no group is divided, and the shares come as near as groups allow.

    The largest group goes first, of equal ones that with the rarest class, each to the part with room for it that
    lacks its classes most (Sechidis et al., 2011, section 3); where none has room, to the one with the most. Where
    groups are few, some then change places, as long as that makes smaller the sum over parts p and classes c of
    ((n_pc - s_p n_c) / n_c)^2, in which all images are one more class that counts as much as the others together.
    Every class trains, so that training is never empty, whereas a part that no group fits may be.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.zeros((len(names), hot.shape[1] + 1))
    np.add.at(counts, member, np.pad(hot, ((0, 0), (0, 1)), constant_values=1))
    totals = counts.sum(0)
    rarest = np.where(counts > 0, totals, np.inf).min(1)
    shuffled = np.random.default_rng([seed, 0x6501]).permutation(len(names))
    parts = np.maximum(np.asarray(share, float), 1e-12)
    lacks = np.outer(parts, totals)
    part_of = np.empty(len(names), np.int64)
    for g in shuffled[np.lexsort((rarest[shuffled], -counts[shuffled, -1]))]:
        wanted = (lacks / parts[:, None]) @ (counts[g] / np.maximum(totals, 1))
        room = (parts > 1e-9) & (lacks[:, -1] >= counts[g, -1])
        part_of[g] = int(np.argmax(np.where(room, wanted, -np.inf) if room.any() else lacks[:, -1]))
        lacks[part_of[g]] -= counts[g]
    if len(names) <= FEW:
        weighted = counts / np.maximum(totals, 1) * np.sqrt([*[1] * hot.shape[1], hot.shape[1]])
        part_of = exchanged(part_of, weighted, np.asarray(share, float))
    return tuple(np.flatnonzero(part_of[member] == p) for p in range(len(parts)))


def exchanged(
    part_of: npt.NDArray[np.int64], weighted: npt.NDArray[np.float64], parts: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Parts of groups (g,) after every exchange of two groups, or of one for none, that brings the shares nearer.

    `weighted` (g, k + 1) is what a group adds to each sum that is to be `parts` of the whole.
    """
    n = len(part_of)
    empty = np.flatnonzero(parts > 0)  # an empty group in every part
    place = np.concatenate((part_of, empty))
    w = np.pad(weighted, ((0, len(place) - n), (0, 0)))
    apart = ((w[:, None] - w) ** 2).sum(-1)
    while True:
        sums = np.array([w[place == p].sum(0) for p in range(len(parts))])
        along = (w @ (sums - np.outer(parts, w.sum(0))).T)[:, place]
        own = along.diagonal()
        change = along + along.T - own[:, None] - own + apart + ABSENT * _absent(place == 0, w)
        g, h = np.unravel_index(int(np.argmin(change)), change.shape)
        if change[g, h] > -1e-9:
            return place[:n]
        place[[g, h]] = place[[h, g]]
        place[n:] = empty


def _absent(trains: npt.NDArray[np.bool_], w: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(g, g) How many more classes training lacks once two groups have changed places."""
    has = (w[:, :-1] > 0).astype(np.int16)
    there = has[trains].sum(0)
    after = (there - has[trains, None] + has[~trains] == 0).sum(-1) - (there == 0).sum()
    more = np.zeros((len(w), len(w)))
    more[np.ix_(trains, ~trains)] = after
    return more + more.T


def restore(source: Source, splits: Mapping[str, Any]) -> dict[str, Part]:
    """The parts that `DataSet.splits` wrote down; DataError where an image of them is gone."""
    where = {name: (part, i) for part in source.parts.values() for i, name in enumerate(part.ids)}
    restored = {}
    for split in SPLITS:
        ids = splits[split]["ids"]
        if gone := [i for i in ids if i not in where]:
            raise DataError(
                f"{source.name}: {len(gone)} images of the stored {split} split are missing: {some(gone)}",
                OTHER_DATA,
            )
        part = where[ids[0]][0] if ids else next(iter(source.parts.values()))
        if moved := [i for i in ids if where[i][0] is not part]:
            raise DataError(
                f"{source.name}: the stored {split} split lies in several splits now: {some(moved)}",
                OTHER_DATA,
            )
        restored[split] = part.take([where[i][1] for i in ids])
    return restored
