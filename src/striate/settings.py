"""Settings in YAML: each value is the text that was typed, as on the command line, so none is taken for another.

In YAML 1.1, `off` is False, 30:0.1 is 1800.1, 010 is 8, and of two equal keys the second counts. Nor are there tags,
anchors and aliases: what is read is made of lists, mappings, text and None.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from striate.errors import UsageError

LONGEST = 1 << 18  # characters; a recipe with every field has 8,000
MOST, DEEPEST = 8000, 16  # values, and how far one may lie inside others
LONG = 400  # digits: more than any float has
NOTHING = ("", "~", "null", "Null", "NULL")
INTEGER, DECIMAL = r"[-+]?\d+", r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?"


def read_settings(text: str, where: str) -> Any:
    """What `text` holds; raises UsageError with line and column, after `where`, for what isn't simple YAML."""
    if len(text) > LONGEST:
        raise UsageError(f"{where}: {len(text):,} characters; settings have at most {LONGEST:,}")
    try:
        return _Reader(yaml.parse(text, yaml.SafeLoader), where).document()
    except UsageError:
        raise
    except yaml.MarkedYAMLError as error:
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise _fault(where, error.problem_mark, f"no YAML: {problem}") from None
    except (yaml.YAMLError, ValueError) as error:  # characters that may not be in YAML
        raise UsageError(f"{where}: no YAML: {' '.join(str(error).split())}") from None


def typed(value: Any) -> Any:
    """Text as the number or truth value that it is in YAML 1.2, None for `null`; in lists and mappings too.

    >>> typed(["true", "010", "1e-3", ".5", "off", "30:0.1", "null"])
    [True, 10, 0.001, 0.5, 'off', '30:0.1', None]
    """
    if isinstance(value, list):
        return [typed(item) for item in value]
    if isinstance(value, dict):
        return {name: typed(item) for name, item in value.items()}
    if not isinstance(value, str):
        return value
    if value in NOTHING:
        return None
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if re.fullmatch(INTEGER, value) and len(value) < LONG:
        return int(value)
    return float(value) if re.fullmatch(DECIMAL, value, re.IGNORECASE) else value


class _Reader:
    """Lists, mappings and text out of the parser's events."""

    def __init__(self, events: Iterator[Any], where: str) -> None:
        self.events, self.where, self.values = events, where, 0

    def document(self) -> Any:
        next(self.events)  # the stream begins
        begins = next(self.events)
        if isinstance(begins, yaml.StreamEndEvent):
            return None
        found = self._node(next(self.events), 0)
        next(self.events)  # the document ends
        another = next(self.events)
        if not isinstance(another, yaml.StreamEndEvent):
            raise self._refused(another, "a second document begins")
        return found

    def _node(self, event: Any, depth: int) -> Any:
        if getattr(event, "anchor", None) or isinstance(event, yaml.AliasEvent):
            raise self._refused(event, "anchors and aliases have no meaning here")
        if event.tag not in (None, "!"):
            raise self._refused(event, f"the tag {event.tag:.40} has no meaning here")
        self.values += 1
        if depth > DEEPEST or self.values > MOST:
            raise self._refused(event, f"more than {MOST:,} values, or {DEEPEST} one inside the other")
        if isinstance(event, yaml.ScalarEvent):
            return None if event.value in NOTHING and event.style is None else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._node(item, depth + 1) for item in self._items(yaml.SequenceEndEvent)]
        return self._mapping(depth)

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        marks: dict[str, Any] = {}
        for key in self._items(yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise self._refused(key, "expected a name before the colon")
            if key.value in found:
                raise self._refused(key, f"{key.value} is set already, in line {marks[key.value].line + 1}")
            self._node(key, depth)
            marks[key.value] = key.start_mark
            found[key.value] = self._node(next(self.events), depth + 1)
        return found

    def _items(self, end: type) -> Iterator[Any]:
        while not isinstance(event := next(self.events), end):
            yield event

    def _refused(self, event: Any, why: str) -> UsageError:
        return _fault(self.where, event.start_mark, why)


def _fault(where: str, mark: Any, why: str) -> UsageError:
    return UsageError(f"{where}, line {mark.line + 1}, column {mark.column + 1}: {why}")
