from striate.diagram import build
from striate.diagram.read import read
from striate.diagram.scene import Card, Fork, Frame, Scene, scene


def sketch(things: Scene) -> str:
    """A scene in short: cards as their units, forks in braces, frames in brackets."""
    return " ".join(_sketch(thing) for thing in things)


def _sketch(thing: Card | Fork | Frame) -> str:
    match thing:
        case Card(steps):
            return "-".join(step.unit for step in steps)
        case Fork(op, branches):
            return f"{{{f' {op} '.join(sketch(branch) for branch in branches)}}}"
        case Frame(title, count, inside):
            return f"{title}[{sketch(inside)}]{count if count > 1 else ''}"


def drawn(text: str) -> str:
    return sketch(scene(read(build(text))))


def test_small_layers_are_strips_of_the_card_before_them() -> None:
    assert (
        drawn("INPUT(8,8,3) => CONV => BN => RELU => DO => POOL => FC(4)")
        == "CONV-BN-RELU-DO POOL-FLATTEN FC"
    )
    assert drawn("INPUT(8,8,3) => BN => RELU => CONV(3)") == "BN-RELU CONV"


def test_repeats_and_blocks_are_framed() -> None:
    assert drawn("INPUT(8,8,3) => [CONV(3) => RELU]*4 => POOL") == "[CONV-RELU]4 POOL"
    block = "b(c) = { CONV(c) + SKIP } => RELU\nINPUT(8,8,3) =>"
    assert drawn(f"{block} b(3)*2 => FC(2)") == "b[{CONV + } RELU]2 FLATTEN FC"
    assert drawn(f"{block} [b(3) => CONV(3)]*2") == "[b[{CONV + } RELU] CONV]2"
    assert drawn("one = CONV(3)\nINPUT(8,8,3) => one => POOL") == "CONV POOL"


def test_rounds_of_growing_shapes_fold_and_the_last_shape_counts() -> None:
    (frame,) = scene(read(build("INPUT(4,4,3) => { SKIP | CONV(2) }*5")))
    assert isinstance(frame, Frame)
    assert (frame.count, frame.x, frame.y) == (5, (3, 4, 4), (13, 4, 4))
