import torch

from striate.layers import Scale


def test_scales_value_and_gradient() -> None:
    x = torch.tensor([[1.0, -2.0, 0.5]], requires_grad=True)
    y = Scale(0.25)(x)
    y.sum().backward()
    assert y.tolist() == [[0.25, -0.5, 0.125]]
    assert x.grad is not None
    assert x.grad.tolist() == [[0.25, 0.25, 0.25]]
