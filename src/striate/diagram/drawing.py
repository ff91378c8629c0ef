"""The parts of a drawing: cards, lines, texts, colours.

Colours are the Okabe-Ito set, lightened so that black text reads on them; lines and labels are a grey that shows on
light and dark pages. The font is monospaced, so that the width of every text is known and nothing overlaps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from striate.diagram.flow import Step
from striate.diagram.kinds import show
from striate.diagram.scene import Card
from striate.diagram.units import UNITS, Shape

GREY = "#767676"
CHAR = 0.602  # of the font size
COLOURS = {
    "convolution": ("#8ecbf1", ("CONV", "DWCONV", "SEPCONV")),
    "pooling": ("#83d3b9", ("POOL", "AVGPOOL", "MINPOOL", "GAP", "GMP", "DEPTHPOOL")),
    "dense": ("#f4b266", ("FC", "DROPCONNECT")),
    "normalisation": ("#d3d8df", ("BN", "LRN")),
    "activation": ("#f5ea84", tuple(name for name, unit in UNITS.items() if unit.before)),
    "noise": ("#e2b5d2", ("DO", "SDO", "DROPPATH")),
    "scaling": ("#f0a384", ("SE", "SCALE")),
    "shape": ("#ececec", ("FLATTEN", "PAD", "ZEROS", "INPUT")),
}
NUMBERS = ("filters", "units", "k", "reduction", "p", "factor", "channels", "sides")  # that a card shows
COLOUR = {unit: colour for colour, units in COLOURS.values() for unit in units}
STYLE = f"""<style>
.striate .l{{fill:none;stroke:{GREY};stroke-width:1.3}} .striate .a{{marker-end:url(#tip)}}
.striate text{{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;text-anchor:middle}}
.striate .t{{font-size:12px;font-weight:bold;fill:#111}} .striate .d{{font-size:11px;fill:#111}}
.striate .s{{font-size:10px;fill:#111}} .striate .g{{font-size:11px;fill:{GREY}}}
.striate .n{{font-size:12px;font-weight:bold;fill:{GREY};text-anchor:start}}
.striate .f{{fill:{GREY};fill-opacity:.06;stroke:{GREY};stroke-opacity:.5}} .striate .r{{stroke-dasharray:5 3}}
</style>"""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture whose line comes in at (0, axis) and goes out at (width, exit)."""

    width: float
    height: float
    axis: float
    exit: float
    body: list[str]
    rows: int = 1
    boxed: bool = False  # the line into it ends here, in an arrowhead


def at(x: float, y: float, body: Sequence[str]) -> str:
    """Something moved to (x, y)."""
    return f'<g transform="translate({x:.1f},{y:.1f})">{"".join(body)}</g>'


def line(path: str, arrow: bool = False) -> str:
    """A line, perhaps with an arrowhead."""
    return f'<path class="l{" a" * arrow}" d="{path}"/>'


def write(kind: str, x: float, y: float, text: str) -> str:
    """A text of one of the kinds in STYLE."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def length(text: str, size: float) -> float:
    """The width of a text in pixels."""
    return len(text) * size * CHAR


def sizes(shape: Shape) -> str:
    """(c, h, w) as h x w x c, the way a diagram's INPUT says it."""
    return "×".join(map(str, (*shape[1:], shape[0])))


# --- cards ----------------------------------------------------------------------------------------


def draw_card(card: Card) -> Drawing:
    """The layer's name and numbers, a strip below for each small layer that follows."""
    main, *strips = card.steps
    detail = _detail(main)
    texts = [(main.unit, 12.0), (detail, 11.0), *((_strip(step), 10.0) for step in strips)]
    width = max(length(text, size) for text, size in texts) + 14
    head = 36 if detail else 24
    height = head + 15 * len(strips)
    tip = escape(" => ".join(card.words) + f"   {sizes(main.x)} -> {sizes(card.y)}")
    body = [f"<title>{tip}</title>", box(0, 0, width, height, COLOUR[main.unit])]
    body.append(write("t", width / 2, 15 if detail else 16, main.unit))
    if detail:
        body.append(write("d", width / 2, 29, detail))
    for i, step in enumerate(strips):
        y = head + 15 * i
        body.append(f'<rect x="1" y="{y}" width="{width - 2:.1f}" height="14" fill="{COLOUR[step.unit]}"/>')
        body.append(write("s", width / 2, y + 10.5, _strip(step)))
    return Drawing(width, height, head / 2, head / 2, body, boxed=True)


def box(x: float, y: float, width: float, height: float, fill: str) -> str:
    """A rounded rectangle."""
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {size} rx="4" fill="{fill}" stroke="{GREY}" stroke-width=".8"/>'


def _strip(step: Step) -> str:
    numbers = [show(step.args[name]) for name in ("p", "factor") if name in step.args]
    return " ".join([step.unit, *numbers])


def _detail(step: Step) -> str:
    """The numbers worth seeing: 3×3, 64 /2."""
    a = step.args
    if step.unit == "INPUT":
        return sizes(step.x)
    parts = []
    if "kernel" in a:
        both = a["kernel"] if isinstance(a["kernel"], tuple) else (a["kernel"],) * 2
        parts.append(show(both).replace("x", "×"))
    parts += [show(a[name]) for name in NUMBERS if name in a]
    if "groups" in a and a["groups"] > 1:
        parts.append(f"g{a['groups']}")
    if "dilation" in a and a["dilation"] != 1:
        parts.append(f"d{show(a['dilation'])}")
    if "stride" in a and a["stride"] != 1:
        parts.append(f"/{show(a['stride'])}")
    return " ".join(parts)


def plus(x: float, y: float) -> str:
    """The sign of a sum."""
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" fill="#ececec" stroke="{GREY}"/>'
        f'<path d="M{x - 5:.1f},{y:.1f} h10 M{x:.1f},{y - 5:.1f} v10" stroke="#111" stroke-width="1.5"/>'
    )


def bar(x: float, y: float, height: float) -> str:
    """The bar where branches are put side by side."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="7" height="{height:.1f}" rx="3" fill="{GREY}"/>'


def draw_legend(families: list[str]) -> Drawing:
    """What the colours in use mean."""
    body, x = [], 0.0
    for family in families:
        body.append(box(x, 0, 12, 12, COLOURS[family][0]))
        body.append(f'<text class="g" style="text-anchor:start" x="{x + 17:.1f}" y="10">{family}</text>')
        x += length(family, 11) + 34
    return Drawing(x, 16, 0, 0, body)
