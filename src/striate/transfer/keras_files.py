"""Reading Keras' files, `.weights.h5`, `.h5` and `.keras`, as arrays in layers: h5py alone, Keras never runs.

Nothing of a file is built or imported by its name. What it says of layers is held against a fixed table.
"""

import io
import json
import math
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from striate.errors import DataError, StriateError, one_line
from striate.transfer.keras_config import ARITHMETIC, MODELS, PIXELS, RANDOM, Described, describe
from striate.transfer.torch_files import refuse_bombs

SUFFIXES = (".h5", ".hdf5", ".keras")
KINDS = ("conv2d", "depthwise_conv2d", "separable_conv2d", "batch_normalization", "dense")  # hold weights
LAYERS = frozenset(  # all that a network like ours can consist of
    (
        "InputLayer", "Conv2D", "DepthwiseConv2D", "SeparableConv2D", "BatchNormalization", "Dense", "Activation",
        "ReLU", "ReLU6", "Softmax", "Dropout", "SpatialDropout2D", "Flatten", "Reshape", "ZeroPadding2D",
        "Cropping2D", "MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "Add",
        "Concatenate", "Multiply", "CustomScaleLayer", *MODELS, *RANDOM, *ARITHMETIC,
        *PIXELS,
    )
)  # fmt: skip
VARIABLES = {  # their ranks -> what a layer's variables are called
    (4,): ("kernel",),
    (4, 1): ("kernel", "bias"),
    (2,): ("kernel",),
    (2, 1): ("kernel", "bias"),
    (4, 4): ("depthwise_kernel", "pointwise_kernel"),
    (4, 4, 1): ("depthwise_kernel", "pointwise_kernel", "bias"),
    (1, 1, 1): ("beta", "moving_mean", "moving_variance"),
    (1, 1, 1, 1): ("gamma", "beta", "moving_mean", "moving_variance"),
}
MOST = 4 << 30  # bytes of all arrays together
FLOOR, RATIO = 1 << 26, 100  # bytes, and unpacked over stored: trained weights hardly pack
TEXT = 1 << 26  # bytes of a configuration


@dataclass(frozen=True)
class KerasLayer:
    """A layer that holds weights; `kind` and `number` say where it stands among its like, if the file does."""

    name: str | None
    kind: str | None
    number: int
    variables: dict[str, np.ndarray]


def read_keras(path: Path) -> list[KerasLayer]:
    """The layers with weights, in the order that the file gives; DataError for what is damaged or refused."""
    return read_described(path)[0]


def read_described(path: Path) -> tuple[list[KerasLayer], Described]:
    """The same with what the file says of its network; UsageError where that is too little."""
    try:
        if path.suffix == ".keras":
            return _read_archive(path)
        return _read_h5(path, path)
    except StriateError:
        raise
    except Exception as error:  # bytes that nobody wrote make h5py and zipfile raise anything
        raise DataError(f"{path} is damaged or no Keras file: {one_line(error)}") from None


def _read_archive(path: Path) -> tuple[list[KerasLayer], Described]:
    with zipfile.ZipFile(path) as archive:
        refuse_bombs(archive, path)
        members = {info.filename: info.file_size for info in archive.infolist()}
        if missing := {"config.json", "model.weights.h5"} - members.keys():
            raise DataError(
                f"{path}: no {min(missing)} in it; it holds {', '.join(map(repr, members))}"[:300]
            )
        if members["config.json"] > TEXT or members["model.weights.h5"] > MOST:
            raise DataError(f"{path} is larger than any network of the zoo: refused")
        config = check_config(archive.read("config.json"), path)
        return _read_h5(io.BytesIO(archive.read("model.weights.h5")), path, config)


def _read_h5(
    source: "Path | io.BytesIO", path: Path, config: Any = None
) -> tuple[list[KerasLayer], Described]:
    import h5py

    with h5py.File(source, "r") as f:
        if "model_config" in f.attrs:
            config = check_config(f.attrs["model_config"], path)
        found = _legacy(_Walk(path), f) if _is_legacy(f) else _saved(_Walk(path), f)
        if not found:
            holds = ", ".join(map(repr, f)) or "nothing"
            raise DataError(f"{path} holds no layers with weights; it holds {holds}"[:300])
        groups = f["layers"] if "layers" in f else f.get("model_weights", f)
        return found, describe(config, tuple(re.sub(r"_\d+$", "", name) for name in groups), path)


def check_config(text: str | bytes, path: Path) -> Any:
    """The configuration; DataError that names the first layer which isn't in the table, whatever is said of it."""
    if len(text) > TEXT:
        raise DataError(f"{path}: a configuration of {len(text):,} bytes: refused")
    config = json.loads(text)
    for layer in _layers(config):
        kind = layer.get("class_name")
        if not isinstance(kind, str) or kind not in LAYERS:
            name = layer["config"].get("name") if isinstance(layer.get("config"), dict) else None
            raise DataError(
                f"{path}: layer {name!r} is a {kind!r}: refused",
                "convolutional classifiers of known layers are read, and no code by name",
            )
    return config


