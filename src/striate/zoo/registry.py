"""The register of networks: a card beside each builder, and `build(name)`.

Cards are read from `golden.json` (written by `scripts/zoo_table.py`), so listing the zoo imports no torch.
"""

import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from functools import cache, partial
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from striate.errors import UsageError, nearest

if TYPE_CHECKING:
    from torch import nn

GOLDEN = Path(__file__).with_name("golden.json")
KINDS: dict[Any, tuple[type, str]] = {  # of arguments
    bool: (bool, "true or false"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "a word"),
}


@dataclass(frozen=True, slots=True)
class Card:
    """What the author of a network says about it; `params` are trainable, for the default arguments."""

    name: str
    family: str
    paper: str  # arXiv number, DOI, or where it was published
    year: int
    input: tuple[int, int, int]  # (c, h, w)
    min_side: int  # px, the smallest image the network can digest
    params: int


Builder = TypeVar("Builder", bound=Callable[..., "nn.Module"])
_registered: dict[str, tuple[Card, Callable[..., "nn.Module"]]] = {}


def register(card: Card) -> Callable[[Builder], Builder]:
    """Store the decorated builder under its card; a name can be taken once."""

    def keep(builder: Builder) -> Builder:
        if card.name in _registered:
            raise ValueError(f"two networks are called {card.name!r}")
        _registered[card.name] = (card, builder)
        return builder

    return keep


def cards(pattern: str | None = None) -> tuple[Card, ...]:
    """Every card whose name or family matches a shell pattern (`*50*`), or contains it, in order of name."""
    known = {name: _card_of(name, record) for name, record in golden().items()}
    known |= {name: card for name, (card, _) in _registered.items()}
    return tuple(known[name] for name in sorted(known) if pattern is None or _matches(known[name], pattern))


def card(name: str) -> Card:
    """The card of one network."""
    if name in _registered:
        return _registered[name][0]
    if name not in golden():
        raise _unknown(name)
    return _card_of(name, golden()[name])


def build(
    name: str,
    num_classes: int | None = None,
    in_chans: int | None = None,
    img_size: int | None = None,
    **kwargs: Any,
) -> "nn.Module":
    """The network called `name`, with random weights; what is not given is as published.

    `img_size` (px) builds those networks whose first dense layer fixes the input for that size; the others
    take any size from `card(name).min_side` on, and a smaller one is refused here.
    """
    card, builder = _builder(name)
    taken = inspect.signature(builder).parameters
    for word, value in (("num_classes", num_classes), ("in_chans", in_chans), ("img_size", img_size)):
        if value is not None and value < 1:
            raise UsageError(f"{name}: {word} must be at least 1, got {value}")
    if img_size is not None and img_size < card.min_side:
        raise UsageError(
            f"{name} needs images of at least {card.min_side}x{card.min_side}, got {img_size}x{img_size}"
        )
    given = {"num_classes": num_classes, "in_chans": in_chans, **kwargs}
    if "img_size" in taken:
        given["img_size"] = img_size
    given = {word: value for word, value in given.items() if value is not None}
    for word in given.keys() - taken.keys():
        hint = nearest(word, taken) or f"it takes {', '.join(taken)}"
        raise UsageError(f"{name} takes no argument {word!r}", hint=hint)
    _check_values(name, builder, given)
    try:
        return builder(**given)
    except ValueError as error:  # a rate beyond 1, in torch's words
        raise error if isinstance(error, UsageError) else UsageError(f"{name}: {error}") from error


def arguments(name: str, peer: str) -> dict[str, Any]:
    """What `build` must be given for the network to compute what the `peer`'s does with the same weights.

    The file of a network says so under the peer's name in capitals: `KERAS = {"padding": "same", ...}`.
    """
    builder = _builder(name)[1]
    function = builder.func if isinstance(builder, partial) else builder
    return dict(getattr(sys.modules[function.__module__], peer.upper(), {}))


@cache
def golden() -> dict[str, dict[str, Any]]:
    """What was measured of every network, by name: see `scripts/zoo_table.py`."""
    return json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}


def registered() -> dict[str, Card]:
    """Every card in the code itself (imports torch): the source that `golden.json` is made from."""
    import striate.zoo.papers  # noqa: F401  (importing a paper's file registers its networks)

    return {name: card for name, (card, _) in sorted(_registered.items())}


def card_fields(card: Card) -> dict[str, Any]:
    """The card as `golden.json` keeps it."""
    fields = asdict(card)
    del fields["name"]
    return {**fields, "input": list(card.input)}


def _card_of(name: str, record: dict[str, Any]) -> Card:
    words = {word: record[word] for word in ("family", "paper", "year", "min_side", "params")}
    return Card(name=name, input=tuple(record["input"]), **words)


def _builder(name: str) -> tuple[Card, Callable[..., "nn.Module"]]:
    if name not in _registered:
        registered()
    if name not in _registered:
        raise _unknown(name)
    return _registered[name]


def _check_values(name: str, builder: Callable[..., "nn.Module"], given: dict[str, Any]) -> None:
    """Refuse what is of another type than the builder says, or not among the values that a Literal allows."""
    hints = get_type_hints(builder.func if isinstance(builder, partial) else builder)
    for word, value in given.items():
        hint = hints.get(word)
        choices = get_args(hint)
        if get_origin(hint) is Literal and value not in choices:
            raise UsageError(f"{name}: {word} is one of {', '.join(map(str, choices))}, got {value!r}")
        kinds, expected = KINDS.get(hint, (object, ""))
        if not isinstance(value, kinds) or (isinstance(value, bool) and hint in (int, float)):
            raise UsageError(f"{name}: {word} is {expected}, got {value!r:.60}")


def _matches(card: Card, pattern: str) -> bool:
    return any(fnmatch(text, pattern) or pattern in text for text in (card.name, card.family))


def _unknown(name: str) -> UsageError:
    return UsageError(
        f"no network is called {name!r}",
        hint=nearest(name, {*golden(), *_registered}) or "`striate models` lists them all",
    )
