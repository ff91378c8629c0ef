"""`load_weights`: a file of weights from elsewhere becomes a network of the zoo, with all that it takes to use it."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from striate import zoo
from striate.chance import Stream
from striate.data import Preprocess
from striate.data.facts import Facts
from striate.errors import DataError, StriateError, UsageError, one_line
from striate.files import check_format, parse
from striate.transfer import keras, timm, torchvision
from striate.transfer.adapt import adapt_channels, adapt_preprocess, first_layer
from striate.transfer.fit import Fit, fit_torch
from striate.transfer.keras import keras_keys, load_keras
from striate.transfer.keras_config import Described
from striate.transfer.keras_files import SUFFIXES as KERAS_SUFFIXES
from striate.transfer.keras_files import KerasLayer, read_described
from striate.transfer.keras_heads import with_own_head
from striate.transfer.keras_layout import renumbered
from striate.transfer.keras_order import named
from striate.transfer.published import Layout, blue_first, classes_of, preprocess_of
from striate.transfer.state import load_own
from striate.transfer.torch_files import SUFFIXES as TORCH_SUFFIXES
from striate.transfer.torch_files import read_state
from striate.zoo.network import ZooNet, scorer

NAMED = {*torchvision.FAMILIES, *timm.FAMILIES, *keras.FAMILIES}  # families of the zoo that others have too
LIKELY = 8  # of them, of about as many parameters, on which a file of weights is tried


@dataclass(frozen=True)
class Pretrained:
    """A network with weights from elsewhere.

    `arguments` is what `zoo.build` was given for the weights to mean the same; `classes` are None where nobody says
    them or the last layer wasn't kept; `notes` tell what of the file was taken and what was left.
    """

    module: ZooNet
    network: str
    arguments: dict[str, Any]
    layout: Layout
    preprocess: Preprocess
    classes: tuple[str, ...] | None
    notes: tuple[str, ...] = ()


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
    found = _loaded(network, _read(path))
    if in_chans not in (None, found.module.in_chans):
        prepare = adapt_preprocess(found.preprocess, in_chans)
        found = replace(found, module=adapt_channels(found, in_chans), preprocess=prepare)
    if num_classes not in (None, found.module.num_classes):
        found.module.reset_head(num_classes)
        found = replace(found, classes=None)
    return found


@dataclass(frozen=True)
class _File:
    """What a file holds: torch's `state` with the file's own `notes`, or Keras' `layers`."""

    path: Path
    state: Mapping[str, Tensor] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    layers: Sequence[KerasLayer] = ()
    described: Described = field(default_factory=Described)

    @property
    def values(self) -> int:
        """How many numbers it holds."""
        tensors = [t.shape for t in self.state.values()]
        arrays = [array.shape for layer in self.layers for array in layer.variables.values()]
        return sum(map(math.prod, (*tensors, *arrays)))


def _read(path: Path) -> _File:
    if path.is_dir():  # a run
        path = path / "model.safetensors"
    if not path.is_file():
        raise UsageError(f"no file of weights at {path}")
    if path.suffix in KERAS_SUFFIXES:
        layers, described = read_described(path)
        return _File(path, layers=layers, described=described)
    if path.suffix in TORCH_SUFFIXES:
        return _File(path, *read_state(path))
    known = ", ".join((*TORCH_SUFFIXES, *KERAS_SUFFIXES))
    raise UsageError(
        f"{path}: weights are read from {known}, not from {path.suffix or 'files without suffix'}"
    )


def _loaded(network: str, file: _File) -> Pretrained:
    """The network with a file's weights; where they are another network's, UsageError that tells which."""
    try:
        return _native(network, file)
    except UsageError as error:
        like = _look_alike(network, file)
        if like is None:
            raise
        text = f"{file.path} holds no weights of {network}; they fit {like}"
        raise UsageError(text, f"--model {like}") from error


def _look_alike(network: str, file: _File) -> str | None:
    """The network that a file of ours names, else the first of about as many parameters that the weights fit."""
    own = _own(file.notes, file.path)
    known = [
        card for card in zoo.cards() if (own.origin.get("name") == card.name if own else card.family in NAMED)
    ]
    ratio = {card.name: abs(math.log(card.params / max(file.values, 1))) for card in known}
    for name in sorted(ratio.keys() - {network}, key=lambda name: ratio[name])[:LIKELY]:
        with suppress(StriateError):
            _native(name, file)
            return name
    return None


