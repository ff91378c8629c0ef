"""Random diagrams: text -> module -> text -> module, text -> module -> source -> module, and their drawings."""

import ast
import sys
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from striate.diagram import DiagramError, Network, build, parse, to_python, to_svg, to_text, weights
from striate.diagram.flow import steps
from striate.diagram.plan import plan
from striate.diagram.read import read
from striate.diagram.units import UNITS

KEEPING = [
    *(
        "RELU",
        "RELU6",
        "LRELU(0.2)",
        "PRELU",
        "PRELU(shared=true)",
        "ELU",
        "SELU",
        "GELU",
        "SWISH",
        "TANH",
        "SIGMOID",
    ),
    *(
        "BN",
        "BN(eps=0.001)",
        "LRN(3)",
        "LRN(3, within=true)",
        "DO(0.25)",
        "SDO",
        "DROPPATH(0.1)",
        "SE(2)",
        "SCALE(0.5)",
    ),
    *(
        "POOL(3, stride=1, padding=same)",
        "AVGPOOL(3, stride=1, padding=same)",
        "DWCONV",
        "DWCONV(5, bias=false)",
    ),
    *("{ SKIP + SKIP }", "{ SKIP + RELU + SKIP }", "[BN => RELU]*0"),
]
MOVING = [
    *("CONV", "CONV({c})", "CONV({c}, 1)", "CONV({c}, 1x3)", "CONV({c}, 5, bias=false)", "CONV({c}, dilation=2)"),
    *("CONV({c}, stride=2)", "CONV({c}, 2)", "CONV({c}, 4, stride=3)", "CONV({c}, padding=1)"),
    *("CONV({c}, stride=2, padding=(0, 1, 1, 0))", "SEPCONV({c})", "SEPCONV({c}, 5, stride=2, multiplier=2)"),
    *("DWCONV(stride=2, multiplier=2)", "POOL", "POOL(3, stride=2, padding=same)", "POOL(2, ceil=true)"),
    *("AVGPOOL(2, padding=same)", "AVGPOOL(3, stride=2, padding=same, count_pad=true)"),
    *("MINPOOL(3, stride=2, padding=same)", "MAXOUT(1)", "ZEROS({c})", "PAD(1)"),
    "PAD((0, 1, 2, 0)) => POOL(3, stride=1)",
]  # fmt: skip
ENDS = [
    *(
        "FC({k})",
        "GAP => FC({k})",
        "GMP => DO(0.5) => FC({k}, bias=false)",
        "GAP",
        "FLATTEN => RELU => FC({k})",
    ),
    *("FC(7) => BN => RELU => DROPCONNECT({k}, p=0.3)", "FC => RELU => FC({k}) => SOFTMAX"),
]

small = st.integers(1, 6)


@st.composite
def moving(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(MOVING)).format(c=draw(small))


@st.composite
def branches(draw: st.DrawFn, depth: int) -> str:
    """A sum or a concatenation whose branches all keep height and width."""
    op = draw(st.sampled_from("+|"))
    c = draw(small)
    ends = (
        f"CONV({c}, 1)"
        if op == "+"
        else draw(st.sampled_from(["CONV(3)", "SEPCONV(2)", "RELU", "CONV(4, 3x1)"]))
    )
    inner = st.lists(keeping(depth - 1), max_size=2)
    sides = [" => ".join([*draw(inner), ends]) for _ in range(draw(st.integers(1, 2)))]
    if op == "|" or draw(st.booleans()):
        return f"{{ {f' {op} '.join([*sides, draw(st.sampled_from(['SKIP', 'RELU'])) if op == '|' else ends])} }}"
    return f"CONV({c}, 1) => {{ {' + '.join([*sides, 'SKIP'])} }}"


@st.composite
def keeping(draw: st.DrawFn, depth: int) -> str:
    if depth and draw(st.integers(0, 3)) == 0:
        return draw(branches(depth))
    return draw(st.sampled_from(KEEPING))


@st.composite
def diagrams(draw: st.DrawFn) -> str:
    item = st.one_of(keeping(2), keeping(2), moving())
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        part = " => ".join(draw(st.lists(item, min_size=1, max_size=3)))
        n = draw(st.integers(1, 3))
        parts.append(f"[{part}]*{n}" if n > 1 else part)
    block = " => ".join(draw(st.lists(keeping(2), min_size=1, max_size=2)))
    uses = draw(st.lists(st.sampled_from(["block(3)", "block(c=4)", "block(3)*2"]), max_size=2))
    network = " => ".join([*parts, *uses, draw(st.sampled_from(ENDS)).format(k=draw(small))])
    return f"block(c) = CONV(c) => {block}\nINPUT(17,19,3) => {network}"


