import pytest
import torch

from striate import zoo
from striate.transfer.names import choose
from striate.transfer.torchvision import FAMILIES

NAMES = {  # written down from torchvision's state dicts
    "alexnet": {"stages.conv5.conv": "features.10", "head.fc7.fc": "classifier.4"},
    "vgg16_bn": {"stages.conv5.bn3": "features.41", "head.fc6.fc": "classifier.0"},
    "squeezenet1_0": {"stages.stage3.1.expand3.conv": "features.12.expand3x3"},
    "squeezenet1_1": {"stages.stage3.1.squeeze.conv": "features.9.squeeze"},
    "googlenet": {"stages.inception4.d.3.1.bn": "inception4d.branch4.1.bn"},
    "inception_v3": {
        "stem.conv3b.conv": "Conv2d_3b_1x1.conv",
        "stages.mixed6.a.0.conv": "Mixed_6a.branch3x3.conv",
        "stages.mixed6.c.2.4.bn": "Mixed_6c.branch7x7dbl_5.bn",
        "stages.mixed7.b.2.2.1.conv": "Mixed_7b.branch3x3dbl_3b.conv",
        "stages.mixed7.c.3.1.conv": "Mixed_7c.branch_pool.conv",
    },
    "resnet50": {
        "stages.conv3.0.shortcut.bn": "layer2.0.downsample.1",
        "stages.conv5.2.body.conv3": "layer4.2.conv3",
    },
    "densenet121": {"stages.dense4.15.body.bn2": "features.denseblock4.denselayer16.norm2"},
    "mobilenet_v2": {
        "stages.stage1.0.body.1.bn": "features.1.conv.2",
        "stages.stage7.0.body.2.conv": "features.17.conv.2",
        "stages.end.bn": "features.18.1",
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    with torch.device("meta"):
        _, names = choose(zoo.build(name), FAMILIES, "torchvision")
    assert {ours: names[ours] for ours in NAMES[name]} == NAMES[name]
