"""Flow with every default filled in and every shape worked out, by arithmetic: nothing is allocated.

Defaults that look around them:
- a bare CONV or SEPCONV has 32 filters, twice as many after each pooling unit that makes the image smaller;
- a convolution or dense layer directly before BN has no bias (BN's shift replaces it), every other one has;
- a bare FC has 128 units; one that ends the network (SOFTMAX not counted) has as many as there are classes;
- SOFTMAX stands for the classifier. Directly after FC it means nothing more: networks return logits. So it does after
  GAP or GMP where these give one number per class. After anything else it implies FC(number of classes).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from striate.diagram.expand import expand
from striate.diagram.flow import Flow, Group, Merge, Step, flat, following, halves, is_dense
from striate.diagram.kinds import LARGEST, Args, Context
from striate.diagram.place import DiagramError, Place
from striate.diagram.syntax import Diagram
from striate.diagram.units import UNITS, Shape, window
from striate.errors import UsageError

PARAMETERS = 2_000_000_000  # of a network: 8 GB in float32
ACTIVATIONS = 2_000_000_000  # numbers in one feature map of one image


@dataclass(frozen=True, slots=True)
class Plan:
    """What a diagram means for one input shape and number of classes. `notes`: pixels that no window sees."""

    input_shape: Shape
    num_classes: int | None
    flow: Flow
    parameters: int
    notes: tuple[str, ...]


def plan(
    diagram: Diagram,
    input_shape: Shape | None = None,
    num_classes: int | None = None,
    bindings: Mapping[str, Any] | None = None,
) -> Plan:
    """Check `diagram` for an input (c, h, w); DiagramError points at the first place that cannot be built."""
    first, flow = expand(diagram, bindings or {})
    x = _input(first, input_shape)
    if num_classes is not None and not (isinstance(num_classes, int) and 1 <= num_classes <= LARGEST):
        raise UsageError(f"num_classes is {num_classes!r:.40}, expected a whole number from 1 to {LARGEST:,}")
    sizer = _Sizer(flow, num_classes)
    flow, y, _ = sizer.flow(flow, x, 0)
    if num_classes is not None and y != (num_classes,):
        place = next(
            (s.place for s in reversed(list(flat(flow))) if isinstance(s, Step) and s.place), first.place
        )
        assert place
        hint = f"end the network in FC, or FC({num_classes})"
        raise DiagramError(f"the network ends in {y}, {num_classes} classes are wanted", place, hint)
    return Plan(x, y[0] if len(y) == 1 else None, flow, sizer.parameters, tuple(dict.fromkeys(sizer.notes)))


def _input(first: Step, given: Shape | None) -> Shape:
    """(c, h, w) of the diagram and of the caller, who must agree."""
    assert first.place
    if given is not None:
        given = tuple(given)
        if len(given) != 3 or not all(isinstance(n, int) and 1 <= n <= LARGEST for n in given):
            raise UsageError(f"input_shape is {given!r:.60}, expected (channels, height, width)")
    written = (first.args["c"], first.args["h"], first.args["w"]) if first.args else given
    if written is None:
        hint = "write INPUT(28,28,1): height, width, channels; or pass input_shape"
        raise DiagramError("the size of the input is unknown", first.place, hint)
    if given not in (None, written):
        hint = "write INPUT bare to take the size from the caller"
        raise DiagramError(f"INPUT is {written} here, but the caller gives {given}", first.place, hint)
    if max(written) > LARGEST or math.prod(written) > ACTIVATIONS:
        raise DiagramError(f"an input of {written} is beyond {ACTIVATIONS:,} numbers", first.place)
    return written


class _Sizer:
    def __init__(self, flow: Flow, num_classes: int | None) -> None:
        self.num_classes = num_classes
        self.following = following(flow)
        nodes: list[Any] = [None, *flat(flow)]
        self.end = nodes.pop() if isinstance(nodes[-1], Step) and nodes[-1].unit == "SOFTMAX" else None
        self.last = nodes[-1]  # before SOFTMAX
        self.classifier = self.last if is_dense(self.last) else None
        self.parameters = 0
        self.notes: list[str] = []

    def flow(self, flow: Flow, x: Shape, pools: int) -> tuple[Flow, Shape, int]:
        """The flow sized for x, the shape after it, and the pooling units met."""
        sized: list[Any] = []
        for node in flow:
            match node:
                case Group():
                    body, x, pools = self.flow(node.body, x, pools)
                    sized.append(replace(node, body=body))
                case Merge():
                    merge, pools = self.merge(node, x, pools)
                    sized.append(merge)
                    x = merge.y
                case Step():
                    for step in self.step(node, x, pools):
                        sized.append(step)
                        x = step.y
                        pools += halves(step)
        return tuple(sized), x, pools

    def merge(self, node: Merge, x: Shape, pools: int) -> tuple[Merge, int]:
        outcomes = [self.flow(branch, x, pools) for branch in node.branches]
        shapes = [y for _, y, _ in outcomes]
        first = shapes[0]
        for y, place in zip(shapes[1:], node.places[1:], strict=True):
            if node.op == "+" and y != first:
                message = f"adds {first} and {y}: a sum needs equal shapes"
                raise DiagramError(message, place, inside=node.inside)
            if node.op == "|" and y[1:] != first[1:]:
                message = f"concatenates {first} and {y}: heights and widths must be equal"
                raise DiagramError(message, place, inside=node.inside)
        y = first if node.op == "+" else (sum(shape[0] for shape in shapes), *first[1:])
        branches = tuple(branch for branch, _, _ in outcomes)
        return replace(node, branches=branches, x=x, y=y), max(pools for _, _, pools in outcomes)

    def step(self, step: Step, x: Shape, pools: int) -> list[Step]:
        """The step with its arguments completed; a dense layer brings its FLATTEN with it."""
        if step.unit == "SOFTMAX":
            return self.softmax(step, x, pools)
        unit = UNITS[step.unit]
        if unit.wants == "image" and len(x) != 3:
            message = f"{step.unit} needs an image (c, h, w), here it is flat: {x}"
            raise DiagramError(message, _place(step), inside=step.inside)
        if unit.wants == "vector" and len(x) == 3:
            flatten = Step("FLATTEN", {}, x, (math.prod(x),), step.place, step.inside)
            return [flatten, *self.step_on(step, flatten.y, pools)]
        return self.step_on(step, x, pools)

    def step_on(self, step: Step, x: Shape, pools: int) -> list[Step]:
        unit = UNITS[step.unit]
        args = self.complete(step, pools)
        try:
            y = unit.shape(x, args)
        except UsageError as error:
            raise DiagramError(
                f"{step.unit} on {x}: {error}", _place(step), error.hint, step.inside
            ) from None
        self.parameters += unit.weights(x, args)
        if self.parameters > PARAMETERS:
            message = f"{step.unit} on {x} takes the network to {self.parameters:,} parameters"
            raise DiagramError(message, _place(step), f"the limit is {PARAMETERS:,}", step.inside)
        if math.prod(y) > ACTIVATIONS:
            message = f"{step.unit} on {x} gives {y}: {math.prod(y):,} numbers for one image"
            raise DiagramError(message, _place(step), f"the limit is {ACTIVATIONS:,}", step.inside)
        self.note_unseen(step, x, args)
        return [replace(step, args=args, x=x, y=y)]

    def softmax(self, step: Step, x: Shape, pools: int) -> list[Step]:
        if step is not self.end:
            raise DiagramError("SOFTMAX comes last in the network", _place(step), inside=step.inside)
        pooled = isinstance(self.last, Step) and self.last.unit in ("GAP", "GMP")
        if self.classifier or (pooled and self.num_classes in (None, x[0])):
            return []
        self.classifier = Step("FC", {}, place=step.place, inside=step.inside)
        return self.step(self.classifier, x, pools)

    def complete(self, step: Step, pools: int) -> Args:
        """Every argument in the unit's order; those not given take their defaults."""
        is_classifier = step is self.classifier
        if is_classifier and "units" not in step.args and self.num_classes is None:
            hint = "pass num_classes, or end the network in FC(10)"
            raise DiagramError("the number of classes is unknown", _place(step), hint)
        after = self.following.get(id(step))
        context = Context(
            pools, after.unit if isinstance(after, Step) else "", self.num_classes if is_classifier else None
        )
        args: Args = {}
        for parameter in UNITS[step.unit].parameters:
            if parameter.name in step.args:
                args[parameter.name] = step.args[parameter.name]
            else:
                args[parameter.name] = parameter.otherwise(args, context)
        return args

    def note_unseen(self, step: Step, x: Shape, args: Args) -> None:
        """Rows and columns beyond the last window, where the windows don't leave gaps on purpose."""
        if "kernel" not in args or args.get("ceil"):
            return
        from striate.layers.geometry import leftover

        w = window(args)
        pads = w.pads(x[1], x[2])
        unseen = []
        for i, what in enumerate(("row", "column")):
            if w.kernel[i] >= w.stride[i]:
                n = leftover(x[i + 1], w.kernel[i], w.stride[i], pads[2 * i : 2 * i + 2], w.dilation[i])
                unseen += [f"the last {what if n == 1 else f'{n} {what}s'}"] * (n > 0)
        if unseen:
            self.notes.append(
                f"{_place(step)}: {step.unit} never sees {' and '.join(unseen)} of {x[1]}x{x[2]}"
            )


def _place(step: Step) -> Place:
    assert step.place is not None
    return step.place
