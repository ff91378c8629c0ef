"""`striate diagram NET --to text|python|svg`."""

from pathlib import Path
from typing import Annotated

import typer

from striate.cli.common import Debug, InputShape, Json, NetWord, NumClasses, emit, one_of, shape


def diagram(
    net: NetWord,
    to: Annotated[str, typer.Option("--to", metavar="text|python|svg", help="what to write")] = "text",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="file to write; default: stdout", dir_okay=False)
    ] = None,
    image: InputShape = None,
    num_classes: NumClasses = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print a network as text, PyTorch source or SVG."""
    one_of(to, ("text", "python", "svg"), "--to")
    from striate import diagram as room
    from striate.files import write_text
    from striate.net import resolve

    network = resolve(net, shape(image), num_classes)
    write = {"text": room.to_text, "python": room.to_python, "svg": room.to_svg}[to]
    written = write(network.module, network.input_shape)
    if output:
        write_text(output, written)
        emit({"net": network.name, "to": to, "path": str(output)}, as_json, str(output))
    else:
        emit({"net": network.name, "to": to, to: written}, as_json, written.rstrip("\n"))
