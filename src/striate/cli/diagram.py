"""`striate diagram NET --to text|python|svg`."""

from pathlib import Path
from typing import Annotated

import typer

from striate.cli.common import Debug, InputShape, Json, NetWord, NumClasses, emit, one_of, shape
from striate.errors import UsageError

SUFFIXES = {".diagram": "text", ".txt": "text", ".py": "python", ".svg": "svg"}


def diagram(
    net: NetWord,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="text|python|svg", help="what to write; default: as --output ends, or text"
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="file to write; default: stdout", dir_okay=False)
    ] = None,
    image: InputShape = None,
    num_classes: NumClasses = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print a network as text, PyTorch source or SVG."""
    kind = _kind(to, output)
    from striate import diagram as room
    from striate.files import write_text
    from striate.net import resolve

    network = resolve(net, shape(image), num_classes)
    write = {"text": room.to_text, "python": room.to_python, "svg": room.to_svg}[kind]
    written = write(network.module, network.input_shape)
    if output:
        write_text(output, written)
        emit({"net": network.name, "to": kind, "path": str(output)}, as_json, str(output))
    else:
        emit({"net": network.name, "to": kind, kind: written}, as_json, written.rstrip("\n"))


def _kind(to: str | None, output: Path | None) -> str:
    """What is asked for, by name or by the end of the file's name; raises UsageError where they disagree."""
    by_name = SUFFIXES.get(output.suffix.lower()) if output else "text"
    if to is None and by_name is None:
        raise UsageError(
            f"{output}: can't tell what to write", f"--to, or a name that ends in {', '.join(SUFFIXES)}"
        )
    kind = one_of(to or by_name or "", dict.fromkeys(SUFFIXES.values()), "--to")
    if output and by_name not in (None, kind):
        raise UsageError(f"--to {kind} and a file of {by_name}, {output}", "leave --to out")
    return kind
