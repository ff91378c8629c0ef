"""`load_weights` on files written by the peers themselves, with random weights."""

import json

import h5py
import keras
import numpy as np
import pytest
import timm
import torch
import torchvision.models as tv
from safetensors.torch import save_file

from striate import zoo
from striate.errors import DataError, UsageError
from striate.transfer import load_weights
from striate.transfer.published import imagenet

# Keras reads torch's tensors in a way that NumPy 2 grumbles at
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory):
    """torchvision's network and its file."""
    torch.manual_seed(0)
    net = tv.squeezenet1_1().eval()
    path = tmp_path_factory.mktemp("tv") / "squeezenet1_1-b8a52dc0.pth"
    torch.save(net.state_dict(), path)
    return net, path


def same(ours, logits, x, tolerance=1e-4):
    with torch.no_grad():
        error = (ours.eval()(x) - logits).abs().max() / logits.abs().max()
    assert error <= tolerance


def test_torchvision(squeezenet):
    net, path = squeezenet
    x = torch.randn(2, 3, 64, 64)
    found = load_weights("squeezenet1_1", path)
    with torch.no_grad():
        same(found.module, net(x), x)
    assert (found.layout, found.arguments, found.classes) == ("torchvision", {}, imagenet())
    prepare = found.preprocess
    assert (prepare.size, prepare.resize, prepare.crop_pct, prepare.interpolation) == (
        (224, 224),
        "crop",
        0.875,
        "bilinear",
    )
    assert {"mean": prepare.mean, "std": prepare.std} == IMAGENET
    assert not any(t.is_meta for t in (*found.module.parameters(), *found.module.buffers()))


def test_the_file_name_tells_which_of_several_it_is(tmp_path):
    state = tv.mobilenet_v2().state_dict()
    for digest, crop in (("7ebf99e0", 224 / 232), ("b0353104", 224 / 256)):
        path = tmp_path / f"mobilenet_v2-{digest}.pth"
        torch.save(state, path)
        assert load_weights("mobilenet_v2", path).preprocess.crop_pct == pytest.approx(crop, abs=1e-6)


def test_timm_with_the_words_of_its_hub_folder(tmp_path):
    net = timm.create_model("mobilenetv1_100", num_classes=7).eval()
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    cfg = {
        "input_size": [3, 160, 160],
        "crop_pct": 0.95,
        "interpolation": "bicubic",
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4] * 3,
    }
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "mobilenetv1_100", "pretrained_cfg": cfg})
    )
    found = load_weights("mobilenet_v1", tmp_path / "model.safetensors")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        same(found.module, net(x), x)
    assert (found.layout, found.classes, found.module.num_classes) == ("timm", None, 7)
    prepare = found.preprocess
    assert (prepare.size, prepare.crop_pct, prepare.interpolation, prepare.mean) == (
        (160, 160),
        0.95,
        "bicubic",
        (0.1, 0.2, 0.3),
    )


def test_timm_by_names_that_torchvision_shares(tmp_path):
    """Inception v3 has one set of names at both: the preprocessing then is torchvision's, whose weights these are."""
    torch.save(tv.inception_v3(init_weights=False).state_dict(), tmp_path / "a.pth")
    found = load_weights("inception_v3", tmp_path / "a.pth")
    assert found.arguments == {"count_include_pad": True}
    assert found.preprocess.mean == (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def mobilenet():
    keras.backend.clear_session()
    return keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), classifier_activation=None)


@pytest.mark.parametrize("kind", [".weights.h5", ".h5", ".keras", "nameless", "other names", "no top"])
def test_keras(kind, mobilenet, tmp_path):
    """Files of today and of old, whose layers have other names or none, and files without the last layer."""
    net = mobilenet
    saved = keras.Model(net.input, net.layers[-2].output) if kind == "no top" else net
    path = tmp_path / f"a{kind if kind[0] == '.' else '.h5' if kind == 'other names' else '.weights.h5'}"
    saved.save_weights(path) if path.name.endswith(".weights.h5") else saved.save(path)
    if kind == "nameless":
        with h5py.File(path, "r+") as f:
            f.visititems(lambda _, item: item.attrs.clear())
    if kind == "other names":
        rename(path)
    found = load_weights("mobilenet_v2", path)
    assert (found.layout, found.arguments) == ("keras", {"padding": "same", "bn_eps": 1e-3})
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        if kind == "no top":
            pooled = found.module.head.pool(found.module.eval().features(x))
            torch.testing.assert_close(pooled, saved(x.permute(0, 2, 3, 1)), rtol=1e-4, atol=1e-5)
            assert (found.classes, found.module.num_classes) == (None, 1000)
        else:
            same(found.module, net(x.permute(0, 2, 3, 1)), x)
            assert found.classes == imagenet()
    assert found.preprocess.mean == found.preprocess.std == (0.5, 0.5, 0.5)


