"""What training wraps around a state dict: dictionaries around it, prefixes before its names, averages beside it."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from striate.errors import DataError
from striate.transfer.names import few
from striate.transfer.state import COUNTER, fits

# the usual before the unusual
WRAPPED = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
)
# of weights: what timm takes first, too
AVERAGED = re.compile(r"(?:.*[_.])?(?:ema|swa|average|averaged)(?:[_.].*)?")
COUNTERS = (COUNTER, "n_averaged")  # nothing that is computed depends on them


def inner(content: Any, path: Path) -> tuple[Any, str]:
    """What lies inside all dictionaries around a state dict; where there were several, which was taken."""
    said = ""
    while isinstance(content, Mapping) and not _is_state(content):
        found = {str(key): value for key, value in content.items() if _holds_state(value)}
        if not found:
            break
        key = _chosen(list(found), path)
        if len(found) > 1:
            said = f"{key!r} was taken, not {', '.join(repr(k) for k in found if k != key)}"
        content = found[key]
    return content, said


def _is_state(content: Any) -> bool:
    named = isinstance(content, Mapping) and all(isinstance(key, str) for key in content)
    return named and bool(content) and all(isinstance(value, Tensor) for value in content.values())


def _holds_state(content: Any) -> bool:
    if not isinstance(content, Mapping):
        return False
    return _is_state(content) or any(_holds_state(content[key]) for key in WRAPPED if key in content)


def _chosen(names: Sequence[str], path: Path) -> str:
    """Averaged weights before others, then by the usual names; DataError where neither decides."""
    averaged = [name for name in names if AVERAGED.fullmatch(name)]
    if len(averaged) == 1 or len(names) == 1:
        return (averaged or names)[0]
    usual = [name for name in WRAPPED if name in names]
    if averaged or not usual:
        raise DataError(
            f"{path} holds several sets of weights: {few(averaged or names)}", "save the one you mean alone"
        )
    return usual[0]


def unprefixed(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors under that prefix under which most of `wanted` lies, without it, and what is to be said of that.

    DataError where several prefixes have as much and no name tells which is averaged.
    """
    hits: Counter[str] = Counter()
    for key, value in state.items():
        parts = key.split(".")
        for i in range(len(parts)):
            ours = wanted.get(".".join(parts[i:]))
            if ours is not None and fits(value, ours):
                hits[".".join([*parts[:i], ""])] += 1
    most = max(hits.values(), default=0)
    if hits[""] == most or 2 * most < len(wanted):
        return {key: value for key, value in state.items() if key not in COUNTERS}, ()
    best = [prefix for prefix, n in hits.items() if n == most]
    prefix = _chosen(best, path)
    others = [other for other in best if other != prefix]
    said = [f"the weights under {prefix!r} were taken, not under {few(others)}"] if others else []
    left = [key for key in state if not key.startswith(tuple(best)) and not key.endswith(COUNTERS)]
    said += [f"{len(left)} beside {prefix!r} left out ({few(left)})"] if left else []
    return {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}, tuple(said)
