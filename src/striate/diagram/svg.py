"""Network to drawing: left to right, over as many rows as it takes."""

from dataclasses import dataclass
from xml.sax.saxutils import escape

from torch import nn

from striate.diagram.drawing import (
    COLOURS,
    GREY,
    STYLE,
    Drawing,
    at,
    bar,
    draw_card,
    draw_legend,
    length,
    line,
    plus,
    sizes,
    write,
)
from striate.diagram.flow import Step, steps
from striate.diagram.outline import outline
from striate.diagram.read import read, shape_of
from striate.diagram.scene import Card, Fork, Frame, Item, Scene, scene
from striate.diagram.units import Shape
from striate.errors import UsageError

WIDTH = 1100


def to_svg(module: nn.Module, input_shape: Shape | None = None) -> str:
    """A drawing of the network for inputs of (c, h, w); labels on arrows are height x width x channels.

    What a diagram cannot say (paths that cross, operations without a unit) is drawn part by part.
    """
    c, h, w = shape_of(module, input_shape)
    try:
        flow = read(module, input_shape)
    except UsageError:
        picture, legend = outline(module, (c, h, w)), Drawing(0, 0, 0, 0, [])
    else:
        start = Card((Step("INPUT", {}, (c, h, w), (c, h, w)),), ("INPUT",))
        picture = _flow((start, *scene(flow)), WIDTH, whole=True)
        used = {step.unit for step in steps(flow)}
        legend = draw_legend([family for family, (_, units) in COLOURS.items() if used & set(units)])
    width, height = max(picture.width, legend.width) + 24, picture.height + legend.height + 40
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'class="striate" viewBox="0 0 {width:.0f} {height:.0f}" role="img" style="max-width:100%;height:auto">',
            f"<title>{escape(f'{type(module).__name__}, input {sizes((c, h, w))}')}</title>",
            '<defs><marker id="tip" markerWidth="7" markerHeight="7" refX="5.5" refY="3" orient="auto">'
            f'<path d="M0,0 L6,3 L0,6 z" fill="{GREY}"/></marker></defs>',
            STYLE,
            at(12, 12, picture.body),
            at(12, picture.height + 28, legend.body),
            "</svg>",
            "",
        ]
    )


def _draw(item: Item, width: float) -> Drawing:
    match item:
        case Card():
            return draw_card(item)
        case Fork():
            return _fork(item, width)
        case Frame():
            return _frame(item, width)


@dataclass(slots=True)
class _Row:
    """Drawings side by side; `leads` are the arrows into each, with their labels."""

    drawings: list[Drawing]
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


def _flow(items: Scene, width: float, whole: bool = False, branch: bool = False) -> Drawing:
    """Items along their line, wrapped into rows; the `whole` network has no line before and behind it.

    Arrows say the shape where it has changed, inside a branch only where height or width have.
    """
    rows: list[_Row] = []
    shown = before = items[0].x
    for item in items:
        drawing = _draw(item, width - 40)
        changed = before[1:] != shown[1:] if branch else before != shown
        label = sizes(before) if changed else ""
        lead = length(label, 11) + 20 if label else 22.0
        alone = drawing.rows > 1 or (rows and rows[-1].drawings[-1].rows > 1)
        if not rows or alone or rows[-1].width + lead + drawing.width > width - 40:
            rows.append(_Row([drawing], [(lead, label)]))
        else:
            rows[-1].drawings.append(drawing)
            rows[-1].leads.append((lead, label))
        shown, before = before, item.y
    return _one_row(rows[0]) if len(rows) == 1 else _stacked(rows, whole)


def _one_row(row: _Row) -> Drawing:
    body, x = [], 0.0
    for i, (drawing, (lead, label)) in enumerate(zip(row.drawings, row.leads, strict=True)):
        if i:
            body.append(line(f"M{x:.1f},{row.axis:.1f} h{lead - drawing.boxed:.1f}", drawing.boxed))
            body += [write("g", x + lead / 2 - 2, row.axis - 5, label)] * bool(label)
            x += lead
        body.append(at(x, row.axis - drawing.axis, drawing.body))
        x += drawing.width
    last = row.drawings[-1]
    rows, boxed = max(d.rows for d in row.drawings), row.drawings[0].boxed
    return Drawing(x, row.height, row.axis, row.axis - last.axis + last.exit, body, rows, boxed)


LEFT, RIGHT, GAP = 20, 14, 34


