"""Keras networks with a head of their own on a base of `keras.applications`, against Keras on the same pixels."""

import keras
import numpy as np
import pytest
import torch
from keras import layers

from striate.errors import DataError, UsageError
from striate.transfer import load_weights

# Keras reads torch's tensors in a way that NumPy 2 grumbles at
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIDE = (64, 64, 3)


def base():
    """A MobileNetV2 through which an image can be told from another: as Keras starts it, all come out alike."""
    net = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=SIDE)
    for w in net.weights:
        if w.name == "gamma":
            w.assign(np.full(w.shape, 3.0))
    return net


def nested(head, before=()):
    x = inputs = keras.Input(SIDE)
    for layer in before:
        x = layer(x)
    x = base()(x, training=False)
    for layer in head:
        x = layer(x)
    return keras.Model(inputs, x)


def flat(head, before=()):
    found = base()
    x = found.output
    for layer in head:
        x = layer(x)
    return keras.Model(found.input, x)


def row(head, before=()):
    return keras.Sequential([layers.Input(SIDE), *before, base(), *head])


def mean_and(*more):
    return [layers.GlobalAveragePooling2D(), *more]


def scaled(x):
    return keras.applications.mobilenet_v2.preprocess_input(x)


SCALE = [layers.Rescaling(1 / 127.5, offset=-1)]
NETWORKS = {  # how it is built, and what it does to pixels
    "nested": (nested, SCALE),
    "nested behind random layers": (
        nested,
        [keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)]), *SCALE],
    ),
    "in a row, scaled otherwise": (row, [layers.Rescaling(1 / 255)]),
    "normalised": (row, [layers.Normalization(mean=[99.0, 100, 101], variance=[16.0, 25, 36])]),
    "by arithmetic": (nested, [scaled]),
}


def answers(net, pixels):
    """What Keras says, as probabilities."""
    with torch.no_grad():
        return torch.as_tensor(net(pixels.permute(0, 2, 3, 1).float(), training=False))


