"""The records in a run folder, checked as they are read: one that was cut or edited is named, with the way out."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field
from torch import Tensor
from typing_extensions import TypedDict

from striate.data.stored import Splits
from striate.errors import DataError
from striate.files import check, parse
from striate.train.checkpoint import load_state

STRICT = ConfigDict(strict=True, extra="allow")
# of metrics.csv, that others count on
COLUMNS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "images_per_second",
)


class Outcome(TypedDict):
    """What `summary.json` says of a run without its parts."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    run: str
    epochs: int
    train_seconds: float
    val_accuracy: float | None
    test_accuracy: float | None


class Summary(Outcome):
    """What `summary.json` says."""

    images_per_second: float
    params: int
    best_epoch: NotRequired[int]
    skipped: NotRequired[dict[str, str]]
    scratch: NotRequired[Outcome]


class Environment(TypedDict):
    """What `environment.json` says of where a run goes on as it would have."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    striate: str
    torch: str
    device: str
    precision: str


class Gradient(TypedDict):
    """How a layer's gradient is: its root mean square, None where it is no number."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    rms: float | None


class Activity(TypedDict):
    """How an activation fares."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    layer: str
    kind: str
    mean: float
    std: float
    dead: float
    saturated: float


class Histogram(TypedDict):
    """How a layer's weights lie."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    layer: str
    low: Annotated[float, Field(allow_inf_nan=False)]
    high: Annotated[float, Field(allow_inf_nan=False)]
    counts: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Look(TypedDict):
    """A line of `health.jsonl`."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    epoch: int
    images: int
    gradients: list[Gradient]
    activities: list[Activity]
    weights: list[Histogram]


class Rows(TypedDict):
    """What `Record` keeps."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    rows: list[dict[str, float]]


class Listeners(TypedDict):
    """What listeners keep, by their kind."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    Record: Rows


class State(TypedDict):
    """What a state says beside its tensors."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    epoch: int
    step: int
    seen: int
    rate: float
    stop: str
    batch_size: Annotated[int, Field(ge=1)]
    seconds: float
    groups: list[dict[str, Any]]
    scaler: dict[str, Any]
    listeners: Listeners


def read_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of the newest state of a run."""
    tensors, facts = load_state(folder / "last")
    return tensors, dict(
        check(State, facts, f"the newest state in {folder / 'last'} is damaged", "start a new run")
    )


def read_summary(folder: Path) -> dict[str, Any]:
    """The outcome of a run."""
    return dict(parse(Summary, *_read(folder / "summary.json", _again(folder))))


def read_environment(folder: Path) -> dict[str, Any]:
    """What a run ran on."""
    hint = _again(folder, " --allow-changes")
    return dict(parse(Environment, *_read(folder / "environment.json", hint)))


def read_command(folder: Path) -> str:
    """The command line that repeats a run."""
    return _read(folder / "command.txt", "an empty file in its place will do")[0].strip()


def read_splits(folder: Path) -> dict[str, Any]:
    """Which image is in which split."""
    hint = f"the run's own splits are lost: start a new run, or `striate evaluate {folder} DATA`"
    return dict(parse(Splits, *_read(folder / "splits.json", hint)))


def read_history(folder: Path) -> list[dict[str, float]]:
    """Rows of metrics, one an epoch from 1 on; none before the first epoch has ended."""
    path = folder / "metrics.csv"
    if not path.exists():
        return []
    text, where, hint = _read(path, _again(folder))
    try:
        lines = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise DataError(f"{where}: {error}", hint) from None
    head = lines[0] if lines else []
    if gone := next((name for name in COLUMNS if name not in head), None):
        raise DataError(f"{where}: column {gone} is missing", hint)
    rows = []
    for number, cells in enumerate(lines[1:], 1):
        try:
            row = {name: float(cell) for name, cell in zip(head, cells, strict=True) if cell}
        except ValueError:
            raise DataError(f"{where}, line {number + 1}: expected {len(head)} numbers", hint) from None
        if row.get("epoch") != number or any(name not in row for name in COLUMNS):
            raise DataError(f"{where}, line {number + 1}: expected the figures of epoch {number}", hint)
        rows.append(row)
    return rows


def read_health(folder: Path) -> list[dict[str, Any]]:
    """What was noted about the layers, a line an epoch; nothing where nothing was."""
    path = folder / "health.jsonl"
    if not path.exists():
        return []
    text, where, hint = _read(path, "remove the line, or the file: the report does without")
    looks: list[dict[str, Any]] = [
        dict(parse(Look, line, f"{where}, line {n}", hint)) for n, line in enumerate(text.splitlines(), 1)
    ]
    for n, look in enumerate(looks, 1):
        if _bins(look) != _bins(looks[0]) or not all(sum(h["counts"]) for h in look["weights"]):
            raise DataError(f"{where}, line {n}: its weights are not those of line 1", hint)
    return looks


def _bins(look: dict[str, Any]) -> Sequence[tuple[str, int]]:
    return [(h["layer"], len(h["counts"])) for h in look["weights"]]


def _again(folder: Path, flag: str = "") -> str:
    return f"`striate train --resume {folder}{flag}` writes it again"


def _read(path: Path, hint: str) -> tuple[str, str, str]:
    """The text of a file, its name, and the hint for whom it isn't what it should be."""
    try:
        return path.read_text(encoding="utf-8"), str(path), hint
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}", hint) from None
    except UnicodeDecodeError:
        raise DataError(f"{path} can't be read: it is no text in UTF-8", hint) from None
