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
    _settle(table, width)
    return table


def _settle(table: Table, width: int) -> None:
    """Where every cell fits, say so: rich then need not measure and fold, which takes a third of its time."""
    widest = [max(map(len, (str(c.header), *map(str, c.cells)))) for c in table.columns]
    if sum(widest) + len(widest) <= width:
        for column, cells in zip(table.columns, widest, strict=True):
            column.width, column.no_wrap = cells, True


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


def _totals(a: Anatomy) -> Table:
    keras = f" (Keras counts {a.params_keras:,}, with running statistics)"
    facts = {
        "parameters": f"{a.params:,}" + keras * (a.params_keras != a.params),
        "trainable": f"{a.trainable:,}" * (a.trainable != a.params),
        "not used here": ", ".join(f"{name} ({n:,} parameters)" for name, n in a.unused.items()),
        "multiply-adds": f"{'at least ' * bool(a.unknown)}{a.macs:,} for one image: convolutions, linear layers, "
        "matrix products",
        "not counted": ", ".join(a.unknown),
        "comparisons": f"{a.comparisons:,} in max-pooling" * bool(a.comparisons),
        "receptive field": _field(a),
        "activations": f"{human_bytes(a.activation_bytes)} for a batch of {a.batch}",
        "on disk": human_bytes(a.disk_bytes),
    }
    return _facts(facts)


def _field(a: Anatomy) -> str:
    if a.refused:
        return f"refused: {a.refused}" + f"; off centre, a value sees {human_pair(a.extent)} pixels" * bool(
            a.extent
        )
    if not a.receptive_field:
        return "none: the input is no image"
    text = f"{human_pair(a.receptive_field)} pixels"
    if a.padding and a.jump:
        text += f", one value every {human_pair(a.jump)}"
        text += f"; the first looks {human_pair(a.padding)} beyond the image" * any(a.padding)
    return text


def _memory(m: Memory) -> Table:
    parts = f"weights {human_bytes(m.weights)}, gradients {human_bytes(m.gradients)}, "
    parts += f"optimiser {human_bytes(m.optimiser_state)}, kept for backward {human_bytes(m.kept)}"
    return _facts(
        {
            "to train": f"{human_bytes(m.training)} at the peak: batch {m.batch}, {m.optimiser}, {m.precision}",
            "of which": parts,
            "to run": human_bytes(m.inference),
        }
    )


def _facts(facts: dict[str, str]) -> Table:
    """Names and texts, what is empty left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True, min_width=15)
    grid.add_column(overflow="fold")
    grid.add_row()
    for name, text in facts.items():
        if text:
            grid.add_row(name, text)
    return grid


def _advice(a: Anatomy) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row()
    for advice in a.advice:
        mark = Text("!", "bold red") if advice.level == "warning" else Text("-", "dim")
        grid.add_row(mark, Text.assemble((f"{advice.rule}: ", "bold"), advice.text))
    return grid


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
