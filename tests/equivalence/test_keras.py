"""The networks of `keras.applications`, on Keras' torch backend."""

from collections.abc import Mapping
from functools import partial
from math import prod

import keras
import pytest
import torch
from keras.src.applications.nasnet import NASNet
from keras.src.backend.common import dtypes
from torch import Tensor, nn

from striate import zoo
from striate.transfer import keras_parameters, load_keras, to_keras
from striate.transfer.keras_layout import renumbered
from striate.zoo import densenet, mobilenet_v1, mobilenet_v2, nasnet, resnet, resnet_v2

slow = pytest.mark.slow


def nasnet_mobile(**options) -> keras.Model:
    """`NASNetMobile` refuses this backend because of a bug that is no longer there; its pieces don't."""
    return NASNet(
        penultimate_filters=1056,
        num_blocks=4,
        stem_block_filters=32,
        skip_reduction=False,
        default_size=224,
        **options,
    )


APPLICATIONS = {  # ours: (Keras', our arguments, Keras' count)
    "vgg16": (keras.applications.VGG16, {}, 138_357_544),
    "vgg19": (keras.applications.VGG19, {}, 143_667_240),
    "resnet50": (keras.applications.ResNet50, resnet.KERAS, 25_636_712),
    "resnet101": (keras.applications.ResNet101, resnet.KERAS, 44_707_176),
    "resnet152": (keras.applications.ResNet152, resnet.KERAS, 60_419_944),
    "resnet50v2": (keras.applications.ResNet50V2, resnet_v2.KERAS, 25_613_800),
    "resnet101v2": (keras.applications.ResNet101V2, resnet_v2.KERAS, 44_675_560),
    "resnet152v2": (keras.applications.ResNet152V2, resnet_v2.KERAS, 60_380_648),
    "inception_v3": (keras.applications.InceptionV3, {}, 23_851_784),
    "inception_resnet_v2": (keras.applications.InceptionResNetV2, {}, 55_873_736),
    "xception": (keras.applications.Xception, {}, 22_910_480),
    "mobilenet_v1": (partial(keras.applications.MobileNet, dropout=0.0), mobilenet_v1.KERAS, 4_253_864),
    "mobilenet_v2": (keras.applications.MobileNetV2, mobilenet_v2.KERAS, 3_538_984),
    "densenet121": (keras.applications.DenseNet121, densenet.KERAS, 8_062_504),
    "densenet169": (keras.applications.DenseNet169, densenet.KERAS, 14_307_880),
    "densenet201": (keras.applications.DenseNet201, densenet.KERAS, 20_242_984),
    "nasnet_mobile": (nasnet_mobile, nasnet.KERAS, 5_326_716),
    "nasnet_large": (keras.applications.NASNetLarge, nasnet.KERAS, 88_949_818),
}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_we_count_what_keras_counts(name):
    _, mine, count = APPLICATIONS[name]
    with torch.device("meta"):
        assert keras_parameters(zoo.build(name, **mine)) == count


class KerasPeer:
    """A network of Keras in the other order of axes; a new one for each precision, as Keras fixes it for good."""

    def __init__(self, build, side: int) -> None:
        self.build, self.side = build, side

    def to(self, dtype: torch.dtype) -> None:
        use_precision(str(dtype).removeprefix("torch."))
        torch.manual_seed(1)  # the same weights in either
        self.net = self.build(
            weights=None, classifier_activation=None, classes=10, input_shape=(self.side, self.side, 3)
        )
        for w in self.net.weights:
            w.assign(random(w.name, tuple(w.shape)))

    def copy_into(self, ours: nn.Module) -> None:
        load_keras(ours, self.variables(lambda w: w.value.detach().numpy()))

    def logits(self, x: Tensor) -> Tensor:
        return self.net(x.permute(0, 2, 3, 1), training=False)

    def all_logits(self, x: Tensor) -> list[Tensor]:
        return [self.net(x.permute(0, 2, 3, 1), training=True)]

    def gradients(self) -> Mapping[str, Tensor]:
        found = self.variables(lambda w: w.value.grad)
        return renumbered({key: grad for key, grad in found.items() if grad is not None})

    def export(self, ours: nn.Module) -> Mapping[str, Tensor]:
        if not any(w.name == "gamma" for w in self.net.weights):
            for m in ours.modules():
                if isinstance(m, nn.BatchNorm2d):
                    nn.init.ones_(m.weight)  # else the export would fold it into the convolutions
        return {key: torch.from_numpy(array) for key, array in to_keras(ours).items()}

    def variables(self, of) -> dict:
        return {f"{layer.name}/{w.name}": of(w) for layer in self.net.layers for w in layer.weights}


def random(name: str, shape: tuple[int, ...]) -> Tensor:
    """Something for a variable of that name to hold that keeps signals at their size."""
    if name in ("gamma", "moving_variance"):
        return 0.5 + torch.rand(shape)
    if name.endswith("kernel"):
        fan_in = prod(shape[:2] if name == "depthwise_kernel" or shape[-1] == 1 else shape[:-1])
        return torch.randn(shape) * (2 / fan_in) ** 0.5
    return 0.1 * torch.randn(shape)


@pytest.fixture
def keras_peer(monkeypatch):
    """Keras turns double into single precision inside some layers of every backend but TensorFlow's: forbid it."""
    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    yield KerasPeer
    use_precision("float32")


def use_precision(name: str) -> None:
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("mobilenet_v2", 45),
        *(pytest.param(name, 224, marks=slow) for name in ("vgg16", "vgg19")),  # their fc1 fits no other side
        pytest.param("mobilenet_v1", 64, marks=slow),
        *(pytest.param(f"resnet{n}", 65, marks=slow) for n in (50, 101, 152)),
        *(pytest.param(f"resnet{n}v2", 65, marks=slow) for n in (50, 101, 152)),
        *(pytest.param(f"densenet{n}", 65, marks=slow) for n in (121, 169, 201)),
        pytest.param("inception_v3", 107, marks=slow),
        pytest.param("inception_resnet_v2", 107, marks=slow),
        pytest.param("xception", 90, marks=slow),
        pytest.param("nasnet_mobile", 75, marks=slow),
        pytest.param("nasnet_large", 75, marks=slow),
    ],
)
def test_same_as_keras(name, side, keras_peer, same_network):
    build, mine, _ = APPLICATIONS[name]
    ours = zoo.build(name, num_classes=10, dropout=0.0, **mine)
    same_network(ours, keras_peer(build, side), (2 if side == 224 else 4, 3, side, side))
