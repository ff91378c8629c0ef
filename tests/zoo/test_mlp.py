import torch
from torch import nn

from striate import zoo


def test_parameters_of_each_layer():
    counts = [
        sum(p.numel() for p in m.parameters()) for m in zoo.build("mlp").modules() if isinstance(m, nn.Linear)
    ]
    assert counts == [401_920, 262_656, 5_130]


def test_logits_are_the_matrix_products():
    net = zoo.build("mlp", img_size=2, width=3, num_classes=2).eval()
    x = torch.randn(4, 1, 2, 2)
    first, second, last = (m for m in net.modules() if isinstance(m, nn.Linear))
    hidden = (x.reshape(4, 4) @ first.weight.T + first.bias).relu()
    hidden = (hidden @ second.weight.T + second.bias).relu()
    torch.testing.assert_close(net(x), hidden @ last.weight.T + last.bias)
