"""The anatomy as a table for the terminal; the narrower the terminal, the fewer the columns."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from striate.anatomy.anatomy import Anatomy, Pair, Row
    from striate.anatomy.memory import Memory

TYPE, FIELD, FORMULA, ACTIVATIONS = 56, 66, 100, 120  # the terminal widths from which these columns are shown


def render(a: Anatomy, width: int = 100, memory: Memory | None = None) -> RenderableType:
    """Rows, totals, memory, advice."""
    parts: list[RenderableType] = [_rows(a, width), _totals(a)]
    if memory:
        parts += [_memory(memory)]
    if a.advice:
        parts += [_advice(a)]
    return Group(*parts)


def _rows(a: Anatomy, width: int) -> Table:
    table = Table(title=_title(a), title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", overflow="fold")
    if width >= TYPE:
        table.add_column("type", style="cyan", overflow="fold")
    table.add_column("output", justify="right", overflow="fold")
    table.add_column("params", justify="right", style="green")
    if width >= FORMULA:
        table.add_column("= formula", style="dim", overflow="fold")
    table.add_column("MACs", justify="right", style="magenta")
    if width >= FIELD:
        table.add_column("field", justify="right", style="yellow")
        table.add_column("jump", justify="right", style="yellow")
    if width >= ACTIVATIONS:
        table.add_column("memory", justify="right", style="blue")
    for row, following in pairwise((*a.rows, None)):
        assert row is not None
        cells = [row.name, *[row.type] * (width >= TYPE), _shape(row.output)]
        cells += [f"{row.params:,}" if row.params else ""]
        cells += [row.formula] * (width >= FORMULA)
        cells += ["unknown" if row.macs is None else f"{row.macs:,}" if row.macs else ""]
        cells += [human_pair(row.receptive_field), human_pair(row.jump)] * (width >= FIELD)
        cells += [human_bytes(row.activation_bytes) if row.activation_bytes else ""] * (width >= ACTIVATIONS)
        table.add_row(*cells, style="" if _matters(row) else "dim", end_section=_ends(row, following))
    return table


def _title(a: Anatomy) -> Text:
    return Text.assemble(
        (a.name, "bold"), f"  input {_shape(a.input_shape)}, batch {a.batch}\n", style="default"
    )


def _matters(row: Row) -> bool:
    """Layers that have weights or shrink the map stand out."""
    return bool(row.params or row.macs != 0 or "Pool" in row.type or "pool" in row.type)


def _ends(row: Row, following: Row | None) -> bool:
    """A line of space between the outermost parts of a deep network."""
    return following is not None and "." in row.name and _stage(row.name) != _stage(following.name)


def _stage(name: str) -> str:
    return name.partition(".")[0]


def _totals(a: Anatomy) -> Text:
    bound = "at least " if a.unknown else ""
    lines = [
        f"parameters      {a.params:,}"
        + (f", {a.trainable:,} trainable" if a.trainable != a.params else "")
        + (
            f" (Keras counts {a.params_keras:,} with running statistics)"
            if a.params_keras != a.params
            else ""
        ),
        f"multiply-adds   {bound}{a.macs:,} for one image, of convolutions, linear layers and matrix products",
        f"receptive field {_field(a)}",
        f"activations     {human_bytes(a.activation_bytes)} for a batch of {a.batch}",
        f"on disk         {human_bytes(a.disk_bytes)}",
    ]
    if a.comparisons:
        lines.insert(2, f"comparisons     {a.comparisons:,} in max-pooling")
    if a.unknown:
        lines.append(f"not counted     {', '.join(a.unknown)}")
    if a.unused:
        lines.append(
            "not used here   " + ", ".join(f"{name} ({n:,} parameters)" for name, n in a.unused.items())
        )
    return Text("\n" + "\n".join(lines))


def _field(a: Anatomy) -> str:
    if a.refused:
        extent = f" (a value sees pixels up to {human_pair(a.extent)} apart)" if a.extent else ""
        return f"refused: {a.refused}{extent}"
    if not a.receptive_field:
        return "none: the input is no image"
    if not a.padding:
        return f"{human_pair(a.receptive_field)} pixels"
    return (
        f"{human_pair(a.receptive_field)} pixels, one value every {human_pair(a.jump)}; "
        f"the first looks {human_pair(a.padding)} beyond the image"
    )


def _memory(m: Memory) -> Text:
    return Text(
        f"\nto train        {human_bytes(m.training)} at the peak: batch {m.batch}, {m.optimiser}, {m.precision}\n"
        f"  weights {human_bytes(m.weights)}, gradients {human_bytes(m.gradients)}, "
        f"optimiser {human_bytes(m.optimiser_state)}, kept for backward {human_bytes(m.kept)}\n"
        f"to run          {human_bytes(m.inference)}"
    )


def _advice(a: Anatomy) -> Text:
    text = Text("\nadvice\n", style="bold")
    for advice in a.advice:
        mark, style = ("!", "bold red") if advice.level == "warning" else ("-", "dim")
        text.append(f"  {mark} ", style)
        text.append(f"{advice.rule}: ", "bold not italic")
        text.append(f"{advice.text}\n", "not bold")
    text.rstrip()
    return text


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def human_pair(pair: Pair | None) -> str:
    """`11`, or `5x7` where height and width differ."""
    return "" if pair is None else str(pair[0]) if pair[0] == pair[-1] else f"{pair[0]}x{pair[-1]}"


def human_bytes(n: int) -> str:
    """Three digits and a unit of 1024: 98.3 MiB."""
    size = float(n)
    for unit in ("B", "KiB", "MiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"
