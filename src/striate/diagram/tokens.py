"""A diagram's text as a list of tokens."""

import math
import re
from dataclasses import dataclass
from typing import NoReturn

from striate.diagram.place import DiagramError, Place

LONGEST = 100_000  # characters
TYPED = {  # what papers and word processors write -> how it is typed
    **dict.fromkeys("→⇒⟶➜", "the arrow is written => or ->"), **dict.fromkeys("×✕⋅·", "times is written *"),
    **dict.fromkeys("–—−", "minus is written -"), **dict.fromkeys("“”„‘’", "names need no quotes"),
}  # fmt: skip
LONGEST_NAME = 60
PATTERN = re.compile(
    r"""(?P<space>   [\s\u00a0\ufeff]+ | \#[^\n]* )
      | (?P<arrow>   => | -> )
      | (?P<size>    \d+x\d+ (?![A-Za-z_0-9.]) )
      | (?P<number>  (?: \d+\.?\d* | \.\d+ ) (?: [eE][+-]?\d+ )? (?![A-Za-z_0-9.]) )
      | (?P<name>    [A-Za-z_][A-Za-z_0-9]* )
      | (?P<mark>    // | [][(){}|+*?,=-] )""",
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is arrow, size (`1x7`), number, name, end, or for a mark the mark itself."""

    kind: str
    text: str
    place: Place

    @property
    def end(self) -> int:
        return self.place.offset + len(self.text)

    def __str__(self) -> str:
        return "the end of the diagram" if self.kind == "end" else f"`{self.text}`"


def tokenise(text: str) -> list[Token]:
    """Every token of `text`, then one of kind "end"."""
    if len(text) > LONGEST:
        raise DiagramError(
            f"a diagram has at most {LONGEST:,} characters, this one has {len(text):,}", Place(text, 0)
        )
    tokens, at = [], 0
    while at < len(text):
        match = PATTERN.match(text, at)
        if match is None:
            _unreadable(text, at)
        kind = str(match.lastgroup)
        if kind == "name" and len(match[0]) > LONGEST_NAME:
            raise DiagramError(f"a name of more than {LONGEST_NAME} characters", Place(text, at))
        if kind != "space":
            tokens.append(Token(match[0] if kind == "mark" else kind, match[0], Place(text, at)))
        at = match.end()
    return [*tokens, Token("end", "", Place(text, len(text.rstrip())))]


def _unreadable(text: str, at: int) -> NoReturn:
    place = Place(text, at)
    if text[at].isdecimal():
        word = re.match(r"[\w.]+", text[at:])
        raise DiagramError(f"`{word[0][:40] if word else text[at]}` is no number", place)
    if text[at] == ">":
        raise DiagramError("a lone `>`", place, hint="the arrow is written => or ->")
    if text[at] in "'\"":
        raise DiagramError(
            "a diagram has no quotes", place, hint="write numbers and words bare: padding=valid"
        )
    raise DiagramError(f"unexpected character {text[at]!r}", place, hint=TYPED.get(text[at], ""))


def number(token: Token) -> int | float:
    """The value of a number token: finite, of at most 18 digits where it is whole."""
    if token.text.isdecimal():
        if len(token.text) > 18:
            raise DiagramError("a number of more than 18 digits", token.place)
        return int(token.text)
    value = float(token.text)
    if not math.isfinite(value):
        raise DiagramError(f"{token} is not a finite number", token.place)
    return value
