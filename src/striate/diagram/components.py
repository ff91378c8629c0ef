"""Flow to classes: which parts of a network become a class of their own, and with which parameters.

Parts that differ in numbers only share a class. A number that is the same in all of them stays in the class,
numbers that change together become one parameter, called as the diagram's block calls it where it does.
"""

import keyword
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from striate.diagram.flow import Flow, Group, Merge, Step
from striate.diagram.torchcode import Code, torch_code
from striate.diagram.units import UNITS, Shape


@dataclass(slots=True)
class Line:
    """One layer, `self.conv1 = nn.Conv2d(...)`."""

    name: str
    code: Code
    x: Shape
    y: Shape


@dataclass(slots=True)
class Part:
    """One object of a class that the file defines."""

    name: str
    component: "Component"

    @property
    def x(self) -> Shape:
        return self.component.x

    @property
    def y(self) -> Shape:
        return self.component.y


@dataclass(slots=True)
class Join:
    """Branches that meet; an empty one is the input itself."""

    op: str
    names: tuple[str, ...]
    branches: tuple[tuple["Line | Part", ...], ...]
    x: Shape
    y: Shape


Entry = Line | Part | Join


@dataclass(slots=True)
class Component:
    """What becomes an object of a class: a block, or branches that meet."""

    title: str
    entries: tuple[Entry, ...]
    args: dict[str, Any] = field(default_factory=dict)

    @property
    def x(self) -> Shape:
        return self.entries[0].x

    @property
    def y(self) -> Shape:
        return self.entries[-1].y

    def skeleton(self) -> Any:
        """Everything but the numbers."""
        return (self.title, tuple(map(_skeleton, self.entries)))


def _skeleton(entry: Entry) -> Any:
    match entry:
        case Line(name, code):
            return name, code.template
        case Part(name, component):
            return name, component.skeleton()
        case Join(op, names, branches):
            return op, names, tuple(tuple(map(_skeleton, branch)) for branch in branches)


def members(entries: tuple[Entry, ...]) -> Iterator[Line | Part]:
    """Every layer and part, in the order of definition."""
    for entry in entries:
        if isinstance(entry, Join):
            for branch in entry.branches:
                yield from branch
        else:
            yield entry


# --- flow to entries ------------------------------------------------------------------------------


def entries(flow: Flow) -> tuple[Entry, ...]:
    """The members of the network's own class: layers, and a part wherever branches meet."""
    counts: Counter[str] = Counter()
    return tuple(entry for node in _parts(flow) for entry in _entries(node, counts))


def _parts(flow: Flow) -> list[Step | Group]:
    """Groups with one merge. A lone merge becomes one, with the activation behind a sum; others are opened."""
    parts: list[Step | Group] = []
    for node in flow:
        behind = parts[-1] if parts else None
        if isinstance(node, Group):
            merges = sum(isinstance(inner, Merge) for inner in node.body)
            nested = any(isinstance(inner, Group) for inner in node.body)
            parts += [node] if merges == 1 and not nested else _parts(node.body)
        elif isinstance(node, Merge):
            parts.append(Group(_title(node), (node,), block=False))
        elif _ends_residual(behind, node):
            parts[-1] = Group(behind.name, (*behind.body, node), block=False)  # type: ignore[union-attr]
        else:
            parts.append(node)
    return parts


def _ends_residual(behind: Step | Group | None, step: Step) -> bool:
    return (
        isinstance(behind, Group)
        and behind.name == "residual"
        and isinstance(behind.body[-1], Merge)
        and bool(UNITS[step.unit].before)
        and step.x == step.y
    )


def _title(merge: Merge) -> str:
    if merge.op == "+":
        return "residual"
    return "branches" if all(merge.branches) else "dense"


def _entries(node: Step | Group | Merge, counts: Counter[str]) -> Iterator[Entry]:
    match node:
        case Step(_, _, x, y):
            codes = torch_code(node)
            for i, code in enumerate(codes):
                yield Line(_numbered(code.name, counts), code, x, y if i == len(codes) - 1 else ())
        case Group(name, body, args):
            title = re.sub(r"[\d_]+[a-z]?$", "", name) or name
            component = Component(_class_name(title), _body(body), args)
            yield Part(_numbered(_snake(title), counts), component)
        case Merge():
            yield Part(
                _numbered(_title(node), counts),
                Component(_class_name(_title(node)), (_join(node, Counter()),)),
            )


def _body(flow: Flow) -> tuple[Entry, ...]:
    """The members of a part's class, where merges are written out."""
    counts: Counter[str] = Counter()
    found: list[Entry] = []
    for node in flow:
        found += [_join(node, counts)] if isinstance(node, Merge) else _entries(node, counts)
    return tuple(found)


