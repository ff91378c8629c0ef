import numpy as np
import pytest
import torch
from torch import nn

from striate import zoo
from striate.errors import UsageError
from striate.transfer.keras import keras_keys, load_keras, to_keras
from striate.zoo import nasnet, resnet, resnet_v2

NAMES = {  # written down from Keras' models
    "vgg16": {"stages.conv5.conv3.weight": "block5_conv3/kernel", "head.fc8.bias": "predictions/bias"},
    "resnet50": {
        "stages.conv3.0.shortcut.conv.bias": "conv3_block1_0_conv/bias",
        "stages.conv5.2.body.bn1.running_var": "conv5_block3_1_bn/moving_variance",
    },
    "resnet50v2": {
        "stages.conv2.1.bn.weight": "conv2_block2_preact_bn/gamma",
        "stages.end.bn.bias": "post_bn/beta",
    },
    "densenet121": {
        "stages.dense4.15.body.bn2.weight": "conv5_block16_1_bn/gamma",
        "stages.transition3.conv.weight": "pool4_conv/kernel",
    },
    "mobilenet_v1": {
        "stages.stage5.1.depthwise.conv.weight": "conv_dw_13/kernel",
        "head.fc.weight": "conv_preds/kernel",
    },
    "mobilenet_v2": {
        "stages.stage1.0.body.0.bn.bias": "expanded_conv_depthwise_BN/beta",
        "stages.stage7.0.body.2.conv.weight": "block_16_project/kernel",
    },
    "inception_v3": {
        "stem.conv1a.conv.weight": "conv2d/kernel",
        "stages.mixed7.c.3.1.bn.bias": "batch_normalization_93/beta",
    },
    "inception_resnet_v2": {
        "stages.mixed6.blocks.19.up.bias": "block17_20_conv/bias",
        "stages.mixed7.conv7b.bn.bias": "conv_7b_bn/beta",
    },
    "xception": {
        "stages.middle.7.0.separable3.depthwise.weight": "block12_sepconv3/depthwise_kernel",
        "stages.exit.block.1.conv.weight": "conv2d_3/kernel",
    },
    "nasnet_mobile": {
        "stages.cells2.0.blocks.4.left.bn1.weight": "separable_conv_1_bn_reduction_left4_reduce_4/gamma",
        "stages.cells3.4.blocks.4.left.separable2.pointwise.weight": (
            "separable_conv_2_normal_left5_12/pointwise_kernel"
        ),
        "stages.cells1.0.previous.paths.1.conv.weight": "adjust_conv_2_0/kernel",
    },
}
ARGUMENTS = {"resnet50": resnet.KERAS, "resnet50v2": resnet_v2.KERAS, "nasnet_mobile": nasnet.KERAS}


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    with torch.device("meta"):
        _, keys = keras_keys(zoo.build(name, **ARGUMENTS.get(name, {})))
    assert {ours: keys[ours] for ours in NAMES[name]} == NAMES[name]


def test_export_to_norms_without_gamma_answers_the_same():
    ours, again = (zoo.build("inception_v3", num_classes=3).eval() for _ in range(2))
    for m in ours.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, -1.5, 1.5)
            nn.init.normal_(m.running_mean, std=0.1)
    state = to_keras(ours)
    assert not any(key.endswith("gamma") for key in state)
    load_keras(again, state)
    x = torch.randn(1, 3, 75, 75)
    with torch.no_grad():
        torch.testing.assert_close(again(x), ours(x), rtol=1e-4, atol=1e-5)
    assert all((m.weight == 1).all() for m in again.modules() if isinstance(m, nn.BatchNorm2d))


def test_weights_of_another_network_are_refused_in_one_line():
    with torch.device("meta"):
        net = zoo.build("mobilenet_v2", num_classes=10)
    state = {"Conv1/kernel": np.zeros((3, 3, 1, 32)), "conv_dw_1/kernel": np.zeros((3, 3, 32, 1))}
    with pytest.raises(UsageError) as caught:
        load_keras(net, state)
    assert str(caught.value) == (
        "these Keras weights do not fit: 261 missing (bn_Conv1/gamma, bn_Conv1/beta, bn_Conv1/moving_mean, "
        "bn_Conv1/moving_variance, ...); 1 unexpected (conv_dw_1/kernel); "
        "1 of another shape (Conv1/kernel: (3, 3, 1, 32) for our (32, 3, 3, 3))"
    )
