"""Transforms as a line of text, the way Python calls them: `random_crop(4, reflect), mixup(alpha=0.4)`."""

import ast
import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from striate.data.augment.base import Transform
from striate.errors import UsageError

EXAMPLE = "write transforms as in 'random_crop(4, reflect), horizontal_flip, mixup(alpha=0.4)'"


def parse(text: str) -> list[dict[str, Any]]:
    """Text -> the mappings that `Transform.from_dict` takes; a hyphen in a name counts as an underscore."""
    try:
        tree = ast.parse(re.sub(r"(?<=[a-z])-(?=[a-z])", "_", text.strip()), mode="eval").body
        calls = tree.elts if isinstance(tree, ast.Tuple) else [tree]
        return [_call(node) for node in calls]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        if isinstance(e, UsageError):
            raise
        raise UsageError(f"can't read the augmentation {text[:80]!r}", EXAMPLE) from None


def _call(node: ast.expr) -> dict[str, Any]:
    if isinstance(node, ast.Name):
        return {"name": node.id}
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError
    name = node.func.id
    if any(k.arg is None for k in node.keywords):  # **
        raise ValueError
    keywords = {str(k.arg): _value(k.value) for k in node.keywords}
    if name not in Transform.registry:  # the caller says so; what it was given must not get lost
        return {"name": name, "values": node.args} | keywords
    fields = [f.name for f in dataclasses.fields(Transform.registry[name])]  # type: ignore[arg-type]
    if len(node.args) > len(fields):
        raise UsageError(f"{name} takes {len(fields)} values, got {len(node.args)}")
    return {"name": name} | dict(zip(fields, map(_value, node.args), strict=False)) | keywords


def _value(node: ast.expr) -> Any:
    """A number, a word with or without quotes, or a pair."""
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def spell(transforms: Iterable[Transform]) -> str:
    """The shortest text that `parse` reads back: names, and the fields that aren't at their defaults."""
    return ", ".join(_spelled(t) for t in transforms) or "none"


def _spelled(transform: Transform) -> str:
    fields = dataclasses.fields(transform)  # type: ignore[arg-type]
    changed = [(f.name, v) for f in fields if (v := getattr(transform, f.name)) != f.default]
    return transform.kind() + (f"({', '.join(f'{k}={_word(v)}' for k, v in changed)})" if changed else "")


def _word(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
