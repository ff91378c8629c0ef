"""A network is left as it was found, and what can't be explained is refused in one line."""

import gc

import pytest
import torch
from torch import nn

from striate.errors import StriateError, UsageError
from striate.explain import METHODS, attribute


def hooks(module):
    return sum(
        len(getattr(m, kind)) for m in module.modules()
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grad", [True, False])
def test_the_network_is_left_as_it_was(plain, images, method, grad):
    plain.train()
    plain.bn1.eval()  # a mode of its own
    plain.conv1.weight.requires_grad_(False)
    plain.fc.bias.grad = torch.ones(4)
    before = {k: v.clone() for k, v in plain.state_dict().items()}
    modes = [m.training for m in plain.modules()]
    asked = images.clone()
    with torch.set_grad_enabled(grad):
        attribute(plain, asked, method)
        assert torch.is_grad_enabled() is grad
    assert [m.training for m in plain.modules()] == modes
    assert hooks(plain) == 0
    assert all(torch.equal(v, before[k]) for k, v in plain.state_dict().items())
    assert plain.fc.bias.grad.tolist() == [1, 1, 1, 1]
    assert all(p.grad is None for name, p in plain.named_parameters() if name != "fc.bias")
    assert not plain.conv1.weight.requires_grad
    assert plain.conv2.weight.requires_grad
    assert torch.equal(asked, images)
    assert not asked.requires_grad


def test_hooks_go_and_modes_come_back_when_a_network_fails(plain, images):
    plain.train()
    with pytest.raises(UsageError):
        attribute(plain, images, target=9)
    plain.spare = nn.Conv2d(1, 1, 1)
    with pytest.raises(UsageError, match="never called"):
        attribute(plain, images, layer="spare")
    with pytest.raises(RuntimeError):
        attribute(plain, images[:, :2])
    assert hooks(plain) == 0
    assert plain.training
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("method", ["grad-cam", "guided-backprop", "occlusion"])
def test_memory_is_flat(plain, images, method):
    def tensors():
        gc.collect()
        return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

    x = images[:1, :, :6, :6]
    attribute(plain, x, method)
    before = tensors()
    for _ in range(100):
        attribute(plain, x, method)
    assert tensors() == before


def test_inside_inference_mode(plain, images):
    expected = attribute(plain, images, "saliency").raw
    with torch.inference_mode():
        torch.testing.assert_close(attribute(plain, images.clone(), "saliency").raw, expected)


@pytest.mark.parametrize("method", METHODS)
def test_one_channel_batch_of_one_and_frozen(one_conv, method):
    x = torch.arange(16.0).view(1, 1, 4, 4)
    free = attribute(one_conv, x, method)
    frozen = attribute(one_conv.requires_grad_(False), x, method)
    assert free.heat.shape == (1, 4, 4)
    torch.testing.assert_close(free.heat, frozen.heat)
    assert free.heat.min() >= 0


def test_double_precision_stays_double(plain, images):
    found = attribute(plain.double(), images, "grad-cam")
    assert found.raw.dtype == torch.float64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "gradcam"}, "unknown method 'gradcam'"),
        ({"layer": "conv3"}, "no layer 'conv3' in Plain"),
        ({"layer": "conv1", "method": "saliency"}, "saliency looks at the image, not at a layer"),
        ({"layer": "fc"}, "it has no width and height"),
        ({"target": 4}, "classes are 0 to 3, got 4"),
        ({"target": -1}, "classes are 0 to 3"),
        ({"target": [0, 1]}, "one for each of 3 images"),
        ({"target": 0.5}, "expected a class number"),
        ({"samples": 3}, "grad-cam has no option 'samples'"),
        ({"method": "smoothgrad", "samples": 0}, "expected at least 1"),
    ],
)
def test_bad_requests_in_one_line(plain, images, change, message):
    with pytest.raises(UsageError) as caught:
        attribute(plain, images, **change)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_nearest_names_are_given(plain, images):
    with pytest.raises(UsageError) as caught:
        attribute(plain, images, "gradcam")
    assert caught.value.hint == "did you mean grad-cam, grad-cam++ or score-cam?"
    with pytest.raises(UsageError) as caught:
        attribute(plain, images, layer="conv3")
    assert "conv2" in caught.value.hint


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 12, 10), r"expected images (n, c, h, w), got (3, 12, 10)"),
        (torch.zeros(0, 3, 12, 10), "expected images"),
        (
            torch.zeros(1, 3, 12, 10, dtype=torch.uint8),
            "expected normalised images as floats, got torch.uint8",
        ),
        ([1.0], "got list"),
    ],
)
def test_bad_images_in_one_line(plain, images, message):
    with pytest.raises(UsageError) as caught:
        attribute(plain, images)
    assert message in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_nan_is_named(plain, images, method):
    plain.conv2.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(StriateError, match=r"the network gives NaN or infinity: conv2\.weight holds some"):
        attribute(plain, images, method)


def test_nan_in_an_image(plain, images):
    images[0, 0, 0, 0] = torch.inf
    with pytest.raises(StriateError, match="the image holds some"):
        attribute(plain, images)


def test_a_network_that_is_no_classifier(images):
    with pytest.raises(UsageError, match=r"Conv2d gives \(3, 1, 10, 8\), expected the logits"):
        attribute(nn.Conv2d(3, 1, 3), images)


def test_a_network_without_convolution(images):
    net = nn.Sequential(nn.Flatten(), nn.Linear(360, 5))
    for method in ("grad-cam", "score-cam"):
        with pytest.raises(UsageError, match="Sequential has no layer with maps: it isn't convolutional"):
            attribute(net, images, method)
    for method in ("saliency", "occlusion", "guided-backprop", "integrated-gradients", "smoothgrad"):
        assert attribute(net, images, method).heat.max() > 0