def rename(path):
    """As Keras 1 named weights."""
    with h5py.File(path, "r+") as f:
        root = f["model_weights"]
        old = list(root.attrs["layer_names"])
        new = [f"layer{i}" for i in range(len(old))]
        for a, b in zip(old, new, strict=True):
            root.move(a, b)
        root.attrs["layer_names"] = new


def test_keras_orders_its_layers_by_depth(tmp_path):
    """The shortcut of a block stands before its last convolution there; blue comes first, as Caffe had it."""
    keras.backend.clear_session()
    net = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classifier_activation=None)
    for w in net.weights:
        if w.name == "moving_variance":
            w.assign(np.random.default_rng(0).uniform(1, 4, w.shape))
    path = tmp_path / "a.weights.h5"
    net.save_weights(path)
    with h5py.File(path, "r+") as f:
        f.visititems(lambda _, item: item.attrs.clear())
    found = load_weights("resnet50", path)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        same(found.module, net(x.flip(1).permute(0, 2, 3, 1)), x)
    pixels = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    torch.testing.assert_close(
        found.preprocess.normalise(pixels).flatten(), 255 - torch.tensor([123.68, 116.779, 103.939])
    )


def test_other_classes_get_a_fresh_head_and_the_same_number_keeps_it(squeezenet):
    net, path = squeezenet
    fresh = load_weights("squeezenet1_1", path, num_classes=5)
    assert (fresh.module.num_classes, fresh.classes) == (5, None)
    assert torch.equal(fresh.module.stem.conv1.weight, net.features[0].weight)
    kept = load_weights("squeezenet1_1", path, num_classes=1000)
    assert kept.classes == imagenet()


def test_grey_images_answer_as_three_equal_channels_do(squeezenet):
    _, path = squeezenet
    grey, colour = load_weights("squeezenet1_1", path, in_chans=1), load_weights("squeezenet1_1", path)
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        same(grey.module, colour.module.eval()(x.expand(-1, 3, -1, -1)), x)
    assert grey.preprocess.channels == 1
    assert grey.preprocess.mean == (pytest.approx((0.485 + 0.456 + 0.406) / 3),)


@pytest.mark.parametrize("c", [1, 2, 4, 6])
def test_kernels_are_adapted_as_timm_does(c):
    from timm.models import adapt_input_conv

    from striate.transfer.adapt import adapt_kernel

    kernel = torch.randn(8, 3, 3, 3)
    torch.testing.assert_close(adapt_kernel(kernel, c), adapt_input_conv(c, kernel))


def test_weights_of_another_network(squeezenet):
    with pytest.raises(UsageError, match=r"these torchvision weights do not fit: 12 missing \(features\.5"):
        load_weights("squeezenet1_0", squeezenet[1])


def test_what_is_no_weights_at_all(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UsageError, match="weights are read from "):
        load_weights("resnet18", tmp_path / "a.txt")
    with pytest.raises(UsageError, match="no file of weights at"):
        load_weights("resnet18", tmp_path / "b.pth")
    with pytest.raises(UsageError, match="no network is called 'resnet81'"):
        load_weights("resnet81", tmp_path / "a.txt")
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match=r"weights do not fit: .* missing .*; 1 unexpected \(a\)"):
        load_weights("resnet18", tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match="damaged"):
        load_weights("resnet18", tmp_path / "a.safetensors")


def test_a_network_that_no_peer_has(tmp_path):
    save_file(zoo.build("lenet5").state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="names for this network are not known"):
        load_weights("lenet5", tmp_path / "a.safetensors")
