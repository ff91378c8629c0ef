"""`striate evaluate RUN [DATA]`."""

import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.common import Debug, Json, RunPath, emit, visible
from striate.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from striate.train.metrics import Evaluation

MATRIX_CLASSES = 20  # a larger matrix doesn't fit a terminal
FIRST = 10  # of the confusions that are listed in its place


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
    top: Annotated[
        int | None,
        typer.Option("--top", min=2, help="among how many classes to look for the truth; default: 5 of more"),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a trained network, class by class.

    DATA is prepared as the run prepares, its classes matched by name. Images that the run knows stay in the split that
    they were in; what is left out, missing, or was trained on is told on stderr and as `notes` of the JSON.
    """
    from striate.cli.common import one_of
    from striate.train import Run
    from striate.train.labels import LabelEvaluation

    if split is not None:
        one_of(split, ("train", "val", "test"), "--split")
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # the notes tell it too
        evaluation = Run.open(run).evaluate(data, split=split)
    for note in evaluation.notes:
        print(f"note: {visible(note)}", file=sys.stderr)
    figures = evaluation.to_json()
    shown: tuple[RenderableType, ...]
    if not isinstance(evaluation, LabelEvaluation):
        figures |= _among_the_first(evaluation, top)
        shown = table(figures["per_class"], "class"), *confusion(evaluation)
    elif top is None:
        shown = (table(figures["per_label"], "label"),)
    else:
        raise UsageError("--top is of one class an image; these images have several labels", "leave it out")
    emit(figures, as_json, *shown, summary(figures))


def _among_the_first(evaluation: "Evaluation", top: int | None) -> dict[str, float]:
    k = len(evaluation.classes)
    if top is not None and top >= k:
        raise UsageError(f"--top {top}: of {k} classes, the truth is always among them", "a smaller number")
    top = top or 5
    return {f"top_{top}": evaluation.top(top)} if top < k else {}


def summary(figures: dict[str, Any]) -> str:
    """The figures of the whole split in one line."""
    names = {"map": "mean average precision", "accuracy": "accuracy"}
    names |= {name: name.replace("_", "-") for name in figures if name.startswith("top_")}
    names |= {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}
    said = [f"{head} {figures[name]:.2%}" for name, head in names.items() if name in figures]
    return ", ".join((*said, f"loss {figures['loss']:.4f}", f"{figures['n']:,} images"))


def confusion(evaluation: "Evaluation") -> "tuple[RenderableType, ...]":
    """The matrix, a row a true class and a column what it was taken for; of many classes the commonest confusions."""
    from rich.table import Table

    from striate.train.report import confusions

    names = [visible(name) for name in evaluation.classes]
    if len(names) > MATRIX_CLASSES:
        listed = [
            f"  {visible(t)} taken for {visible(p)}: {n:,}" for t, p, n in confusions(evaluation)[:FIRST]
        ]
        return ("", "\n".join(["most frequent confusions", *listed])) if listed else ()
    short = all(len(name) <= 6 for name in names)
    heads = names if short else [str(i) for i in range(1, len(names) + 1)]
    rows = names if short else [f"{i} {name}" for i, name in enumerate(names, 1)]
    shown = Table("is, taken for", *heads, box=None, header_style="bold")
    for column in shown.columns[1:]:
        column.justify = "right"
    for name, counts in zip(rows, evaluation.confusion.tolist(), strict=True):
        shown.add_row(name, *(f"{n:,}" if n else "·" for n in counts))
    return "", shown, ""


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
