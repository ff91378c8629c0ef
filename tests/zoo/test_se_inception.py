import torch
from torch import nn

from striate import zoo
from striate.layers import SqueezeExcite


def test_parameters_are_googlenets_and_nine_gates():
    with torch.device("meta"):
        plain, net = zoo.build("googlenet"), zoo.build("se_inception")
    gates = [m for m in net.modules() if isinstance(m, SqueezeExcite)]
    widths = [256, 480, 512, 512, 512, 528, 832, 832, 1024]
    assert [gate.squeeze.in_features for gate in gates] == widths
    added = sum(2 * c * (c // 16) + c // 16 + c for c in widths)
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in plain.parameters()) + added


def test_gates_that_know_nothing_halve_every_module():
    net = zoo.build("se_inception", num_classes=3).eval()
    for m in net.modules():
        if isinstance(m, SqueezeExcite):
            nn.init.zeros_(m.excite.weight)
            nn.init.zeros_(m.excite.bias)
    stage = net.stages.inception3
    x = torch.randn(1, 192, 9, 9)
    torch.testing.assert_close(stage(x), stage.b(stage.a(x) / 2) / 2)
