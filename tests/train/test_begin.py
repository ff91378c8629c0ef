"""Whitening against the statistics it promises; stochastic depth against the paper's rule; a warning of no logits."""

import pytest
import torch
from torch import nn

from striate import zoo
from striate.data import load
from striate.errors import Note, UsageError
from striate.layers import StochasticDepth
from striate.plan import plan
from striate.train import recipe
from striate.train.begin import EPS, check_sizes, prepare_network, set_drop_path, whiten


def images():
    noise = torch.randn(64, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    return (
        noise + noise.roll(1, 3) + 0.5 * noise.roll(1, 1)
    ).contiguous()  # neighbours are alike, colours too


def test_whitened_channels_are_uncorrelated_and_of_variance_1():
    net = nn.Sequential(nn.Conv2d(3, 24, 2), nn.ReLU())
    whiten(net, images())
    out = net[0](images()).detach()[:, :12].permute(1, 0, 2, 3).flatten(1)
    covariance = out.double().cov()
    expected = torch.eye(12, dtype=torch.double)
    assert (covariance - expected).abs().max() < 0.02  # EPS and the rows that PATCHES skips
    torch.testing.assert_close(net[0].weight[12:], -net[0].weight[:12])
    assert not net[0].weight.requires_grad
    assert net[0].bias.requires_grad
    assert EPS < 0.01


def test_a_narrow_layer_takes_the_strongest_directions():
    net = nn.Conv2d(3, 8, 2)
    whiten(net, images())
    patches = nn.functional.unfold(images(), 2).permute(0, 2, 1).flatten(0, 1).double()
    strongest = torch.linalg.eigvalsh(patches.T.cov()).flip(0)[:4]
    norms = net.weight[:4].detach().flatten(1).norm(dim=1).double()
    torch.testing.assert_close(norms, (strongest + EPS).rsqrt(), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "net", [nn.Linear(3, 2), nn.Conv2d(1, 4, 3), nn.Conv2d(3, 6, 3, groups=3), nn.Conv2d(3, 1, 3)]
)
def test_a_network_that_cannot_be_whitened_is_refused(net):
    with pytest.raises(UsageError, match="--whiten"):
        whiten(net, images())


def test_deeper_branches_drop_more():
    net = nn.Sequential(*(StochasticDepth(0.0) for _ in range(4)))
    set_drop_path(net, 0.2)
    assert [m.p for m in net] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    with pytest.raises(UsageError, match="no stochastic depth"):
        set_drop_path(nn.Linear(1, 1), 0.2)


def test_a_network_for_one_size_cannot_begin_with_smaller_images():
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    check_sizes(pooled, (3, 16, 16), 0.25)
    assert pooled.training
    with pytest.raises(UsageError, match="doesn't take images of 2 x 2"):
        check_sizes(pooled, (3, 16, 16), 0.125)
    dense = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)).train()
    with pytest.raises(UsageError, match="doesn't take images of 12 x 12") as caught:
        check_sizes(dense, (3, 16, 16), 0.75)
    assert "GAP" in caught.value.hint
    assert dense.training


def test_auxiliary_heads_have_to_take_small_images_too():
    net = zoo.build("googlenet_lrn", aux_heads=True, num_classes=2)
    with pytest.raises(UsageError, match="doesn't take images of 202 x 202"):
        check_sizes(net, (3, 224, 224), 0.9)


def test_a_recipe_decides_the_start_weights():
    digits = {"data": "digits", "model": "INPUT(8,8,1) => CONV(2) => RELU => GAP => FC"}
    net, data = plan(digits["model"]).build((1, 8, 8), 10).module, load("digits")
    prepare_network(net, recipe({**digits, "init": "zeros"}), data)
    assert not any(p.any() for p in net.parameters())
    prepare_network(net, recipe({**digits, "init": "partial_identity"}), data)
    x = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(net[0](x)[:, :1], x)


def test_outputs_that_are_no_logits_are_noted_before_training():
    data = load("digits")
    asked = recipe({"data": "digits", "model": "INPUT => FC(10) => SIGMOID"})
    with pytest.warns(Note, match=r"ends in sigmoid .* of 10 classes none can get a probability over 0\.232"):
        prepare_network(plan(asked.model).build(data.shape, 10).module, asked, data)
    prepare_network(plan("INPUT => FC(10) => SOFTMAX").build(data.shape, 10).module, asked, data)
