"""Network to a PyTorch source file that needs nothing but torch."""

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise, repeat

from torch import nn

from striate.diagram import standalone
from striate.diagram.components import Classes, Definition, Entry, Join, Line, Part, entries
from striate.diagram.fold import Repeat, fold
from striate.diagram.read import read, shape_of
from striate.diagram.text import text
from striate.diagram.units import Shape

WIDTH = 110
INDENT = " " * 8


def to_python(module: nn.Module, input_shape: Shape | None = None) -> str:
    """The source of a class `Net` that computes what `module` does on inputs of (c, h, w).

    The tensors of its state dict come in the order of `weights(module, input_shape)`; for the network of a diagram
    that is the order of its own state dict.
    """
    shape = shape_of(module, input_shape)
    flow = read(module, shape)
    network = entries(flow)
    classes = Classes(network)
    written = [_class(classes, definition) for definition in classes.definitions.values()]
    written.append(_net(classes, network))
    used = "\n".join(written)
    code = "\n\n\n".join([*_helpers(used), *written])
    imports = ["import torch"] * bool(re.search(r"\btorch\.", code))
    imports += ["import torch.nn.functional as F"] * bool(re.search(r"\bF\.", code))
    diagram = [line.rstrip() for line in _diagram(module, text(flow, shape)).strip().split("\n")]
    head = [
        '"""The network of this diagram.',
        "",
        *diagram,
        '"""',
        "",
        *imports,
        "from torch import Tensor, nn",
    ]
    return "\n".join([*head, "", "", code, ""])


def _diagram(module: nn.Module, canonical: str) -> str:
    """The text that built the network, if it says everything and can stand in a docstring, else the canonical one."""
    own = str(getattr(module, "diagram", ""))
    safe = all(c.isprintable() or c == "\n" for c in own) and not re.search(r'\\|"""', own)
    complete = re.search(r"INPUT *\(", own, re.IGNORECASE) and not getattr(module, "bindings", None)
    return own if complete and safe else canonical


def _helpers(code: str) -> list[str]:
    """The sources of those layers in `standalone` that the code uses."""
    found = inspect.getmembers(
        standalone, lambda m: inspect.isclass(m) and m.__module__ == standalone.__name__
    )
    return [inspect.getsource(cls).rstrip() for name, cls in found if re.search(rf"\b{name}\(", code)]


def _batch(shape: Shape) -> str:
    return f"({', '.join(['n', *map(str, shape)])})"


# --- the classes of parts -------------------------------------------------------------------------


def _class(classes: Classes, definition: Definition) -> str:
    component, slots = definition.component, iter(definition.slots)
    init: list[str] = []
    for entry in component.entries:
        if isinstance(entry, Join):
            for name, branch in zip(entry.names, entry.branches, strict=True):
                calls = [_call(classes, member, slots) for member in branch]
                init += _attribute(name, calls) if calls else []
        else:
            init += _attribute(entry.name, [_call(classes, entry, slots)])
    lines = [
        f"class {definition.name}(nn.Module):",
        f'    """{_equation(component.entries)}"""',
        "",
        *_signature([f"{name}: {definition.types[name]}" for name in definition.first]),
        f"{INDENT}super().__init__()",
        *init,
        "",
        "    def forward(self, x: Tensor) -> Tensor:",
        *_forward([_Statement.of(entry) for entry in component.entries], None),
    ]
    return "\n".join(lines)


def _call(classes: Classes, member: Line | Part, slots: Iterator[str | None]) -> str:
    """The constructor call of a member; `slots` names those numbers that are parameters of the class around."""
    numbers = [next(slots) or value for value in classes.own_numbers(member)]
    if isinstance(member, Line):
        return member.code.template.format(*numbers)
    return f"{classes.of(member.component).name}({', '.join(map(str, numbers))})"


def _attribute(name: str, calls: list[str]) -> list[str]:
    if len(calls) == 1:
        return [f"{INDENT}self.{name} = {calls[0]}"]
    return [
        f"{INDENT}self.{name} = nn.Sequential(",
        *(f"{INDENT}    {call}," for call in calls),
        f"{INDENT})",
    ]


def _signature(parameters: Sequence[str]) -> list[str]:
    line = f"    def __init__(self{''.join(f', {p}' for p in parameters)}) -> None:"
    if len(line) <= WIDTH:
        return [line]
    return ["    def __init__(", f"{INDENT}self,", *(f"{INDENT}{p}," for p in parameters), "    ) -> None:"]


def _equation(entries: Sequence[Entry]) -> str:
    """What a part computes, in one line: relu(body(x) + x)."""
    expression = "x"
    for entry in entries:
        if isinstance(entry, Join):
            terms = [f"{name}({expression})" if name else expression for name in entry.names]
            joined = " + ".join(terms)
            expression = joined if entry.op == "+" else f"concat({', '.join(terms)})"
        else:
            expression = f"{entry.name.rstrip('0123456789_')}({expression})"
    return expression if len(expression) < 90 else f"{entries[0].x} -> {entries[-1].y} where it is used first"


# --- forward --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Statement:
    """One call in `forward`; `quiet` ones join the line before them."""

    terms: tuple[str, ...]  # attributes called on x, "" is x itself
    op: str
    y: Shape
    quiet: bool = False

    @classmethod
    def of(cls, entry: Entry) -> "_Statement":
        if isinstance(entry, Join):
            return cls(entry.names, entry.op, entry.y)
        return cls((entry.name,), "", entry.y, isinstance(entry, Line) and entry.code.quiet)

    def on(self, x: str) -> str:
        calls = [f"self.{term}({x})" if term else x for term in self.terms]
        if self.op == "+":
            return " + ".join(calls)
        return f"torch.cat(({', '.join(calls)}), dim=1)" if self.op else calls[0]