def _layers(model: Any) -> Iterator[dict[str, Any]]:
    """The model and the layers inside it, at any depth."""
    if not isinstance(model, dict):
        return
    yield model
    config = model.get("config")
    inner = config.get("layers") if isinstance(config, dict) else config
    for layer in inner if isinstance(inner, list) else []:
        yield from _layers(layer)


def _is_legacy(f: Any) -> bool:
    return "model_weights" in f or any(name.startswith("layer_names") for name in f.attrs)


class _Walk:
    """Reads groups and arrays of one file, counts what they take in all, and follows no links."""

    def __init__(self, path: Path) -> None:
        self.path, self.taken, self.stored = path, 0, path.stat().st_size

    def get(self, group: Any, name: str) -> Any:
        """The member `name`, which may be a path, link by link."""
        import h5py

        for part in name.split("/"):
            link = group.get(part, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise DataError(f"{self.path}: {name!r} is a {type(link).__name__}: refused")
            group = group[part]
        return group

    def array(self, data: Any) -> np.ndarray:
        """A data set that lies whole in the file."""
        import h5py

        if not isinstance(data, h5py.Dataset):
            raise DataError(f"{self.path}: {data.name!r} is a group, expected an array")
        where = f"{self.path}: {data.name!r}"
        if data.external or data.is_virtual:
            raise DataError(f"{where} lies in another file: refused")
        self.taken += math.prod(data.shape) * data.dtype.itemsize
        if self.taken > MOST or self.taken > max(FLOOR, RATIO * self.stored):
            raise DataError(
                f"{where} and those before declare {self.taken:,} bytes, the file has {self.stored:,}: refused"
            )
        if data.dtype.kind != "f":
            raise DataError(f"{where} holds {data.dtype}, expected floating-point numbers")
        return data.astype(np.float32)[()]


def _legacy(walk: _Walk, f: Any) -> list[KerasLayer]:
    """Keras 1, 2, and 3's `.h5`: a group for each layer, attributes that list layers and arrays in order."""
    root = walk.get(f, "model_weights") if "model_weights" in f else f
    layers: list[KerasLayer] = []
    for name in _texts(root, "layer_names"):
        group = walk.get(root, name)
        inside: dict[str, list[np.ndarray]] = defaultdict(list)
        for key in _texts(group, "weight_names"):
            inside[key.rpartition("/")[0]].append(walk.array(walk.get(group, key)))
        for path, arrays in inside.items():
            # of a network inside, its layers' names
            one = name if len(inside) == 1 else path.rpartition("/")[2]
            layers.append(KerasLayer(one, None, len(layers), _named(arrays, one, walk.path)))
    return layers


def _saved(walk: _Walk, f: Any) -> list[KerasLayer]:
    """Keras 3: `layers/conv2d_3/vars/0`, numbered for each class of layers; newer files also name the layer."""
    layers: list[tuple[Any, KerasLayer]] = []
    for path, group in _groups(walk, f, "", set()):
        where = path.rpartition("/")[2]
        kind, number = re.fullmatch(r"(.*?)(?:_(\d+))?", where).groups()  # type: ignore[union-attr]
        if kind.startswith("seed_generator"):  # what dropout draws from
            continue
        variables = walk.get(group, "vars")
        arrays = [walk.array(walk.get(variables, str(i))) for i in range(len(variables))]
        if not arrays:
            continue
        if kind not in KINDS:
            raise DataError(f"{walk.path}: layer {where!r} is none of {', '.join(KINDS)}")
        name = variables.attrs.get("name")
        named = _named(arrays, where, walk.path)
        layer = KerasLayer(None if name is None else str(name), kind, int(number or 0), named)
        # those of a network inside first
        layers.append(((KINDS.index(kind), -path.count("/"), layer.number), layer))
    return [layer for _, layer in sorted(layers, key=lambda found: found[0])]


def _groups(walk: _Walk, group: Any, path: str, seen: set[Any]) -> Iterator[tuple[str, Any]]:
    """Every group that has `vars`, except the optimiser's, once: hard links may lead to it on endless ways."""
    import h5py

    seen.add(group)
    for name in group:
        member = walk.get(group, name)
        if not isinstance(member, h5py.Group) or member in seen:
            continue
        if name == "vars":
            yield path, group
        elif path or not name.startswith("optimizer"):
            yield from _groups(walk, member, f"{path}/{name}", seen)


def _named(arrays: list[np.ndarray], layer: str, path: Path) -> dict[str, np.ndarray]:
    names = VARIABLES.get(tuple(a.ndim for a in arrays))
    if names is None:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise DataError(f"{path}: layer {layer!r} holds {shapes}: no layer of a known kind does")
    return dict(zip(names, arrays, strict=True))


def _texts(group: Any, name: str) -> list[str]:
    """An attribute that lists names; long lists lie in pieces, `layer_names0`, `layer_names1`, ..."""
    if name in group.attrs:
        found = list(group.attrs[name])
    else:
        pieces = [group.attrs[f"{name}{i}"] for i in range(len(group.attrs)) if f"{name}{i}" in group.attrs]
        found = [text for piece in pieces for text in piece]
    return [text.decode() if isinstance(text, bytes) else str(text) for text in found]
