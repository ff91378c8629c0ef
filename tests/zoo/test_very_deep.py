import pytest
import torch
from torch import nn

from striate import zoo


@pytest.mark.parametrize(("depth", "kernel"), [(1, 3), (301, 3), (100, 5)])
def test_as_deep_as_asked(depth, kernel):
    with torch.device("meta"):
        net = zoo.build("very_deep", depth=depth, kernel_size=kernel)
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == depth + 1
    assert {m.kernel_size for m in convs} == {(kernel, kernel)}


@pytest.mark.parametrize(("shortcuts", "survives"), [(False, False), (True, True)])
def test_only_shortcuts_let_the_gradient_pass_small_weights(shortcuts, survives):
    net = zoo.build("very_deep", depth=60, width=8, shortcuts=shortcuts)
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.normal_(m.weight, std=0.05)
    x = torch.randn(4, 3, 8, 8, requires_grad=True)
    net(x).sum().backward()
    assert (x.grad.norm() > 1e-6) == survives
