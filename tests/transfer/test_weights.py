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
from striate.data import Preprocess
from striate.errors import DataError, UsageError
from striate.transfer import load_weights
from striate.transfer.heads import attach
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


def tied(path):
    """ResNet-18 by names that torchvision and timm share."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = tv.resnet18(num_classes=2).state_dict()
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("name", "layout", "crop", "interpolation"),
    [
        ("resnet18-f37072fd.pth", "torchvision", 0.875, "bilinear"),
        ("resnet18_a1_0-d63eafa0.pth", "timm", 0.95, "bicubic"),
        ("models--timm--resnet18.a2_in1k/snapshots/0a/model.safetensors", "timm", 0.95, "bicubic"),
        ("mine.pth", "torchvision", 0.875, "bilinear"),
    ],
)
def test_of_equal_names_the_path_tells_whose_they_are(name, layout, crop, interpolation, tmp_path):
    found = load_weights("resnet18", tied(tmp_path / name))
    prepare = found.preprocess
    assert (found.layout, prepare.crop_pct, prepare.interpolation) == (layout, crop, interpolation)


def test_of_equal_names_timms_configuration_tells_whose_they_are(tmp_path):
    cfg = {"input_size": [3, 160, 192], "crop_pct": 0.9, "interpolation": "bicubic", **IMAGENET}
    (tmp_path / "config.json").write_text(json.dumps(cfg))
    found = load_weights("resnet18", tied(tmp_path / "model.safetensors"))
    assert (found.layout, found.preprocess.size) == ("timm", (160, 192))
    published = load_weights("resnet18", tied(tmp_path / "resnet18-f37072fd.pth"))
    assert (published.layout, published.preprocess.size) == ("torchvision", (224, 224))


def test_timms_older_senets_compute_as_caffe_did(tmp_path):
    """Stride on the first 1x1 and a pool that rounds up, unlike timm's `seresnet50` under newer names."""
    net = timm.create_model("legacy_seresnet50", num_classes=7).eval()
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(m.running_var, 1, 4)
    torch.save(net.state_dict(), tmp_path / "a.pth")
    found = load_weights("seresnet50", tmp_path / "a.pth")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        same(found.module, net(x), x)
    assert found.arguments == {"stride_on": "1x1", "ceil_pool": True}
    assert (found.preprocess.crop_pct, found.preprocess.interpolation) == (0.875, "bilinear")


def test_timms_small_older_senets_are_refused(tmp_path):
    """They rectify before each gate, which no weights can tell."""
    torch.save(timm.create_model("legacy_seresnet18", num_classes=7).state_dict(), tmp_path / "a.pth")
    with pytest.raises(UsageError, match="timm's legacy_seresnet18 has a ReLU before each gate"):
        load_weights("seresnet18", tmp_path / "a.pth")


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


