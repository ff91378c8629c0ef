"""Network to drawing: left to right, over as many rows as it takes.

Colours are the Okabe-Ito set, lightened so that black text reads on them; lines and labels are a grey that shows on
light and dark pages. The font is monospaced, so that the width of every text is known and nothing overlaps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from torch import nn

from striate.diagram.flow import Step, steps
from striate.diagram.kinds import show
from striate.diagram.read import read, shape_of
from striate.diagram.scene import Card, Fork, Frame, Item, Scene, scene
from striate.diagram.units import UNITS, Shape

WIDTH = 1100
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
COLOUR = {unit: colour for colour, units in COLOURS.values() for unit in units}
STYLE = f"""<style>
.striate .l{{fill:none;stroke:{GREY};stroke-width:1.3}} .striate .a{{marker-end:url(#tip)}}
.striate text{{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;text-anchor:middle}}
.striate .t{{font-size:12px;font-weight:bold;fill:#111}} .striate .d{{font-size:11px;fill:#111}}
.striate .s{{font-size:10px;fill:#111}} .striate .g{{font-size:11px;fill:{GREY}}}
.striate .n{{font-size:12px;font-weight:bold;fill:{GREY};text-anchor:start}}
.striate .f{{fill:{GREY};fill-opacity:.06;stroke:{GREY};stroke-opacity:.5}} .striate .r{{stroke-dasharray:5 3}}
</style>"""


def to_svg(module: nn.Module, input_shape: Shape | None = None) -> str:
    """A drawing of the network for inputs of (c, h, w); labels on arrows are height x width x channels."""
    flow = read(module, input_shape)
    c, h, w = shape_of(module, input_shape)
    start = Card((Step("INPUT", {}, (c, h, w), (c, h, w)),), ("INPUT",))
    picture = _flow((start, *scene(flow)), WIDTH, whole=True)
    used = {step.unit for step in steps(flow)}
    legend = _legend([family for family, (_, units) in COLOURS.items() if used & set(units)])
    width, height = max(picture.width, legend.width) + 24, picture.height + legend.height + 40
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'class="striate" viewBox="0 0 {width:.0f} {height:.0f}" role="img" style="max-width:100%;height:auto">',
            f"<title>{escape(f'{type(module).__name__}, input {_label((c, h, w))}')}</title>",
            '<defs><marker id="tip" markerWidth="7" markerHeight="7" refX="5.5" refY="3" orient="auto">'
            f'<path d="M0,0 L6,3 L0,6 z" fill="{GREY}"/></marker></defs>',
            STYLE,
            _at(12, 12, picture.body),
            _at(12, picture.height + 28, legend.body),
            "</svg>",
            "",
        ]
    )


@dataclass(frozen=True, slots=True)
class _Drawing:
    """A picture whose line comes in at (0, axis) and goes out at (width, exit)."""

    width: float
    height: float
    axis: float
    exit: float
    body: list[str]
    rows: int = 1
    boxed: bool = False  # the line into it ends here, in an arrowhead


def _at(x: float, y: float, body: Sequence[str]) -> str:
    return f'<g transform="translate({x:.1f},{y:.1f})">{"".join(body)}</g>'


def _line(path: str, arrow: bool = False) -> str:
    return f'<path class="l{" a" * arrow}" d="{path}"/>'


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _length(text: str, size: float) -> float:
    return len(text) * size * CHAR


def _label(shape: Shape) -> str:
    """(c, h, w) as h x w x c, the way a diagram's INPUT says it."""
    return "×".join(map(str, (*shape[1:], shape[0])))


# --- cards ----------------------------------------------------------------------------------------


def _card(card: Card) -> _Drawing:
    """The layer's name and numbers, a strip below for each small layer that follows."""
    main, *strips = card.steps
    detail = _detail(main)
    texts = [(main.unit, 12.0), (detail, 11.0), *((_strip(step), 10.0) for step in strips)]
    width = max(_length(text, size) for text, size in texts) + 14
    head = 36 if detail else 24
    height = head + 15 * len(strips)
    tip = escape(" => ".join(card.words) + f"   {_label(main.x)} -> {_label(card.y)}")
    body = [f"<title>{tip}</title>", _box(0, 0, width, height, COLOUR[main.unit])]
    body.append(_text("t", width / 2, 15 if detail else 16, main.unit))
    if detail:
        body.append(_text("d", width / 2, 29, detail))
    for i, step in enumerate(strips):
        y = head + 15 * i
        body.append(
            f'<rect x="1" y="{y}" width="{width - 2:.1f}" height="14" fill={quoteattr(COLOUR[step.unit])}/>'
        )
        body.append(_text("s", width / 2, y + 10.5, _strip(step)))
    return _Drawing(width, height, head / 2, head / 2, body, boxed=True)


def _box(x: float, y: float, width: float, height: float, fill: str) -> str:
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {size} rx="4" fill="{fill}" stroke="{GREY}" stroke-width=".8"/>'


def _strip(step: Step) -> str:
    numbers = [show(step.args[name]) for name in ("p", "factor") if name in step.args]
    return " ".join([step.unit, *numbers])


def _detail(step: Step) -> str:
    """The numbers worth seeing: 3×3, 64 /2."""
    a = step.args
    if step.unit == "INPUT":
        return _label(step.x)
    parts = []
    if "kernel" in a:
        parts.append(
            show(a["kernel"] if isinstance(a["kernel"], tuple) else (a["kernel"],) * 2).replace("x", "×")
        )
    parts += [
        show(a[name])
        for name in ("filters", "units", "k", "reduction", "p", "factor", "channels", "sides")
        if name in a
    ]
    if "groups" in a and a["groups"] > 1:
        parts.append(f"g{a['groups']}")
    if "dilation" in a and a["dilation"] != 1:
        parts.append(f"d{show(a['dilation'])}")
    if "stride" in a and a["stride"] != 1:
        parts.append(f"/{show(a['stride'])}")
    return " ".join(parts)


# --- rows, forks, frames --------------------------------------------------------------------------


def _draw(item: Item, width: float) -> _Drawing:
    match item:
        case Card():
            return _card(item)
        case Fork():
            return _fork(item, width)
        case Frame():
            return _frame(item, width)


@dataclass(slots=True)
class _Row:
    """Drawings side by side; `leads` are the arrows into each, with their labels."""

    drawings: list[_Drawing]
    leads: list[tuple[float, str]]

    @property
    def width(self) -> float:
        return sum(d.width for d in self.drawings) + sum(lead for lead, _ in self.leads[1:])

    @property
    def axis(self) -> float:
        return max(d.axis for d in self.drawings)

    @property
    def height(self) -> float:
        return self.axis + max(d.height - d.axis for d in self.drawings)


def _flow(items: Scene, width: float, whole: bool = False, branch: bool = False) -> _Drawing:
    """Items along their line, wrapped into rows; the `whole` network has no line before and behind it.

    Arrows say the shape where it has changed, inside a branch only where height or width have.
    """
    rows: list[_Row] = []
    shown = before = items[0].x
    for item in items:
        drawing = _draw(item, width - 40)
        changed = before[1:] != shown[1:] if branch else before != shown
        label = _label(before) if changed else ""
        lead = _length(label, 11) + 20 if label else 22.0
        alone = drawing.rows > 1 or (rows and rows[-1].drawings[-1].rows > 1)
        if not rows or alone or rows[-1].width + lead + drawing.width > width - 40:
            rows.append(_Row([drawing], [(lead, label)]))
        else:
            rows[-1].drawings.append(drawing)
            rows[-1].leads.append((lead, label))
        shown, before = before, item.y
    return _one_row(rows[0]) if len(rows) == 1 else _stacked(rows, whole)


def _one_row(row: _Row) -> _Drawing:
    body, x = [], 0.0
    for i, (drawing, (lead, label)) in enumerate(zip(row.drawings, row.leads, strict=True)):
        if i:
            body.append(_line(f"M{x:.1f},{row.axis:.1f} h{lead - drawing.boxed:.1f}", drawing.boxed))
            body += [_text("g", x + lead / 2 - 2, row.axis - 5, label)] * bool(label)
            x += lead
        body.append(_at(x, row.axis - drawing.axis, drawing.body))
        x += drawing.width
    last = row.drawings[-1]
    rows, boxed = max(d.rows for d in row.drawings), row.drawings[0].boxed
    return _Drawing(x, row.height, row.axis, row.axis - last.axis + last.exit, body, rows, boxed)


LEFT, RIGHT, GAP = 20, 14, 34


def _stacked(rows: list[_Row], whole: bool) -> _Drawing:
    """Rows below each other, the line going back to the left between them."""
    pictures = [_one_row(row) for row in rows]
    left, right = (LEFT, RIGHT)
    width = left + max(p.width for p in pictures) + right
    body, y = [], 0.0
    for i, picture in enumerate(pictures):
        body.append(_at(left, y, picture.body))
        if i:
            above = pictures[i - 1]
            leaves, between, arrives = y - GAP - above.height + above.exit, y - GAP / 2, y + picture.axis
            path = f"M{left + above.width:.1f},{leaves:.1f} h8 V{between:.1f} H6 V{arrives:.1f}"
            body.append(_line(f"{path} H{left - picture.boxed}", picture.boxed))
            label = rows[i].leads[0][1]
            body += [_text("g", 14 + _length(label, 11) / 2, between - 4, label)] * bool(label)
        elif not whole:
            body.append(_line(f"M0,{picture.axis:.1f} H{left - picture.boxed}", picture.boxed))
        y += picture.height + GAP
    last = pictures[-1]
    height = y - GAP
    leave = height - last.height + last.exit
    if not whole:
        body.append(_line(f"M{left + last.width:.1f},{leave:.1f} H{width:.1f}"))
    return _Drawing(width, height, pictures[0].axis, leave, body, len(rows))


def _fork(fork: Fork, width: float) -> _Drawing:
    """A bus to the branches, one below the other, and a bus to what joins them."""
    parts = [
        _flow(branch, width - 90, branch=True) if branch else _Drawing(0, 14, 7, 7, [])
        for branch in fork.branches
    ]
    adds = fork.op == "+"  # equal shapes: the arrow behind the sum says it once
    labels = [_label(branch[-1].y) if branch and not adds else "" for branch in fork.branches]
    bus, start = 8, 28
    meet = start + max(p.width + _length(label, 11) + 20 for p, label in zip(parts, labels, strict=True))
    tops: list[float] = []
    y = 0.0
    for part in parts:
        tops.append(y)
        y += part.height + 14
    height = y - 14
    first, last = tops[0] + parts[0].axis, tops[-1] + parts[-1].axis
    out_first, out_last = tops[0] + parts[0].exit, tops[-1] + parts[-1].exit
    axis, leave = (first + last) / 2, (out_first + out_last) / 2
    body = [_line(f"M0,{axis:.1f} H{bus} M{bus},{first:.1f} V{last:.1f}")]
    for part, top, label in zip(parts, tops, labels, strict=True):
        enter, out = top + part.axis, top + part.exit
        if part.width:
            body.append(_line(f"M{bus},{enter:.1f} H{start - part.boxed}", part.boxed))
            body.append(_at(start, top, part.body))
            body.append(_line(f"M{start + part.width:.1f},{out:.1f} H{meet:.1f}"))
        else:
            body.append(_line(f"M{bus},{enter:.1f} H{meet:.1f}"))
        body += [_text("g", meet - 6 - _length(label, 11) / 2, out - 5, label)] * bool(label)
    if adds:
        body.append(_line(f"M{meet:.1f},{out_first:.1f} V{out_last:.1f}"))
        body.append(_sum(meet, leave))
        return _Drawing(meet + 10, height, axis, leave, body)
    body.append(_bar(meet, out_first - 8, out_last - out_first + 16))
    return _Drawing(meet + 7, height, axis, leave, body)


def _sum(x: float, y: float) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" fill="#ececec" stroke="{GREY}"/>'
        f'<path d="M{x - 5:.1f},{y:.1f} h10 M{x:.1f},{y - 5:.1f} v10" stroke="#111" stroke-width="1.5"/>'
    )


def _bar(x: float, y: float, height: float) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="7" height="{height:.1f}" rx="3" fill="{GREY}"/>'


def _frame(frame: Frame, width: float) -> _Drawing:
    """A box around something, its name and how many times it comes above."""
    inside = _flow(frame.inside, width - 28)
    title = " ".join(filter(None, (_short(frame.title), f"×{frame.count}" if frame.count > 1 else "")))
    pad, head = 14, 24
    total = max(inside.width + 2 * pad, _length(title, 12) + 16)
    height = inside.height + head + 10
    kind = "f r" if frame.count > 1 else "f"
    body = [
        f'<rect class="{kind}" width="{total:.1f}" height="{height:.1f}" rx="8"/>',
        _text("n", 8, 16, title),
        _line(f"M0,{head + inside.axis:.1f} H{pad - inside.boxed}", inside.boxed),
        _at(pad, head, inside.body),
        _line(f"M{pad + inside.width:.1f},{head + inside.exit:.1f} H{total:.1f}"),
    ]
    return _Drawing(total, height, head + inside.axis, head + inside.exit, body, inside.rows)


def _short(title: str) -> str:
    return title if len(title) <= 24 else f"{title[:23]}…"


def _legend(families: list[str]) -> _Drawing:
    body, x = [], 0.0
    for family in families:
        body.append(_box(x, 0, 12, 12, COLOURS[family][0]))
        body.append(f'<text class="g" style="text-anchor:start" x="{x + 17:.1f}" y="10">{family}</text>')
        x += _length(family, 11) + 34
    return _Drawing(x, 16, 0, 0, body)