def same(found, probabilities, pixels):
    """As Keras answers, and not what pixels of another order or scale would get."""

    def ours(pixels):
        with torch.no_grad():
            return found.module.eval()(found.preprocess.normalise(pixels)).softmax(1)

    torch.testing.assert_close(ours(pixels), probabilities, rtol=1e-3, atol=1e-5)
    for other in (pixels.flip(1), pixels // 2):
        assert (ours(other) - probabilities).abs().max() > 1e-3


@pytest.fixture
def pixels():
    return torch.randint(256, (2, 3, *SIDE[:2]), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [*((kind, ".keras") for kind in NETWORKS), ("nested", ".h5"), ("by arithmetic", ".h5")],
)
def test_a_whole_network(kind, suffix, pixels, tmp_path):
    keras.utils.set_random_seed(0)
    build, before = NETWORKS[kind]
    net = build(mean_and(layers.Dropout(0.2), layers.Dense(5, "softmax")), before)
    net.save(tmp_path / f"a{suffix}")
    found = load_weights("mobilenet_v2", tmp_path / f"a{suffix}")
    assert (found.module.num_classes, found.preprocess.size, found.notes) == (5, (64, 64), ())
    same(found, answers(net, pixels), pixels)


def test_weights_alone_say_neither_size_nor_scale(pixels, tmp_path):
    net = flat(mean_and(layers.Dense(5, "softmax")))
    net.save_weights(tmp_path / "a.weights.h5")
    found = load_weights("mobilenet_v2", tmp_path / "a.weights.h5")
    assert (found.module.num_classes, found.preprocess.size) == (5, (224, 224))
    same(found, answers(net, pixels / 127.5 - 1), pixels)
    row(mean_and(layers.Dense(5)), SCALE).save_weights(tmp_path / "b.weights.h5")
    with pytest.raises(UsageError, match="rescales pixels by what this file doesn't say") as caught:
        load_weights("mobilenet_v2", tmp_path / "b.weights.h5")
    assert caught.value.hint == "save it whole, as .keras"


def test_one_score_is_that_of_the_second_of_two_classes(pixels, tmp_path):
    net = row(mean_and(layers.Dense(1, "sigmoid")), SCALE)
    net.save(tmp_path / "a.keras")
    found = load_weights("mobilenet_v2", tmp_path / "a.keras")
    second = answers(net, pixels)
    same(found, torch.cat([1 - second, second], 1), pixels)
    assert found.notes == ()


def test_several_labels_an_image_are_told(tmp_path):
    row(mean_and(layers.Dense(4, "sigmoid")), SCALE).save(tmp_path / "a.keras")
    found = load_weights("mobilenet_v2", tmp_path / "a.keras")
    assert "its scores end in sigmoid, here they are taken for logits" in found.notes[0]


HEADS = {
    "two dense layers": mean_and(layers.Dense(8, "relu"), layers.Dense(3)),
    "a flattened map": [layers.Flatten(), layers.Dense(3)],
    "a maximum": [layers.GlobalMaxPooling2D(), layers.Dense(3)],
    "a maximum that is flattened": [layers.MaxPooling2D(2), layers.Flatten(), layers.Dense(3)],
    "features that are bent": mean_and(layers.Activation("tanh"), layers.Dense(3)),
    "a norm": mean_and(layers.BatchNormalization(), layers.Dense(3)),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_that_no_network_here_has_is_left_out_and_told(kind, tmp_path):
    """The base is what it was."""
    net = flat(HEADS[kind])
    net.save(tmp_path / "a.keras")
    found = load_weights("mobilenet_v2", tmp_path / "a.keras")
    assert "the head was left out (" in found.notes[0]
    assert (found.classes, found.module.num_classes) == (None, 1000)
    x = torch.randn(1, 3, *SIDE[:2])
    maps = keras.Model(net.input, net.get_layer("out_relu").output)(x.permute(0, 2, 3, 1))
    with torch.no_grad():
        ours = found.module.eval().features(x)
    torch.testing.assert_close(ours, maps.permute(0, 3, 1, 2), rtol=1e-3, atol=1e-4)


def test_caffes_pixels_inside_the_network(pixels, tmp_path):
    """`resnet.preprocess_input` turns the channels round and takes their means away."""
    x = inputs = keras.Input(SIDE)
    x = keras.applications.resnet.preprocess_input(x)
    x = keras.applications.ResNet50(weights=None, include_top=False, pooling="avg", input_shape=SIDE)(x)
    net = keras.Model(inputs, layers.Dense(3, "softmax")(x))
    net.save(tmp_path / "a.keras")
    found = load_weights("resnet50", tmp_path / "a.keras")
    same(found, answers(net, pixels), pixels)
    assert found.preprocess.mean == pytest.approx((123.68 / 255, 116.779 / 255, 103.939 / 255))


def test_a_network_of_caffes_that_was_fed_red_first(pixels, tmp_path):
    net = keras.Sequential([
        layers.Input(SIDE), layers.Rescaling(1 / 255),
        keras.applications.ResNet50(weights=None, include_top=False, pooling="avg", input_shape=SIDE),
        layers.Dense(3, "softmax"),
    ])  # fmt: skip
    net.save(tmp_path / "a.keras")
    same(load_weights("resnet50", tmp_path / "a.keras"), answers(net, pixels), pixels)


@pytest.mark.parametrize("layer", [layers.Rescaling(-1 / 255, offset=1), layers.Rescaling(0.0)])
def test_pixels_that_no_mean_and_spread_describe(layer, tmp_path):
    row(mean_and(layers.Dense(3)), [layer]).save(tmp_path / "a.keras")
    with pytest.raises(DataError, match="what its first layers do to pixels is no mean and no spread"):
        load_weights("mobilenet_v2", tmp_path / "a.keras")


@pytest.mark.parametrize("inside", [layers.Rescaling(2.0), lambda x: x * 2.0, lambda x: x - 0.5])
def test_arithmetic_inside_the_network_is_refused(inside, tmp_path):
    flat(mean_and(inside, layers.Dense(3))).save(tmp_path / "a.keras")
    with pytest.raises(DataError, match=r"layer '\w+' is a '\w+' inside the network: refused"):
        load_weights("mobilenet_v2", tmp_path / "a.keras")
