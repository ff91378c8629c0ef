"""Text to syntax tree, by recursive descent, without torch.

    diagram  = { NAME "=" number | block } network
    block    = NAME [ "(" NAME [ "=" value ] { "," ... } ")" ] "=" chain
    network  = chain                            which starts with INPUT
    chain    = item { "=>" item }               "->" is the same arrow
    item     = part { "*" count | "?" [ NAME ] }
    part     = NAME [ "(" [ NAME "=" ] value { "," ... } ")" ]
             | "[" chain "]"
             | "{" chain "|" chain ... "}"      side by side along the channels
             | "{" chain "+" chain ... "}"      summed
    count    = whole number | NAME | "(" sum ")"
    value    = same | valid | true | false | 1x7 | "(" sum "," sum ... ")" | sum
    sum      = whole-number arithmetic with + - * // and parentheses on numbers and NAMEs

Unit and block names ignore case, other names don't. A block sees the blocks above it. `#` starts a comment. Names that
no block parameter explains (N, M, K) are bound above the network or by the caller of `build`. The caller also binds
optional parts: `POOL?` by `pool`, `[ ... ]?` by its first unit, `[ ... ]?extra` by `extra` (the name touches the
question mark). Inside a block its parameters come first.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from striate.diagram import syntax
from striate.diagram.kinds import REQUIRED
from striate.diagram.place import DiagramError, Place
from striate.diagram.syntax import (
    WORDS,
    Binary,
    Branches,
    Chain,
    Diagram,
    Expression,
    Item,
    Literal,
    Name,
    Several,
)
from striate.diagram.tokens import Token, number, tokenise
from striate.diagram.units import FIXED, UNITS
from striate.errors import nearest

DEEPEST = 50  # brackets within brackets


def parse(text: str) -> Diagram:
    """The syntax tree of `text`, with every unit, block and argument name checked.

    >>> list(parse("INPUT => [[CONV => RELU]*N => POOL?]*M => [FC => RELU]*K => FC").free)
    ['N', 'pool', 'M', 'K']
    """
    return _Parser(text).diagram()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenise(text)
        self.at = 0
        self.depth = 0
        self.first = -1  # the token where the network starts
        self.blocks: dict[str, syntax.Block] = {}

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def next(self) -> Token:
        token = self.token
        self.at += token.kind != "end"
        return token

    def take(self, *kinds: str) -> Token | None:
        return self.next() if self.token.kind in kinds else None

    def expect(self, kind: str, what: str) -> Token:
        if self.token.kind != kind:
            raise self.error(f"expected {what}, found {self.token}")
        return self.next()

    def error(self, message: str, place: Place | None = None, hint: str = "") -> DiagramError:
        return DiagramError(message, place or self.token.place, hint)

    @contextmanager
    def deeper(self) -> Iterator[Callable[[], None]]:
        """One level of nesting; what it yields goes down one more. All are left at the end."""
        start = self.depth

        def down() -> None:
            self.depth += 1
            if self.depth > DEEPEST:
                raise self.error(f"nested more than {DEEPEST} levels deep")

        down()
        yield down
        self.depth = start

    # --- blocks and the network ---

    def diagram(self) -> Diagram:
        bound: dict[str, int | float] = {}
        while self.starts_block():
            if self.tokens[self.at + 2].kind == "number":
                name, _, value = self.next(), self.next(), self.next()
                if name.text in bound:
                    raise self.error(f"{name} already has a value", name.place)
                bound[name.text] = number(value)
            else:
                block = self.block()
                self.blocks[block.name.lower()] = block
        if self.token.kind == "end" and self.blocks:
            raise self.error("blocks but no network", hint="the network comes last and starts with INPUT")
        if self.token.text.upper() != "INPUT":
            hint = "a network is INPUT => ... => FC; a block is name(parameters) = ..."
            raise self.error(f"expected INPUT, found {self.token}", hint=hint)
        self.first = self.at
        network = self.chain()
        if self.token.kind != "end":
            raise self.after_item()
        return Diagram(self.text, self.blocks, network, bound)

    def after_item(self) -> DiagramError:
        """The error for something that cannot follow a finished item."""
        if self.token.kind == "name":
            return self.error(f"expected => before {self.token}")
        if self.token.kind in (")", "]", "}"):
            return self.error(f"{self.token} closes nothing")
        if self.token.kind in ("+", "|"):
            return self.error(f"{self.token} joins branches inside {{ }} only")
        return self.error(f"expected => or the end of the diagram, found {self.token}")

    def starts_block(self) -> bool:
        """Is this NAME = or NAME ( ... ) = ?"""
        if self.token.kind != "name":
            return False
        i = self.at + 1
        if self.tokens[i].kind == "(":
            depth = 0
            while self.tokens[i].kind != "end":
                depth += {"(": 1, ")": -1}.get(self.tokens[i].kind, 0)
                i += 1
                if depth == 0:
                    break
        return self.tokens[i].kind == "="

    def block(self) -> syntax.Block:
        name = self.next()
        if name.text.upper() in UNITS.keys() | FIXED.keys():
            raise self.error(f"{name} is a unit, a block needs another name", name.place)
        if name.text.lower() in self.blocks:
            place = self.blocks[name.text.lower()].place
            raise self.error(f"block {name} is already defined at {place}", name.place)
        parameters = self.parameters() if self.take("(") else ()
        self.expect("=", "=")
        body = self.chain()
        if self.token.kind != "end" and not (self.starts_block() or self.token.text.upper() == "INPUT"):
            raise self.after_item()
        return syntax.Block(name.text, parameters, body, name.place)

    def parameters(self) -> tuple[syntax.Parameter, ...]:
        found: list[syntax.Parameter] = []
        while not self.take(")"):
            if found:
                self.expect(",", ", or )")
            name = self.expect("name", "the name of a parameter")
            if name.text.lower() in WORDS or name.text in (p.name for p in found):
                raise self.error(f"{name} cannot be used as a parameter's name here", name.place)
            default = self.value() if self.take("=") else None
            if default is None and found and found[-1].default is not None:
                raise self.error(f"{name} without a default follows one with a default", name.place)
            found.append(syntax.Parameter(name.text, default, name.place))
        return tuple(found)

    # --- chains ---

    def chain(self) -> Chain:
        place = self.token.place
        items = [self.item()]
        while self.take("arrow"):
            items.append(self.item())
        return Chain(tuple(items), place)

    def item(self) -> Item:
        item = self.part()
        with self.deeper() as down:
            while mark := self.take("*", "?"):
                down()
                body = item if isinstance(item, Chain) else Chain((item,), item.place)
                if mark.kind == "*":
                    item = syntax.Repeat(body, self.count(), mark.place)
                else:
                    item = syntax.Optional(body, self.switch(mark, body), mark.place)
        return item

    def part(self) -> Item:
        token = self.next()
        match token.kind:
            case "name":
                return self.call(token)
            case "[":
                with self.deeper():
                    body = self.chain()
                    self.close("]", token)
                return body
            case "{":
                with self.deeper():
                    return self.branches(token)
        raise self.error(f"expected a unit, [ or {{, found {token}", token.place)

    def close(self, bracket: str, opened: Token) -> None:
        if not self.take(bracket):
            raise self.error(f"expected => or {bracket} (for {opened} at {opened.place}), found {self.token}")

    def branches(self, opened: Token) -> Branches:
        branches = [self.chain()]
        ops: list[str] = []
        while op := self.take("|", "+"):
            if ops and op.kind != ops[0]:
                hint = "put the inner pair into braces of its own"
                raise self.error(f"{op} among branches joined by `{ops[0]}`", op.place, hint)
            ops.append(op.kind)
            branches.append(self.chain())
        if not ops and self.token.kind == "}":
            raise self.error(
                "braces need two branches or more: { a | b } or { a + b }", hint="[ ] groups a single chain"
            )
        if not self.take("}"):
            raise self.error(f"expected =>, | , + or }} (for {opened} at {opened.place}), found {self.token}")
        return Branches(ops[0], tuple(branches), opened.place)

    def switch(self, mark: Token, body: Chain) -> str:
        """What binds an optional part: the name that touches `?`, else its first unit in lower case."""
        if self.token.kind == "name" and self.token.place.offset == mark.end:
            return self.next().text
        first: Item = body
        while isinstance(first, Chain | syntax.Repeat | syntax.Optional):
            first = first.items[0] if isinstance(first, Chain) else first.body
        if isinstance(first, syntax.Call):
            return first.name.lower()
        raise self.error("branches that are optional need a name: { ... }?name", mark.place)

    # --- units and their arguments ---

    def call(self, name: Token) -> syntax.Call:
        if name.text.upper() == "INPUT" and self.at - 1 != self.first:
            raise self.error("INPUT comes first in the network, and once", name.place)
        call = syntax.Call(name.text, self.arguments() if self.take("(") else (), name.place)
        check_arguments(call, self.known_arguments(call))
        return call

    def known_arguments(self, call: syntax.Call) -> dict[str, bool]:
        """What a unit or block takes: names, and whether each has to be given."""
        upper, lower = call.name.upper(), call.name.lower()
        if lower in self.blocks:
            return {p.name: p.default is None for p in self.blocks[lower].parameters}
        if upper in UNITS:
            return {p.name: p.default is REQUIRED for p in UNITS[upper].parameters}
        if upper in FIXED:
            return dict.fromkeys(FIXED[upper], False)
        words = [*UNITS, *FIXED, *(block.name for block in self.blocks.values())]
        hint = nearest(call.name, words) or f"the units are {', '.join(words)}"
        raise self.error(f"unknown unit {call.name}", call.place, hint)

    def arguments(self) -> tuple[syntax.Argument, ...]:
        found: list[syntax.Argument] = []
        while not self.take(")"):
            if found:
                self.expect(",", ", or )")
            place, name = self.token.place, None
            if self.token.kind == "name" and self.tokens[self.at + 1].kind == "=":
                name = self.next().text
                self.next()
            found.append(syntax.Argument(name, self.value(), place))
        return tuple(found)

    # --- values ---

    def count(self) -> Expression:
        if self.token.kind not in ("number", "name", "("):
            raise self.error(
                f"expected how many times, found {self.token}", hint="as in [CONV => RELU]*2 or [ ... ]*N"
            )
        return self.factor()

    def value(self) -> Expression:
        token = self.token
        if token.kind == "size":
            self.next()
            return Literal(self.size(token), token.place)
        if token.text.lower() in WORDS:
            self.next()
            return Literal(WORDS[token.text.lower()], token.place)
        return self.sum()

    def size(self, token: Token) -> tuple[int, ...]:
        h, w = token.text.split("x")
        if len(token.text) > 18:
            raise self.error(f"{token.text[:20]}... is too large", token.place)
        return int(h), int(w)

    def sum(self) -> Expression:
        left = self.product()
        with self.deeper() as down:
            while op := self.take("+", "-"):
                down()
                left = Binary(op.kind, left, self.product(), op.place)
        return left

    def product(self) -> Expression:
        left = self.factor()
        with self.deeper() as down:
            while op := self.take("*", "//"):
                down()
                left = Binary(op.kind, left, self.factor(), op.place)
        return left

    def factor(self) -> Expression:
        token = self.next()
        match token.kind:
            case "number":
                return Literal(number(token), token.place)
            case "name":
                return Name(token.text, token.place)
            case "-":
                with self.deeper():
                    return Binary("-", Literal(0, token.place), self.factor(), token.place)
            case "(":
                with self.deeper():
                    items = [self.sum()]
                    while self.take(","):
                        items.append(self.sum())
                    self.expect(")", ", or )")
                return items[0] if len(items) == 1 else Several(tuple(items), token.place)
        hint = "write 1x7, 0.5, same, true, a name, or whole numbers with + - * // and ( )"
        raise self.error(f"expected a value, found {token}", token.place, hint)


def check_arguments(call: syntax.Call, known: Mapping[str, bool]) -> None:
    """Every argument is known and given once, those without a name come first, none that is needed lacks."""
    takes = f"{call.name} takes {', '.join(known)}" if known else f"{call.name} takes no arguments"
    order, given = list(known), set()
    for i, argument in enumerate(call.arguments):
        name = argument.name
        if name is None:
            if any(earlier.name for earlier in call.arguments[:i]):
                raise DiagramError("an argument without a name after one with a name", argument.place, takes)
            if i >= len(order):
                raise DiagramError(f"{call.name} has no argument number {i + 1}", argument.place, takes)
            name = order[i]
        elif name not in known:
            raise DiagramError(
                f"{call.name} has no argument {name}",
                argument.place,
                f"{nearest(name, known)} {takes}".strip(),
            )
        if name in given:
            raise DiagramError(f"{name} is given twice", argument.place)
        given.add(name)
    missing = [name for name, needed in known.items() if needed and name not in given]
    if missing:
        raise DiagramError(f"{call.name} needs {' and '.join(missing)}", call.place, takes)