def randomised(net: Network) -> Network:
    """Weights and statistics away from their starting values, so that every tensor matters."""
    with torch.no_grad():
        for name, t in net.state_dict().items():
            if t.is_floating_point():
                t.uniform_(0.5, 1.5) if "var" in name else t.add_(0.1 * torch.randn_like(t))
    return net.eval()


def same_function(net: nn.Module, other: nn.Module) -> None:
    other.eval()
    other.load_state_dict(dict(zip(other.state_dict(), net.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 17, 19)
    with torch.no_grad():
        torch.testing.assert_close(other(x), net(x), rtol=1e-4, atol=1e-5)


def fits(text: str) -> bool:
    """Not one of those whose image vanishes."""
    try:
        plan(parse(text))
    except DiagramError as error:
        if "does not fit" not in str(error):
            raise
        return False
    return True


few = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def round_trip(text: str) -> None:
    net = randomised(build(text))
    canonical = to_text(net)
    again = build(canonical)
    assert to_text(again) == canonical
    assert again.input_shape == net.input_shape
    assert [t.shape for t in again.state_dict().values()] == [t.shape for t in net.state_dict().values()]
    assert [t.data_ptr() for t in weights(net)] == [t.data_ptr() for t in net.state_dict().values()]
    same_function(net, again)
    same_function(net, run(to_python(net)))


@few
@given(diagrams().filter(fits))
def test_text_to_module_and_back_as_text_and_as_source(text: str) -> None:
    round_trip(text)


@pytest.mark.slow
@settings(few, max_examples=200)
@given(diagrams().filter(fits))
def test_many_round_trips(text: str) -> None:
    round_trip(text)


def check_planned(text: str) -> None:
    """The plan's parameters and shapes are those of the modules that it becomes, as a trace of them finds."""
    planned, net = plan(parse(text)), build(text)
    assert planned.parameters == sum(p.numel() for p in net.parameters())
    assert planned.input_shape == net.input_shape
    assert planned.num_classes == net.num_classes
    traced, meant = (
        [step.y for step in steps(flow) if UNITS[step.unit].weights(step.x, step.args)]
        for flow in (read(net), planned.flow)
    )
    assert traced == meant


@few
@given(diagrams().filter(fits))
def test_what_is_planned_is_what_is_built(text: str) -> None:
    check_planned(text)


@pytest.mark.slow
@settings(few, max_examples=400, derandomize=False)
@given(diagrams().filter(fits))
def test_a_great_many_plans(text: str) -> None:
    check_planned(text)


def run(source: str) -> nn.Module:
    """The network of a generated file, in a world where striate is not installed."""
    imported = {
        a.name.split(".")[0]
        for n in ast.walk(ast.parse(source))
        if isinstance(n, ast.Import)
        for a in n.names
    }
    imported |= {str(n.module) for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)}
    assert imported <= {"torch"}
    namespace: dict[str, Any] = {"__name__": "generated"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "striate", None)
        exec(compile(source, "generated.py", "exec"), namespace)
    net: nn.Module = namespace["Net"]()
    return net


@few
@given(diagrams().filter(fits))
def test_drawings_of_random_diagrams_have_no_overlapping_texts(text: str) -> None:
    from xml.etree import ElementTree

    root = ElementTree.fromstring(to_svg(build(text)))
    boxes = list(texts(root, 0, 0))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    assert len(boxes) > 3
    for i, (left, top, right, bottom, label) in enumerate(boxes):
        assert -1 <= left <= right <= width + 1, label
        assert 0 <= top <= bottom <= height, label
        for other in boxes[i + 1 :]:
            apart = right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
            assert apart, (label, other[4])


SIZES = {"t": 12, "d": 11, "s": 10, "g": 11, "n": 12}


def texts(element: Any, x: float, y: float) -> Any:
    """(left, top, right, bottom, label) of every text in a drawing."""
    if "transform" in element.attrib:
        dx, dy = element.attrib["transform"].removeprefix("translate(").rstrip(")").split(",")
        x, y = x + float(dx), y + float(dy)
    if element.tag.endswith("}text"):
        size = SIZES[element.attrib["class"]]
        width = len(element.text) * size * 0.6
        left = x + float(element.attrib["x"])
        if element.attrib["class"] != "n" and "start" not in element.attrib.get("style", ""):
            left -= width / 2
        base = y + float(element.attrib["y"])
        yield left, base - 0.75 * size, left + width, base + 0.2 * size, element.text
    for child in element:
        yield from texts(child, x, y)
