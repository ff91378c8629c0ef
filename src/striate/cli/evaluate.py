"""`striate evaluate RUN [DATA]`."""

from typing import TYPE_CHECKING, Annotated

import typer

from striate.cli.common import Debug, Json, RunPath, emit, visible

if TYPE_CHECKING:
    from rich.table import Table

    from striate.train.metrics import Evaluation


def evaluate(
    run: RunPath,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="data of the same classes; default: the run's own")
    ] = None,
    split: Annotated[str, typer.Option("--split", metavar="train|val|test", help="which split")] = "test",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a trained network, class by class."""
    from striate.cli.common import one_of
    from striate.train import Run

    one_of(split, ("train", "val", "test"), "--split")
    evaluation = Run.open(run).evaluate(data, split=split)
    emit(
        evaluation.to_json(),
        as_json,
        per_class(evaluation),
        f"accuracy {evaluation.accuracy:.2%}, loss {evaluation.loss:.4f}, {len(evaluation):,} images",
    )


def per_class(evaluation: "Evaluation") -> "Table":
    """The report that scikit-learn users know."""
    from rich.table import Table

    table = Table("class", *("precision", "recall", "F1", "images"), box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in evaluation.per_class:
        ratios = (f"{x:.1%}" for x in (row.precision, row.recall, row.f1))
        table.add_row(visible(row.name), *ratios, f"{row.support:,}")
    return table
