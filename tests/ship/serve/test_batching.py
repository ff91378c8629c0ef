"""The batcher alone, with a model that is arithmetic: sizes, order, bounds, deadlines, clients that leave."""

import asyncio
import threading
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


def run(test: Callable[[Squares], Any]) -> Squares:
    model = Squares()
    asyncio.run(test(model))
    return model


async def settle() -> None:
    await asyncio.sleep(0.05)


def test_one_alone_is_answered_at_once() -> None:
    async def go(model: Squares) -> None:
        batcher = Batcher(model, 8, 100)
        assert (await batcher.answer(images(7))).tolist() == [[49]]
        await batcher.close()

    assert run(go).batches == [[7]]


def test_batches_count_images_not_requests_and_answers_go_home() -> None:
    async def go(model: Squares) -> None:
        batcher = Batcher(model, 4, 1000)
        model.go.clear()
        groups = [list(range(i, i + 1 + i % 7)) for i in range(60)]
        jobs = [asyncio.create_task(batcher.answer(images(*g))) for g in groups]
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


def test_who_leaves_is_not_computed() -> None:
    async def go(model: Squares) -> None:
        batcher = Batcher(model, 2, 100)
        model.go.clear()
        jobs = [asyncio.create_task(batcher.answer(images(i))) for i in range(6)]
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
                await batcher.answer(images(bad))
            assert (refused.value.status, refused.value.code) == (500, code)
            assert "inside" not in str(refused.value)
            assert (await batcher.answer(images(5))).tolist() == [[5]]
        rows = await asyncio.gather(
            batcher.answer(images(66)), batcher.answer(images(6)), return_exceptions=True
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
        assert (await batcher.answer(images(*range(8)))).ravel().tolist() == list(range(8))

    asyncio.run(go())
    assert sizes == [8, 4, 2, 2, 4, 2, 2]


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[ONNXRuntimeError] : 6 : bad allocation"), RuntimeError("std::bad_alloc")],
)
def test_each_runtime_says_in_its_way_that_there_is_no_room(error: Exception) -> None:
    def model(pixels: np.ndarray) -> np.ndarray:
        if len(pixels) > 1:
            raise error
        return pixels.reshape(-1, 1).astype(np.float32)

    async def go() -> None:
        assert (await Batcher(model, 8, 100).answer(images(1, 2))).ravel().tolist() == [1, 2]

    asyncio.run(go())


def test_an_engine_that_hangs_is_given_up_and_what_waits_is_told() -> None:
    async def go(model: Squares) -> None:
        model.go.clear()
        batcher = Batcher(model, 1, 100, hang_timeout=0.1)
        with batcher.admit(2):
            ends = await asyncio.gather(
                batcher.answer(images(3)), batcher.answer(images(4)), return_exceptions=True
            )
        assert [(e.status, e.code) for e in ends] == [(504, "hung"), (503, "not_ready")]
        assert not batcher.ready
        for attempt in (lambda: batcher.room(), lambda: asyncio.wait_for(batcher.answer(images(5)), 1)):
            with pytest.raises(Refusal) as refused:
                await attempt()
            assert refused.value.status == 503
        await asyncio.wait_for(batcher.close(), 1)
        model.go.set()

    assert len(run(go).batches) <= 1


def test_close_answers_what_waits() -> None:
    async def go(model: Squares) -> None:
        batcher = Batcher(model, 2, 100)
        model.go.clear()
        jobs = [asyncio.create_task(batcher.answer(images(i))) for i in range(5)]
        await settle()
        closing = asyncio.create_task(batcher.close())
        await settle()
        model.go.set()
        assert [r.item() for r in await asyncio.gather(*jobs)] == [0, 1, 4, 9, 16]
        await closing

    run(go)
