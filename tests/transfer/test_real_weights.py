"""Real published weights through our importer and through Keras itself, on real images."""

import io
import zipfile

import keras
import numpy as np
import pytest
import torch
from PIL import Image

from striate.transfer import keras_parameters, load_weights
from striate.transfer.published import CIFAR10

# Keras reads torch's tensors in a way that NumPy 2 grumbles at
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def photographs(shared_data, prepare, count):
    """Every so many of the 250 photographs as uint8 (n, 3, h, w), and their classes."""
    lines = (shared_data / "imagenet_classes.txt").read_text().splitlines()
    with zipfile.ZipFile(shared_data / "imagenet-samples-250.zip") as z:
        names = sorted(z.namelist())[:: 250 // count]
        images = torch.stack([prepare.read(z.read(name)) for name in names])
    return images, torch.tensor([lines.index(name.removesuffix(".JPEG")) for name in names])


def answers(module, x, batch=25):
    with torch.inference_mode():
        return torch.cat([module.eval()(part) for part in x.split(batch)])


def mobilenet(shared_data):
    """Keras' own network with the same file."""
    keras.backend.clear_session()
    net = keras.applications.MobileNetV2(weights=None, classifier_activation=None)
    net.load_weights(shared_data / "weights" / "mobilenet_v2_imagenet.weights.h5")
    return lambda x: net(x.permute(0, 2, 3, 1), training=False)


def compare_mobilenet(shared_data, count):
    found = load_weights("mobilenet_v2", shared_data / "weights" / "mobilenet_v2_imagenet.weights.h5")
    images, labels = photographs(shared_data, found.preprocess, count)
    net, x = mobilenet(shared_data), found.preprocess.normalise(images)
    np.testing.assert_allclose(x, images / 127.5 - 1, atol=1e-6)  # Keras' `preprocess_input`
    with torch.inference_mode():
        theirs = torch.cat([net(part) for part in x.split(25)])
    mine = answers(found.module, x)
    assert (mine - theirs).abs().max() <= 1e-3
    return found, mine.argmax(1), theirs.argmax(1), labels


def test_mobilenet_v2_on_photographs(shared_data):
    found, mine, theirs, labels = compare_mobilenet(shared_data, 10)
    assert torch.equal(mine, theirs)
    assert (mine == labels).float().mean() >= 0.8
    assert found.classes[int(labels[0])] == "tench"


@pytest.mark.slow
def test_mobilenet_v2_on_all_photographs(shared_data):
    _, mine, theirs, labels = compare_mobilenet(shared_data, 250)
    right, rightly = int((mine == labels).sum()), int((theirs == labels).sum())
    print(f"{right} of 250 right, Keras {rightly}; {int((mine == theirs).sum())} answers are the same")
    assert abs(right - rightly) <= 1
    assert int((mine == theirs).sum()) >= 248
    assert rightly >= 0.89 * 250


def cifar_test(shared_data, count):
    with zipfile.ZipFile(shared_data / "cifar10.zip") as z:
        names = sorted(n for n in z.namelist() if n.startswith("test/") and n.endswith(".jpg"))
        names = names[:: len(names) // count]
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(z.read(n))).convert("RGB")) for n in names])
    labels = torch.tensor([CIFAR10.index(name.split("/")[1]) for name in names])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), labels


def resnet8_of_keras(path):
    """The network that the file describes, read by Keras itself, without its softmax."""
    keras.backend.clear_session()
    net = keras.models.load_model(path, compile=False)
    net.layers[-1].activation = keras.activations.linear
    return net


def compare_resnet8(shared_data, count):
    path = shared_data / "weights" / "mlperf_tiny_resnet8_cifar10.h5"
    found = load_weights("resnet8", path)
    assert keras_parameters(found.module) == 78_666
    assert found.classes == CIFAR10
    images, labels = cifar_test(shared_data, count)
    x = found.preprocess.normalise(images)
    assert torch.allclose(x, images.float(), atol=1e-4)  # raw pixels
    with torch.inference_mode():
        theirs = resnet8_of_keras(path)(x.permute(0, 2, 3, 1))
    mine = answers(found.module, x, 1000)
    assert (mine - theirs).abs().max() <= 1e-4 * max(1.0, float(theirs.abs().max()))
    return float((mine.argmax(1) == labels).float().mean()), float(
        (theirs.argmax(1) == labels).float().mean()
    )


def test_resnet8_of_mlperf_tiny(shared_data):
    mine, theirs = compare_resnet8(shared_data, 500)
    assert mine == theirs
    assert mine >= 0.75  # these JPEGs are compressed once more than those it was trained on


@pytest.mark.slow
def test_resnet8_of_mlperf_tiny_on_all_test_images(shared_data):
    mine, theirs = compare_resnet8(shared_data, 10_000)
    print(f"accuracy {mine:.4f}, Keras {theirs:.4f}")
    assert mine == theirs
