"""The order is a function of seed and epoch; threads and starting position change nothing."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from striate.data.images import ArrayImages
from striate.data.loader import Loader, balanced, order
from striate.errors import DataError, UsageError


class Numbers(ArrayImages):
    """Image i is one pixel of value i; pretends to be read from disk, so that threads do it."""

    in_memory = False


def numbers(n: int = 103) -> Numbers:
    pixels = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1)
    return Numbers(pixels, np.arange(n) % 7, [str(i) for i in range(n)])


def test_order_is_a_permutation_that_changes_with_seed_and_epoch() -> None:
    assert sorted(order(100, 1, 2)) == list(range(100))
    assert (order(100, 1, 2) == order(100, 1, 2)).all()
    assert (order(100, 1, 2) != order(100, 1, 3)).any()
    assert (order(100, 1, 2) != order(100, 2, 2)).any()


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
@pytest.mark.parametrize("start", [0, 3])
def test_batches_follow_the_order_for_any_number_of_workers(workers: int, start: int) -> None:
    loader = Loader(numbers(), 20, seed=4, epoch=2, start=start, workers=workers)
    batches = list(loader)
    assert len(batches) == len(loader) == 6 - start
    seen = torch.cat([x.flatten() for x, _ in batches])
    assert (seen.numpy() == order(103, 4, 2)[start * 20 :]).all()
    assert (torch.cat([y for _, y in batches]) == seen.long() % 7).all()


def test_last_batch_is_short_or_dropped() -> None:
    assert [len(x) for x, _ in Loader(numbers(), 50, shuffle=False)] == [50, 50, 3]
    assert [len(x) for x, _ in Loader(numbers(), 50, shuffle=False, drop_last=True)] == [50, 50]


def test_stopping_in_the_middle_ends_the_threads() -> None:
    import threading

    before = threading.active_count()
    batches = iter(Loader(numbers(), 4, workers=3))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_unreadable_image_names_file_and_epoch() -> None:
    class Broken(Numbers):
        def read(self, indices, out=None):  # type: ignore[no-untyped-def]
            raise DataError("'a.jpg': gone")

    images = Broken(numbers().pixels, numbers().labels, numbers().ids)
    with pytest.raises(DataError, match=r"'a.jpg': gone \(epoch 3\)"):
        list(Loader(images, 8, epoch=3, workers=2))


def test_balanced_draws_every_class_equally_and_wastes_no_image() -> None:
    labels = np.repeat([0, 1, 2], [90, 9, 3])
    drawn = balanced(labels, seed=0, epoch=0)
    assert len(drawn) == 102
    assert (np.bincount(labels[drawn]) == 34).all()
    repeats = np.bincount(drawn, minlength=102)
    for members in (slice(0, 90), slice(90, 99), slice(99, 102)):
        assert np.ptp(repeats[members]) <= 1  # none is drawn again before all were
    assert any((a != b).any() for a, b in pairwise(balanced(labels, 0, e) for e in range(3)))


@pytest.mark.parametrize(("batch", "start"), [(0, 0), (8, -1)])
def test_impossible_batch_is_refused(batch: int, start: int) -> None:
    with pytest.raises(UsageError, match="batch size"):
        Loader(numbers(), batch, start=start)
