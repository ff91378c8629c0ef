"""The OpenAPI description as a page that needs no script from elsewhere."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>striate: routes</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root { color-scheme: light dark } body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto;
padding: 0 1rem } h2 { font: 600 1rem ui-monospace, monospace; margin: 2rem 0 .3rem } dl { margin: 0; display: grid;
grid-template-columns: max-content 1fr; gap: 0 1rem } dt { font-family: ui-monospace, monospace } dd { margin: 0 }
</style><h1>striate: routes</h1><p>For programs: <a href="openapi.json">/openapi.json</a></p>"""


def page(schema: Mapping[str, Any]) -> str:
    """Every route with what it takes and what it answers."""
    return HEAD + "".join(
        part
        for path, methods in schema["paths"].items()
        for method, told in methods.items()
        for part in _route(path, method, told)
    )


def _route(path: str, method: str, told: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2>{method.upper()} {escape(path)}</h2>"
    takes = [(p["name"], p.get("description") or _kind(p["schema"])) for p in told.get("parameters", ())]
    bodies = [(kind, "body") for kind in told.get("requestBody", {}).get("content", ())]
    answers = [(status, answer["description"]) for status, answer in told["responses"].items()]
    for name, pairs in (("Takes", takes + bodies), ("Answers", answers)):
        if pairs:
            yield f"<p>{name}</p><dl>"
            yield from (f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in pairs)
            yield "</dl>"


def _kind(schema: Mapping[str, Any]) -> str:
    return " or ".join(map(str, schema["enum"])) if "enum" in schema else str(schema.get("type", ""))
