"""Images side by side in a strip don't see each other: outputs and gradients are those of the convolution."""

import pytest
import torch
from torch import nn

from striate.layers import Conv2d
from striate.train import strips
from striate.train.twin import twin


def values_and_gradients(call, layer, x, gradient):
    wanted = (x, *layer.parameters())
    y = call(x)
    return y, *torch.autograd.grad(y, wanted, gradient)


@pytest.mark.parametrize(("n", "images"), [(1, 1), (6, 2), (6, 6), (32, 16)])
@pytest.mark.parametrize(
    ("kernel", "width"), [((3, 3), 7), ((3, 3), 1), ((5, 5), 2), ((1, 3), 11), ((3, 7), 4)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_strip_gives_what_its_images_give_one_by_one(n, images, kernel, width, bias):
    layer = Conv2d(3, 4, kernel, bias=bias).double()
    x = torch.randn(n, 3, 5, width, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(n, 4, 5, width, dtype=torch.float64)
    expected = values_and_gradients(layer, layer, x, gradient)
    found = values_and_gradients(lambda x: strips.convolved(x, layer, images), layer, x, gradient)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


class Standardised(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight / self.weight.std(), self.bias)


@pytest.mark.parametrize(
    ("layer", "fit"),
    [
        (Conv2d(64, 128, 3), True),
        (Conv2d(64, 64, (5, 3), padding=(2, 1)), True),
        (nn.Conv2d(64, 64, 3, padding=1), True),
        (nn.Conv2d(64, 64, 3, padding="same"), True),
        (Conv2d(64, 64, 1), False),  # sees one pixel: rows are no matter
        (Conv2d(64, 64, 2), False),  # padded on one side
        (Conv2d(64, 64, 3, stride=2), False),
        (Conv2d(64, 64, 3, padding="valid"), False),
        (Conv2d(64, 64, 3, dilation=2), False),
        (Conv2d(64, 64, 3, groups=64), False),
        (Conv2d(32, 64, 3), False),
        (nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"), False),
        (Standardised(64, 64, 3, padding=1), False),
        (nn.Linear(64, 64), False),
    ],
)
def test_which_layers_work_in_strips(layer, fit):
    assert strips.fits(layer) == fit


def test_the_twin_works_in_strips_where_there_are_tiles_and_maps_are_narrow(monkeypatch):
    seen = []
    monkeypatch.setattr(strips, "tiles", lambda: True)
    convolved = strips.convolved
    monkeypatch.setattr(
        strips, "convolved", lambda x, *more: seen.append((x.dtype, more[1])) or convolved(x, *more)
    )
    net = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1))
    fast = twin(net)
    narrow, wide = torch.randn(24, 64, 6, 11), torch.randn(24, 64, 6, 12)
    assert torch.equal(fast(narrow), net(narrow))  # float32 has no tiles
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fast(wide), net(wide))
        assert torch.equal(fast(narrow[:7]), net(narrow[:7]))  # which no strips share
        assert seen == []
        torch.testing.assert_close(fast(narrow), net(narrow))
    assert seen == [(torch.bfloat16, 8)]


def test_without_tiles_nothing_changes(monkeypatch):
    monkeypatch.setattr(strips, "tiles", lambda: False)
    fast = twin(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1)))
    assert "forward" not in vars(fast[0])
