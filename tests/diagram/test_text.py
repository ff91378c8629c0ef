import pytest
import torch
from torch import nn

from striate import zoo
from striate.diagram import build, to_text, weights
from striate.errors import UsageError


def canonical(text: str, **options: int) -> str:
    """The text of the network that `text` builds, after its INPUT."""
    return to_text(build(f"INPUT(32,32,3) => {text}", **options)).split("\n", 1)[0].split(" => ", 1)[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CONV(64, 3, stride=1, padding=same)", "CONV(64)"),
        ("CONV", "CONV(32)"),
        ("CONV(8, 1, padding=valid)", "CONV(8, 1)"),
        ("CONV(8, 3, padding=1)", "CONV(8)"),
        ("CONV(8, 3, 2, padding=1)", "CONV(8, stride=2, padding=1)"),
        ("CONV(8, bias=true) => BN", "CONV(8, bias=true) => BN"),
        ("CONV(8, bias=false) => RELU", "CONV(8, bias=false) => RELU"),
        ("CONV(8, groups=1, bias=false) => BN(eps=0.00001)", "CONV(8) => BN"),
        ("CONV(9, groups=3)", "DWCONV(multiplier=3)"),
        ("POOL(2, 2, valid, false)", "POOL"),
        ("POOL(3, stride=3)", "POOL(3)"),
        ("POOL(3, stride=1, ceil=true)", "POOL(3, stride=1)"),
        ("{ {CONV(2) | CONV(3)} | SKIP }", "{ CONV(2) | CONV(3) | SKIP }"),
        ("FLATTEN => FC(2)", "FC(2)"),
        ("DO(0)", "INPUT(32, 32, 3)"),
    ],
)
def test_only_what_differs_from_the_defaults_is_written(text: str, expected: str) -> None:
    if expected.startswith("INPUT"):
        assert to_text(build(f"INPUT(32,32,3) => {text}")) == expected
    else:
        assert canonical(text) == expected


def test_repeats_are_folded() -> None:
    stage = "[[CONV(8) => RELU]*2 => POOL]*2 => FC(4)"
    assert canonical(stage) == stage
    assert canonical("CONV(8) => RELU => CONV(8) => RELU => CONV(8)") == "[CONV(8) => RELU]*2 => CONV(8)"
    assert canonical("[{ CONV(3) + SKIP } => RELU]*3") == "[{ CONV(3) + SKIP } => RELU]*3"
    assert canonical("{ CONV(3) + SKIP }*3") == "{ CONV(3) + SKIP }*3"
    assert canonical("RELU => [CONV(3) => RELU]*4") == "RELU => [CONV(3) => RELU]*4"


def test_names_are_bound() -> None:
    text = "[[CONV => RELU]*N => POOL?]*M => FC"
    assert canonical(text, N=2, M=1, pool=0, num_classes=5) == "[CONV(32) => RELU]*2 => FC(5)"


def test_long_networks_wrap_and_open_their_branches() -> None:
    text = to_text(build(open_example("googlenet")))
    lines = text.split("\n")
    assert max(map(len, lines)) <= 100
    assert lines[0] == "INPUT(224, 224, 3) => CONV(64, 7, stride=2, padding=3) => BN(eps=0.001) => RELU"
    assert lines[3:9] == [
        "=> {",
        "    CONV(64, 1) => BN(eps=0.001) => RELU",
        "  | CONV(96, 1) => BN(eps=0.001) => RELU => CONV(128) => BN(eps=0.001) => RELU",
        "  | CONV(16, 1) => BN(eps=0.001) => RELU => CONV(32) => BN(eps=0.001) => RELU",
        "  | POOL(3, stride=1, padding=same) => CONV(32, 1) => BN(eps=0.001) => RELU",
        "}",
    ]


def open_example(name: str) -> str:
    from pathlib import Path

    return (Path(__file__).parents[2] / "examples" / "diagrams" / f"{name}.diagram").read_text()


def same_logits(net: nn.Module, shape: tuple[int, int, int]) -> None:
    """`net` as text builds a network with the same weights in the same order, and the same logits."""
    text = to_text(net, shape)
    copy = build(text).eval()
    assert to_text(copy) == text
    copy.load_state_dict(dict(zip(copy.state_dict(), weights(net, shape), strict=True)))
    x = torch.randn(2, *shape)
    with torch.no_grad():
        torch.testing.assert_close(copy(x), net.eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("squeezenet1_1", 64),
        ("mobilenet_v2", 64),
        *(
            pytest.param(name, size, marks=pytest.mark.slow)
            for name, size in [
                *(
                    ("alexnet", 224),
                    ("vgg11_bn", 224),
                    ("googlenet", 224),
                    ("resnet18", 64),
                    ("densenet121", 64),
                ),
                *(("resnext50_32x4d", 64), ("inception_v3", 299)),
            ]
        ),
    ],
)
def test_torchvision_networks_are_diagrams(name: str, size: int) -> None:
    import torchvision.models

    quiet = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    same_logits(getattr(torchvision.models, name)(num_classes=10, **quiet), (3, size, size))


def test_a_zoo_network_is_a_diagram() -> None:
    net = zoo.build("resnet20_cifar")
    assert to_text(net, (3, 32, 32)).count("\n") < 12
    same_logits(net, (3, 32, 32))


@pytest.mark.slow
def test_nasnets_cells_read_two_earlier_cells_and_are_refused() -> None:
    with torch.device("meta"), pytest.raises(UsageError, match="no word for pad at"):
        to_text(zoo.build("nasnet_mobile"), (3, 224, 224))


@pytest.mark.slow
@pytest.mark.parametrize("name", [c.name for c in zoo.cards() if not c.name.startswith("nasnet")])
def test_every_other_zoo_network_is_a_diagram(name: str) -> None:
    shape = zoo.card(name).input
    with torch.device("meta"):
        net = zoo.build(name)
        text = to_text(net, shape)
        copy = build(text)
        assert to_text(copy) == text
        assert [t.shape for t in weights(net, shape)] == [t.shape for t in copy.state_dict().values()]
