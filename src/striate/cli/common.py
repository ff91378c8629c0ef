"""What every verb shares: its flags, how results are printed, and how failures are told in one line."""

import json
import math
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from striate.errors import StriateError, UsageError, nearest

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Json = Annotated[
    bool, typer.Option("--json", help="end stdout with one line of JSON; all else goes to stderr")
]
Debug = Annotated[bool, typer.Option("--debug", help="show the trace behind an error")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="run folder", show_default=False)]
NetWord = Annotated[
    str,
    typer.Argument(
        metavar="NET",
        help="zoo name, name(argument=value), diagram or file of one, run, or package.module:factory",
    ),
]
InputShape = Annotated[
    str | None, typer.Option("--input", metavar="H,W,C", help="size of the image; default: what NET asks for")
]
NumClasses = Annotated[int | None, typer.Option("--num-classes", help="classes of the last layer")]


class Verbs(TyperGroup):
    """A set of verbs that answers an unknown one with the nearest three."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands:
            known = nearest(args[0], self.commands) or f"one of {', '.join(self.commands)}"
            raise UsageError(f"unknown verb {args[0]!r}", known)
        return super().resolve_command(ctx, args)


class Grouped(TyperCommand):
    """A verb whose help shows its flags under headings, those without one first."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            argument = param.param_type_name == "argument"
            heading = "Arguments" if argument else getattr(param, "rich_help_panel", None) or "Options"
            if (record := param.get_help_record(ctx)) is not None:
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def console(stderr: bool = False) -> "Console":
    """A rich console that leaves brackets in file names alone and doesn't fold tables in a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, markup=False, highlight=False, width=None if stream.isatty() else 200)


def emit(result: Any, as_json: bool, *shown: "RenderableType") -> None:
    """Print `result` as the JSON that scripts read, or what people read in its place."""
    if as_json:
        print(json.dumps(_finite(result)), flush=True)
        return
    for part in shown:
        print(part, flush=True) if isinstance(part, str) else console().print(part)


def one_of(value: str, known: Iterable[str], flag: str) -> str:
    """`value`, or a usage error that names the nearest of `known`."""
    known = tuple(known)
    if value in known:
        return value
    raise UsageError(
        f"{flag}: unknown value {value!r}", nearest(value, known) or f"one of {', '.join(known)}"
    )


def shape(text: str | None) -> tuple[int, int, int] | None:
    """`28,28,1` -> (1, 28, 28): people write height, width, channels; tensors are (c, h, w)."""
    if text is None:
        return None
    try:
        h, w, c = (int(part) for part in text.lower().replace("x", ",").split(","))
    except ValueError:
        raise UsageError(f"--input: expected H,W,C such as 28,28,1, got {text!r}") from None
    if min(h, w, c) < 1:
        raise UsageError(f"--input: sizes start at 1, got {text}")
    return c, h, w


def visible(text: object) -> str:
    """Text from a file name or a label, with control characters (newlines, terminal codes) spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def complain(error: Exception, trace: bool) -> int:
    """Tell on stderr why the job failed, one line of cause and one of hint; returns the exit code."""
    if isinstance(error, BrokenPipeError):  # `striate models | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if trace:
        traceback.print_exception(error)
    message, hint, code = _explain(error)
    lines = [f"error: {message}"] + [f"hint: {hint}"] * bool(hint)
    print("\n".join(visible(line) for text in lines for line in text.split("\n")), file=sys.stderr)
    return code


def _explain(error: Exception) -> tuple[str, str, int]:
    if isinstance(error, StriateError):
        return str(error), error.hint, error.exit_code
    if isinstance(error, typer.TyperException):
        return _explain_usage(error)
    if isinstance(error, OSError):
        where = f": {error.filename}" if isinstance(error.filename, str | os.PathLike) else ""
        return f"{error.strerror or error}{where}", "", 1
    cause = " ".join(str(error).split())
    return f"internal error: {type(error).__name__}: {cause}; run with --debug", "", 1


def _explain_usage(error: typer.TyperException) -> tuple[str, str, int]:
    """typer's own complaints: flags, missing arguments, values of the wrong type."""
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} --help" if context else ""
    if context and hasattr(error, "possibilities"):  # an unknown flag
        option = str(getattr(error, "option_name", ""))
        flags = [flag for param in context.command.get_params(context) for flag in param.opts]
        return f"unknown flag {option}", nearest(option, (f for f in flags if f.startswith("-"))) or hint, 2
    return " ".join(error.format_message().split()), hint, error.exit_code


def _finite(value: Any) -> Any:
    """JSON has no NaN: null stands in."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
