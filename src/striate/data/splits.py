"""Which images train, which choose the best epoch, which are looked at once. Stratified, seeded, stored."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.classes import present, some
from striate.data.source import Indices, Part, Source
from striate.errors import DataError, UsageError

SPLITS = ("train", "val", "test")
SHARES = (0.7, 0.15, 0.15)
OTHER_DATA = "this is not the data that the run was trained on"
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


def divide(source: Source, share: Sequence[float] | None, seed: int) -> dict[str, Part]:
    """The source's own splits, with val or test taken from train if it lacks one; or all by `share`.

    What is taken from train is in the proportion that `share` gives the two, a tenth without.
    """
    parts = dict(source.parts)
    if len(parts) == 1:
        (whole,) = parts.values()
        cut = _cut(whole, share or SHARES, seed)
        return {split: whole.take(rows) for split, rows in zip(SPLITS, cut, strict=True)}
    for lacking in {"val", "test"} - set(parts):
        of = dict(zip(SPLITS, share or BESIDE, strict=True))
        taken = of[lacking] / (of["train"] + of[lacking])
        rows, rest = _cut(parts["train"], (1 - taken, taken), seed)
        parts |= {"train": parts["train"].take(rows), lacking: parts["train"].take(rest)}
    return parts


def _cut(part: Part, share: Sequence[float], seed: int) -> tuple[Indices, ...]:
    number = {name: i for i, name in enumerate(sorted(present(part)))}
    if part.groups is None and (not len(part) or isinstance(part.targets[0], str)):
        return stratified([number[str(t)] for t in part.targets], share, seed)
    hot = np.zeros((len(part), len(number)))
    for row, names in zip(hot, part.targets, strict=True):
        row[[number[t] for t in ((names,) if isinstance(names, str) else names)]] = 1
    return grouped(hot, np.arange(len(part)) if part.groups is None else part.groups, share, seed)


def stratified(labels: npt.ArrayLike, share: Sequence[float], seed: int) -> tuple[Indices, ...]:
    """Sorted indices of each part; every class is divided in the given proportions to within one image.

    A remainder goes where the split as a whole is furthest behind, so that the totals come out right as well;
    but the first image of a class always trains.
    """
    y = np.asarray(labels)
    rng = np.random.default_rng([seed, 0x5917])
    parts = np.asarray(share, float)
    taken, seen = np.zeros(len(parts)), 0
    chosen: list[list[Indices]] = [[] for _ in parts]
    by_class = np.split(np.argsort(y, kind="stable"), np.flatnonzero(np.diff(np.sort(y))) + 1)
    for k in rng.permutation(len(by_class)):
        members = rng.permutation(by_class[k])
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


def grouped(
    hot: npt.NDArray[np.float64], groups: npt.ArrayLike, share: Sequence[float], seed: int
) -> tuple[Indices, ...]:
    """For labels (n, k) of 0 and 1; no group is divided: each goes to the part that lacks its classes most.

    Groups with the rarest classes choose first, then the largest (Sechidis et al., 2011, section 3).
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.zeros((len(names), hot.shape[1] + 1))
    np.add.at(counts, member, np.pad(hot, ((0, 0), (0, 1)), constant_values=1))  # and a class that all have
    totals = counts.sum(0)
    rarest = np.where(counts > 0, totals, np.inf).min(1)
    shuffled = np.random.default_rng([seed, 0x6501]).permutation(len(names))
    first = shuffled[np.lexsort((-counts.sum(1)[shuffled], rarest[shuffled]))]
    parts = np.maximum(np.asarray(share, float), 1e-12)
    lacks = np.outer(parts, totals)
    part_of = np.empty(len(names), np.int64)
    for g in first:
        wanted = (lacks / parts[:, None]) @ (counts[g] / np.maximum(totals, 1))
        part_of[g] = int(np.argmax(np.where(parts > 1e-9, wanted, -np.inf)))
        lacks[part_of[g]] -= counts[g]
    return tuple(np.flatnonzero(part_of[member] == p) for p in range(len(parts)))


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
