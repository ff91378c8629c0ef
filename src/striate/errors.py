"""Every failure that a user can cause or mend: one line of cause, one line of hint, one exit code."""

from collections.abc import Iterable
from difflib import get_close_matches


class StriateError(Exception):
    """The run failed (exit code 1)."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(StriateError, ValueError):
    """Bad usage or configuration (exit code 2)."""

    exit_code = 2


class DataError(StriateError, ValueError):
    """Bad data (exit code 3)."""

    exit_code = 3


class Note(UserWarning):
    """What a user should know of a result that stands."""


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """`did you mean a, b or c?`, the n known names closest to `name`; empty when nothing is close."""
    folded = {k.lower(): k for k in known}
    close = [folded[m] for m in get_close_matches(name.lower(), folded, n=n, cutoff=0.4)]
    if not close:
        return ""
    return f"did you mean {' or '.join([', '.join(close[:-1])] * (len(close) > 1) + close[-1:])}?"


def one_line(error: Exception) -> str:
    """The beginning of what a library says on many lines."""
    return " ".join(str(error).split())[:160] or type(error).__name__