def _join(merge: Merge, counts: Counter[str]) -> Join:
    branches = []
    for branch in merge.branches:
        own: Counter[str] = Counter()
        branches.append(tuple(e for node in branch for e in _entries(node, own) if not isinstance(e, Join)))
    return Join(merge.op, _branch_names(merge.op, branches), tuple(branches), merge.x, merge.y)


def _branch_names(op: str, branches: list[tuple[Any, ...]]) -> tuple[str, ...]:
    """`body` beside SKIP, `body` and `shortcut` in a sum of two, else branch1, branch2, ...; SKIP has no name."""
    filled = sum(map(bool, branches))
    if filled < 2:
        return tuple("body" if branch else "" for branch in branches)
    if op == "+" and len(branches) == 2:
        body = 0 if len(branches[0]) >= len(branches[1]) else 1
        return tuple("body" if i == body else "shortcut" for i in range(2))
    return tuple(f"branch{i + 1}" if branch else "" for i, branch in enumerate(branches))


def _numbered(name: str, counts: Counter[str]) -> str:
    counts[name] += 1
    return f"{name}_{counts[name]}" if name[-1].isdigit() else f"{name}{counts[name]}"


def _snake(name: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return f"part{name}" if not name or name[0].isdigit() else name


def _class_name(name: str) -> str:
    words = re.findall(r"[a-zA-Z0-9]+", name)
    title = "".join(word[0].upper() + word[1:] for word in words) or "Part"
    taken = title in ("Net", "Tensor") or title[0].isdigit() or keyword.iskeyword(title)
    return f"{title}Block" if taken and not title[0].isdigit() else f"Part{title}" if taken else title


# --- classes and their parameters -----------------------------------------------------------------


@dataclass(slots=True)
class Definition:
    """One class: its first object, and for each of its numbers either None or the parameter that gives it."""

    name: str
    component: Component
    slots: tuple[str | None, ...]
    first: dict[str, int]  # parameters, in order, with a slot where their value stands
    types: dict[str, str]

    def arguments(self, numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(numbers[i] for i in self.first.values())


class Classes:
    """The classes that a network's entries need, innermost first."""

    def __init__(self, network: tuple[Entry, ...]) -> None:
        self.objects: dict[Any, list[Component]] = {}
        self.definitions: dict[Any, Definition] = {}
        self.names: Counter[str] = Counter()
        self.collect(network)
        for skeleton, components in self.objects.items():
            self.definitions[skeleton] = self.define(components)

    def collect(self, entries: tuple[Entry, ...]) -> None:
        for member in members(entries):
            if isinstance(member, Part):
                self.collect(member.component.entries)
                self.objects.setdefault(member.component.skeleton(), []).append(member.component)

    def of(self, component: Component) -> Definition:
        return self.definitions[component.skeleton()]

    def numbers(self, component: Component) -> tuple[Any, ...]:
        """Every number in a component, those of the parts inside as their arguments."""
        found: list[Any] = []
        for member in members(component.entries):
            found += self.own_numbers(member)
        return tuple(found)

    def own_numbers(self, member: Line | Part) -> tuple[Any, ...]:
        if isinstance(member, Line):
            return member.code.values
        return self.of(member.component).arguments(self.numbers(member.component))

    def roles(self, component: Component) -> Iterator[str]:
        for member in members(component.entries):
            yield from member.code.roles if isinstance(member, Line) else self.of(member.component).first

    def define(self, components: list[Component]) -> Definition:
        name = components[0].title
        self.names[name] += 1
        if self.names[name] > 1:
            name += str(self.names[name])
        columns = list(zip(*map(self.numbers, components), strict=True))
        names: dict[tuple[Any, ...], str] = {}
        first: dict[str, int] = {}
        types: dict[str, str] = {}
        for i, (column, role) in enumerate(zip(columns, self.roles(components[0]), strict=True)):
            if len(set(column)) > 1 and column not in names:
                names[column] = _parameter_name(column, role, components, set(first))
                first[names[column]] = i
                types[names[column]] = " | ".join(sorted({_type(value) for value in column}))
        return Definition(name, components[0], tuple(names.get(column) for column in columns), first, types)


def _type(value: Any) -> str:
    return f"tuple[{', '.join(['int'] * len(value))}]" if isinstance(value, tuple) else type(value).__name__


def _parameter_name(column: tuple[Any, ...], role: str, components: list[Component], taken: set[str]) -> str:
    """c_in, c_out, the name in the diagram's block, else the role with a number."""
    if column == tuple(c.x[0] for c in components):
        return "c_in"
    for name in components[0].args:
        if column == tuple(c.args.get(name) for c in components) and name not in taken:
            clashes = keyword.iskeyword(name) or name in ("self", "x", "nn", "torch", "F", "range", "super")
            return f"{name}_" if clashes else name
    if column == tuple(c.y[0] for c in components):
        return "c_out"
    base = re.sub(r"^c_(in|out)$", "c", role).rstrip("0123456789")
    return next(name for i in range(1, 10_000) if (name := f"{base}{i}") not in taken)
