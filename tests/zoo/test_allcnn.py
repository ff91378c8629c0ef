import pytest
import torch
from torch import nn

from striate import zoo


@pytest.mark.parametrize(("model", "millions"), [("a", 1.28), ("b", 1.35), ("c", 1.4)])
def test_every_variant_averages_6x6_maps_and_only_a_learned_pool_has_weights(model, millions):
    """The counts of All-CNN are those of Table 3, which says "about"."""
    params = {}
    for down in ("pool", "stride", "convpool", "conv"):
        net = zoo.build("allcnn", model=model, down=down)
        assert net.features(torch.zeros(1, 3, 32, 32)).shape == (1, 192, 6, 6)
        assert any(isinstance(m, nn.MaxPool2d) for m in net.modules()) == (down in ("pool", "convpool"))
        params[down] = sum(p.numel() for p in net.parameters())
    assert params["conv"] / 1e6 == pytest.approx(millions, rel=0.04)
    learned_pools = (9 * 96 + 1) * 96 + (9 * 192 + 1) * 192
    assert params["conv"] == params["convpool"] == params["pool"] + learned_pools
    assert params["stride"] == params["pool"]


def test_kernels_of_all_cnn_c():
    """Table 2: 96 3x3, 96 3x3, 96 3x3/2, 192 3x3, 192 3x3, 192 3x3/2, 192 3x3, 192 1x1, 10 1x1."""
    convs = [m for m in zoo.build("allcnn").modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convs] == [96] * 3 + [192] * 5 + [10]
    assert [m.kernel_size[0] for m in convs] == [3] * 7 + [1] * 2
    assert [m.stride[0] for m in convs] == [1, 1, 2, 1, 1, 2, 1, 1, 1]
