"""The command line: `main(argv)` does one job, returns its exit code. One file a verb; `common` for all."""

import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Annotated, Any

import typer

from striate import __version__
from striate.cli.common import Grouped, Verbs, complain, visible
from striate.cli.progress import is_first
from striate.errors import Note

VERBS = (
    "train",
    "tune",
    "evaluate",
    "predict",
    "explain",
    "report",
    "export",
    "serve",
    "watch",
    "anatomy",
    "diagram",
    "models",
    "data",
    "bench",
)
WITH_RECIPE = ("train", "tune")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `striate ARGV...`: 0 ok, 1 the run failed, 2 bad usage, 3 bad data, 130 and 143 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a stream that a test or a notebook put there
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        with _termination_unwinds(), _notes_on_stderr():
            code = application(words)(words or ["--help"], standalone_mode=False, prog_name="striate")
        sys.stdout.flush()  # here, where a reader that has gone away can still be dealt with
        return (code or 0) if words else 2
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except Exception as error:
        return complain(error, trace="--debug" in words)


def application(words: Sequence[str]) -> typer.Typer:
    """Every verb; those of WITH_RECIPE get its flags, which cost an import of pydantic, only when `words` asks."""
    app = typer.Typer(
        cls=Verbs,
        add_completion=False,
        rich_markup_mode=None,
        callback=_root,
        subcommand_metavar="VERB ...",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in VERBS:
        verb = getattr(import_module(f"{__name__}.{name}"), name)
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=name)
        else:
            recipe = name in WITH_RECIPE
            command = app.command(name, cls=Grouped if recipe else None)
            command(verb(spelled_out=name in words[:1]) if recipe else verb)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Design a convolutional network in one line of text, see every number, train it, take it apart."""


@contextmanager
def _notes_on_stderr() -> Iterator[None]:
    """What the library notes as a warning is a line of its own here, told once."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", Note)
        others, told = warnings.showwarning, set[str]()

        def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, Note):
                others(message, category, *where, **more)
            elif is_first() and str(message) not in told:
                told.add(str(message))
                print(f"note: {visible(message)}", file=sys.stderr)

        warnings.showwarning = show
        yield


@contextmanager
def _termination_unwinds() -> Iterator[None]:
    """SIGTERM and SIGHUP leave through `finally`, as Ctrl-C does, so that work is put away; a second one kills."""

    def leave(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(128 + number)

    before: dict[int, Any] = {}
    with suppress(ValueError):  # not the main thread: whoever owns it handles signals
        for number in filter(None, (signal.SIGTERM, getattr(signal, "SIGHUP", None))):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                before[number] = signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