def test_a_network_for_grey_images_takes_coloured_ones(squeezenet, tmp_path):
    """A grey picture shown in three equal channels gets the answer that it got in one."""
    state = squeezenet[0].state_dict()
    state["features.0.weight"] = state["features.0.weight"].sum(1, keepdim=True)
    torch.save(state, tmp_path / "a.pth")
    grey = load_weights("squeezenet1_1", tmp_path / "a.pth")
    colour = load_weights("squeezenet1_1", tmp_path / "a.pth", in_chans=3)
    assert (grey.preprocess.channels, colour.preprocess.channels) == (1, 3)
    pixels = torch.randint(256, (2, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        logits = grey.module.eval()(grey.preprocess.normalise(pixels))
        same(colour.module, logits, colour.preprocess.normalise(pixels.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("c", [0, -1])
def test_channels_that_no_image_has(c, squeezenet):
    with pytest.raises(UsageError, match=f"squeezenet1_1: in_chans must be at least 1, got {c}"):
        load_weights("squeezenet1_1", squeezenet[1], in_chans=c)


@pytest.mark.parametrize("c", [1, 2, 4, 6])
def test_kernels_are_adapted_as_timm_does(c):
    from timm.models import adapt_input_conv

    from striate.transfer.adapt import adapt_kernel

    kernel = torch.randn(8, 3, 3, 3)
    torch.testing.assert_close(adapt_kernel(kernel, c), adapt_input_conv(c, kernel))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_becomes_single(dtype, squeezenet, tmp_path):
    save_file({k: v.to(dtype) for k, v in squeezenet[0].state_dict().items()}, tmp_path / "a.safetensors")
    found = load_weights("squeezenet1_1", tmp_path / "a.safetensors")
    assert {p.dtype for p in found.module.parameters()} == {torch.float32}
    torch.testing.assert_close(
        found.module.stem.conv1.weight, squeezenet[0].features[0].weight, rtol=1e-2, atol=0
    )


def test_weights_that_are_no_numbers_are_named(squeezenet, tmp_path):
    state = squeezenet[0].state_dict()
    state["classifier.1.bias"] = torch.full((1000,), torch.nan)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"hold NaN or infinity under 'classifier\.1\.bias'"):
        load_weights("squeezenet1_1", tmp_path / "a.pth")


def own(path, net, format="striate 1", **facts):
    """A model file of ours, with what is to be changed in its notes; None leaves a fact out."""
    usual = {
        "origin": {"kind": "zoo", "name": "lenet5"},
        "input_shape": (1, 32, 32),
        "outputs": 10,
        "classes": list("0123456789"),
        "preprocess": Preprocess((32, 32), channels=1, mean=(0.1,), std=(0.3,)).to_dict(),
    }
    kept = {key: value for key, value in (usual | facts).items() if value is not None}
    save_file(
        net if isinstance(net, dict) else net.state_dict(),
        path,
        {"format": format, "model": json.dumps(kept)},
    )
    return path


def test_a_file_of_our_own(tmp_path):
    net = zoo.build("lenet5")
    path = own(tmp_path / "a.safetensors", net)
    found = load_weights("lenet5", path)
    assert (found.layout, found.classes, found.preprocess.mean) == ("striate", tuple("0123456789"), (0.1,))
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        same(found.module, net.eval()(x), x)
    assert load_weights("lenet5", path, in_chans=3).preprocess.mean == (0.1,) * 3


def test_a_run_as_weights(tmp_path):
    net = zoo.build("lenet5")
    own(tmp_path / "model.safetensors", net)
    assert torch.equal(load_weights("lenet5", tmp_path).module.head.fc.weight, net.head.fc.weight)
    (tmp_path / "runs" / "v2").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"no file of weights at .*runs/v2/model\.safetensors"):
        load_weights("lenet5", tmp_path / "runs" / "v2")


def test_a_run_of_another_network(tmp_path):
    own(tmp_path / "model.safetensors", zoo.build("lenet5"))
    with pytest.raises(UsageError, match="holds no weights of resnet8; they fit lenet5") as caught:
        load_weights("resnet8", tmp_path)
    assert caught.value.hint == "--model lenet5"
    drawn = {"kind": "diagram", "name": "mine", "text": "INPUT => FC"}
    own(tmp_path / "model.safetensors", {"fc1.weight": torch.ones(10, 2)}, origin=drawn)
    with pytest.raises(UsageError, match="holds no weights of resnet8: its network is diagram 'mine'"):
        load_weights("resnet8", tmp_path)


def test_a_run_with_a_head_of_its_own_gives_its_base(tmp_path):
    net = zoo.build("resnet8")
    spec = {"kind": "mlp", "hidden": 7}
    origin = {"kind": "zoo", "name": "resnet8", "head": spec}
    own(tmp_path / "model.safetensors", attach(net, spec, 10), origin=origin)
    found = load_weights("resnet8", tmp_path)
    assert torch.equal(found.module.stem.conv1.weight, net.stem.conv1.weight)
    assert found.notes == (f"{tmp_path / 'model.safetensors'}: its mlp head was left out",)
    assert found.classes is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "striate 2"}, r"has format 'striate 2'; this version reads 'striate 1'"),
        ({"origin": None}, r"is damaged: what it says of its network is wrong: origin: missing"),
        ({"classes": None}, r"is damaged: what it says of its network is wrong: classes: missing"),
        ({"preprocess": None}, r"is damaged: what it says of its network is wrong: preprocess: missing"),
        ({"preprocess": {}}, "is damaged"),
        ({"origin": 3}, "is damaged"),
        (
            {"origin": {"kind": "zoo", "name": "lenet5", "arguments": {"num_classes": 3}}},
            r"no lenet5 can be built with \{'num_classes': 3\}",
        ),
    ],
)
def test_a_file_of_our_own_that_says_too_little_or_is_of_tomorrow(change, says, tmp_path):
    with pytest.raises(DataError, match=says):
        load_weights("lenet5", own(tmp_path / "a.safetensors", zoo.build("lenet5"), **change))


def test_a_file_of_our_own_without_all_its_weights(tmp_path):
    state = zoo.build("lenet5").state_dict()
    first = next(iter(state))
    path = own(tmp_path / "a.safetensors", {k: v for k, v in state.items() if k != first})
    with pytest.raises(UsageError, match=f"these striate weights do not fit: 1 missing \\({first}\\)"):
        load_weights("lenet5", path)


def test_a_dense_first_layer_keeps_its_channels(tmp_path):
    path = own(tmp_path / "a.safetensors", zoo.build("mlp"), origin={"kind": "zoo", "name": "mlp"})
    assert load_weights("mlp", path, in_chans=1).module.in_chans == 1
    with pytest.raises(
        UsageError, match="the first layer of mlp is dense: its weights are for 1 channels alone"
    ):
        load_weights("mlp", path, in_chans=3)


def test_weights_of_another_network(squeezenet):
    with pytest.raises(
        UsageError, match="holds no weights of squeezenet1_0; they fit squeezenet1_1"
    ) as caught:
        load_weights("squeezenet1_0", squeezenet[1])
    assert caught.value.hint == "--model squeezenet1_1"


def test_weights_of_no_network(squeezenet, tmp_path):
    state = {key: t for key, t in squeezenet[0].state_dict().items() if "6.exp" not in key}
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(UsageError, match=r"these torchvision weights do not fit: 4 missing \(features\.6"):
        load_weights("squeezenet1_1", tmp_path / "a.pth")


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
