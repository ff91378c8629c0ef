"""Stratified to within one image, seeded, groups whole."""

import numpy as np
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
