"""`striate predict RUN FILE...`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from striate.cli.common import Debug, Json, emit, visible
from striate.errors import DataError


def predict(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="run, model or exported file", show_default=False)
    ],
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="images, folders, videos; - is standard input", show_default=False
        ),
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="how many classes to name for each image")] = 3,
    engine: Annotated[
        str, typer.Option("--engine", metavar="auto|openvino|onnx|torch", help="what computes")
    ] = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what is in each image, and how surely.

    What can't be read is named, and the exit code is 3. Images that the run was trained on are told on stderr.
    """
    from rich.table import Table

    from striate.data.tree import Folder, told
    from striate.ship.predictor import Unreadable, load_for

    answers = list(load_for(run, files, engine).attempts(files, top))
    for folder in filter(Path.is_dir, files):
        for line in told(Folder(str(folder)).passed()):
            print(visible(f"{folder}: {line}"), file=sys.stderr)
    bad = [answer for answer in answers if isinstance(answer, Unreadable)]
    table = Table("file", "label", "probability", "then", box=None, header_style="bold")
    table.columns[2].justify = "right"
    for row in (answer.to_json() for answer in answers if not isinstance(answer, Unreadable)):
        others = [f"{visible(name)} {p:.1%}" for name, p in list(row["top"].items())[1:]]
        table.add_row(
            visible(row["file"]), visible(row["label"]), f"{row['probability']:.1%}", ", ".join(others)
        )
    if table.row_count:
        emit([answer.to_json() for answer in answers], as_json, table)
    if run.is_dir() and (seen := _seen(run, [answer.source for answer in answers if answer not in bad])):
        print(f"note: {seen}", file=sys.stderr)
    if len(bad) == 1:
        raise bad[0].error
    if bad:
        causes = "\n".join(str(one.error) for one in bad)
        raise DataError(f"{len(bad)} of {len(answers)} images can't be read\n{causes}")


def _seen(run: Path, names: list[str]) -> str:
    from striate.train import Run

    return Run.open(run).seen(names)
