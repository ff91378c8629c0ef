"""SIGINT, SIGTERM and SIGHUP while a run goes on: it saves before it ends."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from striate.errors import StriateError

ENDING = tuple(
    s for name in ("SIGINT", "SIGTERM", "SIGHUP") if (s := getattr(signal, name, None)) is not None
)


class Interrupted(StriateError):
    """A signal that ends a run came; the state was saved."""

    def __init__(self, number: int, hint: str = "") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}", hint)
        self.exit_code = 128 + number


@contextmanager
def listening() -> Iterator[list[int]]:
    """Collects the signals that end a run while it goes on, so that it can save first; the second one acts at once."""
    caught: list[int] = []
    with _heard(caught.append):
        yield caught


@contextmanager
def interruptible(hint: str) -> Iterator[None]:
    """A signal that ends a run raises Interrupted where it meets it: for work that can be left at any point."""

    def leave(number: int) -> None:
        raise Interrupted(number, hint)

    with _heard(leave):
        yield


@contextmanager
def _heard(act: Callable[[int], object]) -> Iterator[None]:
    """`act` on the first of these signals; one that nohup or a shell has silenced stays silent."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {
        n: signal.getsignal(n) for n in ENDING if signal.getsignal(n) is not signal.SIG_IGN
    }

    def catch(number: int, frame: Any) -> None:
        signal.signal(number, before[number])
        act(number)

    for n in before:
        signal.signal(n, catch)
    try:
        yield
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
