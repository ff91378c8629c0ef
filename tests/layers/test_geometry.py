"""Sizes against counting by hand, torch's rounding and the numbers every course computes."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st

from striate.errors import UsageError
from striate.layers.geometry import Window, leftover, output_size, same_pads

sizes, kernels, strides, dilations, edges = (
    st.integers(1, 40),
    st.integers(1, 7),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(0, 3),
)


def windows(size: int, k: int, s: int, pads: tuple[int, int], d: int) -> list[list[int]]:
    """The input columns under each window, laid down one by one on the padded row."""
    row = [-1] * pads[0] + list(range(size)) + [-1] * pads[1]
    starts = range(0, len(row), s)
    return [[row[p + i * d] for i in range(k)] for p in starts if p + (k - 1) * d < len(row)]


@given(sizes, kernels, strides, st.tuples(edges, edges), dilations)
def test_sizes_equal_the_windows_counted_one_by_one(
    size: int, k: int, s: int, pads: tuple[int, int], d: int
) -> None:
    counted = windows(size, k, s, pads, d)
    assume(counted)
    assert output_size(size, k, s, pads, d) == len(counted)
    assert leftover(size, k, s, pads, d) == max(
        size - 1 - ((len(counted) - 1) * s + (k - 1) * d - pads[0]), 0
    )
    if s <= d == 1:  # without gaps, what lies behind the last window is all that is never seen
        seen = {column for window in counted for column in window}
        assert leftover(size, k, s, pads, d) == len(set(range(size)) - seen)


@given(sizes, kernels, strides, dilations)
def test_same_padding_is_the_least_that_gives_ceil_of_size_over_stride(
    size: int, k: int, s: int, d: int
) -> None:
    before, after = same_pads(size, k, s, d)
    starts = range(0, size, s)
    assert len(windows(size, k, s, (before, after), d)) == len(starts)
    assert after - before in (0, 1)
    if after:
        assert len(windows(size, k, s, (before, after - 1), d)) < len(starts)


@given(sizes, kernels, strides, st.data())
def test_rounding_up_agrees_with_torch(size: int, k: int, s: int, data: st.DataObject) -> None:
    p = data.draw(st.integers(0, k // 2))
    try:
        expected = F.max_pool1d(torch.zeros(1, 1, size), k, s, p, ceil_mode=True).shape[-1]
    except RuntimeError:
        with pytest.raises(UsageError):
            output_size(size, k, s, (p, p), ceil=True)
    else:
        assert output_size(size, k, s, (p, p), ceil=True) == expected


@pytest.mark.parametrize(
    ("arguments", "columns", "unseen"),
    [
        ((227, 11, 4), 55, 0),  # AlexNet, as the course notes compute it
        ((224, 11, 4), 54, 1),  # AlexNet, as the paper prints it: (224 - 11) / 4 is no whole number
        ((10, 3, 2), 4, 1),
        ((7, 3, 1), 5, 0),
        ((7, 3, 3), 2, 1),
        ((32, 5, 1, (2, 2)), 32, 0),
        ((224, 7, 2, (3, 3)), 112, 0),  # ResNet: one column of padding is left over, no pixel
    ],
)
def test_the_sizes_of_the_notes(arguments: tuple[int, ...], columns: int, unseen: int) -> None:
    assert (output_size(*arguments), leftover(*arguments)) == (columns, unseen)  # type: ignore[arg-type]


def test_a_size_that_vanishes_names_both_sizes() -> None:
    with pytest.raises(UsageError, match=r"^a window of 5 does not fit into an input of 4$"):
        output_size(4, 3, d=2)
    with pytest.raises(UsageError, match=r"window of 7 does not fit into an input of 2 \+ 2 of padding"):
        output_size(2, 7, pads=(1, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 0}, "kernel size must be at least 1, got 0"),
        ({"kernel": 3, "stride": (1, 0)}, r"stride must be at least 1, got \(1, 0\)"),
        ({"kernel": 3, "dilation": -1}, "dilation must be at least 1, got -1"),
        ({"kernel": (3, 3, 3)}, r"kernel size takes one whole number or 2, got \(3, 3, 3\)"),
        ({"kernel": 2.5}, "kernel size takes one whole number or 2, got 2.5"),
        ({"kernel": 3, "padding": "full"}, "unknown padding 'full'"),
        ({"kernel": 3, "padding": -1}, "padding must be at least 0"),
        ({"kernel": 3, "padding": (1, 2, 3)}, r"padding takes one whole number or 2 or 4, got \(1, 2, 3\)"),
    ],
)
def test_windows_that_make_no_sense(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Window(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("padding", "pads"),
    [("valid", (0, 0, 0, 0)), (1, (1, 1, 1, 1)), ((1, 2), (1, 1, 2, 2)), ((0, 1, 2, 3), (0, 1, 2, 3))],
)
def test_padding_words(padding: str | int | tuple[int, ...], pads: tuple[int, ...]) -> None:
    assert Window(3, 2, padding).pads(8, 9) == pads


def test_same_padding_is_found_for_each_axis() -> None:
    assert Window((3, 5), 2, "same").pads(8, 9) == (0, 1, 2, 2)
    assert Window((1, 7), 1, "same").pads(8, 9) == (0, 0, 3, 3)
