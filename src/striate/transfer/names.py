"""What one network's layers are called in two libraries, and whether a set of weights fits.

A family's rules are (regular expression, name) pairs. The first expression that matches the whole of our
layer's name gives the peer's: a template as for `re.Match.expand`, or a function of the match and of the
number of the block that the layer sits in (blocks are counted through all stages, from 0). A `#` in a name
stands for 0, 1, 2, ... in order of appearance.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import nn

from striate.errors import UsageError

Rule = tuple[str, str | Callable[[re.Match[str], int], str]]
Rules = Sequence[Rule]


def layers(module: nn.Module) -> dict[str, nn.Module]:
    """Every layer that holds weights or statistics of its own, by name."""
    return {name: m for name, m in module.named_modules() if m._parameters or m._buffers}


def apply(rules: Rules, name: str, block: int = -1) -> str | None:
    """What the first rule that knows `name` makes of it."""
    for pattern, to in rules:
        if match := re.fullmatch(pattern, name):
            return match.expand(to) if isinstance(to, str) else to(match, block)
    return None


def peer_names(names: Iterable[str], blocks: Mapping[str, int], rules: Rules) -> dict[str, str] | None:
    """The peer's name of every layer; None as soon as there is a layer that no rule knows."""
    seen: Counter[str] = Counter()
    found = {}
    for ours in names:
        theirs = apply(rules, ours, blocks.get(".".join(ours.split(".")[:3]), -1))
        if theirs is None:
            return None
        found[ours] = theirs.replace("#", str(seen[theirs]))
        seen[theirs] += 1
    return found


def choose(
    module: nn.Module, families: Mapping[str, Rules], peer: str, given: Iterable[str] = ()
) -> tuple[str, dict[str, str]]:
    """The family whose rules know all layers of the module, and the names by them.

    Of several the one with most names in `given`, the peer's layers at hand.
    """
    given = set(given)
    fits = fitting(module, families, peer)
    return max(fits.items(), key=lambda fit: len(given.intersection(fit[1].values())))


def fitting(module: nn.Module, families: Mapping[str, Rules], peer: str) -> dict[str, dict[str, str]]:
    """By family the names of all layers of the module; UsageError where no family knows them all."""
    ours, blocks = layers(module), block_numbers(module)
    by_family = {family: peer_names(ours, blocks, rules) for family, rules in families.items()}
    fits = {family: names for family, names in by_family.items() if names}
    if not fits:
        hint = f"known are those of {', '.join(families)}"
        raise UsageError(f"{peer}'s names for this network are not known", hint=hint)
    return fits


def block_numbers(module: nn.Module) -> dict[str, int]:
    """The number of each block, `stages.conv2.0`, counted through all stages."""
    names = [
        name for name, _ in module.named_modules() if name.startswith("stages.") and name.count(".") == 2
    ]
    return {name: i for i, name in enumerate(names)}


def check(peer: str, missing: Iterable[str], unexpected: Iterable[str], shapes: Iterable[str]) -> None:
    """Raise if anything is on the lists: one line that says how much and names the first few."""
    lists = {"missing": list(missing), "unexpected": list(unexpected), "of another shape": list(shapes)}
    said = [f"{len(found)} {what} ({few(found)})" for what, found in lists.items() if found]
    if said:
        raise UsageError(f"these {peer} weights do not fit: {'; '.join(said)}")


def few(names: Sequence[str], n: int = 4) -> str:
    """The first `n`, on one line whatever they are."""
    said = [ascii(name)[1:-1][:160] for name in names[:n]]  # a file may name them anything, on many lines too
    return ", ".join(said) + (", ..." if len(names) > n else "")


def groups(pattern: str, text: str) -> tuple[str, ...]:
    """The groups of a pattern that matches all of `text`."""
    match = re.fullmatch(pattern, text)
    assert match, f"{text} is not {pattern}"
    return match.groups(default="")
