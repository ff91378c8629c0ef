"""SIGINT and SIGTERM while a run goes on: it saves before it ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from striate.errors import StriateError


class Interrupted(StriateError):
    """SIGINT or SIGTERM came; the state was saved."""

    def __init__(self, number: int, hint: str = "") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}", hint)
        self.exit_code = 128 + number


@contextmanager
def listening() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM while a run goes on, so that it can save first; the second one acts at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before: dict[int, Any] = {}

    def catch(number: int, frame: Any) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    for n in (signal.SIGINT, signal.SIGTERM):
        before[n] = signal.signal(n, catch)
    try:
        yield caught
    finally:
        for n, handler in before.items():  # type: ignore[assignment]
            signal.signal(n, handler)
