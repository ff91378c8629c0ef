"""Networks of real size on real photographs: published weights through every door, and each family of the zoo."""

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch

from striate import zoo
from striate.data import Preprocess
from striate.data.source import open_source
from striate.ship import formats, graph, load
from striate.ship.convert import converted
from striate.ship.parity import compare, insist
from striate.ship.quantise import quantise
from striate.ship.samples import Samples
from striate.train import Model
from striate.transfer import load_weights

pytestmark = pytest.mark.slow
FAMILIES = (  # the smallest of each
    "lenet5", "alexnet", "zfnet", "vgg11", "nin", "googlenet", "inception_v3", "inception_resnet_v2", "resnet18",
    "resnet50v2", "resnet20_cifar", "resnext50_32x4d", "se_inception", "seresnet50", "densenet121", "squeezenet1_1",
    "mobilenet_v1", "mobilenet_v2", "xception", "nasnet_mobile", "allcnn", "mnist_tiny", "mlp",
)  # fmt: skip


@pytest.fixture(scope="module")
def photographs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a class with one photograph each."""
    root = tmp_path_factory.mktemp("photographs")
    lines = (shared_data / "imagenet_classes.txt").read_text().splitlines()
    with zipfile.ZipFile(shared_data / "imagenet-samples-250.zip") as z:
        for name in z.namelist():
            folder = root / f"{lines.index(name.removesuffix('.JPEG')):04d}"
            folder.mkdir()
            (folder / name).write_bytes(z.read(name))
    return root


@pytest.fixture(scope="module")
def mobilenet(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with Keras' published weights; its classes are numbers, as the folders are."""
    found = load_weights("mobilenet_v2", shared_data / "weights" / "mobilenet_v2_imagenet.weights.h5")
    origin = {"kind": "zoo", "name": "mobilenet_v2", "arguments": found.arguments}
    classes = tuple(f"{i:04d}" for i in range(1000))
    model = Model(found.module, origin, (3, 224, 224), 1000, classes, found.preprocess)
    return model.save(tmp_path_factory.mktemp("mobilenet") / "mobilenet_v2.safetensors")


def pictures(root: Path, model: Model, most: int) -> Samples:
    part = open_source(root).parts["all"]
    return Samples(part, model.classes, model.preprocess).some(most)


def test_mobilenet_exported_served_and_in_eight_bits(
    mobilenet: Path, photographs: Path, tmp_path: Path
) -> None:
    from striate.train import load as load_model

    model = load_model(mobilenet)
    proto = converted(model, mobilenet)
    found = pictures(photographs, model, 250)
    certificates = {}
    for name in formats.FORMATS:
        path = tmp_path / f"m{formats.FORMATS[name].suffixes[0]}"
        formats.FORMATS[name].write(model, lambda: proto, path)
        certificates[name] = compare(model, formats.of(path).open(path), found)
        insist(certificates[name])
        assert certificates[name].top1_agreement == 1
        print(name, certificates[name])
    calibration = found.some(100)
    formats.FORMATS["onnx"].write(model, lambda: quantise(proto, calibration), tmp_path / "m8.onnx")
    small = compare(model, formats.of(tmp_path / "m8.onnx").open(tmp_path / "m8.onnx"), found)
    print("int8", small)
    assert small.reference_accuracy - small.accuracy <= 0.01

    files = [photographs / name for name in found.part.ids]
    expected = [p.label for p in load(mobilenet, "torch")(files)]
    assert [p.label for p in load(mobilenet, "openvino")(files)] == expected
    argv = [sys.executable, "-m", "striate", "serve", f"net={mobilenet}", "--port", "0"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        address = process.stderr.readline().split()[-1]
        while "ready" not in process.stderr.readline():
            pass
        served = [_ask(address, file) for file in files]
        process.terminate()
    assert served == expected


def _ask(address: str, file: Path) -> str:
    request = Request(f"{address}/predict", file.read_bytes(), {"Content-Type": "image/jpeg"})
    with urlopen(request, timeout=60) as reply:
        return json.load(reply)["predictions"][0]["label"]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_exports(name: str, photographs: Path, tmp_path: Path) -> None:
    card = zoo.card(name)
    c, h, w = card.input
    prepare = Preprocess((h, w), "crop", c, (0.5,) * c, (0.25,) * c, 0.875)
    net = zoo.build(name, num_classes=7, in_chans=c).eval()
    lively(net, (c, h, w))
    classes = tuple("abcdefg")
    model = Model(net, {"kind": "zoo", "name": name}, (c, h, w), 7, classes, prepare)
    some = pictures(photographs, model, 3).part
    found = Samples(replace(some, targets=list(classes[: len(some)])), classes, prepare)
    proto = graph.onnx_model(model)
    assert not any(n.op_type == "BatchNormalization" for n in proto.graph.node) or name in UNFOLDED
    for kind in ("onnx", "openvino"):
        path = tmp_path / f"m{formats.FORMATS[kind].suffixes[0]}"
        formats.FORMATS[kind].write(model, lambda: proto, path)
        certificate = compare(model, formats.of(path).open(path), found)
        assert certificate.max_abs_diff <= 1e-4, certificate


UNFOLDED = (
    "resnet50v2",
    "densenet121",
    "nasnet_mobile",
)  # batch norm before the activation: no convolution to join


def lively(net: torch.nn.Module, shape: tuple[int, int, int]) -> None:
    """Statistics of batch norm that fit the network, so that its answers differ from picture to picture."""
    net.train()
    with torch.no_grad():
        net(torch.randn(4, *shape))
    net.eval()
    assert np.isfinite(net(torch.randn(1, *shape)).detach().numpy()).all()
