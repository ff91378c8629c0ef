"""A network that knows a thousand things, and real photographs of some of them."""

import re
import zipfile
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor, nn

from striate import zoo
from striate.data import Preprocess
from striate.transfer.keras import keras_keys, load_keras

PREPROCESS = Preprocess((224, 224), "crop", mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.875)  # x / 127.5 - 1
VARIABLES = {
    "kernel": "0",
    "bias": "1",
    "gamma": "0",
    "beta": "1",
    "moving_mean": "2",
    "moving_variance": "3",
}


def mobilenet(data: Path) -> nn.Module:
    """MobileNet v2 with Keras' ImageNet weights, whose file numbers the layers of each kind in order."""
    import h5py

    module, state = zoo.build("mobilenet_v2"), {}
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    _, pairs = keras_keys(module)
    with h5py.File(data / "weights" / "mobilenet_v2_imagenet.weights.h5") as f:
        for theirs in pairs.values():
            layer, variable = theirs.split("/")
            kind = (
                "batch_normalization" if VARIABLES[variable] > "1" or variable in ("gamma", "beta")
                else "dense" if layer == "predictions"
                else "depthwise_conv2d" if layer.endswith("depthwise") else "conv2d"
            )  # fmt: skip
            number = counts[kind].setdefault(layer, len(counts[kind]))
            name = kind + (f"_{number}" if number else "")
            state[theirs] = f[f"layers/{name}/vars/{VARIABLES[variable]}"][:]
    load_keras(module, state)
    return module.eval()


def photographs(data: Path, n: int = 250) -> tuple[Tensor, Tensor]:
    """Pixels (n, 3, 224, 224) in uint8, spread over all, and the class of each."""
    classes = (data / "imagenet_classes.txt").read_text(encoding="utf-8").split()
    with zipfile.ZipFile(data / "imagenet-samples-250.zip") as archive:
        names = sorted(archive.namelist())
        names = [names[i * len(names) // n] for i in range(n)]
        pixels = torch.stack([PREPROCESS.read(archive.read(name)) for name in names])
    labels = [classes.index(re.sub(r"\.\w+$", "", Path(name).name)) for name in names]
    return pixels, torch.tensor(labels)
