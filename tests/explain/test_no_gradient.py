"""A network that lets no gradient through is refused in one line; what needs none still answers."""

import pytest
import torch
from torch import nn

from striate.errors import UsageError
from striate.explain import METHODS, attribute, embed, features, last_maps, maximise, project, strongest

WITHOUT_GRADIENTS = {"score-cam", "occlusion"}
REFUSED = r"^no gradient reaches the image( by way of relu2)?: .* under torch\.no_grad\(\) or detaches it$"


class Cut(nn.Module):
    """A network between whose maps and head, or around whose maps, gradients end."""

    def __init__(self, plain: nn.Module, how: str) -> None:
        super().__init__()
        self.plain, self.how = plain, how

    def maps(self, x):
        p = self.plain
        return p.relu2(p.conv2(p.pool(p.relu1(p.bn1(p.conv1(x))))))

    def forward(self, x):
        if self.how == "detach":
            x = self.maps(x).detach()
        else:
            with torch.no_grad() if self.how == "no_grad" else torch.inference_mode():
                x = self.maps(x)
        return self.plain.fc(x.mean((2, 3)))


@pytest.fixture(params=["no_grad", "detach", "inference_mode"])
def cut(request, plain) -> nn.Module:
    return Cut(plain, request.param)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_heat_maps(plain, cut, images, method, frozen):
    cut.requires_grad_(not frozen)
    if method in WITHOUT_GRADIENTS:
        expected = attribute(plain, images, method, 1).raw
        torch.testing.assert_close(attribute(cut, images, method, 1).raw, expected)
        return
    with pytest.raises(UsageError, match=REFUSED.replace("relu2", r"plain\.relu2")) as caught:
        attribute(cut, images, method, 1)
    assert caught.value.hint == "occlusion and score-cam work without gradients"
    assert all(p.requires_grad is not frozen for p in cut.parameters())


def test_climbing_and_the_deconvnet(cut, images):
    with pytest.raises(UsageError, match=REFUSED):
        maximise(cut, (3, 12, 10), [1], steps=2)
    if cut.how != "detach":  # which comes after the layer
        with pytest.raises(UsageError, match=REFUSED):
            maximise(cut, (3, 12, 10), [1], "plain.conv1", steps=2)
        with pytest.raises(UsageError, match=REFUSED):
            project(cut, images, "plain.conv2", torch.zeros(3).long(), torch.zeros(3, 2).long())


def test_what_needs_no_gradient(plain, cut, images):
    assert last_maps(cut, images) == "plain.relu2"
    theirs, ours = features(cut, images), features(plain, images)
    assert torch.equal(theirs["plain.relu2"], ours["relu2"])
    assert torch.equal(strongest(cut, [images]).values, strongest(plain, [images]).values)
    assert (embed(cut, [images]) == embed(plain, [images])).all()


def test_a_head_that_learns_on_maps_without_gradients(plain, images):
    """Grad-CAM looks at the last layer that the gradient does reach."""

    class Tuned(Cut):
        def __init__(self):
            super().__init__(plain, "no_grad")
            self.last = nn.Conv2d(6, 5, 1)
            self.fc = nn.Linear(5, 3)

        def forward(self, x):
            with torch.no_grad():
                x = self.maps(x)
            return self.fc(self.last(x).mean((2, 3)))

    net = Tuned().eval()
    found = attribute(net, images, "grad-cam", 1)
    assert found.layer == "last"
    with torch.no_grad():
        maps = net.last(net.maps(images))
        expected = torch.einsum("k,nkhw->nhw", net.fc.weight[1] / maps[0, 0].numel(), maps)
    torch.testing.assert_close(found.raw, expected)
    with pytest.raises(UsageError, match=r"no gradient reaches the image: "):
        attribute(net, images, "saliency")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_half_precision_shows_the_same(plain, images, method, dtype):
    expected = attribute(plain, images, method, 1).raw
    found = attribute(plain.to(dtype), images, method, 1).raw
    assert found.dtype == dtype
    assert torch.corrcoef(torch.stack((found.float().flatten(), expected.flatten())))[0, 1] > 0.98


def test_compiled_parts_are_run_as_they_were_written(plain, images):
    expected = attribute(plain, images, "guided-backprop", 1).raw
    grad_cam = attribute(plain, images, "grad-cam", 1).raw
    inside = nn.Sequential(torch.compile(plain, backend="eager"))
    plain.compile(backend="eager")
    for net, layer in (
        (inside, "0._orig_mod.relu2"),
        (torch.compile(plain, backend="eager"), "relu2"),
        (plain, "relu2"),
    ):
        torch.testing.assert_close(attribute(net, images, "guided-backprop", 1).raw, expected)
        found = attribute(net, images, "grad-cam", 1)
        assert found.layer == layer
        torch.testing.assert_close(found.raw, grad_cam)
