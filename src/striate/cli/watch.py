"""`striate watch RUN SOURCE`."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from striate.cli.common import Debug, Json, emit


def watch(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="run, model or exported file", show_default=False)
    ],
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="folder, video, or number of a camera", show_default=False)
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="how many classes to name for each picture")] = 3,
    once: Annotated[bool, typer.Option("--once", help="of a folder, only what lies there now")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="stop after this many pictures")] = None,
    engine: Annotated[
        str, typer.Option("--engine", metavar="auto|openvino|onnx|torch", help="what computes")
    ] = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Classify what a folder, video or camera brings, one by one.

    Every picture is one line of JSON on stdout.
    """
    from striate.ship import load
    from striate.ship.watch import watch as rows

    for row in islice(rows(load(run, engine), source, top, once), limit):
        emit(row, as_json=True)
