"""The comparisons of the course notes, as arithmetic."""

import torch
import torchvision

from striate.anatomy.lessons import dense_connections, lessons
from striate.diagram.graph import trace


def test_the_notes_numbers() -> None:
    found = {lesson.title: lesson for lesson in lessons()}
    assert found["1x1x16 -> 32 on 28x28"].macs == 16 * 32 * 28**2 == 401_408
    assert found["3x3x16 -> 64 on 28x28"].macs == 9 * 16 * 64 * 28**2 == 7_225_344
    assert found["5x5x16 -> 8 on 28x28"].macs == 25 * 16 * 8 * 28**2 == 2_508_800
    assert found["5x5x16 -> 64 on 28x28"].macs == 25 * 16 * 64 * 28**2 == 20_070_400
    assert found["2x2 max-pool on 28x28x16"].comparisons == 4 * 16 * 28**2 == 50_176
    assert found["dense 22x22x64 -> 1"].params == 22 * 22 * 64 + 1 == 30_977


def test_cheaper_ways() -> None:
    macs = {lesson.title.partition(",")[0]: lesson.macs for lesson in lessons()}
    regular, separable = macs["regular 3x3x64 -> 64 on 28x28"], macs["separable 3x3x64 -> 64 on 28x28"]
    assert separable / regular == 1 / 64 + 1 / 9  # Howard et al., 2017, section 3.1
    assert macs["two 3x3x64 -> 64 on 28x28"] / macs["one 5x5x64 -> 64 on 28x28"] == 18 / 25
    assert macs["1x7 then 7x1"] / macs["7x7x64 -> 64 on 28x28"] == 14 / 49


def test_connections_of_a_dense_block() -> None:
    with torch.device("meta"):
        block = torchvision.models.densenet121().features.denseblock1
    joins = [node for node in trace(block, (64, 8, 8)).nodes if node.op == "cat"][
        :-1
    ]  # the last leaves the block
    assert sum(len(node.inputs) for node in joins) == dense_connections(6) == 21
