"""Every name gives the function of its textbook formula."""

import math

import pytest
import torch

from striate.errors import UsageError
from striate.layers import ACTIVATIONS, activation

FORMULAS = {
    "relu": lambda x: max(x, 0.0),
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "prelu": lambda x: x if x > 0 else 0.25 * x,
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (math.exp(x) - 1)),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "swish": lambda x: x / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
}


def test_every_name_has_a_formula() -> None:
    assert set(FORMULAS) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_equals_its_formula_and_leaves_the_input_alone(name: str) -> None:
    points = [-3.0, -0.5, 0.0, 0.5, 3.0, 8.0]
    x = torch.tensor(points)
    expected = torch.tensor([FORMULAS[name](p) for p in points])
    torch.testing.assert_close(activation(name)(x), expected)
    assert x.tolist() == points


def test_options_reach_torch_and_modules_are_not_shared() -> None:
    assert activation("leaky_relu", negative_slope=0.2)(torch.tensor(-1.0)) == -0.2
    assert activation("relu") is not activation("relu")


def test_an_unknown_name_is_met_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown activation 'leaky'") as caught:
        activation("leaky")
    assert "leaky_relu" in caught.value.hint
