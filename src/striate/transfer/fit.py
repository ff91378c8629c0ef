"""How the weights of a file go into a network: whose names they have, and who copies them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from striate import zoo
from striate.errors import UsageError
from striate.transfer import timm, torchvision
from striate.transfer.adapt import first_layer
from striate.transfer.names import choose, few, fitting
from striate.transfer.published import Layout, said_of
from striate.transfer.state import COUNTER, keys, layers_of
from striate.transfer.wrappers import unprefixed
from striate.zoo.network import ZooNet, scorer

Load = Callable[..., None]
PEERS: dict[Layout, tuple[Any, Load]] = {
    "torchvision": (torchvision.FAMILIES, torchvision.load_torchvision),
    "timm": (timm.FAMILIES, timm.load_timm),
}
STYLES = {"legacy_senet": "caffe"}  # families that compute otherwise than their peer's other networks


@dataclass(frozen=True)
class Fit:
    """The peer's key for each of ours; `notes` tell what of the file was taken and what was left."""

    layout: Layout
    arguments: dict[str, Any]
    state: Mapping[str, Any]
    pairs: dict[str, str]
    load: Load
    notes: tuple[str, ...] = ()

    def sizes(self, module: ZooNet) -> tuple[int | None, int]:
        """Classes and input channels of the file; None classes where it has no last layer."""
        head = self._shape(f"head.{scorer(module.head)[0]}.weight")
        first = self._shape(f"{first_layer(module)[0]}.weight")
        last_axis, first_axis = (-1, -2) if self.layout == "keras" else (0, 1)
        return head[last_axis] if head else None, first[first_axis] if len(first) == 4 else module.in_chans

    def _shape(self, key: str) -> tuple[int, ...]:
        value = self.state.get(self.pairs.get(key, key))
        return () if value is None else tuple(value.shape)


def fit_torch(network: str, state: Mapping[str, Tensor], path: Path) -> Fit:
    """The layout whose names explain most of the file; of two with the same names that of who published it."""
    fits, trouble, said = [], None, said_of(network, path)
    state = torchvision.today(state)
    for layout, (families, load) in PEERS.items():
        with torch.device("meta"):
            module = cast(ZooNet, zoo.build(network, **zoo.arguments(network, layout)))
        try:
            theirs = fitting(module, families, layout)
        except UsageError as error:
            trouble = trouble or error
            continue
        bare, notes = unprefixed(state, _under_their_names(module, theirs.values()), path)
        family, names = choose(module, families, layout, layers_of(bare))
        pairs = keys(module, names)
        bare, told = _with_own_head(bare, pairs, module)
        arguments = _arguments(network, layout, family)
        there = sum(key in bare for key in pairs.values()) / len(pairs)
        fit = Fit(layout, arguments, bare, pairs, load, (*notes, *told))
        fits.append(((there, said is not None and said[0] == layout), fit))
    if not fits:
        raise trouble or UsageError(f"nobody's weights for {network} are known")
    return max(fits, key=lambda fit: fit[0])[1]


def _with_own_head(
    state: dict[str, Tensor], pairs: Mapping[str, str], module: ZooNet
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state with the one dense layer where the scoring layer was (`fc.1`) under its name, or without any there."""
    ours = f"head.{scorer(module.head)[0]}.weight"
    layer = pairs[ours].rpartition(".")[0]
    root = f"{layer.partition('.')[0]}."
    own = {key: value for key, value in state.items() if key.startswith(root) and key not in pairs.values()}
    if not own or pairs[ours] in state:
        return state, ()
    base = {key: value for key, value in state.items() if key not in own}
    shapes = [tuple(value.shape[1:]) for value in own.values() if value.ndim > 1]
    if len({key.rpartition(".")[0] for key in own}) == 1 and shapes == [module.state_dict()[ours].shape[1:]]:
        return base | {f"{layer}.{key.rpartition('.')[2]}": value for key, value in own.items()}, ()
    return base, (f"the head was left out ({few(list(own))})",)


def _under_their_names(module: ZooNet, families: Iterable[Mapping[str, str]]) -> dict[str, Tensor]:
    """Our tensors under every name that the peer's families give them, but for counters, which old files lack."""
    ours = module.state_dict()
    pairs = [pair for names in families for pair in keys(module, names).items()]
    return {theirs: ours[mine] for mine, theirs in pairs if not mine.endswith(COUNTER)}


def _arguments(network: str, layout: Layout, family: str) -> dict[str, Any]:
    """What the network is built with to compute as the peer's of this family; UsageError where nothing would do."""
    if family == "legacy_senet" and network in timm.UNLIKE:
        raise UsageError(
            f"timm's legacy_{network} has a ReLU before each gate and {network} none: these weights don't fit"
        )
    return zoo.arguments(network, STYLES.get(family, layout))
