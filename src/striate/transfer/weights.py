"""`load_weights`: a file of weights from elsewhere becomes a network of the zoo, with all that it takes to use it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from striate import zoo
from striate.chance import Stream
from striate.data import Preprocess
from striate.errors import DataError, UsageError, one_line
from striate.files import check_format
from striate.transfer import timm, torchvision
from striate.transfer.adapt import adapt_channels, adapt_preprocess, first_layer
from striate.transfer.keras import keras_keys, load_keras
from striate.transfer.keras_files import SUFFIXES as KERAS_SUFFIXES
from striate.transfer.keras_files import read_keras
from striate.transfer.keras_order import named
from striate.transfer.names import choose
from striate.transfer.published import Layout, blue_first, classes_of, preprocess_of, said_of
from striate.transfer.state import keys, layers_of, load_own
from striate.transfer.torch_files import SUFFIXES as TORCH_SUFFIXES
from striate.transfer.torch_files import read_state
from striate.zoo.network import ZooNet, scorer

Load = Callable[..., None]
PEERS: dict[Layout, tuple[Any, Load]] = {
    "torchvision": (torchvision.FAMILIES, torchvision.load_torchvision),
    "timm": (timm.FAMILIES, timm.load_timm),
}
STYLES = {"legacy_senet": "caffe"}  # families that compute otherwise than their peer's other networks


@dataclass(frozen=True)
class Pretrained:
    """A network with weights from elsewhere.

    `arguments` is what `zoo.build` was given for the weights to mean the same; `classes` are None where nobody says
    them or the last layer wasn't kept.
    """

    module: ZooNet
    network: str
    arguments: dict[str, Any]
    layout: Layout
    preprocess: Preprocess
    classes: tuple[str, ...] | None


@dataclass(frozen=True)
class _Own:
    """What a model file of ours says of its network."""

    origin: dict[str, Any]
    arguments: dict[str, Any]
    classes: tuple[str, ...]
    preprocess: Preprocess


@dataclass(frozen=True)
class _Fit:
    """How a file's weights go into a network: the peer's key for each of ours, and who copies them."""

    layout: Layout
    arguments: dict[str, Any]
    state: Mapping[str, Any]
    pairs: dict[str, str]
    load: Load

    def sizes(self, module: ZooNet) -> tuple[int | None, int]:
        """Classes and input channels of the file; None classes where it has no last layer."""
        head = self._shape(f"head.{scorer(module.head)[0]}.weight")
        first = self._shape(f"{first_layer(module)[0]}.weight")
        last_axis, first_axis = (-1, -2) if self.layout == "keras" else (0, 1)
        return head[last_axis] if head else None, first[first_axis] if len(first) == 4 else module.in_chans

    def _shape(self, key: str) -> tuple[int, ...]:
        value = self.state.get(self.pairs.get(key, key))
        return () if value is None else tuple(value.shape)


def load_weights(
    network: str, path: Path | str, num_classes: int | None = None, in_chans: int | None = None
) -> Pretrained:
    """The zoo's `network` with the weights in `path`, whoever wrote it: torchvision, timm, Keras or striate.

    Another count of classes gets a fresh last layer; with other input channels the first layer is summed or
    repeated, as timm does. UsageError with what is missing, left over or of another shape, DataError for a file that
    is damaged or refused.
    """
    path = Path(path)
    zoo.card(network)  # an unknown name is told first
    if in_chans is not None and in_chans < 1:
        raise UsageError(f"{network}: in_chans must be at least 1, got {in_chans}")
    if not path.is_file():
        raise UsageError(f"no file of weights at {path}")
    found = _native(network, path)
    if in_chans not in (None, found.module.in_chans):
        prepare = adapt_preprocess(found.preprocess, in_chans)
        found = replace(found, module=adapt_channels(found, in_chans), preprocess=prepare)
    if num_classes not in (None, found.module.num_classes):
        found.module.reset_head(num_classes)
        found = replace(found, classes=None)
    return found


def _native(network: str, path: Path) -> Pretrained:
    """The network exactly as the file has it, in its own classes and channels."""
    own = None
    if path.suffix in KERAS_SUFFIXES:
        fit = _fit_keras(network, path)
    elif path.suffix in TORCH_SUFFIXES:
        state, notes = read_state(path)
        own = _own(notes, path)
        fit = _fit_own(network, state, own, path) if own else _fit_torch(network, state, path)
    else:
        known = ", ".join((*TORCH_SUFFIXES, *KERAS_SUFFIXES))
        raise UsageError(
            f"{path}: weights are read from {known}, not from {path.suffix or 'files without suffix'}"
        )
    module, classes = _blank(network, fit)
    fit.load(module, fit.state, () if classes else _scorer_keys(module))
    if not classes:
        with Stream(0).drawing():
            module.reset_head(module.num_classes)
    if blue_first(network, fit.layout):
        first = first_layer(module)[1]
        first.weight.data = first.weight.data.flip(1)
    if own:
        names: tuple[str, ...] | None = own.classes
        prepare = own.preprocess
    else:
        names = classes_of(network, classes or 0)
        prepare = preprocess_of(network, fit.layout, path, fit.arguments)
        prepare = adapt_preprocess(prepare, module.in_chans)
    return Pretrained(module, network, fit.arguments, fit.layout, prepare, names)


def _blank(network: str, fit: _Fit) -> tuple[ZooNet, int | None]:
    """The network without values, of the file's sizes, and its classes: None where the file has no last layer."""
    try:
        with torch.device("meta"):
            usual = cast(ZooNet, zoo.build(network, **fit.arguments))
            classes, channels = fit.sizes(usual)
            sizes = {"num_classes": classes or usual.num_classes, "in_chans": channels}
            return cast(ZooNet, zoo.build(network, **sizes, **fit.arguments)), classes
    except (TypeError, ArithmeticError) as error:  # a file of ours may bring arguments of any kind
        raise DataError(f"no {network} can be built with {fit.arguments}: {one_line(error)}"[:300]) from None


