"""The search space: recipe fields and the values they may take.

As text: `lr=1e-4..1e-2:log`, `batch_size=32..256:32`, `opt=adamw,muon`. In the recipe's YAML file under `search`, the
text after the `=`, or a list of values.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from striate.errors import UsageError, nearest
from striate.train.nature import natures
from striate.train.recipe import Recipe

if TYPE_CHECKING:
    from optuna import Trial

Value = bool | int | float | str
NUMBER = r"[+-]?[\d.]+(?:e[+-]?\d+)?"
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
    given: dict[str, Any] = dict(mapping or {})
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise UsageError(
                f"--search {text}: expected FIELD=VALUES", "such as lr=1e-4..1e-2:log or opt=adamw,muon"
            )
        given[name.strip().replace("-", "_")] = values.strip()
    found, known = {}, dict(natures(Recipe))
    for name, values in given.items():
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
        values = [yaml.safe_load(part) for part in values.split(",")]
    if not isinstance(values, list) or not values or not all(isinstance(v, Value) for v in values):
        raise UsageError(f"search: {name}: expected a list of values or LOW..HIGH, got {values!r}")
    return Choice(tuple(_number(v) if isinstance(v, str) else v for v in values))


def _range(name: str, low: str, high: str, how: str | None) -> Range:
    log = how == "log"
    found = Range(_plain(low), _plain(high), log, _plain(how) if how and not log else None)
    if not found.low < found.high or (log and found.low <= 0) or (found.step is not None and found.step <= 0):
        raise UsageError(
            f"search: {name}={low}..{high}: expected a lower and a higher number" + ", both positive" * log
        )
    return found


def _number(text: str) -> Value:
    """YAML reads 1e-4 as text."""
    return _plain(text) if re.fullmatch(NUMBER, text, re.IGNORECASE) else text


def _plain(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
