import pytest
import torch

from striate import zoo
from striate.errors import UsageError

HEADS = {"googlenet": 2, "googlenet_lrn": 2, "inception_v3": 1}
SIDES = {"googlenet": 64, "googlenet_lrn": 224, "inception_v3": 299}


@pytest.mark.parametrize("name", HEADS)
def test_auxiliary_heads_score_the_same_classes_and_inference_has_none(name):
    with torch.device("meta"):
        net = zoo.build(name, num_classes=7, aux_heads=True)
        x = torch.empty(2, 3, SIDES[name], SIDES[name])
        assert net(x).shape == (2, 7)
        logits, auxiliary = net.forward_with_auxiliary(x)
    assert [y.shape for y in (logits, *auxiliary)] == [(2, 7)] * (1 + HEADS[name])


def test_logits_are_those_of_the_network_alone():
    net = zoo.build("googlenet", num_classes=3, aux_heads=True).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(net.forward_with_auxiliary(x)[0], net(x), rtol=0, atol=0)


def test_each_head_teaches_what_lies_in_front_of_it():
    net = zoo.build("googlenet", num_classes=3, aux_heads=True)
    for i, last in enumerate(("inception4.a", "inception4.d")):
        net.zero_grad()
        net.forward_with_auxiliary(torch.randn(2, 3, 64, 64))[1][i].sum().backward()
        taught = {
            ".".join(name.split(".")[1:3])
            for name, p in net.stages.named_parameters("stages")
            if p.grad is not None
        }
        assert max(taught) == last
    assert net.head.fc.weight.grad is None


def test_a_new_head_comes_with_new_auxiliary_heads():
    net = zoo.build("googlenet", num_classes=3, aux_heads=True)
    net.reset_head(5)
    logits, auxiliary = net.forward_with_auxiliary(torch.randn(2, 3, 32, 32))
    assert [y.shape for y in (logits, *auxiliary)] == [(2, 5)] * 3


def test_without_auxiliary_heads_there_are_no_auxiliary_logits():
    net = zoo.build("inception_v3", num_classes=3).eval()
    with torch.no_grad():
        assert net.forward_with_auxiliary(torch.randn(1, 3, 75, 75))[1] == []


@pytest.mark.parametrize("name", ["googlenet_lrn", "inception_v3"])
def test_images_too_small_for_the_auxiliary_heads_are_refused(name):
    least = SIDES[name]
    with torch.device("meta"):
        net = zoo.build(name, aux_heads=True)
        with pytest.raises(UsageError, match=f"at least {least}x{least}, got {least - 1}x{least - 1}"):
            net.forward_with_auxiliary(torch.empty(1, 3, least - 1, least - 1))
