"""`striate data download NAME`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from striate.cli.common import Debug, Json, Verbs, console, emit

if TYPE_CHECKING:
    from striate.data.fetch import Progress as Report

data = typer.Typer(cls=Verbs, help="Download images.", rich_markup_mode=None)


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

    with _bar() as report:
        found = fetch(name, folder, offline=offline, progress=report)
    emit({"name": name, "folder": str(found)}, as_json, str(found))


@contextmanager
def _bar() -> Iterator["Report | None"]:
    """A bar for each file, in a terminal."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=out, transient=True) as live:
        tasks = {}

        def report(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = live.add_task(file, total=total)
            live.update(tasks[file], completed=done)

        yield report
