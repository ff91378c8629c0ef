"""`striate models [PATTERN]`: the zoo as a table, without importing torch."""

from typing import Annotated, Any

import typer

from striate.cli.common import Debug, Json, emit
from striate.errors import UsageError, nearest


def models(
    pattern: Annotated[
        str | None,
        typer.Argument(metavar="PATTERN", help="part of a name or family, or a shell pattern such as '*50*'"),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the networks of the zoo."""
    from rich.table import Table

    rows = _rows(pattern)
    if not rows:
        known = {row["name"] for row in _rows(None)} | {row["family"] for row in _rows(None)}
        raise UsageError(f"no network matches {pattern!r}", nearest(pattern or "", known))
    table = Table(
        "name", "family", "paper", "year", "input", "parameters", "multiply-adds", "receptive field", box=None
    )
    table.header_style = "bold"
    for column in table.columns[3:]:
        column.justify = "right"
    for row in rows:
        c, h, w = row["input"]
        field = row["receptive_field"]
        table.add_row(
            *(
                row["name"],
                row["family"],
                row["paper"],
                str(row["year"]),
                f"{h}x{w}x{c}",
                f"{row['params']:,}",
            ),
            "" if row["macs"] is None else f"{row['macs']:,}",
            "" if field is None else "x".join(map(str, field)) if isinstance(field, list) else str(field),
        )
    emit(rows, as_json, table)


def _rows(pattern: str | None) -> list[dict[str, Any]]:
    from striate.zoo.registry import cards, golden

    measured = golden()
    return [
        {
            "name": card.name,
            "family": card.family,
            "paper": card.paper,
            "year": card.year,
            "input": list(card.input),
            "params": card.params,
            "macs": measured.get(card.name, {}).get("macs"),
            "receptive_field": measured.get(card.name, {}).get("receptive_field"),
        }
        for card in cards(pattern)
    ]
