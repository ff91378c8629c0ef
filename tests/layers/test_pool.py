"""Pooling against its definition, position by position, and against hand-computed values."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from striate.errors import UsageError
from striate.layers import AvgPool2d, DepthMaxPool, GlobalAvgPool, GlobalMaxPool, MaxPool2d, MinPool2d
from striate.layers.geometry import Pads

square = torch.arange(1.0, 17).view(1, 1, 4, 4)


def by_definition(
    x: Tensor, k: tuple[int, int], s: tuple[int, int], pads: Pads, ceil: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(max, mean over pixels, mean over pixels and padding) of a (h, w) image, window by window."""
    (h, w), (top, bottom, left, right) = x.shape, pads

    def starts(size: int, k: int, s: int, before: int, after: int) -> list[int]:
        """Rounding up lets one window hang over, if it starts on the image or its leading padding."""
        found = []
        for p in range(-before, size if ceil else size + after - k + 1, s):
            found.append(p)
            if p + k >= size + after:
                break
        return found

    rows, cols = starts(h, k[0], s[0], top, bottom), starts(w, k[1], s[1], left, right)
    out = []
    for p in rows:
        for q in cols:
            seen = x[max(p, 0) : p + k[0], max(q, 0) : q + k[1]]
            padded = (min(p + k[0], h + bottom) - p) * (min(q + k[1], w + right) - q)
            out.append((seen.max().item(), seen.mean().item(), (seen.sum() / padded).item()))
    table = torch.tensor(out, dtype=x.dtype).T.reshape(3, len(rows), len(cols))
    return table[0], table[1], table[2]


@given(
    hw=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    k=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    s=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.one_of(st.just("same"), st.just("valid"), st.tuples(*[st.integers(0, 3)] * 4)),
    ceil=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_equals_the_definition(
    hw: tuple[int, int], k: tuple[int, int], s: tuple[int, int], padding: str | Pads, ceil: bool
) -> None:
    if not isinstance(padding, str):
        assume(all(p < size for p, size in zip(padding, (k[0], k[0], k[1], k[1]), strict=True)))
    x = torch.randn(hw, dtype=torch.float64)
    pool = MaxPool2d(k, s, padding, ceil)
    pads = pool.pads(*hw)
    padded = (hw[0] + pads[0] + pads[1], hw[1] + pads[2] + pads[3])
    assume(padded[0] >= k[0] and padded[1] >= k[1])
    highest, mean, mean_with_padding = by_definition(x, k, s, pads, ceil)
    image = x[None, None]
    torch.testing.assert_close(pool(image)[0, 0], highest)
    torch.testing.assert_close(-MinPool2d(k, s, padding, ceil)(-image)[0, 0], highest)
    torch.testing.assert_close(AvgPool2d(k, s, padding, ceil)(image)[0, 0], mean)
    torch.testing.assert_close(AvgPool2d(k, s, padding, ceil, True)(image)[0, 0], mean_with_padding)


def test_values_computed_by_hand() -> None:
    assert MaxPool2d(3, 2, ceil_mode=True)(square).tolist() == [[[[11, 12], [15, 16]]]]
    assert MaxPool2d(2)(square).tolist() == [[[[6, 8], [14, 16]]]]
    assert MinPool2d(2)(square).tolist() == [[[[1, 3], [9, 11]]]]
    assert AvgPool2d(2)(square).tolist() == [[[[3.5, 5.5], [11.5, 13.5]]]]
    first_row = AvgPool2d(5, 1, 2)(torch.arange(1.0, 26).view(1, 1, 5, 5))[0, 0, 0]
    torch.testing.assert_close(first_row, torch.tensor([7, 7.5, 8, 8.5, 9]))


def test_padding_never_wins() -> None:
    negative = -square
    assert MaxPool2d(3, 2, "same")(negative).max() < 0
    assert MaxPool2d(2, padding=(0, 1, 1, 0))(negative).max() < 0
    assert MinPool2d(3, 2, "same")(square).min() > 0


def test_stride_defaults_to_the_kernel() -> None:
    assert MaxPool2d((2, 3))(torch.zeros(1, 1, 8, 9)).shape == (1, 1, 4, 3)
    assert MaxPool2d((2, 3)).stride == AvgPool2d((2, 3)).stride == MinPool2d((2, 3)).stride == (2, 3)


def test_global_pools() -> None:
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(GlobalAvgPool()(x), x.sum((2, 3)) / 20)
    assert GlobalMaxPool()(x)[1, 2] == max(x[1, 2].flatten().tolist())


def test_depth_max_pool_takes_neighbouring_channels() -> None:
    x = torch.tensor([3.0, 1, 2, 9, 7, 8]).view(1, 6, 1, 1)
    assert DepthMaxPool(2)(x).flatten().tolist() == [3, 9]
    assert DepthMaxPool(3)(x).flatten().tolist() == [3, 9, 8]
    with pytest.raises(UsageError, match="6 channels do not divide into 4 groups"):
        DepthMaxPool(4)(x)
    with pytest.raises(UsageError, match="groups must be at least 1, got 0"):
        DepthMaxPool(0)


@pytest.mark.parametrize("pool", [MaxPool2d, AvgPool2d, MinPool2d])
def test_an_image_that_has_become_too_small(pool: type[MaxPool2d]) -> None:
    with pytest.raises(UsageError, match="a window of 3 does not fit into an input of 2"):
        pool(3)(torch.zeros(1, 1, 2, 5))
    with pytest.raises(UsageError, match=r"a window of 5 does not fit into an input of 2 \+ 1 of padding"):
        pool(5, padding=(0, 1, 0, 0))(torch.zeros(1, 1, 2, 5))


@pytest.mark.parametrize("pool", [MaxPool2d, AvgPool2d, MinPool2d])
def test_windows_of_padding_alone_are_refused(pool: type[MaxPool2d]) -> None:
    with pytest.raises(
        UsageError, match=r"padding 2 leaves windows of \(2, 2\) that see nothing but padding"
    ):
        pool(2, padding=2)


def test_average_counts_exactly_in_half_precision() -> None:
    x = torch.full((1, 1, 32, 32), 3.0, dtype=torch.bfloat16)
    assert (AvgPool2d(3, 2, "same")(x) == 3).all()
    assert math.isclose(
        AvgPool2d(3, 2, "same", count_include_pad=True)(x)[0, 0, -1, -1].item(), 4 / 3, rel_tol=4e-3
    )
