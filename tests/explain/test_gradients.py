"""Gradients of the score by hand, and the properties that their papers prove."""

import torch
from torch import nn

from striate.explain import guided_backprop, integrated_gradients, saliency, smoothgrad


def test_saliency_is_autograd_by_hand(plain, images):
    plain.eval()
    x = images.clone().requires_grad_()
    logits = plain(x)
    logits.gather(1, logits.argmax(1, keepdim=True)).sum().backward()
    torch.testing.assert_close(saliency(plain, images), x.grad)
    plain.zero_grad()
    x.grad = None
    plain(x)[:, 3].sum().backward()
    torch.testing.assert_close(saliency(plain, images, 3), x.grad)


def test_one_logit_speaks_for_two_classes(plain, images):
    plain.fc = nn.Linear(6, 1)
    torch.testing.assert_close(saliency(plain, images, 0), -saliency(plain, images, 1))
    with torch.no_grad():
        sign = torch.where(plain.eval()(images) > 0, 1.0, -1.0)
    predicted = saliency(plain, images)
    torch.testing.assert_close(predicted, sign.view(-1, 1, 1, 1) * saliency(plain, images, 1))


def test_guided_backprop_by_hand():
    """y = 2 relu(x1 - x2) - 3 relu(x1 + x2): the second rectifier hears -3 and passes nothing on."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
        net[3].weight.copy_(torch.tensor([[2.0, -3.0]]))
    x = torch.tensor([3.0, 1.0]).view(1, 1, 1, 2)
    assert saliency(net, x, 1).flatten().tolist() == [-1.0, -5.0]
    assert guided_backprop(net, x, 1).flatten().tolist() == [2.0, -2.0]
    off = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)  # the first rectifier is closed
    assert guided_backprop(net, off, 1).flatten().tolist() == [0.0, 0.0]


def test_guided_backprop_equals_the_gradient_where_all_weights_are_positive(plain, images):
    with torch.no_grad():
        for p in plain.parameters():
            p.abs_()
    torch.testing.assert_close(guided_backprop(plain, images, 1), saliency(plain, images, 1))


def test_awkward_networks_give_the_same_gradients(plain, awkward, images):
    for method in (saliency, guided_backprop, integrated_gradients):
        torch.testing.assert_close(method(awkward, images, 1), method(plain, images, 1))
    assert not torch.allclose(guided_backprop(plain, images, 1), saliency(plain, images, 1))


def test_a_first_layer_that_writes_into_its_input(images):
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(360, 2))
    before = images.clone()
    expected = (images > 0) * net[2].weight[1].view(3, 12, 10)
    torch.testing.assert_close(saliency(net, images, 1), expected)
    assert torch.equal(images, before)


def test_integrated_gradients_are_complete(plain, images):
    plain.eval()
    with torch.no_grad():
        for baseline in (0.0, 1.0):
            difference = plain(images) - plain(torch.full_like(images, baseline))
            for target in range(4):
                total = integrated_gradients(plain, images, target, baseline).sum((1, 2, 3))
                assert ((total - difference[:, target]).abs() <= 0.01 * difference[:, target].abs()).all()


def test_integrated_gradients_of_a_linear_network_are_weight_times_image(images):
    net = nn.Sequential(nn.Flatten(), nn.Linear(360, 3))
    torch.testing.assert_close(
        integrated_gradients(net, images, 2), images * net[1].weight[2].view(3, 12, 10)
    )


def test_smoothgrad(plain, images):
    linear = nn.Sequential(nn.Flatten(), nn.Linear(360, 3))
    torch.testing.assert_close(
        smoothgrad(linear, images, 2, samples=3), linear[1].weight[2].view(3, 12, 10).expand(3, 3, 12, 10)
    )
    torch.testing.assert_close(smoothgrad(plain, images, 1, samples=2, noise=0), saliency(plain, images, 1))

    class Square(nn.Module):  # the mean slope of x^2 over noise about x is that at x
        def forward(self, x):
            return (x**2).flatten(1).sum(1, keepdim=True)

    found = smoothgrad(Square(), images, 1, samples=400, noise=0.1, seed=3)
    spread = 0.1 * (images.amax((1, 2, 3)) - images.amin((1, 2, 3))).view(-1, 1, 1, 1)
    sigma = 2 * spread / 400**0.5  # of each value found
    assert float(((found - 2 * images) / sigma).std()) < 1.1
    assert float(((found - 2 * images) / sigma).std()) > 0.9
