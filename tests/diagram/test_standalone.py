"""The layers that a generated file carries along compute what striate's own do."""

import inspect

import pytest
import torch
from torch import nn

from striate import layers
from striate.diagram import standalone

PAIRS = [
    (standalone.MinPool2d(3, 2, 1), layers.MinPool2d(3, 2, 1)),
    (standalone.DepthMaxPool(4), layers.DepthMaxPool(4)),
    (standalone.Maxout(2), layers.Maxout(2)),
    (
        standalone.LocalResponseNormWithin(3, 0.1, 0.75, 2.0),
        layers.LocalResponseNorm(3, 0.1, 0.75, 2.0, True),
    ),
    (standalone.DropConnectLinear(6, 3), layers.DropConnectLinear(6, 3)),
    (standalone.StochasticDepth(0.4), layers.StochasticDepth(0.4)),
    (standalone.Scale(0.3), layers.Scale(0.3)),
    (standalone.SqueezeExcite(8, 2), layers.SqueezeExcite(8, 4)),
]


@pytest.mark.parametrize(("carried", "ours"), PAIRS, ids=[type(carried).__name__ for carried, _ in PAIRS])
def test_equal_in_training_and_in_evaluation(carried: nn.Module, ours: nn.Module) -> None:
    carried.load_state_dict(dict(zip(carried.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.randn(5, 6) if isinstance(ours, nn.Linear) else torch.randn(5, 8, 9, 9)
    for training in (True, False):
        carried.train(training)
        ours.train(training)
        torch.manual_seed(3)
        expected = ours(x)
        torch.manual_seed(3)
        torch.testing.assert_close(carried(x), expected)


def test_every_layer_is_compared() -> None:
    written = {
        cls
        for _, cls in inspect.getmembers(standalone, inspect.isclass)
        if cls.__module__ == standalone.__name__
    }
    assert written == {type(carried) for carried, _ in PAIRS}
