"""Repeats in a row of things: a b a b a b c  ->  [a b] * 3, c."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
LONGEST = 100  # things in a repeated body


@dataclass(frozen=True, slots=True)
class Repeat(Generic[T]):
    """`count` times the same, by their keys; `rounds` holds the things of every round."""

    rounds: tuple[tuple[T, ...], ...]
    body: "tuple[T | Repeat[T], ...]"  # the first round, folded in itself

    @property
    def count(self) -> int:
        return len(self.rounds)


def fold(things: Sequence[T], keys: Sequence[Hashable], starts: Sequence[bool]) -> tuple[T | Repeat[T], ...]:
    """`things` with the runs that repeat folded, from left to right the run that saves most.

    Where a run can as well begin later (a b a b a: a [b a]*2), it begins at the first thing that `starts`.
    """
    folded: list[T | Repeat[T]] = []
    at = 0
    while at < len(things):
        period, count = _best_run(keys, at)
        if count == 1:
            folded.append(things[at])
            at += 1
            continue
        first = _beginning(keys, starts, at, period, count)
        folded += things[at:first]
        rounds = tuple(tuple(things[first + i * period : first + (i + 1) * period]) for i in range(count))
        body = slice(first, first + period)
        folded.append(Repeat(rounds, fold(rounds[0], keys[body], starts[body])))
        at = first + period * count
    return tuple(folded)


def _beginning(keys: Sequence[Hashable], starts: Sequence[bool], at: int, period: int, count: int) -> int:
    end = at + period * count
    for shift in range(period):
        if starts[at + shift]:
            return at + shift
        if end + shift == len(keys) or keys[end + shift] != keys[at + shift]:
            break
    return at


def _best_run(keys: Sequence[Hashable], at: int) -> tuple[int, int]:
    """(period, count) of the run at `at` that leaves out most things; of equals the shorter period."""
    best = (1, 1)
    for period in range(1, min(LONGEST, (len(keys) - at) // 2) + 1):
        body = keys[at : at + period]
        count = 1
        while keys[at + count * period : at + (count + 1) * period] == body:
            count += 1
        if period * (count - 1) > best[0] * (best[1] - 1):
            best = (period, count)
    return best