def _forward(statements: Sequence[_Statement], shape: Shape | None) -> list[str]:
    """The body of `forward`; with the shape of the input, lines that change the shape say to which."""
    lines: list[str] = []
    expression = "x"

    def finish(lead: str) -> None:
        nonlocal shape
        comment = ""
        if shape is not None and y and y != shape:
            comment, shape = f"  # {_batch(y)}", y
        lines.append(f"{INDENT}{lead}{_wrapped(expression, lead)}{comment}")

    y: Shape = shape or ()
    for statement in statements:
        joins = statement.quiet and len(expression) + len(statement.terms[0]) < WIDTH - 60
        if expression != "x" and not joins:
            finish("x = ")
            expression = "x"
        expression = statement.on(expression)
        y = statement.y or y
    finish("return ")
    return lines


def _wrapped(expression: str, lead: str) -> str:
    if len(INDENT + lead + expression) <= WIDTH or not expression.startswith("torch.cat(("):
        return expression
    calls = expression.removeprefix("torch.cat((").removesuffix("), dim=1)").split(", ")
    inner = "".join(f"{INDENT}        {call},\n" for call in calls)
    return f"torch.cat(\n{INDENT}    (\n{inner}{INDENT}    ),\n{INDENT}    dim=1,\n{INDENT})"


# --- the network ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Run:
    """One attribute of `Net`: a layer, a part, or many of them in a Sequential."""

    lines: list[str]
    statement: _Statement
    key: str  # the constructor call; runs that are equal but for their names have the same


def _net(classes: Classes, network: tuple[Entry, ...]) -> str:
    x, y = (network[0].x, network[-1].y) if network else ((), ())
    runs = _repeats(_stages(classes, network))
    lines = [
        "class Net(nn.Module):",
        f'    """{_batch(x)} -> {_batch(y)}"""',
        "",
        "    def __init__(self) -> None:",
        f"{INDENT}super().__init__()",
        *(line for run in runs for line in run.lines),
        "",
        "    def forward(self, x: Tensor) -> Tensor:",
        *_forward([run.statement for run in runs], x),
    ]
    return "\n".join(lines)


def _stages(classes: Classes, network: tuple[Entry, ...]) -> list[_Run]:
    """Three or more neighbours of one class stand in a Sequential."""

    def class_name(entry: Entry) -> str:
        return classes.of(entry.component).name if isinstance(entry, Part) else ""

    runs: list[_Run] = []
    stages = 0
    for name, group in groupby(network, key=class_name):
        alike = [entry for entry in group if not isinstance(entry, Join)]
        if name and len(alike) > 2:
            stages += 1
            runs.append(_stage(f"stage{stages}", classes, alike))
        else:
            for entry in alike:
                call = _call(classes, entry, repeat(None))
                runs.append(_Run(_attribute(entry.name, [call]), _Statement.of(entry), call))
    return runs


def _stage(name: str, classes: Classes, parts: Sequence[Line | Part]) -> _Run:
    """Parts of one class in a row."""
    calls = [_call(classes, part, repeat(None)) for part in parts]
    shorter = _comprehension(classes, parts)
    lines = [f"{INDENT}self.{name} = nn.Sequential({shorter})"] if shorter else _attribute(name, calls)
    return _Run(lines, _Statement((name,), "", parts[-1].y), ", ".join(calls))


def _comprehension(classes: Classes, parts: Sequence[Line | Part]) -> str:
    """Objects that are all alike, or whose only difference goes up in equal steps; "" if there is more to say."""
    rows = [classes.own_numbers(part) for part in parts]
    columns = list(zip(*rows, strict=True))
    moving = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    if not moving:
        return f"*({_call(classes, parts[0], repeat(None))} for _ in range({len(rows)}))"
    column = columns[moving[0]]
    if len(moving) > 1 or not all(isinstance(value, int) for value in column):
        return ""
    step = column[1] - column[0]
    if step < 1 or any(b - a != step for a, b in pairwise(column)):
        return ""
    assert isinstance(parts[0], Part)
    parameter = list(classes.of(parts[0].component).first)[moving[0]]
    call = _call(classes, parts[0], iter([parameter if i in moving else None for i in range(len(columns))]))
    return f"*({call} for {parameter} in range({column[0]}, {column[-1] + step}, {step}))"


def _repeats(runs: list[_Run]) -> list[_Run]:
    """Long repeats of layers become a loop."""
    folded = fold(runs, [run.key for run in runs], [not run.statement.quiet for run in runs])
    found: list[_Run] = []
    loops = 0
    for item in folded:
        if isinstance(item, Repeat) and item.count > 2 and item.count * len(item.rounds[0]) > 8:
            loops += 1
            found.append(_loop(f"repeat{loops}", item))
        elif isinstance(item, Repeat):
            found += [run for one in item.rounds for run in one]
        else:
            found.append(item)
    return found


def _loop(name: str, run: Repeat[_Run]) -> _Run:
    body = [one.key for one in run.rounds[0]]
    layers = f"({', '.join(body)}{',' * (len(body) == 1)})"
    lines = [
        f"{INDENT}self.{name} = nn.Sequential(",
        f"{INDENT}    *(layer for _ in range({run.count}) for layer in {layers})",
        f"{INDENT})",
    ]
    return _Run(lines, _Statement((name,), "", run.rounds[-1][-1].statement.y), name)
