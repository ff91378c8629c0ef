"""Our weights as files that torchvision, timm and Keras open."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from safetensors.torch import save_file

from striate import zoo
from striate.data import Preprocess
from striate.errors import UsageError, nearest
from striate.files import write_whole
from striate.transfer.adapt import first_layer
from striate.transfer.keras import keras_keys, to_keras
from striate.transfer.keras_order import in_order
from striate.transfer.published import Layout, blue_first
from striate.transfer.timm import UNLIKE, to_timm
from striate.transfer.torchvision import to_torchvision
from striate.zoo.network import ZooNet

LAYOUTS = tuple(layout for layout in get_args(Layout) if layout != "striate")
SUFFIXES = {layout: (".weights.h5",) if layout == "keras" else (".safetensors", ".pth") for layout in LAYOUTS}
VARIABLES = (  # in Keras' order
    "gamma", "beta", "moving_mean", "moving_variance", "kernel", "depthwise_kernel", "pointwise_kernel", "bias",
)  # fmt: skip


def save_weights(
    net: ZooNet,
    network: str,
    layout: str,
    path: Path | str,
    *,
    arguments: dict[str, Any] | None = None,
    preprocess: Preprocess | None = None,
    classes: tuple[str, ...] = (),
) -> Path:
    """Write `net`, which is the zoo's `network` built with `arguments`, in a peer's layout.

    torchvision's and timm's as `.safetensors`, or a pickle where `path` ends in `.pth`; Keras' as `.weights.h5`. Class
    names and preprocessing lie in the file's metadata. UsageError where the peer's network computes otherwise.
    """
    path = Path(path)
    if layout not in LAYOUTS:
        hint = nearest(layout, LAYOUTS) or f"one of {', '.join(LAYOUTS)}"
        raise UsageError(f"no layout {layout!r}", hint)
    _same_arithmetic(network, layout, arguments or {})
    if not path.name.endswith(SUFFIXES[layout]):
        known = " or ".join(f"*{suffix}" for suffix in SUFFIXES[layout])
        raise UsageError(f"{path}: weights for {layout} are written as {known}")
    facts = {"classes": list(classes), "preprocess": preprocess.to_dict() if preprocess else {}}
    if layout == "keras":
        content = _keras_file(net, network, facts)
        return write_whole(path, lambda p: p.write_bytes(content))
    with torch.no_grad():
        state = to_torchvision(net) if layout == "torchvision" else to_timm(net)
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
    if path.suffix == ".pth":
        return write_whole(path, lambda p: torch.save(tensors, p))
    notes = {"format": "pt", **{k: json.dumps(v) for k, v in facts.items()}}
    return write_whole(path, lambda p: save_file(tensors, p, notes))


def _same_arithmetic(network: str, layout: str, arguments: dict[str, Any]) -> None:
    """UsageError where the same weights mean something else there: another padding, another epsilon."""
    if layout == "timm" and network in UNLIKE:
        raise UsageError(f"timm's {network} has wider gates than this one: no weights fit both")
    ours = {k: v for k, v in arguments.items() if "dropout" not in k}
    theirs = zoo.arguments(network, layout)
    if ours != theirs:
        differ = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
        told = ", ".join(f"{k}={theirs[k]!r}" if k in theirs else f"the usual {k}" for k in differ)
        raise UsageError(
            f"{network} of {layout} computes with {told}; this network was built otherwise",
            f"train one that starts from weights of {layout}",
        )


def _keras_file(net: ZooNet, network: str, facts: dict[str, Any]) -> bytes:
    """The layout of Keras 3: layers numbered within their class in the order of `model.layers`, and named."""
    import h5py

    state = to_keras(net)
    if blue_first(network, "keras"):
        key = keras_keys(net)[1][f"{first_layer(net)[0]}.weight"]
        state[key] = np.ascontiguousarray(state[key][:, :, ::-1])
    counts: Counter[str] = Counter()
    content = io.BytesIO()
    with h5py.File(content, "w") as f:
        f.attrs["striate"] = json.dumps(facts)
        for name, kind in in_order(net, network).items():
            place = f"layers/{kind}_{counts[kind]}" if counts[kind] else f"layers/{kind}"
            counts[kind] += 1
            group = f.create_group(f"{place}/vars")
            group.attrs["name"] = name
            held = [state[f"{name}/{v}"] for v in VARIABLES if f"{name}/{v}" in state]
            for i, array in enumerate(held):
                group[str(i)] = array
    return content.getvalue()
