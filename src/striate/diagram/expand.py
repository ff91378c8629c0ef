"""Syntax tree to flow: names bound, blocks opened, repeats unrolled, arguments read. No shapes, no torch."""

from collections.abc import Iterable, Mapping
from typing import Any

from striate.diagram import syntax
from striate.diagram.flow import Flow, Group, Merge, Node, Step
from striate.diagram.kinds import Args
from striate.diagram.place import DiagramError, Place
from striate.diagram.syntax import LARGEST, Branches, Call, Chain, Diagram, Name, Repeat, Scope, evaluate
from striate.diagram.units import UNITS
from striate.errors import UsageError, nearest

LAYERS = 10_000  # in a network, as well as repeats and uses of blocks


def expand(diagram: Diagram, bindings: Mapping[str, Any]) -> tuple[Step, Flow]:
    """The INPUT and everything after it. A list in `bindings` gives one value each time its name is met."""
    expander = _Expander(diagram, _check(diagram, {**diagram.bound, **bindings}))
    first, *rest = diagram.network.items
    if not isinstance(first, Call):
        raise DiagramError("INPUT is neither repeated nor optional", first.place)
    scope = expander.bindings
    shape = {
        name: expander.whole(a.value, scope, f"INPUT: {name}") for name, a in _named(first, ("h", "w", "c"))
    }
    if len(shape) not in (0, 3):
        raise DiagramError(
            "INPUT takes height, width and channels, or nothing", first.place, "as in INPUT(32,32,3)"
        )
    flow = expander.chain(rest, scope, ())
    expander.check_lists_used_up()
    return Step("INPUT", shape, place=first.place), flow


def _check(diagram: Diagram, bindings: Mapping[str, Any]) -> dict[str, Any]:
    free = diagram.free
    for name in bindings.keys() - free.keys():
        has = f"it has {', '.join(free)}" if free else "it has no names to bind"
        raise UsageError(f"the diagram has no name {name!r}; {has}", hint=nearest(name, free))
    missing = [name for name in free if name not in bindings]
    if missing:
        example = ", ".join(f"{name}={1 if name.islower() else 2}" for name in missing)
        plural = "is not bound" if len(missing) == 1 else "are not bound"
        listed = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        raise DiagramError(
            f"{listed} {plural}",
            free[missing[0]],
            f"give a number for each: {example}, above the network or as arguments",
        )
    for name, value in bindings.items():
        values = value if isinstance(value, list | tuple) else [value]
        if not values or not all(isinstance(v, int | float) and abs(v) <= LARGEST for v in values):
            raise DiagramError(f"{name} is {value!r:.60}, expected a number or a list of numbers", free[name])
    return dict(bindings)


def _named(call: Call, order: Iterable[str]) -> list[tuple[str, syntax.Argument]]:
    names = list(order)
    return [(argument.name or names[i], argument) for i, argument in enumerate(call.arguments)]


class _Expander:
    def __init__(self, diagram: Diagram, bindings: dict[str, Any]) -> None:
        self.diagram = diagram
        self.bindings = bindings
        self.uses = dict.fromkeys((n for n, v in bindings.items() if isinstance(v, list | tuple)), 0)
        self.spent = dict.fromkeys(("layers", "repeats and blocks"), 0)

    def spend(self, what: str, n: int, place: Place) -> None:
        self.spent[what] += n
        if self.spent[what] > LAYERS:
            raise DiagramError(f"more than {LAYERS:,} {what}", place)

    # --- values ---

    def whole(self, node: syntax.Expression, scope: Scope, what: str, least: int = 1) -> int:
        value = evaluate(node, scope)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise DiagramError(f"{what} is {value}, expected a whole number from {least}", node.place)
        return value

    def one_of(self, name: str, scope: Scope, place: Place) -> Any:
        """The value of a name; of a list, the next one."""
        value: Any = scope[name]
        if name not in self.uses or value is not self.bindings[name]:
            return value
        i = self.uses[name]
        self.uses[name] += 1
        if i == len(value):
            raise DiagramError(f"{name} has {len(value)} values, here a further one is needed", place)
        return value[i]

    def check_lists_used_up(self) -> None:
        for name, used in self.uses.items():
            if used != len(self.bindings[name]):
                raise DiagramError(
                    f"{name} has {len(self.bindings[name])} values, the diagram uses {used}",
                    self.diagram.free[name],
                )

    # --- chains ---

    def chain(self, items: Iterable[syntax.Item], scope: Scope, inside: tuple[str, ...]) -> Flow:
        return tuple(node for item in items for node in self.item(item, scope, inside))

    def item(self, item: syntax.Item, scope: Scope, inside: tuple[str, ...]) -> Iterable[Node]:
        match item:
            case Chain(items, _):
                return self.chain(items, scope, inside)
            case Repeat():
                return self.repeat(item, scope, inside)
            case syntax.Optional(body, switch, place):
                return self.chain(body.items, scope, inside) if self.one_of(switch, scope, place) else ()
            case Branches(op, branches, _):
                places = tuple(b.place for b in branches)
                flows = tuple(self.chain(b.items, scope, inside) for b in branches)
                self.spend("layers", 1, item.place)
                return (Merge(op, flows, places=places, inside=inside),)
            case Call():
                return self.call(item, scope, inside)

    def repeat(self, item: Repeat, scope: Scope, inside: tuple[str, ...]) -> Flow:
        count = item.count
        if isinstance(count, Name):
            scope = {**scope}  # of a list, the next number
            n = self.one_of(count.name, scope, count.place)
            count = syntax.Literal(n, count.place)
        n = self.whole(count, scope, "the number of repeats", least=0)
        self.spend("repeats and blocks", n, count.place)
        rounds = (
            self.chain(item.body.items, scope, (*inside, f"repeat {i} of {n}")) for i in range(1, n + 1)
        )
        return tuple(node for one in rounds for node in one)

    def call(self, call: Call, scope: Scope, inside: tuple[str, ...]) -> Iterable[Node]:
        block = self.diagram.blocks.get(call.name.lower())
        if block is not None:
            return (self.block(block, call, scope, inside),)
        unit = call.name.upper()
        if unit == "SKIP":
            return ()
        self.spend("layers", 1, call.place)
        args = self.arguments(call, scope, inside) if unit in UNITS else {}
        return (Step(unit, args, place=call.place, inside=inside),)

    def arguments(self, call: Call, scope: Scope, inside: tuple[str, ...]) -> Args:
        parameters = {p.name: p for p in UNITS[call.name.upper()].parameters}
        args: Args = {}
        for name, argument in _named(call, parameters):
            value = evaluate(argument.value, scope)
            args[name] = parameters[name].kind.read(value)
            if args[name] is None:
                expects = parameters[name].kind.expects
                raise DiagramError(
                    f"{call.name}: {name} is {value}, expected {expects}", argument.place, inside=inside
                )
        return args

    def block(self, block: syntax.Block, call: Call, scope: Scope, inside: tuple[str, ...]) -> Group:
        self.spend("repeats and blocks", 1, call.place)
        given = dict(_named(call, (p.name for p in block.parameters)))
        own: dict[str, Any] = {}
        for parameter in block.parameters:
            if parameter.name in given:
                own[parameter.name] = evaluate(given[parameter.name].value, scope)
            elif parameter.default is not None:
                own[parameter.name] = evaluate(parameter.default, {**self.bindings, **own})
        written = f"{block.name}({', '.join(map(str, own.values()))})" if own else block.name
        body = self.chain(
            block.body.items, {**self.bindings, **own}, (*inside, f"{written}, line {call.place.line}")
        )
        return Group(block.name.lower(), body, own)
