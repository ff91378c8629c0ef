import pytest
import timm
import torch

from striate import zoo
from striate.transfer import to_timm
from striate.transfer.names import choose
from striate.transfer.timm import FAMILIES, UNLIKE

NAMES = {  # written down from timm's state dicts
    "seresnet50": {"stages.conv2.0.body.se.excite": "layer1.0.se.fc2"},
    "resnet50v2": {
        "stages.conv3.0.bn": "stages.1.blocks.0.norm1",
        "stages.conv3.0.body.bn2": "stages.1.blocks.0.norm3",
    },
    "inception_resnet_v2": {
        "stages.mixed5.b.1.1.conv": "mixed_5b.branch1.1.conv",
        "stages.mixed6.blocks.19.towers.1.2.bn": "repeat_1.19.branch1.2.bn",
        "stages.mixed7.blocks.8.up": "repeat_2.8.conv2d",
        "stages.mixed7.blocks.9.up": "block8.conv2d",
    },
    "xception": {
        "stages.entry.0.0.separable2.pointwise": "block1.rep.3.pointwise",
        "stages.entry.1.0.separable2.depthwise": "block2.rep.4.conv1",
        "stages.middle.7.0.bn3": "block11.rep.8",
        "stages.exit.block.1.bn": "block12.skipbn",
        "stages.exit.separable2.separable.depthwise": "conv4.conv1",
    },
    "nasnet_large": {
        "stem.cell2.previous.paths.1.conv": "cell_stem_1.path_2.conv",
        "stages.cells2.0.current.bn": "reduction_cell_0.conv_1x1.bn",
        "stages.cells2.1.previous.bn": "cell_6.final_path_bn",
        "stages.cells3.6.blocks.4.left.separable2.depthwise": "cell_17.comb_iter_4_left.separable_2.depthwise_conv2d",
    },
    "mobilenet_v1": {"stages.stage5.1.pointwise.bn": "blocks.4.1.bn2"},
    "mobilenet_v2": {
        "stages.stage1.0.body.1.conv": "blocks.0.0.conv_pw",
        "stages.stage7.0.body.2.conv": "blocks.6.0.conv_pwl",
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    with torch.device("meta"):
        _, names = choose(zoo.build(name), FAMILIES, "timm")
    assert {ours: names[ours] for ours in NAMES[name]} == NAMES[name]


def test_dense_layers_leave_as_the_convolutions_that_they_are_there():
    with torch.device("meta"):
        vgg, gate = to_timm(zoo.build("vgg11")), to_timm(zoo.build("seresnet50"))
    assert vgg["pre_logits.fc1.weight"].shape == (4096, 512, 7, 7)
    assert vgg["head.fc.weight"].shape == (1000, 4096)
    assert gate["layer1.0.se.fc1.weight"].shape == (16, 256, 1, 1)


@pytest.mark.parametrize("name", UNLIKE)
def test_networks_that_are_another_at_timm(name):
    """Its squeeze goes to 8 channels at least, the paper's to a sixteenth."""
    with torch.device("meta"):
        theirs, ours = timm.create_model(name).state_dict(), to_timm(zoo.build(name))
    assert theirs.keys() == ours.keys()
    key = "layer1.0.se.fc1.weight"
    assert (theirs[key].shape[0], ours[key].shape[0]) == (8, 4)
