"""`striate evaluate RUN [DATA]`."""

import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.common import Debug, Json, RunPath, emit, visible

if TYPE_CHECKING:
    from rich.table import Table


def evaluate(
    run: RunPath,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="data of the same classes; default: the run's own")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split", metavar="train|val|test", help="which split; default: test, or all of DATA without one"
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a trained network, class by class."""
    from striate.cli.common import one_of
    from striate.train import Run

    if split is not None:
        one_of(split, ("train", "val", "test"), "--split")
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # the notes tell it too
        evaluation = Run.open(run).evaluate(data, split=split)
    for note in evaluation.notes:
        print(f"note: {visible(note)}", file=sys.stderr)
    figures = evaluation.to_json()
    said = f"mean average precision {figures['map']:.2%}, " if "map" in figures else ""
    emit(
        figures,
        as_json,
        table(figures["per_label"], "label")
        if "per_label" in figures
        else table(figures["per_class"], "class"),
        f"{said}accuracy {evaluation.accuracy:.2%}, loss {evaluation.loss:.4f}, {len(evaluation):,} images",
    )


def table(rows: list[dict[str, Any]], first: str) -> "Table":
    """The report that scikit-learn users know, with average precision where a row has it."""
    from rich.table import Table

    columns = {"average_precision": "AP", "precision": "precision", "recall": "recall", "f1": "F1"}
    columns = {name: head for name, head in columns.items() if name in rows[0]}
    shown = Table(first, *columns.values(), "images", box=None, header_style="bold")
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in rows:
        ratios = ("–" if row[name] != row[name] else f"{row[name]:.1%}" for name in columns)
        shown.add_row(visible(row["name"]), *ratios, f"{row['support']:,}")
    return shown
