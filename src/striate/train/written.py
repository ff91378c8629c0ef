"""Recipes as they are written: from settings and YAML files, changed, and back to YAML."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from striate.errors import UsageError, nearest, shown
from striate.settings import read_settings, typed
from striate.train.nature import natures, no_say
from striate.train.recipe import Recipe


def recipe(
    settings: Mapping[str, Any], config: Path | str | None = None, asked: Collection[str] | None = None
) -> Recipe:
    """Defaults, then the YAML file `config`, then `settings`; raises UsageError that names the field at fault.

    `asked` are the fields that must have a say: by default all of `settings`, and those of the file that are not as
    they are by default.
    """
    given = {k: v for k, v in settings.items() if v is not None}
    config = Path(config) if config else None
    written = read_yaml(config) if config else {}
    if asked is None:
        asked = given.keys() | {k for k, v in written.items() if not _is_default(k, v)}
    try:
        return Recipe.model_validate({**written, **given}, context={"asked": asked})
    except ValidationError as error:
        field = error.errors()[0]["loc"][:1]
        at_fault = field and field[0] in written and field[0] not in given
        raise UsageError(*_explain(error, config if at_fault else None)) from None


def stored(config: Path) -> Recipe:
    """The recipe that a run has written, everything effective; what has no say in it is as by default."""
    try:
        return heeded(recipe({}, config, asked=()))
    except UsageError as error:
        where = "" if str(config) in str(error) else f"{config}: "
        raise UsageError(f"{where}{error}", error.hint) from None


def altered(r: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with `changes`, which must have a say; what loses its own is as by default."""
    return heeded(recipe({**r.model_dump(), **changes}, asked=changes))


def heeded(r: Recipe) -> Recipe:
    """The recipe with all that has no say in it as by default."""
    idle = [name for name, nature in natures(Recipe) if no_say(r, nature)]
    return r.model_copy(update={name: Recipe.model_fields[name].default for name in idle})


def _is_default(name: str, value: Any) -> bool:
    """Whether a file's value, as it was typed, is what the field is without it."""
    if name not in Recipe.model_fields:
        return False
    default = Recipe.model_fields[name].default
    if isinstance(default, bool) and isinstance(value, str):
        with suppress(ValidationError):
            return TypeAdapter(bool).validate_python(value) == default
    return default in (value, typed(value))


def to_yaml(r: Recipe) -> str:
    """The recipe as YAML, every field with what it means."""
    lines = []
    for name, field in Recipe.model_fields.items():
        value = getattr(r, name)
        text = yaml.safe_dump(
            list(value) if isinstance(value, tuple) else value, default_flow_style=True, width=10_000
        )
        lines.append(f"{name}: {text.removesuffix('...' + chr(10)).strip()}  # {field.description}")
    return "\n".join(lines) + "\n"


def read_yaml(config: Path) -> dict[str, Any]:
    """The fields in the YAML file `config`, each as it was typed."""
    try:
        content = read_settings(config.read_text(encoding="utf-8"), str(config))
    except OSError as error:
        raise UsageError(f"can't read {config}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"can't read {config}: it is no text in UTF-8") from None
    if not isinstance(content, dict):
        raise UsageError(f"{config}: expected `field: value` lines")
    return content


def _explain(error: ValidationError, config: Path | None) -> tuple[str, str]:
    first = error.errors()[0]
    field = shown(first["loc"][0]).strip("'") if first["loc"] else "recipe"
    where = f"{config}: " if config else ""
    if first["type"] in ("extra_forbidden", "invalid_key"):
        return f"{where}unknown field {field}", nearest(field, Recipe.model_fields)
    if first["type"] == "missing":
        return f"{where}{field} is missing", Recipe.model_fields[field].description or ""
    if isinstance(cause := first.get("ctx", {}).get("error"), UsageError):
        return f"{where}{field}: {cause}" if first["loc"] else f"{where}{cause}", cause.hint
    reason = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    reason = "a valid integer" if first["type"] == "int_parsing_size" else reason
    hint = ""
    if first["type"] == "literal_error":
        hint = nearest(str(first["input"]), reason.replace(" or ", ", ").replace("'", "").split(", "))
    if field == "recipe":
        return where + reason, hint
    return f"{where}{field}: expected {reason}, got {shown(first['input'])}", hint
