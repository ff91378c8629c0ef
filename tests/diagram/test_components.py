from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from striate.diagram import build, to_python
from striate.diagram.components import Classes, Join, Line, Part, entries
from striate.diagram.read import read

TEXT = """
fire(s, e) = CONV(s, 1) => RELU => { CONV(e, 1) | CONV(e, 3) } => RELU
INPUT(16,16,3) => CONV(8) => fire(4, 8) => fire(6, 12) => { CONV(24) => BN + SKIP } => RELU => FC(2)
"""


def network() -> tuple[Line | Part | Join, ...]:
    return entries(read(build(TEXT)))


def test_what_becomes_a_class() -> None:
    found = [
        (e.name, e.component.title if isinstance(e, Part) else str(e.code))
        for e in network()
        if not isinstance(e, Join)
    ]
    assert found == [
        ("conv1", "nn.Conv2d(3, 8, 3, padding=1)"),
        ("fire1", "Fire"),
        ("fire2", "Fire"),
        ("residual1", "Residual"),
        ("flatten1", "nn.Flatten()"),
        ("fc1", "nn.Linear(6144, 2)"),
    ]


def test_numbers_that_change_together_are_one_parameter_named_as_in_the_diagram() -> None:
    parts = [e.component for e in network() if isinstance(e, Part)]
    classes = Classes(network())
    fire = classes.of(parts[0])
    assert fire is classes.of(parts[1])
    assert list(fire.first) == ["c_in", "s", "e"]
    assert [fire.arguments(classes.numbers(part)) for part in parts[:2]] == [(8, 4, 8), (16, 6, 12)]
    assert fire.slots == ("c_in", "s", None, "s", "e", None, "s", "e", None, None)


def test_a_class_used_once_has_no_parameters() -> None:
    (residual,) = [e.component for e in network() if isinstance(e, Part) and e.name == "residual1"]
    assert Classes(network()).of(residual).first == {}


def test_names_are_legal_python() -> None:
    text = "net(x, class) = { CONV(x) => CONV(class) + SKIP }\nnone = { CONV(3) | SKIP }\n"
    diagram = f"{text}INPUT(8,8,3) => net(2, 3) => net(3, 3) => none => none"
    classes = Classes(entries(read(build(diagram))))
    assert [(d.name, list(d.first)) for d in classes.definitions.values()] == [
        ("NetBlock", ["x_"]),
        ("NoneBlock", ["c_in"]),
    ]


def test_blocks_that_a_sequential_numbers_have_names_too() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.conv(x)

    parts = OrderedDict({"0": Residual(), "class": Residual(), "2d": Residual()})
    found: dict[str, Any] = {}
    exec(to_python(nn.Sequential(parts), (4, 8, 8)), found)
    names = [name for name, _ in found["Net"]().named_children()]
    assert names == ["part0_1", "class1", "part2d1"]
