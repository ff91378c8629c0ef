"""Maxout: hand-computed maxima, and the two functions that the paper draws."""

import pytest
import torch

from striate.errors import UsageError
from striate.layers import Maxout


def test_takes_the_largest_of_consecutive_channels() -> None:
    x = torch.tensor([[1.0, 5, 2, 4, 3, 0]])
    assert Maxout(2)(x).tolist() == [[5, 4, 3]]
    assert Maxout(3)(x).tolist() == [[5, 4]]
    image = x.view(1, 6, 1, 1).expand(1, 6, 2, 3)
    assert Maxout(3)(image)[0, :, 1, 2].tolist() == [5, 4]
    assert Maxout(3)(image).shape == (1, 2, 2, 3)


def test_two_pieces_are_relu_or_absolute_value() -> None:
    z = torch.linspace(-2, 2, 9)[:, None]
    assert torch.equal(Maxout(2)(torch.cat((z, 0 * z), 1)), z.relu())
    assert torch.equal(Maxout(2)(torch.cat((z, -z), 1)), z.abs())


def test_channels_must_divide() -> None:
    with pytest.raises(UsageError, match="5 channels do not divide into groups of 2"):
        Maxout(2)(torch.zeros(1, 5))
    with pytest.raises(UsageError, match="at least 1 piece, got 0"):
        Maxout(0)
