"""`striate anatomy NET`, and `striate anatomy --compare NET NET...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.common import Debug, InputShape, Json, NumClasses, console, emit, shape
from striate.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from torch import nn

    from striate.net import Net

GIB = 1 << 30


def anatomy(
    nets: Annotated[
        list[str],
        typer.Argument(
            metavar="NET",
            help="zoo name, name(argument=value), diagram or file of one, run, or package.module:factory",
        ),
    ],
    image: InputShape = None,
    num_classes: NumClasses = None,
    batch: Annotated[
        int | None,
        typer.Option("-b", "--batch", min=1, help="show the memory of a training step of N images"),
    ] = None,
    opt: Annotated[str, typer.Option("--opt", metavar="NAME", help="optimiser of that step")] = "adamw",
    precision: Annotated[
        str, typer.Option("--precision", metavar="fp32|bf16|fp16", help="arithmetic of that step")
    ] = "fp32",
    fit: Annotated[
        float | None,
        typer.Option("--fit", metavar="GIB", help="find the largest batch that so much memory trains"),
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="several networks side by side, timed")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Every number of a network before it is trained."""
    from striate.net import resolve

    if len(nets) > 1 and not compare:
        raise UsageError(f"{len(nets)} networks", "one NET, or --compare NET NET...; quote a diagram")
    networks = [resolve(net, shape(image), num_classes, values=compare) for net in nets]
    if compare:
        _compare(nets, networks, as_json)
        return
    found, *shown = _one(networks[0], batch, opt, precision, fit)
    emit(found, as_json, *shown)


def _one(net: "Net", batch: int | None, opt: str, precision: str, fit: float | None) -> tuple[Any, ...]:
    """What scripts read, then what people read."""
    from striate.anatomy import anatomy, largest_batch, memory, savings
    from striate.anatomy.render import human_bytes, render

    result = anatomy(net.module, net.input_shape, batch or 1, name=net.name)
    found: dict[str, Any] = result.to_json()
    needed, lines = None, []
    if batch:
        needed = memory(net.module, net.input_shape, batch, opt, precision)
        saved = savings(net.module, net.input_shape, needed)
        found |= {"memory": needed.to_json(), "savings": saved}
        lines = [
            "\nto save memory  "
            + ", ".join(f"{how}: {human_bytes(n)}" for how, n in saved.items() if n and n > 0)
        ]
    if fit is not None:
        found["largest_batch"] = largest_batch(net.module, net.input_shape, int(fit * GIB), opt, precision)
        lines.append(
            f"largest batch   {found['largest_batch']:,} images train in {fit:g} GiB: {opt}, {precision}"
        )
    page: RenderableType = render(result, console().width, needed)
    return found, page, *lines


def _compare(words: list[str], networks: "list[Net]", as_json: bool) -> None:
    from striate.anatomy import compare

    names = [net.name for net in networks]
    names = [name if names.count(name) == 1 else f"{name} {i}" for i, name in enumerate(names, 1)]
    accuracies = {
        name: a for name, word in zip(names, words, strict=True) if (a := _accuracy(word)) is not None
    }
    named: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
        name: (net.module, net.input_shape) for name, net in zip(names, networks, strict=True)
    }
    comparison = compare(named, accuracies)
    emit(comparison.to_json(), as_json, comparison.table())


def _accuracy(word: str) -> float | None:
    """On the test split, where the network comes from a finished run."""
    from striate.plan import is_diagram
    from striate.train import Run

    if is_diagram(word) or not (Path(word) / "summary.json").is_file():
        return None

    return Run.open(word).summary["test_accuracy"]
