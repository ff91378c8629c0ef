import ast
import subprocess
import sys
from pathlib import Path

import pytest

import striate.diagram
from striate.diagram import syntax
from striate.diagram.parser import parse
from striate.diagram.place import DiagramError
from striate.diagram.syntax import Binary, Branches, Call, Chain, Literal, Name, Repeat


def network(text: str) -> tuple[syntax.Item, ...]:
    return parse(f"INPUT => {text}").network.items[1:]


def test_a_unit_with_positional_and_named_arguments() -> None:
    (conv,) = network("conv(64, 3, stride=2, padding=valid)")
    assert isinstance(conv, Call)
    values = [(a.name, a.value.value) for a in conv.arguments if isinstance(a.value, Literal)]
    assert values == [(None, 64), (None, 3), ("stride", 2), ("padding", "valid")]


def test_nodes_know_their_places() -> None:
    text = "INPUT\n => [CONV(64, 3)\n     => RELU]*N"
    _, repeat = parse(text).network.items
    assert isinstance(repeat, Repeat)
    conv, relu = repeat.body.items
    assert isinstance(conv, Call)
    assert (conv.place.line, conv.place.column) == (2, 6)
    assert (conv.arguments[1].place.line, conv.arguments[1].place.column) == (2, 15)
    assert (relu.place.line, relu.place.column) == (3, 9)
    assert (repeat.count.place.line, repeat.count.place.column) == (3, 15)


def test_both_arrows_and_line_breaks_anywhere() -> None:
    assert len(network("CONV ->\n POOL # a comment\n\n => FC\n(\n10\n)")) == 3


def test_branches_repeats_and_options() -> None:
    (add,) = network("{ CONV => BN + SKIP }")
    assert isinstance(add, Branches)
    assert add.op == "+"
    assert [len(branch.items) for branch in add.branches] == [2, 1]
    (concat,) = network("{ CONV | CONV | POOL }")
    assert isinstance(concat, Branches)
    assert concat.op == "|"
    (optional,) = network("[DO => FC]?extra")
    assert isinstance(optional, syntax.Optional)
    assert optional.switch == "extra"
    (implied,) = network("[[POOL]*2 => FC]?")
    assert isinstance(implied, syntax.Optional)
    assert implied.switch == "pool"


def test_arithmetic_has_the_usual_order() -> None:
    diagram = parse("b(c) = CONV(c - 2*(c + 1)//3 - 1) INPUT => b(3)")
    (conv,) = diagram.blocks["b"].body.items
    assert isinstance(conv, Call)
    value = conv.arguments[0].value
    assert isinstance(value, Binary)
    assert syntax.evaluate(value, {"c": 10}) == 10 - 2 * (10 + 1) // 3 - 1


def test_blocks_stand_above_the_network_and_see_those_above_them() -> None:
    diagram = parse("a = CONV => BN\nB(n, s=1, p=s-1) = a => [POOL]*n\nINPUT => b(2)")
    assert list(diagram.blocks) == ["a", "b"]
    assert [p.name for p in diagram.blocks["b"].parameters] == ["n", "s", "p"]


def test_free_names_are_those_that_no_parameter_explains() -> None:
    diagram = parse("b(c, n=N) = [CONV(c) => [RELU]?act]*n\nINPUT => b(W) => POOL? => [FC]*K")
    assert list(diagram.free) == ["N", "act", "W", "pool", "K"]
    assert diagram.free["W"].line == 2


