"""What a network word means before it is built.

A zoo name, `name(argument=value)`, a diagram, a `.diagram` file, or `package.module:factory`.
"""

import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from striate.errors import Note, UsageError, one_line

if TYPE_CHECKING:
    from torch import nn

    from striate.zoo.network import ZooNet

Shape = tuple[int, int, int]
ARROW = re.compile("[=-]>|[→⇒⟶➜]")
CALL = re.compile(r"([\w.-]+)\((.*)\)", re.DOTALL)
SETTLED = ("num_classes", "in_chans", "img_size")  # by flags of their own and by the data


@dataclass(frozen=True)
class Net:
    """A network and the word it came from; `input_shape` is (c, h, w)."""

    module: "nn.Module"
    input_shape: Shape
    name: str
    origin: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a NET word means before anything is built.

    `wants` is the input it asks for as (c, h, w), None where it takes what comes; `origin` is what a model file stores
    to build it again.
    """

    name: str
    origin: dict[str, Any]
    wants: tuple[int | None, int | None, int | None]
    make: Callable[[Shape, int | None], "nn.Module"]

    def build(self, input_shape: Shape | None = None, num_classes: int | None = None) -> Net:
        """The network for images of `input_shape`; without one, for the input that the plan asks for."""
        shape = input_shape or self.wants
        if None in shape:
            raise UsageError(f"{self.name}: unknown input size", "give it as --input H,W,C")
        full: Shape = shape  # type: ignore[assignment]
        return Net(self.make(full, num_classes), full, self.name, self.origin)


def is_diagram(word: str) -> bool:
    """Whether a network word has an arrow, in whatever form: the parser says which are none."""
    return ARROW.search(word) is not None


def plan(word: str | Path) -> Plan:
    """What `word` means; raises UsageError with the nearest zoo names where it means nothing."""
    word = str(word)
    if is_diagram(word):
        return _diagram(word, "net")
    if word.endswith(".diagram"):
        path = Path(word)
        if not path.is_file():
            raise UsageError(f"no diagram file at {word}")
        return _diagram(path.read_text(encoding="utf-8"), path.stem)
    if call := CALL.fullmatch(word):
        return _zoo(call[1], _arguments(call[1], call[2]))
    if ":" in word:
        return _factory(word)
    return _zoo(word)


def from_origin(origin: dict[str, Any]) -> Plan:
    """The plan behind a model file's `origin`; code named by a file is imported only when the user typed that name."""
    kind = origin.get("kind")
    if kind == "zoo":
        return _zoo(str(origin["name"]), origin.get("arguments", {}), origin.get("head"))
    if kind == "diagram":
        return _diagram(str(origin["text"]), str(origin.get("name", "net")))
    if kind == "factory":
        name = origin.get("name")
        raise UsageError(
            f"this model is built by code of yours, {name}", "name its run folder instead of its file"
        )
    raise UsageError(f"unknown kind of network in the model file: {kind!r}")


def _zoo(name: str, arguments: dict[str, Any] | None = None, head: dict[str, Any] | None = None) -> Plan:
    from striate import zoo

    card = zoo.card(name)
    origin: dict[str, Any] = {"kind": "zoo", "name": name}
    origin |= {"arguments": arguments} if arguments else {}
    origin |= {"head": head} if head else {}

    def make(shape: Shape, num_classes: int | None) -> "nn.Module":
        side = {"img_size": shape[1]} if shape[1] == shape[2] else {}  # others must fit as they are
        net = zoo.build(name, num_classes, shape[0], **side | (arguments or {}))
        if head is None:
            return net
        from striate.transfer.heads import attach

        return attach(cast("ZooNet", net), head, num_classes or 0)

    return Plan(name, origin, card.input, make)


def _arguments(name: str, text: str) -> dict[str, Any]:
    """`aux_heads=true, dropout=0.4` -> what the builder is given."""
    from striate.settings import read_settings, typed

    try:
        read = read_settings("{" + re.sub(r"(\w+)\s*=", r"\1: ", text) + "}", "")
        given = {word: typed(value) if isinstance(value, str) else None for word, value in read.items()}
    except UsageError:
        given = {"": None}
    if not all(word.isidentifier() and value is not None for word, value in given.items()):
        raise UsageError(f"can't read {name}({text})", f"{name}(argument=value, argument=value)")
    for word in given.keys() & set(SETTLED):
        raise UsageError(f"{name}: {word} is no argument here", f"--{word.replace('_', '-')}")
    return dict(given)


def _diagram(text: str, name: str) -> Plan:
    from striate.diagram.expand import expand
    from striate.diagram.parser import parse

    def make(shape: Shape, num_classes: int | None) -> "nn.Module":
        from striate.diagram import build

        return build(text, input_shape=shape, num_classes=num_classes)

    asked = expand(parse(text), {})[0].args
    wants = (asked.get("c"), asked.get("h"), asked.get("w"))
    return Plan(name, {"kind": "diagram", "name": name, "text": text}, wants, make)


def _factory(name: str) -> Plan:
    module_name, _, attribute = name.partition(":")
    try:
        factory = getattr(_imported(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"can't find {name}: {error}", "expected package.module:factory") from error
    accepted = inspect.signature(factory).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in accepted.values())

    def make(shape: Shape, num_classes: int | None) -> "nn.Module":
        from torch import nn

        from striate.diagram.meta import uncompiled

        known = {"num_classes": num_classes, "in_chans": shape[0]}
        given = {k: v for k, v in known.items() if v is not None and k in accepted}
        if anything and num_classes is not None:
            given["num_classes"] = num_classes
        try:
            network = factory(**given)
        except TypeError as error:
            raise UsageError(f"{name} can't be called: {error}") from error
        if not isinstance(network, nn.Module):
            raise UsageError(f"{name} gives a {type(network).__name__}, expected an nn.Module")
        network = uncompiled(network)  # the engine decides what is compiled, and model files have plain names
        _widen(name, network)
        if num_classes is not None:
            _try_out(name, network, shape, num_classes)
        _end_in_logits(name, network, shape)
        return network

    return Plan(attribute, {"kind": "factory", "name": name}, (None, None, None), make)


def _imported(name: str) -> ModuleType:
    """The module, looked for in the current folder first, as `python -m` would."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(here)


def _widen(name: str, network: "nn.Module") -> None:
    """Let foreign code compute in float32, and tell where it did otherwise."""
    import torch

    found = {p.dtype for p in network.parameters() if p.is_floating_point()} - {torch.float32}
    if found:
        network.float()
        given = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in found))
        warnings.warn(Note(f"{name} has weights in {given}, which become float32"), stacklevel=2)


def _end_in_logits(name: str, network: "nn.Module", shape: Shape) -> None:
    from striate.diagram.ending import take_off_softmax

    if softmax := take_off_softmax(network, shape):
        told = f"{name} ends in a softmax ({softmax}), which is left out: networks give logits"
        warnings.warn(Note(told), stacklevel=2)


def _try_out(name: str, network: "nn.Module", shape: Shape, num_classes: int) -> None:
    """Raise UsageError unless foreign code takes an image of `shape` and gives a number for every class."""
    import torch

    training = network.training
    try:
        with torch.no_grad():
            scores = network.eval()(torch.zeros(1, *shape))
    except Exception as error:
        raise UsageError(f"{name} can't take an image of {shape}: {one_line(error)}") from error
    finally:
        network.train(training)
    found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
    if found != (1, num_classes):
        raise UsageError(f"{name} gives {found} for an image, expected (1, {num_classes})")
