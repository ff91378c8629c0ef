from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.diagram.fold import Repeat, fold


def folded(letters: str, starts: str = "") -> str:
    return _written(fold(letters, letters, [letter in starts for letter in letters]))


def _written(things: tuple[str | Repeat[str], ...]) -> str:
    return "".join(t if isinstance(t, str) else f"[{_written(t.body)}]{t.count}" for t in things)


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("", ""),
        ("abc", "abc"),
        ("aab", "[a]2b"),
        ("abababc", "[ab]3c"),
        ("aabaab", "[[a]2b]2"),
        ("xabcabcy", "x[abc]2y"),
        ("aaaa", "[a]4"),
    ],
)
def test_runs_fold(letters: str, expected: str) -> None:
    assert folded(letters) == expected


def test_a_run_begins_at_a_good_start_where_it_can() -> None:
    assert folded("cracrar", starts="c") == "[cra]2r"
    assert folded("racracra", starts="c") == "ra[cra]2"
    assert folded("racracr", starts="c") == "[rac]2r"  # one step later it would be a round short


def _unfolded(things: tuple[str | Repeat[str], ...]) -> str:
    return "".join(t if isinstance(t, str) else _unfolded(t.body) * t.count for t in things)


@given(st.text("abc", max_size=60), st.sampled_from(["", "a", "bc"]))
def test_folding_loses_nothing(letters: str, starts: str) -> None:
    things = fold(letters, letters, [letter in starts for letter in letters])
    assert _unfolded(things) == letters
    rounds = (chain.from_iterable(t.rounds) if isinstance(t, Repeat) else [t] for t in things)
    assert "".join(chain.from_iterable(rounds)) == letters
