"""Initialisation against its closed-form bounds and variances."""

import math

import pytest
import torch
from torch import nn

from striate.errors import UsageError
from striate.layers import SCHEMES, Add, Conv2d, SqueezeExcite, StochasticDepth, initialise
from striate.layers.init import fans, zero_gamma
from striate.layers.inverted_residual import InvertedResidual
from striate.layers.residual import Residual, basic

DENSE = nn.Linear(300, 200)  # fans 300 and 200
GROUPED = Conv2d(64, 128, 5, groups=4)  # an output sees 16 channels, an input feeds 32: fans 400 and 800
VARIANCES = {
    "glorot": {DENSE: 2 / 500, GROUPED: 2 / 1200},
    "xavier": {DENSE: 2 / 500, GROUPED: 2 / 1200},
    "he": {DENSE: 2 / 300, GROUPED: 2 / 400},
    "kaiming": {DENSE: 2 / 300, GROUPED: 2 / 400},
    "lecun": {DENSE: 1 / 300, GROUPED: 1 / 400},
}
CASES = [(name, layer, v) for name, layers in VARIANCES.items() for layer, v in layers.items()]


@pytest.mark.parametrize(("name", "layer", "variance"), CASES)
def test_uniform_fills_its_interval(name: str, layer: nn.Linear | Conv2d, variance: float) -> None:
    initialise(layer, f"{name}_uniform")
    bound = math.sqrt(3 * variance)
    assert 0.999 * bound < layer.weight.max() <= bound
    assert 0.999 * bound < -layer.weight.min() <= bound
    assert math.isclose(layer.weight.var().item(), variance, rel_tol=0.03)
    assert layer.bias is not None
    assert not layer.bias.any()


@pytest.mark.parametrize(("name", "layer", "variance"), CASES)
def test_normal_has_its_variance_and_tails(name: str, layer: nn.Linear | Conv2d, variance: float) -> None:
    initialise(layer, f"{name}_normal")
    w = layer.weight.double() / math.sqrt(variance)
    assert abs(w.mean()) < 0.02
    assert math.isclose(w.var().item(), 1, rel_tol=0.03)
    assert math.isclose((w**4).mean().item(), 3, rel_tol=0.05)  # 1.8 if it were uniform
    assert w.abs().max() > 3.5  # and not truncated


def test_plain_schemes() -> None:
    initialise(DENSE, "uniform")
    assert 0.0499 < DENSE.weight.abs().max() <= 0.05
    initialise(DENSE, "normal")
    assert math.isclose(DENSE.weight.std().item(), 0.05, rel_tol=0.02)
    initialise(DENSE, "zeros")
    assert not DENSE.weight.any()


def test_fans_of_a_depthwise_convolution() -> None:
    assert fans(Conv2d(32, 64, 3, groups=32)) == (9, 18)


def test_he_keeps_the_signal_alive_through_thirty_layers() -> None:
    net = nn.Sequential(*(m for _ in range(30) for m in (nn.Linear(256, 256), nn.ReLU())))
    x = torch.randn(64, 256)
    initialise(net, "he_normal")
    assert 0.2 < net(x).square().mean() / x.square().mean() < 5
    initialise(net, "lecun_normal")  # half of it lost at every ReLU
    assert net(x).square().mean() < 2**-25


@pytest.mark.parametrize("scheme", ["dirac", "identity"])
@pytest.mark.parametrize("kernel", [1, 2, 3, (1, 7), 4])
@pytest.mark.parametrize("groups", [1, 2])
def test_identity_passes_the_image_through(scheme: str, kernel: int, groups: int) -> None:
    conv, x = Conv2d(4, 4, kernel, groups=groups), torch.randn(1, 4, 6, 6)
    initialise(conv, scheme)
    assert torch.equal(conv(x), x)
    dense = nn.Linear(4, 4)
    initialise(dense, scheme)
    assert torch.equal(dense(x[..., 0, 0]), x[..., 0, 0])


@pytest.mark.parametrize("channels", [(3, 8), (8, 3)])
def test_partial_identity_hands_on_what_there_is_and_leaves_the_rest(channels: tuple[int, int]) -> None:
    c_in, c_out = channels
    net, x = nn.Sequential(Conv2d(c_in, c_out, 3), nn.Flatten(), nn.Linear(4, 2)), torch.randn(2, c_in, 6, 6)
    before = [p.clone() for p in net.parameters()]
    initialise(net, "partial_identity")
    least = min(channels)
    torch.testing.assert_close(net[0](x)[:, :least] - before[1][:least].view(-1, 1, 1), x[:, :least])
    assert torch.equal(net[0].weight[least:], before[0][least:])
    assert all(torch.equal(a, b) for a, b in zip(list(net.parameters())[1:], before[1:], strict=True))


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s != "zero_gamma"])
def test_a_seeded_generator_repeats_the_weights(scheme: str) -> None:
    net = nn.Sequential(Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4))
    runs = []
    for _ in range(2):
        initialise(net, scheme, torch.Generator().manual_seed(7))
        runs.append([p.clone() for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_zero_gamma_makes_a_block_its_shortcut() -> None:
    branch = nn.Sequential(
        Conv2d(4, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        Conv2d(4, 4, 3),
        nn.BatchNorm2d(4),
        StochasticDepth(0.1),
    )
    projection = nn.Sequential(Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    x = torch.randn(2, 4, 5, 5)
    for shortcut in (nn.Identity(), projection):
        block = Add(branch, shortcut)
        initialise(block, "zero_gamma")
        assert torch.equal(block(x), shortcut(x))
    assert (branch[1].weight == 1).all()


def test_zero_gamma_knows_the_blocks_of_the_zoo() -> None:
    x = torch.randn(2, 8, 5, 5)
    residual = Residual(basic(8, 8))
    initialise(residual, "zero_gamma")
    assert torch.equal(residual(x), x.relu())
    inverted = InvertedResidual(8, 8)
    initialise(inverted, "zero_gamma")
    assert torch.equal(inverted(x), x)
    gated = Residual(nn.Sequential(Conv2d(8, 8, 3), nn.BatchNorm2d(8), SqueezeExcite(8, 2)))
    initialise(gated, "zero_gamma")
    assert torch.equal(gated(x), x.relu())
    gated(x).sum().backward()
    assert gated.body[1].weight.grad.abs().sum() > 0


def test_zero_gamma_without_a_residual_branch_says_so() -> None:
    with pytest.raises(UsageError, match="needs a residual branch that ends in a norm"):
        initialise(nn.Sequential(Conv2d(3, 8, 3), nn.BatchNorm2d(8)), "zero_gamma")


def test_zero_gamma_leaves_preactivation_able_to_learn() -> None:
    branch = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), Conv2d(4, 4, 3))
    assert not zero_gamma(branch)
    assert (branch[0].weight == 1).all()


def test_an_unknown_scheme_is_met_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown initialisation 'he_norml'") as caught:
        initialise(DENSE, "he_norml")
    assert "he_normal" in caught.value.hint
