"""The OpenAPI description as a page that needs no script from elsewhere."""

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>striate: routes</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root { color-scheme: light dark } body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto;
padding: 0 1rem; overflow-wrap: anywhere } h2 { font: 600 1rem ui-monospace, monospace; margin: 2rem 0 .3rem }
p { margin: .6rem 0 .2rem } dl { margin: 0; display: grid; grid-template-columns: minmax(6rem, 50%) 1fr;
gap: .1rem 1rem } dt { font: .88rem/1.7 ui-monospace, monospace } dd { margin: 0 } a { color: inherit }
</style><h1>striate: routes</h1><p>For programs: <a href="openapi.json">/openapi.json</a></p>"""


def page(schema: Mapping[str, Any]) -> str:
    """Every route with what it takes and what it answers, then what the refusals mean, those of all routes once."""
    routes = [
        (f"{method.upper()} {path}", told)
        for path, methods in schema["paths"].items()
        for method, told in methods.items()
    ]
    why = {s: r["description"] for _, told in routes for s, r in told["responses"].items() if s >= "400"}
    always = set(why).intersection(*(told["responses"] for _, told in routes))
    return "".join(
        [
            HEAD,
            *(part for name, told in routes for part in _route(name, told, always)),
            '<h2 id="refusals">Refusals</h2>',
            *_table(sorted(why.items())),
            f"<p>Every route may refuse with {', '.join(sorted(always))}.</p>",
        ]
    )


def _route(name: str, told: Mapping[str, Any], always: set[str]) -> Iterator[str]:
    yield f"<h2>{escape(name)}</h2>"
    takes = [(p["name"], p.get("description") or _kind(p["schema"])) for p in told.get("parameters", ())]
    bodies = [(kind, "body") for kind in told.get("requestBody", {}).get("content", ())]
    if takes or bodies:
        yield "<p>Takes</p>"
        yield from _table(takes + bodies)
    answers = [k for status, r in told["responses"].items() if status < "400" for k in r.get("content", ())]
    own = sorted(status for status in told["responses"] if status >= "400" and status not in always)
    refused = f', or <a href="#refusals">refuses</a> with {", ".join(own)}' if own else ""
    yield f"<p>Answers {escape(' or '.join(answers))}{refused}</p>"


def _table(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield "<dl>"
    yield from (f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in rows)
    yield "</dl>"


def _kind(schema: Mapping[str, Any]) -> str:
    return " or ".join(map(str, schema["enum"])) if "enum" in schema else str(schema.get("type", ""))
