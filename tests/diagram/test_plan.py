from typing import Any

import pytest

from striate.diagram import network
from striate.diagram.flow import steps
from striate.diagram.parser import parse
from striate.diagram.place import DiagramError
from striate.diagram.plan import Plan, plan
from striate.errors import UsageError


def planned(text: str, *args: Any, **bindings: Any) -> Plan:
    return plan(parse(text), *args, bindings=bindings)


def arguments(text: str, unit: str, name: str, *args: Any) -> list[Any]:
    return [s.args[name] for s in steps(planned(text, *args).flow) if s.unit == unit]


# --- defaults ---


def test_a_bare_conv_doubles_after_each_pool() -> None:
    text = "INPUT(32,32,3) => [[CONV => RELU]*2 => POOL]*3 => FC(10)"
    assert arguments(text, "CONV", "filters") == [32, 32, 64, 64, 128, 128]
    assert set(arguments(text, "CONV", "kernel")) == {3}
    assert set(arguments(text, "CONV", "padding")) == {"same"}


def test_pools_that_keep_the_size_do_not_double() -> None:
    assert arguments("INPUT(8,8,3) => POOL(3, stride=1, padding=same) => CONV", "CONV", "filters") == [32]
    branches = "INPUT(8,8,3) => { POOL => CONV | CONV(8, stride=2) } => CONV"
    assert arguments(branches, "CONV", "filters") == [64, 8, 64]


def test_a_bare_fc_has_128_units_and_the_last_one_the_classes() -> None:
    assert arguments("INPUT(8,8,1) => [FC => RELU]*2 => FC", "FC", "units", None, 7) == [128, 128, 7]
    assert arguments("INPUT(8,8,1) => FC => RELU => FC => SOFTMAX", "FC", "units", None, 7) == [128, 7]
    assert arguments("INPUT(8,8,1) => FC(32) => FC(7)", "FC", "units", None, 7) == [32, 7]


@pytest.mark.parametrize(
    ("text", "classes", "widths"),
    [
        ("FC => RELU => DO => SOFTMAX", 10, [128, 10]),
        ("FC => SOFTMAX", 10, [10]),
        ("CONV(10, 1) => GAP => SOFTMAX", 10, []),
        ("CONV(10, 1) => GAP => SOFTMAX", None, []),
        ("CONV(64, 1) => GAP => SOFTMAX", 10, [10]),
        ("CONV(10, 1) => GMP => SOFTMAX", 10, []),
        ("CONV(2) => SOFTMAX", 10, [10]),
        ("FC(10) => RELU => SOFTMAX", 10, [10, 10]),
        ("SOFTMAX", 10, [10]),
    ],
)
def test_softmax_stands_for_the_classifier(text: str, classes: int | None, widths: list[int]) -> None:
    assert arguments(f"INPUT(8,8,1) => {text}", "FC", "units", None, classes) == widths


def test_softmax_in_a_block_at_the_end() -> None:
    assert arguments("head = RELU => SOFTMAX\nINPUT(4,4,1) => head", "FC", "units", None, 3) == [3]


def test_the_bias_goes_where_bn_follows() -> None:
    text = "b = CONV(8)\nINPUT(8,8,3) => CONV(8) => BN => b => BN => CONV(8) => RELU => BN => { CONV(8) + SKIP } => BN"
    assert arguments(text, "CONV", "bias") == [False, False, True, True]
    assert arguments("INPUT(8,8,3) => CONV(8, bias=true) => BN", "CONV", "bias") == [True]
    assert arguments("INPUT(8,8,3) => FC(4) => BN => RELU => FC(2)", "FC", "bias") == [False, True]


def test_fc_flattens_by_itself() -> None:
    found = [(s.unit, s.x, s.y) for s in steps(planned("INPUT(4,4,3) => FC(5) => FC(2)").flow)]
    assert found == [("FLATTEN", (3, 4, 4), (48,)), ("FC", (48,), (5,)), ("FC", (5,), (2,))]


# --- input and classes ---


def test_the_input_is_height_width_channels_in_the_text_and_channels_first_in_python() -> None:
    assert planned("INPUT(28,32,1) => RELU").input_shape == (1, 28, 32)
    assert planned("INPUT => RELU", (3, 28, 32)).input_shape == (3, 28, 32)


@pytest.mark.parametrize(
    ("text", "shape", "classes", "words"),
    [
        ("INPUT => RELU", None, None, "the size of the input is unknown"),
        ("INPUT(8,8,1) => RELU", (3, 8, 8), None, "INPUT is (1, 8, 8) here, but the caller gives (3, 8, 8)"),
        ("INPUT(99999999,8,1) => RELU", None, None, "beyond"),
        ("INPUT(100000,100000,3) => RELU", None, None, "an input of (3, 100000, 100000) is beyond"),
        ("INPUT(8,8,1) => FC", None, None, "the number of classes is unknown"),
        ("INPUT(8,8,1) => RELU => SOFTMAX", None, None, "the number of classes is unknown"),
        ("INPUT(8,8,1) => FC(10)", None, 7, "the network ends in (10,), 7 classes are wanted"),
        ("INPUT(8,8,1) => FC => RELU", None, 7, "the network ends in (128,), 7 classes are wanted"),
        ("INPUT(8,8,1) => CONV", None, 7, "the network ends in (32, 8, 8), 7 classes are wanted"),
        ("INPUT(8,8,1) => SOFTMAX => FC", None, 7, "SOFTMAX comes last in the network"),
        ("INPUT(8,8,1) => [FC => SOFTMAX]*2", None, 7, "SOFTMAX comes last in the network"),
        ("INPUT(8,8,1) => { FC => SOFTMAX | FC }", None, 7, "SOFTMAX comes last in the network"),
    ],
)
def test_input_and_classes_must_agree(text: str, shape: Any, classes: Any, words: str) -> None:
    with pytest.raises(DiagramError) as caught:
        planned(text, shape, classes)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "shape", [(3, 0, 8), (3, -1, 8), (3, 2**31, 8), (3, 2**63, 8), (3, 8), (3, 8, 8.0), ("3", 8, 8)]
)
def test_a_callers_shape_is_checked(shape: Any) -> None:
    with pytest.raises(UsageError, match="input_shape is"):
        planned("INPUT => RELU", shape)


