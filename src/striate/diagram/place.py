"""Where in a diagram's text something stands, and the error that points there."""

from dataclasses import dataclass, field

from striate.errors import UsageError

WIDTH = 100  # columns of source that an error shows


@dataclass(frozen=True, slots=True)
class Place:
    """One character of a diagram; `line` and `column` count from 1."""

    text: str = field(repr=False)
    offset: int

    @property
    def line(self) -> int:
        return self.text.count("\n", 0, self.offset) + 1

    @property
    def column(self) -> int:
        return self.offset - self.text.rfind("\n", 0, self.offset)

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"

    def excerpt(self) -> str:
        """The line of source with a caret under this character; a long line is cut around it."""
        at = self.column - 1
        line = self.text[self.offset - at :].split("\n", 1)[0]
        start = max(0, min(at - WIDTH // 2, len(line) - WIDTH))
        shown = "".join(c if c.isprintable() else " " for c in line[start : start + WIDTH])
        return f"    {shown.rstrip()}\n    {' ' * (at - start)}^"


class DiagramError(UsageError):
    """A diagram that cannot be read or built: what is wrong, the line of source, a caret under the place."""

    def __init__(self, message: str, place: Place, hint: str = "", inside: tuple[str, ...] = ()) -> None:
        within = "".join(f" (in {call})" for call in inside)
        super().__init__(f"{place}: {message}{within}\n{place.excerpt()}", hint)
        self.line, self.column = place.line, place.column
