"""Any text at all is a network or an error with a caret, in bounded time."""

import re
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from striate.diagram import Network, build
from striate.diagram.parser import parse
from striate.diagram.place import WIDTH, DiagramError
from striate.diagram.plan import plan
from striate.diagram.syntax import WORDS
from striate.diagram.units import FIXED, UNITS
from striate.errors import UsageError

REFUSED, BUILT = 3.0, 10.0  # seconds of CPU on a busy machine; a network may have ten thousand layers
EXAMPLES = [
    path.read_text() for path in sorted((Path(__file__).parents[2] / "examples" / "diagrams").iterdir())
]
NUMBERS = [
    "0",
    "1",
    "-1",
    "3",
    "32",
    "1000000",
    "1000000000",
    "999999999999999999",
    "9" * 19,
    "0.5",
    "1e400",
    "1x7",
    ".5",
]
MARKS = [
    "=>",
    "->",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    "|",
    "+",
    "-",
    "*",
    "//",
    "?",
    "=",
    ",",
    "#",
    "\n",
    " ",
    ">",
    "×",
    "→",
]
NAMES = [
    *UNITS,
    *FIXED,
    *WORDS,
    "N",
    "block",
    "filters",
    "kernel",
    "stride",
    "padding",
    "p",
    "conv",
    "cnov",
    "FC10",
    "_",
]

words = st.sampled_from([*NUMBERS, *MARKS, *NAMES])
soups = st.lists(words, max_size=40).map(" ".join)
headed = st.lists(words, max_size=20).map(lambda found: " ".join(["INPUT(9,9,3) =>", *found]))


@st.composite
def bent(draw: st.DrawFn) -> str:
    """An example with one to three words left out, doubled, or replaced by others."""
    parts = re.findall(r"\w+|=>|\S|\s", draw(st.sampled_from(EXAMPLES)))
    for _ in range(draw(st.integers(1, 3))):
        i = draw(st.integers(0, len(parts) - 1))
        parts[i] = draw(st.one_of(st.just(""), st.just(parts[i] * 2), words))
    return "".join(parts)


anything = st.one_of(soups, headed, bent(), st.text(max_size=60))


def network_or_error(text: str) -> Network | UsageError:
    """What comes of a text; it fails where anything but these two does, or where it takes too long."""
    began = time.process_time()
    try:
        with torch.device("meta"):
            found: Network | UsageError = build(text)
    except UsageError as error:
        found = error
    assert time.process_time() - began < (BUILT if isinstance(found, Network) else REFUSED)
    return found


def check_any(text: str) -> None:
    found = network_or_error(text)
    if isinstance(found, DiagramError):
        message, _, caret = str(found).split("\n")
        assert message.startswith("line ")
        assert caret.strip() == "^"
        assert len(caret) <= len(f"    {' ' * WIDTH}^")
    elif isinstance(found, Network):
        assert plan(parse(text)).parameters == sum(p.numel() for p in found.parameters())
    else:
        assert "\n" not in str(found)


BOMBS = [
    "INPUT(9,9,3) => [CONV]*1000000000",
    "INPUT(9,9,3) => [[[[CONV]*999]*999]*999]*999",
    "INPUT(9,9,3) => [SKIP]*1000000000",
    "INPUT(9,9,3) => [[SKIP]*9999]*9999",
    "INPUT(9,9,3) => [[]]*1000000000",
    "INPUT(9,9,3) => " + "{ SKIP + " * 40_000,
    "INPUT(9,9,3) => " + "[" * 99_000,
    "INPUT(9,9,3) => CONV(" + "(" * 90_000,
    "INPUT(9,9,3) => CONV(" + "9" * 90_000 + ")",
    "INPUT(9,9,3) => CONV(1" + "*9" * 40_000 + ")",
    "INPUT(9,9,3) => " + "CONV?" * 15_000,
    "INPUT(9,9,3) => " + "RELU => " * 12_000 + "RELU",
    "INPUT(1000000,1000000,1000000) => FC(1000000)",
    "INPUT(9,9,3) => CONV(1000000, 1000000)",
    "INPUT(9,9,3) => { " + " | ".join(["CONV(1000000, 1)"] * 6_000) + " }",
    "\n".join(f"b{i}(n) = {'=> '.join([f'b{i - 1}(n) '] * 9) if i else 'CONV(n)'}" for i in range(50))
    + "\nINPUT(9,9,3) => b49(3)",
    "N = 1000000000\nINPUT(9,9,3) => [RELU]*(N*N)",
    "b(" + ", ".join(f"a{i}=1" for i in range(12_000)) + ") = RELU\nINPUT(9,9,3) => b",
    "#" * 99_999,
    "\n" * 99_999 + "INPUT",
    "A = 1\n" * 16_000,
]  # fmt: skip


@pytest.mark.parametrize("text", BOMBS, ids=[text[:40].strip() for text in BOMBS])
def test_texts_that_stand_for_too_much_are_refused_at_once(text: str) -> None:
    assert isinstance(network_or_error(text), UsageError)
    check_any(text)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(anything)
def test_any_text_is_a_network_or_an_error_with_a_caret(text: str) -> None:
    check_any(text)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(anything)
def test_a_great_many_texts(text: str) -> None:
    check_any(text)
