import pytest
import torch
import torchvision.models as tv

from striate import zoo
from striate.transfer import load_timm, load_torchvision, load_weights
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


def as_published(state):
    """The names that torchvision's DenseNet files carry: `norm.1` was a name in 2017, and nothing was counted."""
    old = {key.replace("norm1", "norm.1").replace("norm2", "norm.2"): value for key, value in state.items()}
    old = {key.replace("conv1", "conv.1").replace("conv2", "conv.2"): value for key, value in old.items()}
    return {key: value for key, value in old.items() if "denselayer" in key and "num_batches" not in key} | {
        key: value for key, value in state.items() if "denselayer" not in key and "num_batches" not in key
    }


@pytest.mark.parametrize(
    "name", ["densenet121", *(pytest.param(f"densenet{n}", marks=pytest.mark.slow) for n in (161, 169, 201))]
)
def test_published_densenets(name, tmp_path):
    """torchvision itself opens the same file to the same logits."""
    from torchvision.models import densenet

    torch.manual_seed(0)
    net = getattr(tv, name)().eval()
    state = as_published(net.state_dict())
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    torch.save(state, tmp_path / "a.pth")

    class File:
        def get_state_dict(self, **_):
            return torch.load(tmp_path / "a.pth")

    densenet._load_state_dict(net, File(), progress=False)
    found = load_weights(name, tmp_path / "a.pth")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(found.module.eval()(x), net(x), rtol=1e-4, atol=1e-5)
    for load in (load_torchvision, load_timm):
        load(zoo.build(name), state)
