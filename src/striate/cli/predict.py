"""`striate predict RUN FILE...`."""

from pathlib import Path
from typing import Annotated

import typer

from striate.cli.common import Debug, Json, emit, visible
from striate.errors import UsageError


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="run folder or model file", show_default=False)],
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="images", show_default=False)],
    top: Annotated[int, typer.Option("--top", min=1, help="how many classes to name for each image")] = 3,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what is in each image, and how surely."""
    from rich.table import Table

    from striate.train import Run, checkpoint

    for folder in (file for file in files if file.is_dir()):
        raise UsageError(f"{folder} is a folder", f"name files: {folder}/*")
    model = checkpoint.load(run) if run.is_file() else Run.open(run).model()
    predictions = model.predict(files, top=top)
    table = Table("file", "label", "probability", "then", box=None, header_style="bold")
    table.columns[2].justify = "right"
    for row in predictions:
        others = [f"{visible(name)} {p:.1%}" for name, p in list(row["top"].items())[1:]]
        table.add_row(
            visible(row["file"]), visible(row["label"]), f"{row['probability']:.1%}", ", ".join(others)
        )
    emit(predictions, as_json, table)
