"""The batcher alone, with a model that is arithmetic: sizes, order, bounds, deadlines, clients that leave."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from striate.ship.serve.batching import Batcher
from striate.ship.serve.contract import Refusal


class Squares:
    """Answers x**2 and remembers each batch; waits while it is held."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        assert self.go.wait(10)
        self.batches.append(pixels.ravel().tolist())
        return (pixels.astype(np.float32) ** 2).reshape(len(pixels), 1)


def images(*values: int) -> np.ndarray:
    return np.array(values, np.uint8).reshape(-1, 1, 1, 1)


def later(seconds: float = 10) -> float:
    return time.monotonic() + seconds


def run(test: Callable[[Squares], Any]) -> Squares:
    model = Squares()
    asyncio.run(test(model))
    return model


async def settle() -> None:
    await asyncio.sleep(0.05)


def test_one_alone_is_answered_at_once() -> None:
    async def go(model: Squares) -> None:
        batcher = Batcher(model, 8, 100)
        assert (await batcher.answer(images(7), later())).tolist() == [[49]]
        await batcher.close()

    assert run(go).batches == [[7]]


def test_batches_count_images_not_requests_and_answers_go_home() -> None:
    async def go(model: Squares) -> None:
        batcher = Batcher(model, 4, 1000)
        model.go.clear()
        groups = [list(range(i, i + 1 + i % 7)) for i in range(60)]
        jobs = [asyncio.create_task(batcher.answer(images(*g), later())) for g in groups]
        await settle()
        model.go.set()
        for group, rows in zip(groups, await asyncio.gather(*jobs), strict=True):
            assert rows.ravel().tolist() == [v * v for v in group]

    model = run(go)
    assert max(map(len, model.batches)) == 4
    total = sum(1 + i % 7 for i in range(60))
    assert len(model.batches) <= total // 4 + 2  # full but for the first and the last


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again() -> None:
    async def go(model: Squares) -> None:
        batcher = Batcher(model, 4, 6)
        with batcher.admit(4), batcher.admit(2):
            with pytest.raises(Refusal) as refused, batcher.admit(1):
                pass
            assert refused.value.status == 429
            assert int(refused.value.headers["Retry-After"]) >= 1
        with batcher.admit(6):
            pass

    run(go)


def test_a_deadline_that_passes_in_the_queue_is_504_and_never_computed() -> None:
    async def go(model: Squares) -> None:
        batcher = Batcher(model, 1, 100)
        model.go.clear()
        first = asyncio.create_task(batcher.answer(images(1), later()))
        await settle()
        late = asyncio.create_task(batcher.answer(images(2), later(0.01)))
        await settle()
        model.go.set()
        assert (await first).tolist() == [[1]]
        with pytest.raises(Refusal, match="waited too long") as refused:
            await late
        assert refused.value.status == 504

    assert run(go).batches == [[1]]


def test_who_leaves_is_not_computed() -> None:
    async def go(model: Squares) -> None:
        batcher = Batcher(model, 2, 100)
        model.go.clear()
        jobs = [asyncio.create_task(batcher.answer(images(i), later())) for i in range(6)]
        await settle()
        for leaving in (0, 3, 4):  # the first is running already: its result is dropped
            jobs[leaving].cancel()
        await settle()
        model.go.set()
        answers = await asyncio.gather(*jobs, return_exceptions=True)
        assert [a.tolist() if isinstance(a, np.ndarray) else None for a in answers] == [
            None, [[1]], [[4]], None, None, [[25]],
        ]  # fmt: skip

    computed = sorted(value for batch in run(go).batches for value in batch)
    assert computed == [0, 1, 2, 5]


def test_a_model_that_fails_fails_its_batch_alone() -> None:
    def model(pixels: np.ndarray) -> np.ndarray:
        if (pixels == 13).any():
            raise ZeroDivisionError("inside")
        rows = pixels.reshape(-1, 1).astype(np.float32)
        rows[rows == 66] = np.nan
        return rows[: len(rows) - int((pixels == 77).any())]

    async def go() -> None:
        batcher = Batcher(model, 2, 100)
        for bad, code in ((13, "model_failed"), (66, "not_finite"), (77, "model_failed")):
            with pytest.raises(Refusal) as refused:
                await batcher.answer(images(bad), later())
            assert (refused.value.status, refused.value.code) == (500, code)
            assert "inside" not in str(refused.value)
            assert (await batcher.answer(images(5), later())).tolist() == [[5]]
        rows = await asyncio.gather(
            batcher.answer(images(66), later()), batcher.answer(images(6), later()), return_exceptions=True
        )
        assert isinstance(rows[0], Refusal)
        assert rows[1].tolist() == [[6]]  # beside it in the batch

    asyncio.run(go())


def test_no_room_on_the_device_halves_the_batch() -> None:
    sizes = []

    def model(pixels: np.ndarray) -> np.ndarray:
        sizes.append(len(pixels))
        if len(pixels) > 2:
            raise MemoryError
        return pixels.reshape(-1, 1).astype(np.float32)

    async def go() -> None:
        batcher = Batcher(model, 8, 100)
        assert (await batcher.answer(images(*range(8)), later())).ravel().tolist() == list(range(8))

    asyncio.run(go())
    assert sizes == [8, 4, 2, 2, 4, 2, 2]


def test_an_engine_that_hangs_is_replaced() -> None:
    async def go(model: Squares) -> None:
        model.go.clear()
        fresh = Squares()
        batcher = Batcher(model, 4, 100, hang_timeout=0.1, reopen=lambda: fresh)
        with pytest.raises(Refusal) as refused:
            await batcher.answer(images(3), later())
        assert (refused.value.status, refused.value.code) == (504, "hung")
        await settle()
        assert batcher.ready
        assert (await batcher.answer(images(3), later())).tolist() == [[9]]
        assert fresh.batches == [[3]]
        model.go.set()

    run(go)


def test_close_answers_what_waits() -> None:
    async def go(model: Squares) -> None:
        batcher = Batcher(model, 2, 100)
        model.go.clear()
        jobs = [asyncio.create_task(batcher.answer(images(i), later())) for i in range(5)]
        await settle()
        closing = asyncio.create_task(batcher.close())
        await settle()
        model.go.set()
        assert [r.item() for r in await asyncio.gather(*jobs)] == [0, 1, 4, 9, 16]
        await closing

    run(go)
