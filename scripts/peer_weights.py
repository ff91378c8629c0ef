"""Write what torchvision, timm and Keras say of their weights, read from their installed packages.

    python scripts/peer_weights.py [--check]

`src/striate/transfer/published.json`: a row for each file of weights that a network of the zoo can load: its tag,
address, published checksum, and the preprocessing it was evaluated with. `keras_order.json` beside it: the order in
which Keras keeps the layers of a network, as positions in our order, where the two differ.
"""

# ruff: noqa: E402
import argparse
import json
import os
import re
import sys
import types
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("KERAS_BACKEND", "torch")
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("_"))  # needs CUDA's operators
import keras
import timm
import torch
import torchvision.models as tv
from keras.src.applications.nasnet import NASNet
from keras.src.utils import file_utils

from striate import zoo
from striate.transfer.keras import keras_keys
from striate.transfer.keras_layout import renumbered

FOLDER = Path(__file__).parents[1] / "src" / "striate" / "transfer"
HALF = [0.5, 0.5, 0.5]
CAFFE = {"mean": [123.68 / 255, 116.779 / 255, 103.939 / 255], "std": [1 / 255] * 3}  # pixels less their mean
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
TIMM = {  # where timm's name isn't ours
    "mobilenet_v1": "mobilenetv1_100",
    "mobilenet_v2": "mobilenetv2_100",
    "resnet18v2": "resnetv2_18",
    "resnet34v2": "resnetv2_34",
    "resnet50v2": "resnetv2_50",
    "resnet101v2": "resnetv2_101",
    "nasnet_large": "nasnetalarge",
    "xception": "legacy_xception",
}
KERAS = {
    **{name: (name.upper(), CAFFE) for name in ("vgg16", "vgg19")},
    **{f"resnet{n}": (f"ResNet{n}", CAFFE) for n in (50, 101, 152)},
    **{f"resnet{n}v2": (f"ResNet{n}V2", None) for n in (50, 101, 152)},
    **{f"densenet{n}": (f"DenseNet{n}", IMAGENET) for n in (121, 169, 201)},
    "inception_v3": ("InceptionV3", None),
    "inception_resnet_v2": ("InceptionResNetV2", None),
    "xception": ("Xception", None),
    "mobilenet_v1": ("MobileNet", None),
    "mobilenet_v2": ("MobileNetV2", None),
    "nasnet_mobile": ("NASNetMobile", None),
    "nasnet_large": ("NASNetLarge", None),
}
Row = dict[str, Any]


def preprocess(side: int, crop: float, interpolation: str, mean: Any, std: Any) -> Row:
    return {
        "size": side,
        "crop_pct": round(crop, 6),
        "interpolation": interpolation,
        "mean": list(mean),
        "std": list(std),
    }


def row(name: str, layout: str, tag: str, url: str, digest: str | None, prepare: Row) -> Row:
    return {
        "network": name,
        "layout": layout,
        "tag": tag,
        "url": url,
        "digest": digest,
        "preprocess": prepare,
    }


def torchvision_rows(name: str) -> Iterator[Row]:
    """The default first. GoogLeNet and Inception v3 turn their input into -1..1 themselves."""
    if name not in tv.list_models(module=tv):
        return
    choices = tv.get_model_weights(name)
    for weights in sorted(choices, key=lambda w: w is not choices.DEFAULT):
        t = weights.transforms()
        mean, std = (HALF, HALF) if name in ("googlenet", "inception_v3") else (t.mean, t.std)
        side = t.crop_size[0]
        prepare = preprocess(side, side / t.resize_size[0], t.interpolation.value, mean, std)
        yield row(name, "torchvision", weights.name, weights.url, _in_name(weights.url), prepare)


def timm_rows(name: str) -> Iterator[Row]:
    """What timm loads, but for weights whose licence forbids commercial use and torchvision's own."""
    theirs = TIMM.get(name, name)
    for full in timm.list_pretrained(f"{theirs}.*"):
        cfg = timm.get_pretrained_cfg(full)
        if (
            cfg.num_classes != 1000
            or "-nc" in (cfg.license or "")
            or "download.pytorch.org" in (cfg.url or "")
        ):
            continue
        url = cfg.url if cfg.url and _in_name(cfg.url) else None
        if url is None and not cfg.hf_hub_id:
            continue
        url = url or f"https://huggingface.co/{cfg.hf_hub_id}/resolve/main/model.safetensors"
        prepare = preprocess(cfg.input_size[1], cfg.crop_pct, cfg.interpolation, cfg.mean, cfg.std)
        yield row(name, "timm", cfg.tag, url, _in_name(url), prepare)


def keras_rows(name: str) -> Iterator[Row]:
    """What Keras' constructor would fetch, where it states a checksum."""
    if name not in KERAS:
        return
    theirs, scale = KERAS[name]
    asked: list[tuple[str, str | None]] = []

    def note(fname: str, origin: str, file_hash: str | None = None, **_: Any) -> None:
        asked.append((origin, file_hash))
        raise InterruptedError

    build = getattr(keras.applications, theirs)
    try:
        with patch.object(file_utils, "get_file", note), keras.device("meta"):
            build(weights="imagenet")
    except InterruptedError:
        url, digest = asked[0]
        if digest:
            scale = scale or {"mean": HALF, "std": HALF}
            prepare = preprocess(zoo.card(name).input[1], 0.875, "bilinear", scale["mean"], scale["std"])
            yield row(name, "keras", "keras", url, digest, prepare)
    except ValueError:  # NASNet, on this backend
        return


def _in_name(url: str) -> str | None:
    """The digits of its SHA-256 that a file's name ends in, by PyTorch's convention."""
    found = re.search(r"-([0-9a-f]{8})\.pth$", url)
    return found[1] if found else None


def published() -> list[Row]:
    names = [card.name for card in zoo.cards()]
    return [r for name in names for rows in (torchvision_rows, timm_rows, keras_rows) for r in rows(name)]


def keras_order(name: str) -> list[int]:
    """For each layer of Keras' network that holds weights, which of ours it is."""
    mobile = partial(
        NASNet, penultimate_filters=1056, num_blocks=4, stem_block_filters=32, skip_reduction=False
    )
    build = (
        partial(mobile, default_size=224)
        if name == "nasnet_mobile"
        else getattr(keras.applications, KERAS[name][0])
    )
    keras.backend.clear_session()
    with torch.device("meta"):
        ours = list(
            dict.fromkeys(
                key.split("/")[0]
                for key in keras_keys(zoo.build(name, **zoo.arguments(name, "keras")))[1].values()
            )
        )
    with keras.device("meta"):
        theirs = renumbered({f"{layer.name}/": None for layer in build(weights=None).layers if layer.weights})
    return [ours.index(key.rstrip("/")) for key in theirs]


def orders() -> dict[str, list[int]]:
    found = {name: keras_order(name) for name in KERAS}
    return {name: order for name, order in found.items() if order != sorted(order)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the files are up to date")
    check = parser.parse_args().check
    stale = 0
    rows = ",\n".join(json.dumps(r) for r in published())
    order = ",\n".join(f"{json.dumps(name)}: {json.dumps(o)}" for name, o in orders().items())
    for path, text in (("published.json", f"[\n{rows}\n]\n"), ("keras_order.json", f"{{\n{order}\n}}\n")):
        if check:
            stale |= (FOLDER / path).read_text() != text
        else:
            (FOLDER / path).write_text(text)
    return stale


if __name__ == "__main__":
    sys.exit(main())
