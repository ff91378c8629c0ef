"""The syntax tree of a diagram.  Every node knows its place in the text."""

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from striate.diagram.place import DiagramError, Place

Value = int | float | bool | str | tuple[int, ...]
Scope = Mapping[str, Value]
WORDS: dict[str, Value] = {"same": "same", "valid": "valid", "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, `1x7` as (1, 7), or one of WORDS."""

    value: Value
    place: Place


@dataclass(frozen=True, slots=True)
class Name:
    """A parameter of the block around it, else a number that the caller of `build` gives."""

    name: str
    place: Place


@dataclass(frozen=True, slots=True)
class Binary:
    """`left op right` on whole numbers, op one of + - * //."""

    op: str
    left: "Expression"
    right: "Expression"
    place: Place


@dataclass(frozen=True, slots=True)
class Several:
    """`(1, 7)`: two or four whole numbers for height and width, or for the four sides."""

    items: tuple["Expression", ...]
    place: Place


Expression = Literal | Name | Binary | Several


@dataclass(frozen=True, slots=True)
class Argument:
    """`value` or `name=value` between a unit's parentheses."""

    name: str | None  # None: positional
    value: Expression
    place: Place


@dataclass(frozen=True, slots=True)
class Call:
    """A unit or a named block with its arguments."""

    name: str
    arguments: tuple[Argument, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Repeat:
    """`[ ... ]*count`"""

    body: "Chain"
    count: Expression
    place: Place


@dataclass(frozen=True, slots=True)
class Optional:
    """`[ ... ]?switch`: there, or nothing."""

    body: "Chain"
    switch: str
    place: Place


@dataclass(frozen=True, slots=True)
class Branches:
    """`{ a | b }` concatenates (op "|"), `{ a + b }` adds (op "+")."""

    op: str
    branches: tuple["Chain", ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Chain:
    """`a => b => c`"""

    items: tuple["Item", ...]
    place: Place


Item = Call | Repeat | Optional | Branches | Chain


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a block is given, perhaps with a default."""

    name: str
    default: Expression | None
    place: Place


@dataclass(frozen=True, slots=True)
class Block:
    """`name(parameters) = chain`"""

    name: str
    parameters: tuple[Parameter, ...]
    body: Chain
    place: Place


@dataclass(frozen=True, slots=True)
class Diagram:
    """A whole text: blocks by their lower-case names, the network, and the numbers given above it (`N = 2`)."""

    text: str
    blocks: Mapping[str, Block]
    network: Chain
    bound: Mapping[str, int | float]

    @property
    def free(self) -> dict[str, Place]:
        """Names that the caller must bind (N, M, pool, ...), with the place of their first use."""
        found: dict[str, Place] = {}
        for block in self.blocks.values():
            own: set[str] = set()
            for parameter in block.parameters:
                if parameter.default:
                    _collect(names(parameter.default), own, found)
                own.add(parameter.name)
            _collect(names(block.body), own, found)
        _collect(names(self.network), set(), found)
        return dict(sorted(found.items(), key=lambda item: item[1].offset))


def _collect(used: Iterator[tuple[str, Place]], own: set[str], found: dict[str, Place]) -> None:
    for name, place in used:
        if name not in own:
            found.setdefault(name, place)


def names(node: Expression | Item) -> Iterator[tuple[str, Place]]:
    """Every name that a node reads, switches of optional parts included."""
    match node:
        case Name(name, place):
            yield name, place
        case Binary(_, left, right, _):
            yield from names(left)
            yield from names(right)
        case Several(items, _) | Chain(items, _) | Branches(_, items, _):
            for item in items:
                yield from names(item)
        case Call(_, arguments, _):
            for argument in arguments:
                yield from names(argument.value)
        case Repeat(body, count, _):
            yield from names(body)
            yield from names(count)
        case Optional(body, switch, place):
            yield from names(body)
            yield switch, place


OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
}
LARGEST = 10**18


def evaluate(node: Expression, scope: Scope) -> Value:
    """The value of an expression; the only operators are those of OPERATORS, on whole numbers."""
    match node:
        case Literal(value, _):
            return value
        case Name(name, _):
            return scope[name]
        case Several(items, _):
            return tuple(_whole(item, scope) for item in items)
        case Binary(op, left, right, place):
            a, b = _whole(left, scope), _whole(right, scope)
            if op == "//" and b == 0:
                raise DiagramError(f"{a} // 0: division by zero", place)
            result = OPERATORS[op](a, b)
            if abs(result) > LARGEST:
                raise DiagramError(f"{a} {op} {b} is beyond {LARGEST:,}", place)
            return result


def _whole(node: Expression, scope: Scope) -> int:
    value = evaluate(node, scope)
    if isinstance(value, bool) or not isinstance(value, int):
        raise DiagramError(f"arithmetic is on whole numbers, this is {value}", node.place)
    return value