ERRORS = {
    "": (1, 1, "expected INPUT, found the end of the diagram"),
    "CONV => FC": (1, 1, "expected INPUT, found `CONV`"),
    "INPUT => CONVV": (1, 10, "unknown unit CONVV"),
    "INPUT =>": (1, 9, "expected a unit, [ or {, found the end"),
    "INPUT => => CONV": (1, 10, "expected a unit, [ or {, found `=>`"),
    "INPUT => [CONV => RELU": (1, 23, "expected => or ] (for `[` at line 1, column 10)"),
    "INPUT => [CONV => RELU)*2": (1, 23, "expected => or ] (for `[`"),
    "INPUT => CONV]*2": (1, 14, "`]` closes nothing"),
    "INPUT => { CONV }": (1, 17, "braces need two branches"),
    "INPUT => { CONV | POOL": (1, 23, "for `{` at line 1, column 10"),
    "INPUT => { CONV + POOL | SKIP }": (1, 24, "`|` among branches joined by `+`"),
    "INPUT => CONV | POOL": (1, 15, "`|` joins branches inside { } only"),
    "INPUT => CONV RELU": (1, 15, "expected => before `RELU`"),
    "INPUT => CONV(64 3)": (1, 18, "expected , or ), found `3`"),
    "INPUT => CONV(64,": (1, 18, "expected a value, found the end"),
    "INPUT => CONV(64, sride=2)": (1, 19, "CONV has no argument sride"),
    "INPUT => CONV(stride=2, 64)": (1, 25, "an argument without a name after one with a name"),
    "INPUT => CONV(64, filters=3)": (1, 19, "filters is given twice"),
    "INPUT => RELU(1)": (1, 15, "RELU has no argument number 1"),
    "INPUT => DEPTHPOOL": (1, 10, "DEPTHPOOL needs groups"),
    "INPUT => [CONV]*": (1, 17, "expected how many times"),
    "INPUT => { CONV | POOL }?": (1, 25, "need a name"),
    "INPUT => INPUT": (1, 10, "INPUT comes first in the network, and once"),
    "b = CONV => INPUT\nINPUT => b": (1, 13, "INPUT comes first"),
    "b(c) = CONV(c)": (1, 15, "blocks but no network"),
    "b(c) = CONV(c) RELU\nINPUT => b(3)": (1, 16, "expected => before `RELU`"),
    "b(c) = CONV(c)\nINPUT => b": (2, 10, "b needs c"),
    "b(c) = b(c)\nINPUT => b(3)": (1, 8, "unknown unit b"),
    "a = b\nb = CONV\nINPUT => a": (1, 5, "unknown unit b"),
    "b = CONV\nB = POOL\nINPUT => b": (2, 1, "already defined at line 1"),
    "conv(c) = CONV(c)\nINPUT => conv(3)": (1, 1, "is a unit, a block needs another name"),
    "b(c=1, d) = CONV(c)\nINPUT => b": (1, 8, "`d` without a default follows one with a default"),
    "b(c, c) = CONV(c)\nINPUT => b(1, 1)": (1, 6, "`c` cannot be used as a parameter's name"),
    "b(same) = CONV(3)\nINPUT => b(1)": (1, 3, "`same` cannot be used as a parameter's name"),
}


@pytest.mark.parametrize(("text", "expected"), ERRORS.items(), ids=list(ERRORS))
def test_errors_point_at_the_place(text: str, expected: tuple[int, int, str]) -> None:
    line, column, words = expected
    with pytest.raises(DiagramError) as caught:
        parse(text)
    assert words in str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_hints_name_the_nearest_words() -> None:
    with pytest.raises(DiagramError) as caught:
        parse("INPUT => CONVV")
    assert caught.value.hint == "did you mean CONV, DWCONV or SEPCONV?"
    with pytest.raises(DiagramError) as caught:
        parse("INPUT => CONV(64, sride=2)")
    assert caught.value.hint.startswith("did you mean stride? CONV takes filters, kernel, stride")
    with pytest.raises(DiagramError) as caught:
        parse("residual(c) = CONV(c)\nINPUT => residal(3)")
    assert "residual" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "INPUT => " + "[" * 10_000,
        "INPUT => " + "{" * 10_000,
        "INPUT => CONV(" + "(" * 10_000,
        "INPUT => CONV(" + "-" * 10_000 + "1)",
        "INPUT => CONV(" + "+".join("1" * 10_000) + ")",
        "INPUT => CONV(" + "*".join("1" * 10_000) + ")",
        "INPUT => RELU" + "*1" * 10_000,
        "INPUT => RELU" + "?" * 10_000,
    ],
    ids=["[", "{", "(", "-", "+", "*", "repeats", "options"],
)
def test_depth_is_limited(text: str) -> None:
    with pytest.raises(DiagramError, match="nested more than 50 levels deep"):
        parse(text)


def test_a_mistake_is_reported_without_importing_torch() -> None:
    code = (
        "import sys\nfrom striate.diagram import DiagramError, parse\n"
        "try:\n    parse('INPUT => CONVV')\nexcept DiagramError as e:\n    print(e.column, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["10", "False"]


@pytest.mark.parametrize(
    "value", ["__import__", "__import__('os').system('touch canary')", "c.__class__", "1 if 1 else 2"]
)
def test_expressions_are_never_python(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DiagramError):
        striate.diagram.build(f"INPUT(8,8,1) => CONV({value})")
    assert not list(tmp_path.iterdir())


def test_no_room_of_the_diagram_evaluates_text() -> None:
    for path in Path(striate.diagram.__file__).parent.glob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        called = {f.id for f in calls if isinstance(f, ast.Name)}
        assert not called & {"eval", "exec", "compile", "__import__"}, path


def test_values() -> None:
    (pad,) = network("CONV(8, 1x7, padding=(0, 1, 2, k))")
    assert isinstance(pad, Call)
    kernel, padding = (argument.value for argument in pad.arguments[1:])
    assert kernel == Literal((1, 7), kernel.place)
    assert syntax.evaluate(padding, {"k": 3}) == (0, 1, 2, 3)
    (flag,) = network("CONV(8, bias=False)")
    assert isinstance(flag, Call)
    assert syntax.evaluate(flag.arguments[1].value, {}) is False


def test_a_group_is_a_chain() -> None:
    (group,) = network("[CONV => RELU]")
    assert isinstance(group, Chain)
    (twice,) = network("[[CONV]*N]*2")
    assert isinstance(twice, Repeat)
    assert isinstance(twice.body.items[0], Repeat)
    assert isinstance(twice.body.items[0].count, Name)