@pytest.mark.parametrize("classes", [0, -1, 2**63, 1.5, "10", float("nan")])
def test_a_callers_number_of_classes_is_checked(classes: Any) -> None:
    with pytest.raises(UsageError, match="num_classes is"):
        planned("INPUT(8,8,1) => FC", None, classes)


# --- shapes that do not fit ---


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (
            "INPUT(5,5,3) => CONV(8, 7, padding=valid)",
            17,
            "CONV on (3, 5, 5): a window of 7 does not fit into an input of 5",
        ),
        (
            "INPUT(16,16,3) => [CONV => POOL]*8",
            28,
            "POOL on (512, 1, 1): a window of 2 does not fit into an input of 1",
        ),
        ("INPUT(56,56,3) => { CONV(64) + CONV(128, stride=2) }", 32, "adds (64, 56, 56) and (128, 28, 28)"),
        ("INPUT(8,8,3) => { SKIP + CONV(3) + CONV(4) }", 36, "adds (3, 8, 8) and (4, 8, 8)"),
        ("INPUT(8,8,3) => { CONV(4) | POOL }", 29, "concatenates (4, 8, 8) and (3, 4, 4)"),
        ("INPUT(8,8,3) => { SKIP | FC(4) }", 26, "concatenates (3, 8, 8) and (4,)"),
        ("INPUT(8,8,3) => CONV(6, groups=4)", 17, "3 -> 6 channels do not divide into 4 groups"),
        ("INPUT(8,8,3) => MAXOUT(2)", 17, "3 channels do not divide into groups of 2"),
        ("INPUT(8,8,3) => FC(8) => CONV", 26, "CONV needs an image (c, h, w), here it is flat: (8,)"),
        ("INPUT(8,8,3) => GAP => SE", 24, "SE needs an image"),
        ("INPUT(8,8,3) => POOL(3, padding=2)", 17, "pooling is padded by at most half its kernel"),
    ],
)
def test_shape_errors_point_at_the_first_bad_place(text: str, place: int, words: str) -> None:
    with pytest.raises(DiagramError) as caught:
        planned(text)
    assert words in str(caught.value)
    assert caught.value.column == place


def test_an_error_inside_a_block_says_where_the_block_is_used() -> None:
    text = "down(c) = CONV(c) => POOL\nINPUT(8,8,1)\n=> [down(8)]*2\n=> [down(16)]*4"
    with pytest.raises(DiagramError) as caught:
        planned(text)
    assert caught.value.line == 1
    assert "(in repeat 2 of 4) (in down(16), line 4)" in str(caught.value)


# --- limits, from arithmetic ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("INPUT(8,8,1) => CONV(1000000) => CONV(1000000)", "9,000,011,000,000 parameters"),
        ("INPUT(1000,1000,500) => FC(1000000)", "500,000,001,000,000 parameters"),
        ("INPUT(8,8,1000000) => DWCONV(multiplier=1000000)", "10,000,000,000,000 parameters"),
        ("INPUT(1,1,1000000) => SEPCONV(1000000)", "parameters"),
        ("INPUT(1000,1000,3) => CONV(100000, 1)", "100,000,000,000 numbers for one image"),
        ("INPUT(9,9,9) => PAD(1000000)", "numbers for one image"),
        ("INPUT(9,9,9) => [CONV(9000)]*9000", "parameters"),
    ],
)
def test_what_does_not_fit_a_machine_is_refused_before_anything_is_built(
    text: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "assemble", lambda plan: pytest.fail("something was built"))
    with pytest.raises(DiagramError) as caught:
        network.build(text)
    assert words in str(caught.value)
    assert caught.value.hint == "the limit is 2,000,000,000"


# --- notes ---


def test_columns_that_no_window_sees_are_noted() -> None:
    text = "INPUT(11,12,3) => POOL => CONV(8, 4, stride=3, padding=valid)"
    (pool, conv) = planned(text).notes
    assert pool == "line 1, column 19: POOL never sees the last row of 11x12"
    assert conv == "line 1, column 27: CONV never sees the last row and the last 2 columns of 5x6"


@pytest.mark.parametrize(
    "unit", ["POOL", "POOL(3, stride=2, padding=same)", "POOL(2, ceil=true)", "CONV(8, 1, stride=2)"]
)
def test_nothing_is_noted_where_every_column_is_seen_or_skipped_on_purpose(unit: str) -> None:
    size = 12 if unit == "POOL" else 11
    assert planned(f"INPUT({size},{size},3) => {unit}").notes == ()
