from typing import Any

import pytest

from striate.diagram.expand import expand
from striate.diagram.flow import steps
from striate.diagram.parser import parse
from striate.diagram.place import DiagramError
from striate.errors import UsageError


def units(text: str, **bindings: Any) -> list[str]:
    return [step.unit for step in steps(expand(parse(text), bindings)[1])]


NOTES = "INPUT => [[CONV => RELU]*N => POOL?]*M => [FC => RELU]*K => FC"


def test_repeats_by_name_and_optional_pooling() -> None:
    stage = ["CONV", "RELU"] * 2
    assert units(NOTES, N=2, M=2, K=1, pool=True) == [*stage, "POOL", *stage, "POOL", "FC", "RELU", "FC"]
    assert units(NOTES, N=1, M=3, K=0, pool=False) == ["CONV", "RELU"] * 3 + ["FC"]


def test_a_list_gives_one_value_each_time() -> None:
    vgg16 = [2, 2, 3, 3, 3]
    found = units("INPUT => [[CONV]*N => POOL?]*5", N=vgg16, pool=[1, 1, 1, 1, 0])
    assert found == ["CONV"] * 2 + ["POOL"] + ["CONV"] * 2 + (["POOL"] + ["CONV"] * 3) * 3


def test_a_list_must_fit() -> None:
    with pytest.raises(DiagramError, match="N has 2 values, here a further one is needed"):
        units("INPUT => [[CONV]*N]*3", N=[1, 2])
    with pytest.raises(DiagramError, match="N has 4 values, the diagram uses 3"):
        units("INPUT => [[CONV]*N]*3", N=[1, 2, 3, 4])
    with pytest.raises(DiagramError, match="arithmetic is on whole numbers"):
        units("INPUT => [[CONV]*(N+1)]*3", N=[1, 2, 3])


def test_unbound_names_are_listed_once_with_how_to_bind_them() -> None:
    with pytest.raises(DiagramError) as caught:
        units(NOTES, N=2)
    assert "pool, M and K are not bound" in str(caught.value)
    assert caught.value.hint == "give a number for each: pool=1, M=2, K=2, above the network or as arguments"
    assert (caught.value.line, caught.value.column) == (1, NOTES.index("?") + 1)


def test_a_binding_that_the_diagram_has_not() -> None:
    with pytest.raises(UsageError) as caught:
        units("INPUT => [CONV => POOL?]*Depth", depth=2, Depth=3, pool=1)
    assert "has no name 'depth'; it has pool, Depth" in str(caught.value)
    assert caught.value.hint == "did you mean Depth?"


@pytest.mark.parametrize("value", ["3", None, float("nan"), float("inf"), 2**63, -(2**70), [], [1, "2"], {}])
def test_bindings_are_numbers(value: Any) -> None:
    with pytest.raises(DiagramError, match=r"N is .* expected a number"):
        units("INPUT => [CONV]*N", N=value)


@pytest.mark.parametrize(("value", "words"), [(-1, "is -1"), (1.5, "is 1.5"), (True, "is True")])
def test_repeats_are_counted_in_whole_numbers(value: Any, words: str) -> None:
    with pytest.raises(DiagramError, match=f"the number of repeats {words}"):
        units("INPUT => [CONV]*N", N=value)


def test_a_blocks_parameters_come_before_the_callers() -> None:
    text = "b(c, n=N, c2=2*c) = [CONV(c2) => [DO]?extra]*n\nINPUT => b(8) => b(4, 1, extra) => [FC]*extra"
    _, flow = expand(parse(text), {"N": 2, "extra": 1})
    assert [s.args.get("filters") for s in steps(flow) if s.unit == "CONV"] == [16, 16, 1]
    assert sum(s.unit == "FC" for s in steps(flow)) == 1


def test_a_parameter_switches_an_optional_part() -> None:
    text = "b(s=1, project=s-1) = { CONV(8, stride=s) + [CONV(8, 1, stride=s)]?project }\nINPUT => b => b(2)"
    assert units(text) == ["CONV", "CONV", "CONV"]


BILLION_LAUGHS = "a = RELU\n" + "".join(
    f"{new} = [{old} => {old}]\n"
    for old, new in zip("abcdefghijklmnopqrst", "bcdefghijklmnopqrstu", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        "INPUT => [CONV]*1000000",
        "INPUT => [CONV]*999999999999999999",
        "INPUT => [[CONV]*0]*1000000000",
        "INPUT => [[[CONV]*1000]*1000]*1000",
        f"{BILLION_LAUGHS}INPUT => u",
    ],
)
def test_the_number_of_layers_is_limited(text: str) -> None:
    with pytest.raises(DiagramError, match=r"more than 10,000 (layers|repeats)"):
        units(text)


def test_a_network_of_thousands_of_layers_is_fine() -> None:
    assert len(units("INPUT => [CONV]*9999 => FC")) == 10_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("INPUT(32,32)", "INPUT takes height, width and channels, or nothing"),
        ("INPUT(32,0,3)", "INPUT: w is 0"),
        ("INPUT(32,true,3)", "INPUT: w is True"),
        ("INPUT*2", "INPUT is neither repeated nor optional"),
        ("INPUT => DO(2)", "DO: p is 2, expected a fraction from 0 to 1"),
        ("INPUT => CONV(true)", "filters is True"),
        ("INPUT => CONV(1000000000)", "filters is 1000000000, expected a whole number from 1 to 1,000,000"),
        ("INPUT => CONV(8, 0)", "kernel is 0"),
        ("INPUT => CONV(8, padding=(1,2))", ""),
        ("INPUT => CONV(8, padding=(0-1))", "padding is -1"),
        ("INPUT => POOL(3, padding=(0,1,0,1))", "padding is (0, 1, 0, 1)"),
        ("INPUT => CONV(8, bias=2)", "bias is 2, expected true or false"),
        ("INPUT => LRN(alpha=same)", "alpha is same, expected a number"),
    ],
)
def test_arguments_out_of_range(text: str, words: str) -> None:
    if not words:
        units(text)
        return
    with pytest.raises(DiagramError) as caught:
        units(text)
    assert words in str(caught.value)


def test_a_name_gets_its_number_above_the_network_and_the_caller_wins() -> None:
    text = "N = 2\nrate = 0.25  # of the values\nINPUT(8,8,1) => [CONV]*N => DO(rate) => FC(3)"
    assert units(text) == ["CONV"] * 2 + ["DO", "FC"]
    assert units(text, N=3) == ["CONV"] * 3 + ["DO", "FC"]
    dropout = next(s for s in steps(expand(parse(text), {})[1]) if s.unit == "DO")
    assert dropout.args["p"] == 0.25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N = 2 N = 3 INPUT(8,8,1) => [CONV]*N => FC(3)", "already has a value"),
        ("M = 2 INPUT(8,8,1) => FC(3)", "no name 'M'"),
        ("N = 2", "expected INPUT"),
    ],
)
def test_a_number_that_is_out_of_place(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        units(text)
