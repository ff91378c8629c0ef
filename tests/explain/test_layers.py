"""The layer that a reader of the paper would have named, in networks of every style."""

import pytest
import torch
from torch import nn

from striate import zoo
from striate.explain import last_maps, map_layers, stage_layers


def empty(make):
    """A network without drawn weights: all are 0."""
    with torch.device("meta"):
        module = make()
    module.to_empty(device="cpu")
    for t in (*module.parameters(), *module.buffers()):
        t.data.zero_()
    return module


@pytest.mark.parametrize(
    ("name", "layer"),
    [("vgg11", "stages.conv5.relu2"), ("alexnet", "stages.conv5.relu"), ("resnet18", "stages"),
     ("lenet5", "stages.c3.act3"), ("squeezenet1_1", "head.relu"), ("nin", "head.cccp"),
     ("mobilenet_v2", "stages"), ("mnist_cnn", "stages.conv2.relu")],
)  # fmt: skip
def test_zoo(name, layer):
    card = zoo.card(name)
    assert last_maps(empty(lambda: zoo.build(name)), torch.zeros(1, *card.input)) == layer


@pytest.mark.parametrize(
    ("name", "layer", "stages"),
    [
        ("vgg11", "features.19", ["features.1", "features.4", "features.9", "features.14", "features.19"]),
        ("resnet18", "layer4", ["relu", "layer1", "layer2", "layer3", "layer4"]),
        ("googlenet", "inception5b", ["conv1", "conv3", "inception3b", "inception4e", "inception5b"]),
        ("mobilenet_v2", "features", ["features.1", "features.3", "features.6", "features.13", "features"]),
        ("vit_b_16", "encoder.layers.encoder_layer_11.ln_1", ["encoder"]),
    ],
)
def test_torchvision(name, layer, stages):
    models = pytest.importorskip("torchvision.models")
    options = {"init_weights": False} if name == "googlenet" else {}
    module, x = empty(lambda: getattr(models, name)(weights=None, **options)), torch.zeros(1, 3, 224, 224)
    assert last_maps(module, x) == layer
    assert [maps.path for maps in stage_layers(module, x)] == stages


def test_where_the_rectifier_is_a_function_the_convolution_is_taken(awkward, images):
    assert last_maps(awkward, images) in ("relu1", "relu2", "conv2")
    assert [m.shape for m in stage_layers(awkward, images)] == [(6, 12, 10), (6, 6, 5)]


def test_channels_last_inside_is_not_taken_for_maps(images):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 64, 3), nn.Linear(64, 64)
            self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 2)

        def forward(self, x):
            return self.head(self.norm(self.fc(self.conv(x).permute(0, 2, 3, 1))).mean((1, 2)))

    assert [m.path for m in map_layers(Last(), images)] == ["conv"]
