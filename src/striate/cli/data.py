"""`striate data check|preview|make|download`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.common import Debug, Json, Verbs, console, emit, one_of, visible

if TYPE_CHECKING:
    from striate.data.fetch import Progress as Report

data = typer.Typer(cls=Verbs, help="Check, look at, make or download images.", rich_markup_mode=None)

DataWord = Annotated[
    str, typer.Argument(metavar="DATA", help="name, folder, .zip, .npz or .csv", show_default=False)
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="ROLE=NAME,...",
        help="columns of a table: path=file,label=kind; weight= for none",
    ),
]


@data.command()
def check(
    source: DataWord,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", help="draw the images with problems into this file", dir_okay=False),
    ] = None,
    columns: Columns = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Look for what spoils training: damaged files, copies across splits, imbalance; exit code 3 if there is any."""
    from striate.data import check as examine
    from striate.data.sheets import problem_sheet, save
    from striate.data.source import open_source
    from striate.data.table import named_columns

    opened = open_source(source, named_columns(columns))
    with _bar("images") as report:
        found = examine(opened, progress=report and (lambda done, n: report("looking", done, n)))
    drawn = problem_sheet(opened, found) if sheet else None
    result = found.to_dict()
    if sheet and drawn:
        result["sheet"] = str(save(drawn, sheet))
    emit(result, as_json, *map(visible, found.lines()), *([str(sheet)] if drawn else []))
    if not found.ok:
        raise typer.Exit(3)


@data.command()
def preview(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="name, folder, .zip, .npz, .csv, or an image", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="picture to write", dir_okay=False)] = Path(
        "preview.png"
    ),
    augment: Annotated[
        str,
        typer.Option("--augment", metavar="AUGMENT", help="a preset or transforms, as in `striate train`"),
    ] = "photos",
    images: Annotated[int, typer.Option("-n", "--images", min=1, max=1000, help="originals to show")] = 6,
    variants: Annotated[int, typer.Option("--variants", min=1, max=100, help="variants of each")] = 7,
    first: Annotated[
        int | None,
        typer.Option("--first", min=1, max=10_000, help="only show the first N images with their labels"),
    ] = None,
    image: Annotated[
        int | None, typer.Option("--image", min=0, help="only image N: its pixel values and its channels")
    ] = None,
    split: Annotated[
        str, typer.Option("--split", metavar="train|val|test", help="where --first and --image look")
    ] = "train",
    seed: Annotated[int, typer.Option("--seed", min=0, help="decides the variants")] = 0,
    columns: Columns = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw images as the network gets them, beside augmented variants; or one image with its numbers."""
    one_of(split, ("train", "val", "test"), "--split")
    from striate.data import load, sheets
    from striate.data.files import read_head
    from striate.data.kinds import HEAD, is_picture, kind
    from striate.data.table import named_columns
    from striate.data.tree import is_image, told

    single = Path(source).is_file() and (is_image(source) or is_picture(kind(read_head(source, HEAD))))
    if single:
        shown: Any = source
    else:
        found = load(source, columns=named_columns(columns), cache="off")
        for line in (*told(found.passed), *found.notes):
            print(visible(line), file=sys.stderr)
        shown = sheets.pick(found, split, image) if image is not None else found
    if single or image is not None:
        picture, numbers = sheets.planes(shown), sheets.values(shown)
    elif first is not None:
        picture, numbers = sheets.look(shown, first, split=split), ""
    else:
        picture, numbers = sheets.preview(shown, augment, n=images, variants=variants, seed=seed), ""
    path = str(sheets.save(picture, output))
    emit(
        {"picture": path} | ({"values": numbers} if numbers else {}), as_json, *filter(None, (numbers, path))
    )


@data.command()
def make(
    what: Annotated[str, typer.Argument(metavar="shapes", help="what to draw", show_default=False)],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a new or empty folder", show_default=False)],
    classes: Annotated[int, typer.Option("--classes", help="kinds of shapes")] = 3,
    per_class: Annotated[int, typer.Option("--per-class", help="images of each")] = 250,
    size: Annotated[int, typer.Option("--size", help="pixels of a side")] = 96,
    seed: Annotated[int, typer.Option("--seed", min=0, help="decides every pixel")] = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a folder of JPEGs to learn with: coloured shapes on cluttered grounds."""
    one_of(what, ("shapes",), "make")
    from striate.data import make_shapes

    made = make_shapes(folder, classes, per_class, size, seed)
    emit(
        {"folder": str(made), "classes": classes, "images": classes * per_class},
        as_json,
        f"{classes * per_class} images of {classes} classes in {made}",
    )


@data.command()
def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist, fashion_mnist, cifar10 or cifar100")],
    folder: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="default: STRIATE_HOME/data/NAME")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="only say which file belongs where")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Fetch a published data set, verified."""
    from striate.data.published import download as fetch

    with _bar("bytes") as report:
        found = fetch(name, folder, offline=offline, progress=report)
    emit({"name": name, "folder": str(found)}, as_json, str(found))


@contextmanager
def _bar(unit: str) -> Iterator["Report | None"]:
    """A bar for each thing that is counted, in a terminal."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TransferSpeedColumn,
    )

    counts = (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(),)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), *counts, console=out, transient=True
    ) as live:
        tasks = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = live.add_task(name, total=total)
            live.update(tasks[name], completed=done)

        yield report
