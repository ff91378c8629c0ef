import re

import pytest

from striate.diagram.place import DiagramError
from striate.diagram.tokens import number, tokenise


def kinds(text: str) -> list[str]:
    return [token.kind for token in tokenise(text)]


def test_what_editors_and_web_pages_leave_behind_is_space() -> None:
    assert kinds("\ufeffINPUT\u00a0=>\r\n\tCONV") == ["name", "arrow", "name", "end"]


def test_every_kind_of_token() -> None:
    assert kinds("CONV(64, 1x7) => # comment => ignored\n[a->b]*2?") == [
        *("name", "(", "number", ",", "size", ")", "arrow"),
        *("[", "name", "arrow", "name", "]", "*", "number", "?", "end"),
    ]
    assert kinds("a//2 - 1") == ["name", "//", "number", "-", "number", "end"]


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("0.25", 0.25), (".5", 0.5), ("1e-05", 1e-5), ("2.", 2.0)]
)
def test_numbers(text: str, value: float) -> None:
    read = number(tokenise(text)[0])
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("INPUT → FC", "=> or ->"),
        ("[CONV]×2", r"\*"),
        ("PAD(−1)", "minus is written -"),
        ("A(“b”)", "no quotes"),
    ],
)
def test_what_is_printed_in_papers_is_answered_with_what_to_type(text: str, hint: str) -> None:
    with pytest.raises(DiagramError, match="unexpected character") as caught:
        tokenise(text)
    assert re.search(hint, caught.value.hint)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("CONV(1e309)", 6, "not a finite number"),
        ("CONV(" + "9" * 5_000 + ")", 6, "more than 18 digits"),
        ("CONV(12abc)", 6, "`12abc` is no number"),
        ("INPUT > CONV", 7, "a lone `>`"),
        ("DO('3')", 4, "no quotes"),
        ("INPUT => CÖNV", 11, "unexpected character 'Ö'"),
        ("INPUT => 😀", 10, "unexpected character"),
        ("y" * 10_000, 1, "a name of more than 60 characters"),
        ("x" * 100_001, 1, "at most 100,000 characters"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(text: str, column: int, words: str) -> None:
    with pytest.raises(DiagramError) as caught:
        [number(token) for token in tokenise(text) if token.kind == "number"]
    assert words in str(caught.value)
    assert (caught.value.line, caught.value.column) == (1, column)
