import pytest
import torch
from torch import nn

from striate import zoo
from striate.errors import UsageError
from striate.transfer.parts import base_and_tail, frozen, fused, parts, rates, thaw

META = ("resnet50", "vgg11_bn", "squeezenet1_1", "mobilenet_v2", "nin")


@pytest.mark.parametrize("name", META)
def test_parts_are_the_whole_network_once_and_in_order(name):
    with torch.device("meta"):
        net = zoo.build(name)
    held = [p for part in parts(net) for m in part.modules for p in m.parameters()]
    assert [id(p) for p in held] == [id(p) for p in net.parameters()]


def test_names():
    with torch.device("meta"):
        assert [p.name for p in parts(zoo.build("resnet18"))] == [
            "stem",
            "conv2",
            "conv3",
            "conv4",
            "conv5",
            "head",
        ]
        assert [p.name for p in parts(zoo.build("vgg11"))][-2:] == ["neck", "head"]  # fc6 and fc7, then fc8


@pytest.mark.parametrize("name", ["resnet8", "squeezenet1_1", "cifar10_cnn"])
def test_the_tail_of_the_base_is_the_network(name):
    net = zoo.build(name, num_classes=4).eval()
    x = torch.randn(2, *zoo.card(name).input)
    base, tail = base_and_tail(net)
    assert torch.equal(tail(base.eval()(x)), net(x))


def test_thaw_counts_stages_from_the_end():
    net = zoo.build("resnet8")
    for last, names in (
        (0, ["head"]),
        (1, ["conv4", "head"]),
        (9, ["stem", "conv2", "conv3", "conv4", "head"]),
    ):
        thaw(net, last)
        trained = [
            p.name for p in parts(net) if all(q.requires_grad for m in p.modules for q in m.parameters())
        ]
        assert trained == names


def test_frozen_modules_are_those_without_a_weight_to_train():
    net = zoo.build("resnet8")
    thaw(net, 1)
    still = set(frozen(net))
    assert {net.stem, net.stages.conv2, net.stages.conv3, net.stem.bn1} <= still
    assert not {net, net.stages, net.stages.conv4, net.head} & still


def test_rates_fall_from_the_head_to_the_stem():
    net = zoo.build("resnet8")
    found = rates(net, 0.5)
    assert len(found) == len(list(net.parameters()))
    assert found[net.head.fc.weight] == 1
    assert found[net.stages.conv4[0].body.conv1.weight] == 0.5
    assert found[net.stem.conv1.weight] == 0.5**4


def test_auxiliary_heads_are_heads():
    net = zoo.build("googlenet", 3, 3, aux_heads=True)
    found = rates(net, 0.5)
    assert len(found) == len(list(net.parameters()))
    assert {found[p] for p in net.auxiliary.parameters()} == {1}


def test_fused_answers_as_before_with_fewer_layers():
    net = zoo.build("mobilenet_v2", num_classes=3)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.running_mean, std=0.1)
            nn.init.uniform_(m.running_var, 1, 2)
    x = torch.randn(2, 3, 64, 64)
    fast = fused(net)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), net.eval()(x), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fast.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in net.modules())


def test_networks_from_elsewhere_have_no_parts():
    with pytest.raises(UsageError, match="only networks of the zoo"):
        parts(nn.Linear(2, 2))
