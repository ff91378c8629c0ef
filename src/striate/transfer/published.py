"""What is published: files of weights by network and tag, their addresses and checksums, what they were made for.

`published.json` is read out of torchvision, timm and Keras by `scripts/peer_weights.py`; `imagenet.txt` holds the
names that torchvision gives to ImageNet's classes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from striate import zoo
from striate.data import Preprocess
from striate.errors import UsageError

Layout = Literal["striate", "torchvision", "timm", "keras"]
HERE = Path(__file__).parent
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BGR = ("vgg", "resnet")  # families whose weights at Keras' expect blue first, as Caffe did
HALF = (0.5, 0.5, 0.5)
HEADLESS = "IMAGENET1K_FEATURES"  # torchvision's tag for a VGG-16 whose dense layers are NaN


@dataclass(frozen=True)
class Published:
    """A file of weights; `digest` is the beginning of its SHA-256, or its MD5, None where its server states it."""

    network: str
    layout: Layout
    tag: str
    url: str
    digest: str | None
    preprocess: Preprocess

    @property
    def filename(self) -> str:
        return urlsplit(self.url).path.rpartition("/")[2]


@cache
def table() -> tuple[Published, ...]:
    """Every row of weights that classify, the default of a network before its others."""
    rows = json.loads((HERE / "published.json").read_text(encoding="utf-8"))
    return tuple(
        Published(**{**row, "preprocess": _preprocess(row["preprocess"])})
        for row in rows
        if row["tag"] != HEADLESS
    )


def published(network: str) -> tuple[Published, ...]:
    """The rows of one network."""
    return tuple(row for row in table() if row.network == network)


def classes_of(network: str, count: int) -> tuple[str, ...] | None:
    """The names of the classes that published weights tell apart, None for other counts."""
    if count == 1000:
        return imagenet()
    return CIFAR10 if count == 10 and zoo.card(network).family == "resnet_cifar" else None


@cache
def imagenet() -> tuple[str, ...]:
    """ImageNet's 1000 classes in order."""
    return tuple((HERE / "imagenet.txt").read_text(encoding="utf-8").split("\n")[:1000])


def said_of(network: str, path: Path) -> tuple[Layout, Preprocess] | None:
    """Who published a file for torch and what its network was fed with, where anything says so.

    The checksum in its name goes before timm's `config.json` beside it, and that before the tag in its path.
    """
    rows = [row for row in published(network) if row.layout != "keras"]
    by_digest = [row for row in rows if row.digest and row.digest in path.name]
    by_tag = [row for row in rows if f".{row.tag}" in str(path)]
    if not by_digest and (hub := _hub(path.parent / "config.json")):
        return "timm", hub
    return next(((row.layout, row.preprocess) for row in (*by_digest, *by_tag)), None)


def preprocess_of(network: str, layout: Layout, path: Path, arguments: Mapping[str, Any]) -> Preprocess:
    """What a network of this layout, built with these arguments, was fed with: as the file says, or usually."""
    said = None if layout == "keras" else said_of(network, path)
    if said and said[0] == layout:
        return said[1]
    usual = arguments == zoo.arguments(network, layout)  # the rows speak of no others
    if rows := [row for row in published(network) if usual and row.layout == layout]:
        return rows[0].preprocess
    if zoo.card(network).family == "resnet_cifar":
        return Preprocess((32, 32), mean=(0.0,) * 3, std=(1 / 255,) * 3)  # MLPerf Tiny's: pixels as they are
    side = zoo.card(network).input[1]
    if layout == "keras":
        return Preprocess((side, side), "crop", 3, HALF, HALF, 0.875)
    return Preprocess((side, side), "crop", 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.875)


def blue_first(network: str, layout: str) -> bool:
    """Whether the first layer of such weights has its input channels in the order of Caffe."""
    return layout == "keras" and zoo.card(network).family in BGR


def _hub(path: Path) -> Preprocess | None:
    """timm's own words from the `config.json` beside its weights; None where there is none, or somebody else's."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        fields = config.get("pretrained_cfg", config)
        channels, h, w = fields["input_size"]
        numbers = {k: [float(v) for v in fields[k]] for k in ("mean", "std")}
        more = {"crop_pct": float(fields["crop_pct"]), "interpolation": fields["interpolation"]}
        return _preprocess({"size": [int(h), int(w)], "channels": channels, **numbers, **more})
    except UsageError as error:
        raise UsageError(f"{path}: {error}", "without this file the usual preprocessing is taken") from None
    except (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def _preprocess(fields: dict[str, Any]) -> Preprocess:
    """A rectangle of `size` out of the middle, a square where that is one number as in the rows of the table."""
    size = fields["size"]
    return Preprocess.from_dict(
        {**fields, "size": size if isinstance(size, list) else [size] * 2, "resize": "crop"}
    )
