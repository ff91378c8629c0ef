"""What we write, opened by the peers with their own readers: random weights, the same logits, and back again."""

import json

import keras
import numpy as np
import pytest
import timm
import torch
import torchvision.models as tv
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from striate import zoo
from striate.data import Preprocess
from striate.errors import UsageError
from striate.transfer import load_weights, save_weights

# Keras reads torch's tensors in a way that NumPy 2 grumbles at
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
slow = pytest.mark.slow

TORCHVISION = [
    "squeezenet1_1",
    *(
        pytest.param(n, marks=slow)
        for n in ("alexnet", "squeezenet1_0", "googlenet", "inception_v3", "mobilenet_v2")
    ),
    *(pytest.param(f"vgg{n}{bn}", marks=slow) for n in (11, 13, 16, 19) for bn in ("", "_bn")),
    *(pytest.param(f"resnet{n}", marks=slow) for n in (18, 34, 50, 101, 152)),
    *(pytest.param(n, marks=slow) for n in ("resnext50_32x4d", "resnext101_32x8d")),
    *(pytest.param(f"densenet{n}", marks=slow) for n in (121, 161, 169, 201)),
]
TIMM = [
    ("mobilenet_v1", "mobilenetv1_100"),
    *(
        pytest.param(ours, theirs, marks=slow)
        for ours, theirs in (
            ("mobilenet_v2", "mobilenetv2_100"),
            ("resnet18", "resnet18"),
            ("resnet34", "resnet34"),
            ("resnet50", "resnet50"),
            ("resnet101", "resnet101"),
            ("resnet152", "resnet152"),
            ("resnet18v2", "resnetv2_18"),
            ("resnet34v2", "resnetv2_34"),
            ("resnet50v2", "resnetv2_50"),
            ("resnet101v2", "resnetv2_101"),
            ("resnet152v2", "resnetv2_152"),
            ("resnext50_32x4d", "resnext50_32x4d"),
            ("resnext101_32x4d", "resnext101_32x4d"),
            ("resnext101_32x8d", "resnext101_32x8d"),
            ("seresnet50", "seresnet50"),
            ("seresnet101", "seresnet101"),
            ("seresnet152", "seresnet152"),
            ("vgg11", "vgg11"),
            ("vgg13", "vgg13"),
            ("vgg16", "vgg16"),
            ("vgg19", "vgg19"),
            ("vgg11_bn", "vgg11_bn"),
            ("vgg13_bn", "vgg13_bn"),
            ("vgg16_bn", "vgg16_bn"),
            ("vgg19_bn", "vgg19_bn"),
            ("densenet121", "densenet121"),
            ("densenet161", "densenet161"),
            ("densenet169", "densenet169"),
            ("densenet201", "densenet201"),
            ("inception_v3", "inception_v3"),
            ("inception_resnet_v2", "inception_resnet_v2"),
            ("xception", "legacy_xception"),
            ("nasnet_large", "nasnetalarge"),
        )
    ),
]
KERAS = [
    ("mobilenet_v2", "MobileNetV2"),
    ("mobilenet_v1", "MobileNet"),
    pytest.param("resnet50", "ResNet50", marks=slow),
    *(
        pytest.param(ours, theirs, marks=slow)
        for ours, theirs in (
            ("vgg16", "VGG16"),
            ("vgg19", "VGG19"),
            ("resnet101", "ResNet101"),
            ("resnet152", "ResNet152"),
            ("resnet50v2", "ResNet50V2"),
            ("resnet101v2", "ResNet101V2"),
            ("resnet152v2", "ResNet152V2"),
            ("densenet121", "DenseNet121"),
            ("densenet169", "DenseNet169"),
            ("densenet201", "DenseNet201"),
            ("inception_v3", "InceptionV3"),
            ("inception_resnet_v2", "InceptionResNetV2"),
            ("xception", "Xception"),
            ("nasnet_large", "NASNetLarge"),
        )
    ),
]


def side(name):
    """Small, but not too small for any; Keras' MobileNet pads odd sides in its own way."""
    if name.startswith(("vgg", "alexnet")):
        return 224
    return {"mobilenet_v1": 64, "nasnet_large": 90, "xception": 90}.get(
        name, 107 if "inception" in name else 65
    )


