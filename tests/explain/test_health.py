"""Gradients beside backward(), activations counted by hand, and the lesson that depth teaches."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate.diagram import build
from striate.errors import StriateError, UsageError
from striate.explain.health import health
from striate.explain.health_chart import gradient_chart, health_chart


def test_gradients_are_those_of_backward_in_training_mode(plain, images):
    y = torch.tensor([0, 1, 3])
    look = health(plain.eval(), [(images, y)])
    before = {k: b.clone() for k, b in plain.named_buffers()}
    assert not plain.training
    assert all(p.grad is None for p in plain.parameters())
    plain.train()
    F.cross_entropy(plain(images), y).backward()
    for g in look.gradients:
        weight = plain.get_parameter(f"{g.layer}.weight")
        assert g.rms == pytest.approx(float(weight.grad.square().mean().sqrt()), rel=1e-4)
        assert g.relative == pytest.approx(g.rms / float(weight.detach().square().mean().sqrt()), rel=1e-4)
    assert [g.layer for g in look.gradients] == ["conv1", "conv2", "fc"]
    assert not torch.equal(plain.bn1.running_mean, before["bn1.running_mean"])  # training moves it


def test_the_network_keeps_its_statistics_and_loses_its_hooks(plain, images):
    before = {k: b.clone() for k, b in plain.state_dict().items()}
    plain.train()
    state = torch.get_rng_state()
    health(plain, [(images, torch.tensor([0, 1, 3]))])
    assert plain.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in plain.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in plain.modules())


def test_frozen_layers_and_batches_of_any_cut_look_the_same(images):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(320, 2))
    y = torch.tensor([0, 1, 1])
    whole = health(net, [(images, y)])
    parts = health(net.requires_grad_(False), zip(images.split(2), y.split(2), strict=True))
    for a, b in zip(whole.gradients, parts.gradients, strict=True):
        assert a.rms == pytest.approx(b.rms, rel=1e-4)
    assert whole.activities[0].dead == parts.activities[0].dead
    assert whole.activities[0].std == pytest.approx(parts.activities[0].std)


def test_dead_units_and_saturation_by_hand():
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2), nn.Sigmoid())
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, -1.0, 0.0, 0.0]).view(4, 1, 1, 1))
        net[0].bias.copy_(torch.tensor([0.0, 0.0, -1.0, 2.0]))
        net[3].weight.zero_()
        net[3].bias.copy_(torch.tensor([0.0, 9.0]))
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)
    relu, sigmoid = health(net, [(x, torch.tensor([0]))]).activities
    assert (relu.layer, relu.kind, relu.units, relu.dead) == ("1", "relu", 4, 0.5)  # the second and the third
    assert relu.mean == pytest.approx((10 + 8) / 16)
    assert (sigmoid.saturated, sigmoid.dead) == (0.5, 0.0)


def test_reused_and_functional_activations_are_all_heard(awkward, images):
    look = health(awkward, [(images, torch.tensor([0, 1, 3]))])
    assert len(look.activities) == 2
    assert len({a.layer for a in look.activities}) == 2


def test_depth_kills_the_gradient_and_batch_norm_and_skips_bring_it_back():
    nets = {
        "plain": "[CONV(16) => SIGMOID]*49",
        "batch norm": "[CONV(16) => BN => SIGMOID]*49",
        "skips": "CONV(16) => BN => SIGMOID => [{ SKIP + CONV(16) => BN => SIGMOID }]*48",
    }
    x, y = torch.randn(8, 3, 16, 16), torch.arange(8)
    looks = {}
    for name, text in nets.items():
        torch.manual_seed(0)
        looks[name] = health(build(f"INPUT(16,16,3) => {text} => GAP => FC(10)"), [(x, y)])
    first = {name: look.gradients[0].rms for name, look in looks.items()}
    assert len(looks["plain"].gradients) == 50
    assert first["plain"] < 1e-20
    assert first["batch norm"] > 1e-5
    assert first["skips"] > 1e-4
    assert gradient_chart(looks).size == (960, 480)


def test_the_chart_of_one_network_names_its_layers(plain, images):
    assert health_chart(health(plain, [(images, torch.tensor([0, 1, 3]))])).size == (960, 960)


def test_bad_requests(plain, images):
    with pytest.raises(UsageError, match="no images"):
        health(plain, [])
    with pytest.raises(UsageError, match="Flatten has no weights"):
        health(nn.Flatten(), [])
    plain.conv1.weight.data[0] = torch.nan
    with pytest.raises(StriateError, match="NaN or infinity"):
        health(plain, [(images, torch.tensor([0, 1, 3]))])
