"""Class activation maps: published numbers, closed forms, loops over channels."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate.errors import UsageError
from striate.explain import grad_cam, grad_cam_pp, layer_cam, score_cam

RAMP = torch.arange(16.0).view(1, 1, 4, 4)


@pytest.mark.parametrize("network", ["one_conv", "one_conv_in_place"])
@pytest.mark.parametrize(
    ("layer", "expected"),
    [("conv1", [[11.25, 13.5], [20.25, 22.5]]), ("relu1", [[0.0, 4.0], [28.0, 32.5]])],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_published_numbers(request, network, layer, expected, frozen):
    module = request.getfixturevalue(network).requires_grad_(not frozen)
    if layer == "relu1" or network == "one_conv":
        torch.testing.assert_close(grad_cam(module, RAMP, 0, layer), torch.tensor([expected]), rtol=0, atol=0)


def test_published_number_of_an_in_place_network(one_conv_in_place):
    """The hook sees what the convolution gave, not what the ReLU after it made of that tensor."""
    expected = torch.tensor([[[11.25, 13.5], [20.25, 22.5]]])
    torch.testing.assert_close(grad_cam(one_conv_in_place, RAMP, 0, "conv1"), expected, rtol=0, atol=0)


def test_published_numbers_of_an_input_and_of_a_sum(one_conv):
    x = RAMP.clone()
    x[0, 0, 1, 1] = -4
    found = grad_cam(nn.Sequential(nn.Identity(), one_conv), x, 0, "0")
    torch.testing.assert_close(found, 0.5625 * x[0], rtol=0, atol=0)
    summed = grad_cam(one_conv, RAMP + 1, 0, "conv1")
    torch.testing.assert_close(summed, torch.tensor([[[14.5, 19], [32.5, 37]]]), rtol=0, atol=0)


class Known(nn.Module):
    """Two maps, the red plane and the green plane doubled; score = sum of w * map, plus its square for one class."""

    def __init__(self, w1, w2, squared=0.0):
        super().__init__()
        self.maps = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.maps.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]).view(2, 2, 1, 1))
        self.register_buffer("w", torch.stack((w1, w2)))
        self.squared = squared

    def forward(self, x):
        a = self.maps(x)
        score = (self.w * a).sum((1, 2, 3)) + self.squared * (a**2).sum((1, 2, 3)) / 2
        return torch.stack((score, -score), dim=1)


W1 = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
W2 = torch.tensor([[-1.0, 0.5], [0.0, 0.5]])
X = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[2.0, 0.0], [1.0, 1.0]]]])
A1, A2 = X[:, 0], 2 * X[:, 1]


def test_grad_cam_is_the_mean_slope_times_the_map():
    net = Known(W1, W2)
    torch.testing.assert_close(grad_cam(net, X, 0, "maps"), 0.5 * A1 + 0.0 * A2)
    torch.testing.assert_close(grad_cam(net, X, 1, "maps"), -0.5 * A1)
    curved = Known(W1, W2, squared=1.0)  # slopes w + a
    torch.testing.assert_close(grad_cam(curved, X, 0, "maps"), (0.5 + 2.5) * A1 + 2 * A2)


def test_layer_cam_weighs_every_place():
    torch.testing.assert_close(layer_cam(Known(W1, W2), X, 0, "maps"), W1.relu() * A1 + W2.relu() * A2)


def test_grad_cam_plus_plus_by_hand():
    """Map 1 sums to 10: a = g^2 / (2 g^2 + 10 g^3) = 1 / (2 + 10 g) where g is not 0; map 2 to 8."""
    weight1 = 1 / 12 * 1 + 3 / 32
    weight2 = 2 * (0.5 / (2 + 8 * 0.5))
    torch.testing.assert_close(grad_cam_pp(Known(W1, W2), X, 0, "maps"), weight1 * A1 + weight2 * A2)


def test_score_cam_is_the_softmax_of_masked_scores(plain, images):
    plain.eval()
    x = images[:1]
    found = score_cam(plain, x, 2, "relu2")
    with torch.no_grad():
        maps = plain.relu2(plain.conv2(plain.pool(plain.relu1(plain.bn1(plain.conv1(x))))))[0]
        nothing, gains = plain(torch.zeros_like(x))[0, 2], []
        for a in maps:
            mask = F.interpolate(a[None, None], x.shape[2:], mode="bilinear")[0, 0]
            mask = (mask - mask.min()) / (mask.max() - mask.min()) if mask.max() > mask.min() else 0 * mask
            gains.append(plain(x * mask)[0, 2] - nothing)
        weights = torch.stack(gains).softmax(0)
    torch.testing.assert_close(found[0], (weights[:, None, None] * maps).sum(0))


def test_awkward_networks_give_the_same_maps(plain, awkward, images):
    for method in (grad_cam, grad_cam_pp, layer_cam, score_cam):
        torch.testing.assert_close(
            method(awkward, images, layer="conv2"), method(plain, images, layer="conv2")
        )


def test_of_a_layer_called_twice_the_last_call_counts(twice, images):
    class Unrolled(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.fc = twice.first, twice.fc
            self.a, self.b = twice.conv, nn.Conv2d(6, 6, 3, padding=1)
            self.b.load_state_dict(twice.conv.state_dict())

        def forward(self, x):
            return self.fc(self.b(self.a(self.first(x).relu()).relu()).relu().mean((2, 3)))

    torch.testing.assert_close(grad_cam(twice, images, 1, "conv"), grad_cam(Unrolled(), images, 1, "b"))


def test_a_batch_is_its_images_one_by_one(plain, images):
    for method in (grad_cam, grad_cam_pp, layer_cam, score_cam):
        each = torch.cat([method(plain, x[None], 1) for x in images])
        torch.testing.assert_close(method(plain, images, 1), each, rtol=1e-5, atol=1e-6)


def test_a_layer_without_extent_is_refused(plain, images):
    with pytest.raises(UsageError, match=r"layer fc gives \(3, 4\): it has no width and height"):
        grad_cam(plain, images, layer="fc")
