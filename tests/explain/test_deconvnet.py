"""The deconvnet by hand, beside the gradients it must equal, and the search beside a sort of everything."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate.errors import UsageError
from striate.explain import guided_backprop, saliency
from striate.explain.deconvnet import boxes, evidence, project, strongest


def two_layers() -> nn.Sequential:
    """conv (1, -1), ReLU, max-pool 2, conv (2, -3), ReLU; one image of one row."""
    net = nn.Sequential(
        nn.Conv2d(1, 1, (1, 2), bias=False), nn.ReLU(), nn.MaxPool2d((1, 2)),
        nn.Conv2d(1, 1, (1, 2), bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(1, 2),
    )  # fmt: skip
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, -1.0]).view(1, 1, 1, 2))
        net[3].weight.copy_(torch.tensor([2.0, -3.0]).view(1, 1, 1, 2))
    return net


def test_two_layers_with_pooling_switches_by_hand():
    """x = 5 1 2 0 0: differences 4 -1 2 0, pooled 4 (from place 0) and 2 (from place 2), then 2*4 - 3*2 = 2.

    Back: 2 * (2, -3) = 4 -6, rectified 4 0 where the switches say, 4 0 0 0, through (1, -1): 4 -4 0 0 0.
    """
    x = torch.tensor([5.0, 1.0, 2.0, 0.0, 0.0]).view(1, 1, 1, 5)
    at = (torch.tensor([0]), torch.tensor([[0, 0]]))
    assert project(two_layers(), x, "4", *at).flatten().tolist() == [4, -4, 0, 0, 0]
    moved = torch.tensor([1.0, 1.0, -3.0, 0.0, -1.0]).view(
        1, 1, 1, 5
    )  # 0 4 -3 1: switches at 1 and 3, 2*4 - 3*1
    assert project(two_layers(), moved, "4", *at).flatten().tolist() == [0, 10, -10, 0, 0]


def test_what_did_not_pass_forwards_may_pass_backwards():
    """A closed rectifier below an open one: guided backpropagation stops there, the deconvnet doesn't."""
    net = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 1, 1), nn.Flatten(), nn.Linear(1, 2)
    )
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        net[2].weight.fill_(2)
        net[2].bias.fill_(1)
    x = torch.full((1, 1, 1, 1), 3.0)  # maps 3 and 0, then 2*3 + 2*0 + 1 = 7
    assert project(net, x, "2", torch.tensor([0]), torch.tensor([[0, 0]])).item() == 7 * (2 * 1 + 2 * -1)


def last(net, x):
    """The pre-activation of the network's only logit as a layer: its deconvnet starts with the logit itself."""
    return nn.Sequential(net, nn.Unflatten(1, (1, 1, 1)), nn.Flatten())


def test_with_positive_weights_all_ways_back_are_the_gradient_times_the_score(plain, images):
    with torch.no_grad():
        for p in plain.parameters():
            p.abs_()
    plain.bn1.running_mean.fill_(-9)  # everything is open
    plain.fc = nn.Linear(6, 1)
    plain.fc.weight.data.abs_()
    net, n = last(plain, images), len(images)
    x = images.abs()
    back = project(net, x, "1", torch.zeros(n, dtype=torch.long), torch.zeros(n, 2, dtype=torch.long))
    with torch.no_grad():
        score = plain.eval()(x).view(-1, 1, 1, 1)
    torch.testing.assert_close(back, score * saliency(plain, x, 1))
    torch.testing.assert_close(back, score * guided_backprop(plain, x, 1))


def test_awkward_networks_project_the_same(plain, awkward, images):
    at = (torch.tensor([0, 3, 5]), torch.tensor([[0, 0], [2, 3], [5, 4]]))
    expected = project(plain, images, "conv2", *at)
    assert expected.abs().max() > 0
    torch.testing.assert_close(project(awkward, images, "conv2", *at), expected)


@pytest.mark.parametrize("batch", [1, 3, 7, 40])
def test_the_search_is_a_sort_of_everything(plain, batch):
    x = torch.randn(40, 3, 12, 10)
    found = strongest(plain, x.split(batch), "relu2", k=9)
    plain.eval()
    with torch.no_grad():
        maps = plain.relu2(plain.conv2(plain.pool(plain.relu1(plain.bn1(plain.conv1(x))))))
    tops = maps.flatten(2).amax(2).T  # (c, n)
    torch.testing.assert_close(found.values, tops.sort(descending=True, dim=1).values[:, :9])
    for c in range(6):
        for value, image, (row, column) in zip(
            found.values[c], found.images[c].tolist(), found.places[c].tolist(), strict=True
        ):
            torch.testing.assert_close(value, maps[image, c, row, column])
    few = strongest(plain, [x[:4]], "relu2", k=9)
    assert few.values.shape == (6, 4)


def test_what_is_kept_does_not_grow_with_the_data(plain):
    found = strongest(plain, (torch.randn(5, 3, 12, 10) for _ in range(30)), "conv1", k=9)
    assert (found.values.shape, found.images.shape, found.places.shape) == ((6, 9), (6, 9), (6, 9, 2))
    assert found.images.max() < 150


def test_boxes_are_the_receptive_field_inside_the_image(plain):
    """conv 3 with padding 1, pool 2, conv 3: place i sees 2i - 3 to 2i + 4."""
    assert boxes(plain, (3, 12, 10), "conv2", torch.tensor([[0, 0], [2, 3], [5, 4]])) == [
        (0, 5, 0, 5), (1, 9, 3, 10), (7, 12, 5, 10),
    ]  # fmt: skip
    assert boxes(plain, (3, 12, 10), "relu1", torch.tensor([[5, 5]])) == [(4, 7, 4, 7)]


class Wilful(nn.Module):
    """Its way depends on values, so it can't be followed by shapes."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        maps = self.conv(x) if float(x.detach().sum()) > 0 else -self.conv(x)
        return self.fc(maps.mean((2, 3)))


def test_a_network_that_cannot_be_followed_shows_whole_images():
    assert boxes(Wilful(), (3, 12, 10), "conv", torch.tensor([[3, 3]])) == [(0, 12, 0, 10)]


def test_evidence_is_cut_from_the_images_it_names(plain):
    pixels = torch.randint(0, 256, (20, 3, 12, 10), dtype=torch.uint8)

    def normalise(x):
        return x / 255 - 0.5

    found = strongest(plain, normalise(pixels).split(6), "conv2")
    (e,) = evidence(plain, found, lambda rows: pixels[rows], normalise, [4])
    first, place = int(found.images[4, 0]), found.places[4]
    (top, bottom, left, right) = boxes(plain, (3, 12, 10), "conv2", place)[0]
    assert (e.patches[0] == pixels[first, :, top:bottom, left:right].numpy()).all()
    whole = project(plain, normalise(pixels[[first]]), "conv2", torch.tensor([4]), place[:1])[0]
    torch.testing.assert_close(torch.from_numpy(e.projections[0]), whole[:, top:bottom, left:right])
    outside = F.pad(
        torch.zeros(3, bottom - top, right - left), (left, 10 - right, top, 12 - bottom), value=1.0
    )
    assert float((whole * outside).abs().max()) == 0  # nothing comes from beyond the receptive field


def test_bad_requests(plain, images):
    with pytest.raises(UsageError, match="no images to look at"):
        strongest(plain, [])
    with pytest.raises(UsageError, match="it has no width and height"):
        strongest(plain, [images], "fc")
    with pytest.raises(UsageError, match="no layer 'conv9'"):
        strongest(plain, [images], "conv9")
