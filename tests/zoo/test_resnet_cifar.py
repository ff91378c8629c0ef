import pytest
import torch
from torch import nn

from striate import zoo
from striate.layers.residual import PadChannels

AXES = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}  # from Keras' kernels (h, w, c_in, c_out) to torch's


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_layers_and_parameters_of_table_6(depth):
    """6n + 2 weighted layers; option A adds none and no parameters."""
    with torch.device("meta"):
        net, twin = zoo.build(f"resnet{depth}_cifar"), zoo.build(f"plain{depth}_cifar")
    for each in (net, twin):
        assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in each.modules()) == depth
    n = (depth - 2) // 6
    convs = 3 * 9 * 16 + 2 * n * 9 * 16**2 + 9 * (16 * 32 + 32 * 64) + (2 * n - 1) * 9 * (32**2 + 64**2)
    norms = 2 * 16 + 2 * 2 * n * (16 + 32 + 64)
    assert sum(p.numel() for p in net.parameters()) == convs + norms + 64 * 10 + 10
    assert sum(isinstance(m, PadChannels) for m in net.modules()) == 2


def test_resnet8_pads_as_tensorflow():
    """A stride-2 3x3 on 32 pixels sees 0..32, none before the image: weights from Keras fit only so."""
    net = zoo.build("resnet8")
    conv = net.stages.conv3[0].body.conv1
    nn.init.ones_(conv.weight)
    nn.init.zeros_(conv.bias)
    y = conv(torch.ones(1, 16, 32, 32))[0, 0] / 16
    assert y[0, 0] == 9
    assert y[-1, -1] == 4


def test_resnet8_has_the_layers_of_mlperf_tiny():
    """Read from the published h5: 3-16, then two 3x3 each and a 1x1 where channels change, dense 64-10."""
    net = zoo.build("resnet8")
    layers = [
        (m.weight.shape[1], m.weight.shape[0]) for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    assert layers == [
        (3, 16),
        (16, 16),
        (16, 16),
        (16, 32),
        (32, 32),
        (16, 32),
        (32, 64),
        (64, 64),
        (32, 64),
        (64, 10),
    ]
    assert {m.eps for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


def test_resnet8_with_the_published_weights_answers_as_keras(shared_data):
    keras = pytest.importorskip("keras")
    peer = keras.models.load_model(shared_data / "weights" / "mlperf_tiny_resnet8_cifar10.h5", compile=False)
    net = zoo.build("resnet8").eval()
    kinds = {nn.Conv2d: "Conv2D", nn.BatchNorm2d: "BatchNormalization", nn.Linear: "Dense"}
    for ours, theirs in kinds.items():
        layers = [m for m in net.modules() if isinstance(m, ours)]
        peers = [layer for layer in peer.layers if type(layer).__name__ == theirs]
        for layer, other in zip(layers, peers, strict=True):
            tensors = [t for name, t in layer.state_dict().items() if name != "num_batches_tracked"]
            for mine, variable in zip(tensors, other.weights, strict=True):
                mine.copy_(variable.value.detach().permute(AXES[variable.value.dim()]))
    x = torch.randint(0, 256, (16, 3, 32, 32)).float()  # it was trained on raw pixels
    with torch.no_grad():
        torch.testing.assert_close(net(x).softmax(1), peer(x.permute(0, 2, 3, 1)), rtol=1e-4, atol=1e-5)
