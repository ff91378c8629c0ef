"""The packages of the extra `ship`, asked for only by what uses them."""

from importlib.util import find_spec

from striate.errors import UsageError


def needs(*packages: str) -> None:
    """Raise UsageError where one of `packages` isn't installed."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise UsageError(f"{', '.join(missing)} not installed", "pip install 'striate[ship]'")
