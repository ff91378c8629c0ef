"""Stratified to within one image, seeded, groups whole."""

from itertools import combinations_with_replacement, product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.data.splits import fractions, grouped, stratified
from striate.errors import UsageError


@pytest.mark.parametrize(
    ("given_", "expected"),
    [((70, 15, 15), (0.7, 0.15, 0.15)), ((0.6, 0.2, 0.2), (0.6, 0.2, 0.2)), ((90, 10), (0.9, 0.1, 0.0))],
)
def test_fractions(given_: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert fractions(given_) == pytest.approx(expected)


@pytest.mark.parametrize("wrong", [(1,), (0.5, 0.2, 0.2), (-0.1, 0.6, 0.5), (0, 0.5, 0.5), (1, 2, 3, 4)])
def test_parts_that_are_no_split_are_refused(wrong: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="split"):
        fractions(wrong)


@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=8),
    share=st.sampled_from([(0.7, 0.15, 0.15), (0.6, 0.2, 0.2), (0.9, 0.0, 0.1), (0.9, 0.1)]),
    seed=st.integers(0, 9),
)
def test_every_class_is_divided_to_within_one_image(
    counts: list[int], share: tuple[float, ...], seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    parts = stratified(labels, share, seed)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    for part, p in zip(parts, share, strict=True):
        for k, n in enumerate(counts):
            assert abs((labels[part] == k).sum() - p * n) <= 1 + 1e-9
    assert set(labels[parts[0]]) == set(range(len(counts)))


def test_totals_come_out_right_where_every_class_leaves_a_remainder() -> None:
    sizes = [len(p) for p in stratified(np.repeat(np.arange(50), 3), (0.7, 0.15, 0.15), 0)]
    assert sizes[0] in range(100, 109)
    assert abs(sizes[1] - sizes[2]) <= 1


def test_seed_decides_which_images_not_how_many() -> None:
    labels = np.repeat([0, 1], 50)
    a, b, again = (stratified(labels, (0.7, 0.15, 0.15), s) for s in (0, 1, 0))
    assert [len(p) for p in a] == [len(p) for p in b]
    assert (a[1] != b[1]).any()
    assert all((p == q).all() for p, q in zip(a, again, strict=True))


def test_groups_are_kept_together_and_classes_near_their_share() -> None:
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 120, 2000)
    labels = rng.integers(0, 4, 2000)
    parts = grouped(np.eye(4)[labels], groups, (0.7, 0.15, 0.15), 0)
    assert sorted(np.concatenate(parts)) == list(range(2000))
    kept = [set(groups[p]) for p in parts]
    assert sum(map(len, kept)) == 120
    for part, p in zip(parts, (0.7, 0.15, 0.15), strict=True):
        assert np.bincount(labels[part], minlength=4) / np.bincount(labels) == pytest.approx(p, abs=0.03)


def test_several_labels_an_image_rare_ones_reach_every_part() -> None:
    rng = np.random.default_rng(0)
    hot = (rng.random((1000, 3)) < (0.5, 0.2, 0.02)).astype(float)
    parts = grouped(hot, np.arange(1000), (0.7, 0.15, 0.15), 0)
    for part, p in zip(parts, (0.7, 0.15, 0.15), strict=True):
        assert hot[part].sum(0) == pytest.approx(p * hot.sum(0), abs=1.5)
        assert len(part) == pytest.approx(1000 * p, abs=3)


SHARE = np.array((0.7, 0.15, 0.15))


def nearest(counts: npt.NDArray[np.float64]) -> float:
    """The smallest sum of squared gaps to the shares of all ways to divide groups (g, c), every class in training."""
    ways = np.array(list(product(range(3), repeat=len(counts))))
    sums = np.stack([(ways == p) @ counts for p in range(3)], 1)
    return gaps(sums[(sums[:, 0] > 0).all(1)], counts).min()


def gaps(sums: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n, 3, c) sums of parts -> (n,); the last column, all images, counts as much as the others together."""
    off = (sums - SHARE[:, None] * counts.sum(0)) / counts.sum(0)
    return (off**2 * [*[1] * (counts.shape[1] - 1), counts.shape[1] - 1]).sum((1, 2))


def divided(counts: npt.NDArray[np.int64], seed: int = 0) -> npt.NDArray[np.float64]:
    """Groups that have so many images of each class (g, c) -> images of each class in each part (3, c)."""
    group, label = (np.repeat(i, counts.ravel()) for i in np.indices(counts.shape).reshape(2, -1))
    hot = np.eye(counts.shape[1])[label]
    return np.stack([hot[part].sum(0) for part in grouped(hot, group, tuple(SHARE), seed)])


def test_one_patient_with_most_of_the_images_trains() -> None:
    assert divided(np.array([[76], [4], [4], [4], [4], [4]])).ravel().tolist() in ([76, 12, 8], [76, 8, 12])
    assert divided(np.array([[5]])).ravel().tolist() == [5, 0, 0]


def test_groups_of_any_sizes_come_nearly_as_near_as_they_can() -> None:
    worse = 0
    combinations = list(combinations_with_replacement((1, 3, 8, 20, 76), 5))
    for sizes in combinations:
        counts = np.array(sizes)[:, None]
        found = divided(counts)
        assert found[0, 0] >= sum(sizes) / 2
        both = np.concatenate((counts, counts), 1).astype(float)  # one class, and all images
        worse += bool(gaps(np.concatenate((found, found), 1)[None], both)[0] > nearest(both) + 1e-9)
    assert worse <= len(combinations) // 50


@pytest.mark.parametrize("seed", range(20))
def test_every_class_trains_and_classes_come_near_their_share_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.choice([0, 1, 4, 20, 50], (7, 3), p=[0.4, 0.2, 0.2, 0.1, 0.1])
    counts = counts[counts.any(1)][:, counts.any(0)]
    found = divided(counts, seed)
    assert (found[0] > 0).all()
    whole = np.concatenate((counts, counts.sum(1, keepdims=True)), 1).astype(float)
    sums = np.concatenate((found, found.sum(1, keepdims=True)), 1)
    assert gaps(sums[None], whole)[0] <= 1.1 * nearest(whole) + 1e-9


@pytest.mark.parametrize(("before", "after"), [(8, 12), (20, 30), (30, 45), (200, 260)])
def test_images_keep_their_split_as_a_data_set_grows(before: int, after: int) -> None:
    rng = np.random.default_rng(before)
    labels = np.repeat(np.arange(5), after)
    digests = rng.integers(0, 2**64, len(labels), np.uint64)
    there = np.flatnonzero(np.tile(rng.permutation(np.arange(after) < before), 5))
    moved = []
    for seed in range(10):
        old = [set(there[part]) for part in stratified(labels[there], SHARE, seed, digests[there])]
        new = [set(part) for part in stratified(labels, SHARE, seed, digests)]
        assert not old[0] & new[2]  # no image that has trained is tested
        moved.append(1 - sum(len(a & b) for a, b in zip(old, new, strict=True)) / len(there))
    assert np.mean(moved) < 2 / np.sqrt(before) / 3


def test_copies_of_one_image_lie_beside_each_other() -> None:
    digests = np.repeat(np.random.default_rng(0).integers(0, 2**64, 100, np.uint64), 2)
    parts = stratified(np.zeros(200), SHARE, 0, digests)
    assert sum(len(set(digests[part])) for part in parts) <= 100 + 2  # at a border they may be parted
