import pytest
import torch
from torch import nn

from striate import zoo


def on_meta(name: str, **options) -> nn.Module:
    with torch.device("meta"):
        return zoo.build(name, **options)


@pytest.mark.parametrize(("name", "params"), [("googlenet", 13_004_888), ("googlenet_lrn", 13_378_280)])
def test_parameters_with_auxiliary_heads(name, params):
    """torchvision's, and the size of the Caffe model zoo's bvlc_googlenet."""
    assert sum(p.numel() for p in on_meta(name, aux_heads=True).parameters()) == params


def test_the_published_network_has_22_layers_with_weights():
    """Depth of arXiv:1409.4842, section 5: 22 along the longest path, without the pools."""
    net = on_meta("googlenet_lrn")
    modules = sum(
        1 for name in dict(net.stages.named_modules()) if name.count(".") == 1 and "pool" not in name
    )
    in_stem = sum(isinstance(m, nn.Conv2d) for m in net.stem.modules())
    assert in_stem + 2 * modules + 1 == 22


def test_local_response_norm_replaces_batch_norm():
    kinds = [type(m).__name__ for m in on_meta("googlenet_lrn").modules()]
    assert kinds.count("LocalResponseNorm") == 2
    assert "BatchNorm2d" not in kinds
    kernels = {m.kernel_size for m in on_meta("googlenet_lrn").stages.modules() if isinstance(m, nn.Conv2d)}
    assert kernels == {(1, 1), (3, 3), (5, 5)}


def test_signal_survives_22_layers_without_batch_norm():
    """Glorot's weights keep it within a factor of 100; torch's own start would lose six orders of magnitude."""
    net = zoo.build("googlenet_lrn", num_classes=10).eval()
    with torch.no_grad():
        assert 0.01 < net.features(torch.randn(2, 3, 64, 64)).std() < 10


def test_auxiliary_pool_of_a_14_by_14_map_is_the_papers():
    pool = zoo.build("googlenet_lrn", aux_heads=True, num_classes=1).auxiliary.inception4_a.pool
    x = torch.randn(1, 2, 14, 14)
    torch.testing.assert_close(pool(x), nn.functional.avg_pool2d(x, 5, 3))
