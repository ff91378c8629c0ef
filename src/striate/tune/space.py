"""The search space: recipe fields and the values they may take.

As text: `lr=1e-4..1e-2:log`, `batch_size=32..256:32`, `opt=adamw,muon`. In the recipe's YAML file under `search`, the
text after the `=`, or a list of values.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from striate.errors import UsageError, nearest
from striate.settings import typed
from striate.train.nature import natures
from striate.train.recipe import Recipe

if TYPE_CHECKING:
    from optuna import Trial

Value = bool | int | float | str
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
RANGE = re.compile(rf"({NUMBER})\.\.({NUMBER})(?::(log|{NUMBER}))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values."""

    values: tuple[Value, ...]

    def __str__(self) -> str:
        return ",".join(map(str, self.values))

    def suggest(self, name: str, trial: "Trial") -> Value:
        """The value that the sampler chooses."""
        return trial.suggest_categorical(name, self.values)  # type: ignore[return-value]  # None isn't among them

    def grid(self, name: str) -> tuple[Value, ...]:
        """Every value."""
        return self.values

    @property
    def ends(self) -> tuple[Value, ...]:
        """Every value: its recipe is checked before the first trial."""
        return self.values


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones if both ends are whole."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __str__(self) -> str:
        how = "log" if self.log else self.step
        return f"{self.low}..{self.high}" + (f":{how}" if how else "")

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return all(isinstance(v, int) for v in (self.low, self.high, self.step or 1))

    def suggest(self, name: str, trial: "Trial") -> Value:
        """The value that the sampler chooses."""
        if self.whole:
            return trial.suggest_int(
                name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log
            )
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def grid(self, name: str) -> tuple[Value, ...]:
        """Every step; raises UsageError without one."""
        if self.step is None:
            raise UsageError(
                f"a grid needs steps: {name}={self} has none",
                f"{name}=A,B,C or {name}=A..B:STEP",
            )
        count = int((self.high - self.low) / self.step + 1e-9) + 1
        kind = int if self.whole else float
        return tuple(kind(self.low + i * self.step) for i in range(count))

    @property
    def ends(self) -> tuple[Value, ...]:
        """The extreme values, whose recipes are checked before the first trial."""
        return self.low, self.high


Axis = Choice | Range


def axes(texts: Sequence[str] = (), mapping: Mapping[str, Any] | None = None) -> dict[str, Axis]:
    """The axes of a search: those of a YAML mapping, replaced and joined by `name=values` texts.

    Raises UsageError where a name is no recipe field or values can't be read.
    """
    if not isinstance(mapping, Mapping | None):
        raise UsageError(f"search: expected `field: values` lines, got {mapping!r:.100}")
    searched: dict[str, str] = {}
    for text in texts:
        name, equals, values = (part.strip() for part in text.partition("="))
        name = name.replace("-", "_")
        if not equals or not values:
            raise UsageError(
                f"--search {text}: expected FIELD=VALUES", "such as lr=1e-4..1e-2:log or opt=adamw,muon"
            )
        if name in searched:
            raise UsageError(f"--search {name} is given twice")
        searched[name] = values
    found, known = {}, dict(natures(Recipe))
    for name, values in {**(mapping or {}), **searched}.items():
        if name not in known:
            raise UsageError(f"search: {name} is no field to search", nearest(name, known))
        if known[name].search == "no":
            raise UsageError(f"search: {name} is the same for all trials, or they couldn't be compared")
        found[name] = _axis(name, values)
    if not found:
        raise UsageError("nothing to search", "--search lr=1e-4..1e-2:log, or `search:` in the --config file")
    return found


def _axis(name: str, values: Any) -> Axis:
    if isinstance(values, str):
        match = RANGE.fullmatch(values)
        if match:
            return _range(name, *match.groups())
        values = _listed(values)
    if not isinstance(values, list) or not values or not all(isinstance(v, Value) for v in values):
        raise UsageError(f"search: {name}: expected a list of values or LOW..HIGH, got {values!r:.100}")
    found = tuple(typed(v) if isinstance(v, str) else v for v in values)
    if doubled := [v for i, v in enumerate(found) if v in found[:i]]:
        raise UsageError(f"search: {name}: {doubled[0]} is listed twice")
    if None in found:
        raise UsageError(f"search: {name}: a value is missing in {','.join(map(str, values)):.100}")
    return Choice(found)


def _listed(text: str) -> list[str]:
    """What commas separate, but for those inside brackets; brackets about all of it are YAML's."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    parts, depth = [""], 0
    for c in text:
        depth += (c in "([") - (c in ")]")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts]


def _range(name: str, low: str, high: str, how: str | None) -> Range:
    log = how is not None and how.lower() == "log"
    step = _plain(how) if how and not log else None
    found = Range(_plain(low), _plain(high), log, step)
    positive = (found.low > 0 or not log) and (step is None or step > 0)
    if not (found.low < found.high < inf and positive):
        raise UsageError(
            f"search: {name}={low}..{high}: expected a lower and a higher number" + ", both positive" * log
        )
    return found


def _plain(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
