"""A thread that does jobs in turn; one that never comes back doesn't keep the process from ending."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_at_work: set["Worker"] = set()


class Worker:
    """One daemon thread: an executor's threads are joined when the interpreter ends, which a hung one prevents."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def do(self, job: Callable[[], T]) -> "asyncio.Future[T]":
        """What `job` returns or raises, told to the running event loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                result = job()
            except Exception as error:
                _tell(future, future.set_exception, error)
            else:
                _tell(future, future.set_result, result)

        self._jobs.put(run)
        return future

    def close(self) -> None:
        """Let the thread end when it has done what it was given."""
        self._jobs.put(None)

    def _work(self) -> None:
        while job := self._jobs.get():
            _at_work.add(self)
            job()
            _at_work.discard(self)


def at_work() -> bool:
    """Whether any worker is in the middle of a job."""
    return bool(_at_work)


def _tell(future: "asyncio.Future[Any]", how: Callable[[Any], None], what: Any) -> None:
    def tell() -> None:
        if not future.done():
            how(what)

    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        future.get_loop().call_soon_threadsafe(tell)
