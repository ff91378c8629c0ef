import pytest
import torch
from torch import nn

from striate import zoo


def test_one_wide_layer_costs_what_section_3_1_says():
    """A separable 3x3 against the full one: 1/N + 1/9 of the multiplications."""
    with torch.device("meta"):
        block = zoo.build("mobilenet_v1").stages.stage4[1]
    separable = sum(m.weight.numel() for m in block.modules() if isinstance(m, nn.Conv2d))
    assert separable / (9 * 512 * 512) == pytest.approx(1 / 512 + 1 / 9)


@pytest.mark.parametrize(("width", "millions"), [(1.0, 4.2), (0.75, 2.6), (0.5, 1.3), (0.25, 0.5)])
def test_parameters_of_table_6(width, millions):
    with torch.device("meta"):
        net = zoo.build("mobilenet_v1", width=width)
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize(("padding", "sums"), [("same", [0 + 1 + 2, 2 + 3]), (1, [0 + 1, 1 + 2 + 3])])
def test_padding_decides_where_windows_start(padding, sums):
    """3x3/2 on the row 0 1 2 3: TensorFlow's SAME starts at pixel 0, symmetric padding one before."""
    conv = zoo.build("mobilenet_v1", in_chans=1, padding=padding).stem.conv
    nn.init.zeros_(conv.weight)
    conv.weight.data[:, :, 1] = 1.0
    assert conv(torch.arange(4.0).expand(1, 1, 4, 4))[0, 0, 0].tolist() == sums
