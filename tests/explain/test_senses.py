"""Do the maps show what the network looks at? Asked of a network with published weights and real photographs."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.explain import attribute

from .photographs import PREPROCESS, mobilenet, photographs


@pytest.fixture(scope="module")
def net(shared_data) -> nn.Module:
    return mobilenet(shared_data)


def pasted(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Photographs at half size on a grey canvas, every other one left; and which are left."""
    small = F.interpolate(PREPROCESS.normalise(pixels), size=(112, 112), mode="bilinear", antialias=True)
    canvas, left = torch.zeros(len(small), 3, 224, 224), torch.arange(len(small)) % 2 == 0
    canvas[left, :, 56:168, :112] = small[left]
    canvas[~left, :, 56:168, 112:] = small[~left]
    return canvas, left


def share_in_the_right_half(net: nn.Module, pixels: Tensor, method: str) -> Tensor:
    x, left = pasted(pixels)
    heat = torch.cat([attribute(net, part, method).heat for part in x.split(10)])
    mass = torch.stack((heat[:, :, :112].sum((1, 2)), heat[:, :, 112:].sum((1, 2))))
    return torch.where(left, mass[0], mass[1]) / mass.sum(0)


def test_grad_cam_finds_the_half_with_the_picture_in_it(net, shared_data):
    shares = share_in_the_right_half(net, photographs(shared_data, 4)[0], "grad-cam")
    assert (shares > 0.5).all()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grad-cam", "grad-cam++", "layer-cam", "saliency", "guided-backprop"])
def test_methods_find_the_half_with_the_picture_in_it(net, shared_data, method):
    shares = share_in_the_right_half(net, photographs(shared_data, 50)[0], method)
    assert (shares > 0.5).sum() >= 45


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grad-cam", "saliency"])
def test_random_weights_destroy_the_map(net, shared_data, method):
    """Adebayo et al., 2018, arXiv:1810.03292: a map that survives shows the image, not the network."""
    x = PREPROCESS.normalise(photographs(shared_data, 20)[0])
    trained = attribute(net, x, method)
    shuffled = copy.deepcopy(net)  # layer by layer: as large as before, and senseless
    for p in shuffled.parameters():
        p.data = p.data.flatten()[torch.randperm(p.numel())].view_as(p)
    senseless = attribute(shuffled, x, method, trained.targets)
    pairs = [p for p in zip(trained.heat, senseless.heat, strict=True) if p[1].std() > 0]
    assert len(pairs) > 5
    found = [float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1]) for a, b in pairs]
    assert abs(sum(found) / len(found)) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grad-cam", "layer-cam"])
def test_deletion_and_insertion_beat_a_random_map(net, shared_data, method):
    """Petsiuk et al., 2018, arXiv:1806.07421, section 4: pixels in order of heat leave, or enter, the image."""
    x = PREPROCESS.normalise(photographs(shared_data, 16)[0])
    found = attribute(net, x, method)
    noise = torch.rand(len(x), 1, 7, 7)
    chance = F.interpolate(noise, (224, 224), mode="bilinear")[:, 0]  # as smooth as the maps of the method
    areas = {
        name: (
            area(net, x, heat, found.targets, deletion=True),
            area(net, x, heat, found.targets, deletion=False),
        )
        for name, heat in (("method", found.heat), ("chance", chance))
    }
    assert areas["method"][0] < 0.7 * areas["chance"][0]
    assert areas["method"][1] > 1.3 * areas["chance"][1]


@torch.no_grad()
def area(net: nn.Module, x: Tensor, heat: Tensor, targets: Tensor, deletion: bool) -> float:
    """Mean probability of the class while the hottest tenth, two tenths, ... of the pixels leave or enter."""
    seen = []
    for share in torch.arange(0.1, 1, 0.1):
        edge = heat.flatten(1).quantile(1 - share, dim=1).view(-1, 1, 1)
        keep = (heat < edge) if deletion else (heat >= edge)
        probabilities = net(x * keep[:, None]).softmax(1)
        seen.append(probabilities.gather(1, targets[:, None]).mean())
    return float(torch.stack(seen).mean())