def _native(network: str, file: _File) -> Pretrained:
    """The network exactly as the file has it, in its own classes and channels."""
    path, own = file.path, _own(file.notes, file.path)
    if file.layers:
        fit = _fit_keras(network, file)
    else:
        fit = _fit_own(network, file.state, own, path) if own else fit_torch(network, file.state, path)
    module, classes = _blank(network, fit)
    missing = [key for key in module.state_dict() if key.startswith(_scorer(module))] if not classes else []
    fit.load(module, fit.state, missing)
    if not classes:
        with Stream(0).drawing():
            module.reset_head(module.num_classes)
    pixels = file.described.pixels
    if pixels.blue_first if pixels else blue_first(network, fit.layout):
        first = first_layer(module)[1]
        first.weight.data = first.weight.data.flip(1)
    if own:
        names = own.classes if classes else None
        prepare = own.preprocess
    else:
        names = classes_of(network, classes or 0)
        prepare = preprocess_of(network, fit.layout, path, fit.arguments)
        if file.described.size:
            prepare = replace(prepare, size=file.described.size)
        if pixels:
            prepare = replace(prepare, channels=len(pixels.mean), mean=pixels.mean, std=pixels.std)
        prepare = adapt_preprocess(prepare, module.in_chans)
    notes = tuple(f"{path}: {note}" for note in (file.notes.get("taken"), *fit.notes) if note)
    return Pretrained(module, network, fit.arguments, fit.layout, prepare, names, notes)


def _blank(network: str, fit: Fit) -> tuple[ZooNet, int | None]:
    """The network without values, of the file's sizes, and its classes: None where the file has no last layer."""
    try:
        with torch.device("meta"):
            usual = cast(ZooNet, zoo.build(network, **fit.arguments))
            classes, channels = fit.sizes(usual)
            sizes = {"num_classes": classes or usual.num_classes, "in_chans": channels}
            return cast(ZooNet, zoo.build(network, **sizes, **fit.arguments)), classes
    except (TypeError, ArithmeticError) as error:  # a file of ours may bring arguments of any kind
        raise DataError(f"no {network} can be built with {fit.arguments}: {one_line(error)}"[:300]) from None


def _scorer(module: ZooNet) -> str:
    """What the keys of the layer that scores the classes begin with."""
    return f"head.{scorer(module.head)[0]}."


def _fit_keras(network: str, file: _File) -> Fit:
    arguments = zoo.arguments(network, "keras")
    with torch.device("meta"):
        module = cast(ZooNet, zoo.build(network, **arguments))
    pairs = keras_keys(module)[1]
    key = f"{_scorer(module)}weight"
    last, width = pairs[key].partition("/")[0], math.prod(module.state_dict()[key].shape[1:])
    state = renumbered(named(file.layers, module, network))
    state, notes = with_own_head(state, pairs.values(), last, width, file.described)
    return Fit("keras", arguments, state, pairs, load_keras, notes)


def _own(notes: Mapping[str, str], path: Path) -> Facts | None:
    """What the notes in a file say if striate wrote it; DataError for another format or damaged notes."""
    kind = notes.get("format", "")
    if not kind.startswith("striate "):
        return None
    check_format(path, kind)
    where = f"{path} is damaged: what it says of its network is wrong"
    return parse(Facts, notes.get("model", ""), where, "take another file")


def _fit_own(network: str, state: Mapping[str, Tensor], own: Facts, path: Path) -> Fit:
    origin, notes = own.origin, list[str]()
    arguments = origin.get("arguments", {})
    if origin.get("kind") != "zoo" or origin.get("name") != network:
        raise UsageError(
            f"{path} holds no weights of {network}: its network is {origin.get('kind')} {origin.get('name')!r}"
        )
    if "head" in origin:
        with torch.device("meta"):
            head = _scorer(cast(ZooNet, zoo.build(network)))
        state = {key: value for key, value in state.items() if not key.startswith(head)}
        notes.append(f"its {origin['head'].get('kind')} head was left out")
    return Fit("striate", arguments, state, {key: key for key in state}, load_own, tuple(notes))