def network(name, peer):
    """Ours as the peer computes it, with statistics as training leaves them."""
    arguments = zoo.arguments(name, peer)
    net = zoo.build(name, num_classes=10, **arguments)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean, std=0.1)
            nn.init.uniform_(m.running_var, 1, 4)
    return net.eval(), arguments


def check(net, theirs, name, path, tolerance=1e-4):
    """Equal logits there, and after the way back."""
    x = torch.randn(2, 3, side(name), side(name))
    with torch.no_grad():
        mine = net(x)
        assert (mine - theirs(x)).abs().max() <= tolerance * mine.abs().max()
        again = load_weights(name, path)
        assert (mine - again.module.eval()(x)).abs().max() <= tolerance * mine.abs().max()
    assert again.module.num_classes == 10


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_opens_it(name, tmp_path):
    net, arguments = network(name, "torchvision")
    path = save_weights(net, name, "torchvision", tmp_path / "a.safetensors", arguments=arguments)
    options = {"init_weights": False, "aux_logits": True} if name in ("googlenet", "inception_v3") else {}
    peer = getattr(tv, name)(num_classes=10, **options)
    state = load_file(path)
    missing, unexpected = peer.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.startswith(("aux", "Aux")) for key in missing)
    check(net, peer.eval(), name, path)


@pytest.mark.parametrize(("name", "theirs"), TIMM)
def test_timm_opens_it(name, theirs, tmp_path):
    net, arguments = network(name, "timm")
    path = save_weights(net, name, "timm", tmp_path / "a.safetensors", arguments=arguments)
    check(net, timm.create_model(theirs, num_classes=10, checkpoint_path=str(path)).eval(), name, path)


@pytest.mark.parametrize(("name", "theirs"), KERAS)
def test_keras_opens_it(name, theirs, tmp_path):
    net, arguments = network(name, "keras")
    path = save_weights(net, name, "keras", tmp_path / "a.weights.h5", arguments=arguments)
    keras.backend.clear_session()
    shape = (side(name), side(name), 3)
    build = getattr(keras.applications, theirs)
    peer = build(weights=None, classes=10, classifier_activation=None, input_shape=shape)
    peer.load_weights(path)
    blue_first = name.startswith(("vgg", "resnet")) and not name.endswith("v2")

    def answer(x):
        return peer((x.flip(1) if blue_first else x).permute(0, 2, 3, 1), training=False)

    check(net, answer, name, path)


def test_names_and_preprocessing_travel_along(tmp_path):
    net, prepare = zoo.build("squeezenet1_1", num_classes=2), Preprocess((96, 96), "crop", crop_pct=0.9)
    more = {"preprocess": prepare, "classes": ("cat", "dog")}
    path = save_weights(net, "squeezenet1_1", "torchvision", tmp_path / "a.safetensors", **more)
    with safe_open(path, "pt") as f:
        notes = f.metadata()
    assert json.loads(notes["classes"]) == ["cat", "dog"]
    assert Preprocess.from_dict(json.loads(notes["preprocess"])) == prepare


def test_a_pickle_only_by_name(tmp_path):
    net = zoo.build("squeezenet1_1", num_classes=2)
    path = save_weights(net, "squeezenet1_1", "torchvision", tmp_path / "a.pth")
    state = torch.load(path, weights_only=True)
    np.testing.assert_array_equal(state["features.0.weight"], net.stem.conv1.weight.detach())


def test_what_can_not_be_told_to_a_peer(tmp_path):
    net = zoo.build("mobilenet_v2", num_classes=2)
    with pytest.raises(UsageError, match="mobilenet_v2 of keras computes with bn_eps="):
        save_weights(net, "mobilenet_v2", "keras", tmp_path / "a.weights.h5")
    with pytest.raises(UsageError, match="timm's seresnet18 has wider gates than this one"):
        save_weights(zoo.build("seresnet18"), "seresnet18", "timm", tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="no layout 'kerras'"):
        save_weights(net, "mobilenet_v2", "kerras", tmp_path / "a.weights.h5")
    with pytest.raises(UsageError, match=r"weights for timm are written as \*\.safetensors or \*\.pth"):
        save_weights(net, "mobilenet_v2", "timm", tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())
