"""Branches: sums and concatenations by hand; unequal shapes are refused with both named."""

import pytest
import torch
from torch import nn

from striate.errors import UsageError
from striate.layers import Add, Concat, Conv2d, MaxPool2d


def test_add_and_concatenate() -> None:
    x, conv = torch.randn(2, 3, 4, 4), Conv2d(3, 3, 3)
    assert torch.equal(Add(nn.Identity(), conv)(x), x + conv(x))
    assert torch.equal(Add(conv, nn.Identity(), nn.Identity())(x), conv(x) + x + x)
    assert torch.equal(Concat(conv, nn.Identity())(x), torch.cat((conv(x), x), 1))


def test_the_input_is_left_alone() -> None:
    x = torch.ones(1, 1, 2, 2)
    Add(nn.Identity(), nn.Identity(), nn.Identity())(x)
    assert torch.equal(x, torch.ones(1, 1, 2, 2))


def test_unequal_shapes_are_named() -> None:
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(
        UsageError, match="branch 1 gives 3x8x8 but branch 2 gives 4x8x8: addition needs equal shapes"
    ):
        Add(nn.Identity(), Conv2d(3, 4, 3))(x)
    with pytest.raises(
        UsageError, match="branch 1 gives 3x8x8 but branch 3 gives 3x4x4: concatenation needs equal"
    ):
        Concat(nn.Identity(), nn.Identity(), MaxPool2d(2))(x)


def test_addition_never_broadcasts() -> None:
    with pytest.raises(UsageError, match="1x1x1"):
        Add(nn.Identity(), nn.AdaptiveAvgPool2d(1))(torch.zeros(1, 1, 8, 8))


def test_needs_a_branch() -> None:
    with pytest.raises(UsageError, match="at least one branch"):
        Add()