def _stacked(rows: list[_Row], whole: bool) -> Drawing:
    """Rows below each other, the line going back to the left between them."""
    pictures = [_one_row(row) for row in rows]
    width = LEFT + max(p.width for p in pictures) + RIGHT
    body, y = [], 0.0
    for i, picture in enumerate(pictures):
        body.append(at(LEFT, y, picture.body))
        if i:
            above = pictures[i - 1]
            leaves, between, arrives = y - GAP - above.height + above.exit, y - GAP / 2, y + picture.axis
            path = f"M{LEFT + above.width:.1f},{leaves:.1f} h8 V{between:.1f} H6 V{arrives:.1f}"
            body.append(line(f"{path} H{LEFT - picture.boxed}", picture.boxed))
            label = rows[i].leads[0][1]
            body += [write("g", 14 + length(label, 11) / 2, between - 4, label)] * bool(label)
        elif not whole:
            body.append(line(f"M0,{picture.axis:.1f} H{LEFT - picture.boxed}", picture.boxed))
        y += picture.height + GAP
    last = pictures[-1]
    height = y - GAP
    leave = height - last.height + last.exit
    if not whole:
        body.append(line(f"M{LEFT + last.width:.1f},{leave:.1f} H{width:.1f}"))
    return Drawing(width, height, pictures[0].axis, leave, body, len(rows))


def _fork(fork: Fork, width: float) -> Drawing:
    """A bus to the branches, one below the other, and a bus to what joins them."""
    parts = [
        _flow(branch, width - 90, branch=True) if branch else Drawing(0, 14, 7, 7, [])
        for branch in fork.branches
    ]
    adds = fork.op == "+"  # equal shapes: the arrow behind the sum says it once
    labels = [sizes(branch[-1].y) if branch and not adds else "" for branch in fork.branches]
    bus, start = 8, 28
    meet = start + max(p.width + length(label, 11) + 20 for p, label in zip(parts, labels, strict=True))
    tops: list[float] = []
    y = 0.0
    for part in parts:
        tops.append(y)
        y += part.height + 14
    height = y - 14
    first, last = tops[0] + parts[0].axis, tops[-1] + parts[-1].axis
    out_first, out_last = tops[0] + parts[0].exit, tops[-1] + parts[-1].exit
    axis, leave = (first + last) / 2, (out_first + out_last) / 2
    body = [line(f"M0,{axis:.1f} H{bus} M{bus},{first:.1f} V{last:.1f}")]
    for part, top, label in zip(parts, tops, labels, strict=True):
        enter, out = top + part.axis, top + part.exit
        if part.width:
            body.append(line(f"M{bus},{enter:.1f} H{start - part.boxed}", part.boxed))
            body.append(at(start, top, part.body))
            body.append(line(f"M{start + part.width:.1f},{out:.1f} H{meet:.1f}"))
        else:
            body.append(line(f"M{bus},{enter:.1f} H{meet:.1f}"))
        body += [write("g", meet - 6 - length(label, 11) / 2, out - 5, label)] * bool(label)
    if adds:
        body.append(line(f"M{meet:.1f},{out_first:.1f} V{out_last:.1f}"))
        body.append(plus(meet, leave))
        return Drawing(meet + 10, height, axis, leave, body)
    body.append(bar(meet, out_first - 8, out_last - out_first + 16))
    return Drawing(meet + 7, height, axis, leave, body)


def _frame(frame: Frame, width: float) -> Drawing:
    """A box around something, its name and how many times it comes above."""
    inside = _flow(frame.inside, width - 28)
    title = " ".join(filter(None, (_short(frame.title), f"×{frame.count}" if frame.count > 1 else "")))
    pad, head = 14, 24
    total = max(inside.width + 2 * pad, length(title, 12) + 16)
    height = inside.height + head + 10
    kind = "f r" if frame.count > 1 else "f"
    body = [
        f'<rect class="{kind}" width="{total:.1f}" height="{height:.1f}" rx="8"/>',
        write("n", 8, 16, title),
        line(f"M0,{head + inside.axis:.1f} H{pad - inside.boxed}", inside.boxed),
        at(pad, head, inside.body),
        line(f"M{pad + inside.width:.1f},{head + inside.exit:.1f} H{total:.1f}"),
    ]
    return Drawing(total, height, head + inside.axis, head + inside.exit, body, inside.rows)


def _short(title: str) -> str:
    return title if len(title) <= 24 else f"{title[:23]}…"
