"""The climb gets higher than any photograph-like start, obeys its bounds, and finds a planted pattern."""

import pytest
import torch
from torch import nn

from striate.errors import UsageError
from striate.explain.maximisation import maximise


class Likes(nn.Module):
    """One logit for each of two planted patterns, wherever they are: their largest correlation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 5, padding=2, bias=False)
        stripes = torch.tensor([1.0, 1, -1, -1, 1]).expand(5, 5)
        with torch.no_grad():
            self.conv.weight.copy_(torch.stack((stripes, stripes.T))[:, None] / 25)

    def forward(self, x):
        return self.conv(x).flatten(2).mean(2) + 10 * self.conv(x).relu().flatten(2).mean(2)


def test_it_finds_the_stripes_of_either_class():
    found = maximise(Likes(), (1, 16, 16), [0, 1], steps=60)
    assert found.shape == (2, 1, 16, 16)
    assert found.abs().max() <= 2
    with torch.no_grad():
        logits = Likes()(found)
    assert logits[0, 0] > 1.5 * logits[0, 1].abs()
    assert logits[1, 1] > 1.5 * logits[1, 0].abs()
    across, along = found[0, 0].diff(dim=1).abs().mean(), found[0, 0].diff(dim=0).abs().mean()
    assert across > 2 * along  # upright stripes change from column to column


def test_channels_of_a_layer(plain):
    found = maximise(plain, (3, 12, 10), [2, 5], "conv2", steps=60, variation=0, jitter=1)
    assert plain.training
    plain.eval()
    with torch.no_grad():

        def mean(x):
            return plain.conv2(plain.pool(plain.relu1(plain.bn1(plain.conv1(x))))).mean((2, 3))

        usual = mean(torch.randn(200, 3, 12, 10))
        assert mean(found)[0, 2] > usual[:, 2].max()
        assert mean(found)[1, 5] > usual[:, 5].max()


def test_a_seed_repeats_it(plain):
    twice = [maximise(plain, (3, 8, 8), [1], steps=3, seed=4) for _ in range(2)]
    assert torch.equal(*twice)
    assert all(p.grad is None for p in plain.parameters())


def test_bad_requests(plain):
    with pytest.raises(UsageError, match="at least one of each"):
        maximise(plain, (3, 8, 8), [])
    with pytest.raises(UsageError, match="layer conv2 has channels 0 to 5"):
        maximise(plain, (3, 8, 8), [6], "conv2", steps=1)
    with pytest.raises(UsageError, match="classes are 0 to 3"):
        maximise(plain, (3, 8, 8), [4], steps=1)
