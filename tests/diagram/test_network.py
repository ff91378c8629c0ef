import copy
import math

import pytest
import torch
from torch import nn

from striate.diagram import Network, build
from striate.layers import Add, Concat


def children(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_children()]


def test_children_have_readable_names() -> None:
    net = build("INPUT(8,8,3) => [CONV(4) => BN => RELU6 => POOL]*2 => DO => FC(5)")
    stage = ["conv1", "bn1", "relu6_1", "pool1", "conv2", "bn2", "relu6_2", "pool2"]
    assert children(net) == [*stage, "dropout1", "flatten1", "fc1"]


def test_named_blocks_and_branches_keep_their_structure() -> None:
    text = "res2(c) = { CONV(c) => BN + SKIP } => RELU\nINPUT(8,8,4) => res2(4)*2 => { CONV(1) | CONV(2) } => GAP"
    net = build(text)
    assert children(net) == ["res2_1", "res2_2", "concat1", "gap1"]
    assert net.res2_2.arguments == {"c": 4}
    add = net.res2_1.add1
    assert isinstance(add, Add)
    assert isinstance(net.concat1, Concat)
    assert children(add[0]) == ["conv1", "bn1"]
    assert isinstance(add[1], nn.Identity)


def test_the_network_says_what_it_was_built_from() -> None:
    text = "INPUT => [FC => RELU]*K => FC"
    net = build(text, (1, 6, 5), 3, K=2)
    assert isinstance(net, Network)
    assert (net.diagram, net.bindings) == (text, {"K": 2})
    assert (net.input_shape, net.num_classes, net.classifier) == ((1, 6, 5), 3, "fc3")
    assert net(torch.zeros(2, 1, 6, 5)).shape == (2, 3)
    again = build(net.diagram, net.input_shape, net.num_classes, **net.bindings)
    assert str(again) == str(net)


def test_a_network_without_a_dense_end_has_no_classifier() -> None:
    net = build("INPUT(8,8,3) => CONV(10, 1) => GAP")
    assert (net.classifier, net.num_classes) == (None, 10)
    assert build("INPUT(8,8,3) => CONV => RELU").num_classes is None


def test_branches_add_and_concatenate() -> None:
    net = build("INPUT(2,2,3) => { SKIP + SCALE(2) + SCALE(10) } => { SKIP | SCALE(3) }")
    x = torch.randn(2, 3, 2, 2)
    torch.testing.assert_close(net(x), torch.cat((13 * x, 39 * x), 1))


def test_an_optional_part_that_is_off_is_a_skip() -> None:
    net = build("INPUT(2,2,3) => { SCALE(2) + [SCALE(5)]?project }", project=0)
    x = torch.randn(1, 3, 2, 2)
    torch.testing.assert_close(net(x), 3 * x)


@pytest.mark.parametrize(
    ("after", "variance"),
    [
        ("RELU", 2 / 900),
        ("BN => SWISH", 2 / 900),
        ("LRN => POOL => LRELU", 2 / 900),
        ("SELU", 1 / 900),
        ("TANH", 2 / (900 + 900)),
        ("DO => SIGMOID", 2 / (900 + 900)),
        ("CONV => RELU", 1 / 900),
        ("{ RELU + SKIP }", 1 / 900),
    ],
)
def test_weights_start_for_the_activation_that_follows(after: str, variance: float) -> None:
    conv = build(f"INPUT(4,4,100) => CONV(100, bias=true) => {after}").conv1
    assert conv.weight.std().item() == pytest.approx(math.sqrt(variance), rel=0.02)  # 90,000 draws: 0.2 %
    assert not conv.bias.any()


def test_a_seed_repeats_the_weights() -> None:
    text = "INPUT(8,8,3) => CONV => RELU => { CONV(4) | SEPCONV(4) } => FC(5)"
    first, second, other = (_seeded(seed, text) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])


def _seeded(seed: int, text: str) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    return list(build(text).state_dict().values())


def test_a_slice_and_a_copy_are_networks() -> None:
    net = build("INPUT(8,8,3) => CONV(4) => [RELU]*n => GAP", n=1)
    assert copy.deepcopy(net).bindings == {"n": 1}
    assert isinstance(net[:2], Network)
    assert list(net[:2].state_dict()) == ["conv1.weight", "conv1.bias"]


def test_networks_are_made_where_the_caller_says() -> None:
    with torch.device("meta"):
        net = build("INPUT(8,8,3) => CONV(4) => BN => SEPCONV(4) => FC(2)")
    assert {p.device.type for p in net.parameters()} == {"meta"}
    assert {p.device.type for p in build("INPUT(8,8,3) => CONV(4)").parameters()} == {"cpu"}


def test_notes_come_with_the_network() -> None:
    assert build("INPUT(5,5,1) => POOL => FC(2)").notes == (
        "line 1, column 17: POOL never sees the last row and the last column of 5x5",
    )


ALEXNET = "INPUT => [CONV => RELU => POOL]*2 => [CONV => RELU]*3 => POOL => [FC => RELU => DO]*2 => SOFTMAX"
VGG = (
    "INPUT => [[CONV => RELU]*2 => POOL]*2 => [[CONV => RELU]*3 => POOL]*3 => [FC => RELU => DO]*2 => SOFTMAX"
)


@pytest.mark.parametrize(("text", "convs"), [(ALEXNET, 5), (VGG, 13)])
def test_the_diagrams_of_the_notes_work_as_given(text: str, convs: int) -> None:
    net = build(text, (3, 32, 32), 10)
    assert sum(isinstance(m, nn.Conv2d) for m in net) == convs
    assert sum(isinstance(m, nn.Linear) for m in net) == 3
    net.eval()
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_logits_of_a_fresh_network_are_small() -> None:
    torch.manual_seed(0)
    net = build(VGG, (3, 32, 32), 10).eval()
    assert 0.05 < net(torch.randn(8, 3, 32, 32)).std().item() < 5
