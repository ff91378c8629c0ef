"""`striate export RUN --to FORMAT`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from striate.cli.common import Debug, Json, emit, visible
from striate.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from striate.ship.parity import Certificate
    from striate.ship.speed import Timing

LAYOUTS = ("torchvision", "timm", "keras")
KINDS = "onnx|openvino|torch|torchvision|timm|keras"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="run folder or model file", show_default=False)],
    to: Annotated[str, typer.Option("--to", metavar=KINDS, help="kind of file, or whose weights")] = "onnx",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="file to write; default: model.* in the run")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="eight bits, calibrated on pictures of the train split")
    ] = False,
    images: Annotated[
        int, typer.Option("--images", min=1, help="pictures of the test split to compare on")
    ] = 256,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DATA", help="pictures to compare on; default: the run's own"),
    ] = None,
    opset: Annotated[
        int | None, typer.Option("--opset", metavar="N", help="version of ONNX's operators; default: torch's")
    ] = None,
    max_drop: Annotated[
        float, typer.Option("--max-drop", min=0, max=1, help="accuracy that --int8 may lose")
    ] = 0.02,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="size and speed of every file exported beside this one")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write one file from raw pixels to probabilities, and prove it.

    For torchvision, timm and keras: the weights alone, in their layout.
    """
    from dataclasses import asdict

    if to in LAYOUTS:
        if int8 or benchmark or opset is not None:
            raise UsageError(
                f"--to {to} writes weights alone: nothing to quantise, to time or to have an opset",
                "--to onnx",
            )
        from striate.train.hand_over import hand_over

        done = hand_over(run, to, output, images, data)
        emit(done, as_json, f"{visible(done['path'])}: read back, logits within {done['max_abs_diff']:.1g}")
        return

    from striate.ship.extra import needs

    needs("onnx", "onnxscript", "onnxruntime", "openvino")
    from striate.ship.export import beside
    from striate.ship.export import export as write

    certificate = write(run, to, output, int8=int8, images=images, max_drop=max_drop, data=data, opset=opset)
    result = certificate.to_json()
    shown: list[Table | str] = [_told(certificate)]
    if benchmark or int8:
        from striate.ship.speed import timings

        rows = (
            timings(beside(Path(certificate.path)))
            if benchmark
            else _before_and_after(run, certificate, data)
        )
        result["benchmark"] = [asdict(row) for row in rows]
        shown.append(_table(rows))
    emit(result, as_json, *shown)


def _before_and_after(run: Path, small: "Certificate", data: str | None) -> "list[Timing]":
    """Size and speed of the same network in 32 bits and in eight."""
    from dataclasses import replace
    from tempfile import TemporaryDirectory

    from striate.ship.export import export
    from striate.ship.speed import timings

    path = Path(small.path)
    with TemporaryDirectory() as folder:
        whole = export(
            run,
            "openvino" if path.suffix == ".xml" else "onnx",
            Path(folder) / path.name,
            images=1,
            data=data,
        )
        rows = timings([Path(whole.path), path], seconds=1.0)
    return [replace(row, path=str(path)) for row in rows]


def _told(c: "Certificate") -> str:
    return (
        f"{visible(c.path)}: on {c.n} pictures with {c.runtime}, top-1 equal for {c.top1_agreement:.2%}, "
        f"probabilities within {c.max_abs_diff:.1g}; accuracy {c.accuracy:.2%}, the network's "
        f"{c.reference_accuracy:.2%}"
    )


def _table(rows: "list[Timing]") -> "Table":
    from rich.table import Table

    table = Table(
        "file", "runtime", "precision", "MB", "ms, batch 1", "ms, batch 16", box=None, header_style="bold"
    )
    for column in table.columns[3:]:
        column.justify = "right"
    for r in rows:
        numbers = (f"{r.megabytes:.2f}", f"{r.ms_batch_1:.2f}", f"{r.ms_batch_16:.2f}")
        table.add_row(visible(Path(r.path).name), r.runtime, r.precision, *numbers)
    return table