def _scorer_keys(module: ZooNet) -> tuple[str, ...]:
    where = f"head.{scorer(module.head)[0]}."
    return tuple(key for key in module.state_dict() if key.startswith(where))


def _fit_torch(network: str, state: Mapping[str, Tensor], path: Path) -> _Fit:
    """The layout whose names explain most of the file; of two with the same names that of who published it."""
    fits, trouble, said = [], None, said_of(network, path)
    for layout, (families, load) in PEERS.items():
        with torch.device("meta"):
            module = zoo.build(network, **zoo.arguments(network, layout))
        try:
            family, names = choose(module, families, layout, layers_of(state))
        except UsageError as error:
            trouble = trouble or error
            continue
        pairs = keys(module, names)
        arguments = _arguments(network, layout, family)
        there = sum(theirs in state for theirs in pairs.values()) / len(pairs)
        fits.append(
            ((there, said is not None and said[0] == layout), _Fit(layout, arguments, state, pairs, load))
        )
    if not fits:
        raise trouble or UsageError(f"nobody's weights for {network} are known")
    return max(fits, key=lambda fit: fit[0])[1]


def _arguments(network: str, layout: Layout, family: str) -> dict[str, Any]:
    """What the network is built with to compute as the peer's of this family; UsageError where nothing would do."""
    if family == "legacy_senet" and network in timm.UNLIKE:
        raise UsageError(
            f"timm's legacy_{network} has a ReLU before each gate and {network} none: these weights don't fit"
        )
    return zoo.arguments(network, STYLES.get(family, layout))


def _fit_keras(network: str, path: Path) -> _Fit:
    arguments = zoo.arguments(network, "keras")
    with torch.device("meta"):
        module = zoo.build(network, **arguments)
    state = named(read_keras(path), module, network)
    return _Fit("keras", arguments, state, keras_keys(module)[1], load_keras)


def _own(notes: Mapping[str, str], path: Path) -> _Own | None:
    """What the notes in a file say if striate wrote it; DataError for another format or damaged notes."""
    kind = notes.get("format", "")
    if not kind.startswith("striate "):
        return None
    check_format(path, kind)
    try:
        facts = json.loads(notes["model"])
        origin, prepare = dict(facts["origin"]), Preprocess.from_dict(facts["preprocess"])
        return _Own(origin, dict(origin.get("arguments", {})), tuple(facts["classes"]), prepare)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} is damaged: what it says of its network can't be read ({one_line(error)})"
        ) from None


def _fit_own(network: str, state: Mapping[str, Tensor], own: _Own, path: Path) -> _Fit:
    origin = own.origin
    if origin.get("kind") != "zoo" or origin.get("name") != network or "head" in origin:
        raise UsageError(f"{path} holds another network than {network}", f"it says: {origin}"[:200])
    return _Fit("striate", own.arguments, state, {key: key for key in state}, load_own)
