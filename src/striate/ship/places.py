"""Which files belong together: a model, its weights, its certificate, its facts."""

from pathlib import Path


def files(path: Path) -> list[Path]:
    """An exported file and what belongs to it: of `.xml` the weights in `.bin`."""
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def certificate_path(path: Path) -> Path:
    """Where the certificate of an exported file lies."""
    return path.with_name(f"{path.name}.certificate.json")


def facts_path(path: Path) -> Path:
    """Where an exported file's facts lie, for runtimes that don't read its metadata."""
    return path.with_name(f"{path.name}.facts.json")
