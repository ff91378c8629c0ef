"""`striate predict RUN FILE...`."""

from pathlib import Path
from typing import Annotated

import typer

from striate.cli.common import Debug, Json, emit, visible


def predict(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="run, model or exported file", show_default=False)
    ],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="images, folders, videos", show_default=False)
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="how many classes to name for each image")] = 3,
    engine: Annotated[
        str, typer.Option("--engine", metavar="auto|openvino|onnx|torch", help="what computes")
    ] = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what is in each image, and how surely."""
    from rich.table import Table

    from striate.ship.predictor import load_for

    predictions = [p.to_json() for p in load_for(run, files, engine)(files, top)]
    table = Table("file", "label", "probability", "then", box=None, header_style="bold")
    table.columns[2].justify = "right"
    for row in predictions:
        others = [f"{visible(name)} {p:.1%}" for name, p in list(row["top"].items())[1:]]
        table.add_row(
            visible(row["file"]), visible(row["label"]), f"{row['probability']:.1%}", ", ".join(others)
        )
    emit(predictions, as_json, table)
