"""Noise: the identity in eval mode, the right expectation in training, on the right thing."""

import pytest
import torch
from torch import nn

from striate.errors import UsageError
from striate.layers import DropConnectConv2d, DropConnectLinear, Dropout2d, StochasticDepth


@pytest.mark.parametrize("layer", [DropConnectLinear(6, 5, 0.7), DropConnectConv2d(6, 5, 3, 0.7)])
def test_eval_is_the_plain_layer(layer: nn.Module) -> None:
    plain = nn.Linear(6, 5) if isinstance(layer, nn.Linear) else nn.Conv2d(6, 5, 3, padding=1)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(4, 6) if isinstance(layer, nn.Linear) else torch.randn(4, 6, 7, 7)
    assert torch.equal(layer.eval()(x), plain(x))


def test_drops_weights_not_outputs() -> None:
    layer = DropConnectLinear(100, 100, p=0.3, bias=False)
    nn.init.ones_(layer.weight)
    weights = layer(torch.eye(100))  # the dropped matrix itself, transposed
    kept = weights != 0
    assert 0.67 < kept.float().mean() < 0.73  # 0.7 within 6 standard deviations of 10,000 draws
    torch.testing.assert_close(weights[kept], torch.full((int(kept.sum()),), 1 / 0.7))


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_the_expectation_is_kept(p: float) -> None:
    layer, x = DropConnectConv2d(3, 2, 3, p), torch.randn(1, 3, 5, 5)
    mean = torch.stack([layer(x) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, layer.eval()(x), atol=0.06, rtol=0)


def test_dropped_weights_get_no_gradient() -> None:
    layer = DropConnectLinear(8, 8, p=0.5, bias=False)
    layer(torch.ones(1, 8)).sum().backward()
    assert layer.weight.grad is not None
    assert set(layer.weight.grad.flatten().tolist()) == {0.0, 2.0}


def test_stochastic_depth_drops_whole_samples() -> None:
    layer = StochasticDepth(0.25)
    y = layer(torch.ones(4000, 2, 3, 3)).flatten(1)
    assert (y == y[:, :1]).all()  # a sample lives or dies as one
    alive = y[:, 0] != 0
    assert 0.71 < alive.float().mean() < 0.79
    torch.testing.assert_close(y[alive], torch.full_like(y[alive], 4 / 3))
    x = torch.randn(3, 4)
    assert layer.eval()(x) is x
    assert StochasticDepth(1.0)(torch.ones(5, 2)).sum() == 0


def test_spatial_dropout_drops_whole_channels() -> None:
    y = Dropout2d(0.5)(torch.ones(20, 30, 4, 4)).flatten(2)
    assert (y == y[..., :1]).all()
    assert 0 < (y == 0).float().mean() < 1


@pytest.mark.parametrize("p", [-0.1, 1.5])
def test_probabilities_are_checked(p: float) -> None:
    with pytest.raises(UsageError, match="a probability lies between 0 and 1"):
        StochasticDepth(p)
    with pytest.raises(UsageError, match="a probability lies between 0 and 1"):
        DropConnectLinear(1, 1, p)
