"""The fast path computes what the user's network computes, to the bit where it says so, and leaves it alone."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from striate.errors import UsageError
from striate.layers import Conv2d, MaxPool2d
from striate.train.engine import Engine, pick_device, pick_dtype, resized, twin


def chain():
    return nn.Sequential(
        Conv2d(1, 8, 3), nn.ReLU(), MaxPool2d(2),
        nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(3, 2, padding=1),
        nn.Flatten(), nn.Linear(8 * 7 * 7, 16), nn.ReLU(), nn.Linear(16, 10),
    )  # fmt: skip


def loss_and_gradients(net, x):
    net.zero_grad()
    nn.functional.cross_entropy(net(x), torch.arange(len(x)) % 10).backward()
    return net(x), [p.grad.clone() for p in net.parameters()]


@pytest.mark.parametrize("training", [True, False])
def test_the_twin_gives_the_same_bits_forward_and_backward(training):
    net = chain().train(training)
    # a blank background makes every window a tie, the case in which pooling first could go wrong
    x = torch.relu(torch.randn(6, 1, 30, 30) - 1)
    plain, plain_gradients = loss_and_gradients(copy.deepcopy(net), x)
    fast, fast_gradients = loss_and_gradients(twin(net), x)
    assert torch.equal(plain, fast)
    assert all(torch.equal(a, b) for a, b in zip(plain_gradients, fast_gradients, strict=True))


def test_the_twin_pools_before_it_clips_and_shares_every_tensor():
    net = chain()
    fast = twin(net)
    kinds = [type(m).__name__ for m in fast]
    assert kinds[:3] == ["Conv2d", "MaxPool2d", "ReLU"]
    assert kinds[4:7] == ["BatchNorm2d", "MaxPool2d", "ReLU6"]
    assert [m.inplace for m in fast if isinstance(m, nn.ReLU | nn.ReLU6)] == [True, True, True]
    mine = [*net.parameters(), *net.buffers()]
    assert all(a is b for a, b in zip(mine, [*fast.parameters(), *fast.buffers()], strict=True))


def test_the_users_network_is_untouched():
    net = chain()
    before = repr(net)
    twin(net)
    assert repr(net) == before


def test_a_network_with_hooks_keeps_its_order():
    net = chain()
    net[1].register_forward_hook(lambda m, args, out: None)
    assert [type(m) for m in twin(net)] == [type(m) for m in net]


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.LeakyReLU(0.1), nn.GELU()])
def test_only_clipping_changes_places_with_pooling(activation):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), activation, nn.MaxPool2d(2))
    assert [type(m) for m in twin(net)] == [type(m) for m in net]


def test_clipping_is_not_done_in_place_where_its_input_is_needed_again():
    net = nn.Sequential(nn.Tanh(), nn.ReLU())  # the gradient of tanh needs its output
    assert not twin(net)[1].inplace


def test_pixels_are_standardised_as_preprocessing_says():
    engine = Engine(nn.Flatten(), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "cpu", "fp32")
    pixels = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8)
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    x = engine.prepare(pixels)
    torch.testing.assert_close(x, (pixels / 255 - mean) / std, rtol=1e-5, atol=1e-5)
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_bf16_stays_near_fp32():
    net = chain().eval()
    pixels = torch.randint(0, 256, (8, 1, 30, 30), dtype=torch.uint8)
    exact = Engine(net, (0.5,), (0.3,), "cpu", "fp32")
    rounded = Engine(net, (0.5,), (0.3,), "cpu", "bf16")
    with exact.inference(), rounded.inference():
        a, b = exact(pixels), rounded(pixels)
    assert a.dtype == b.dtype == torch.float32
    assert not torch.equal(a, b)
    torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)


def test_inference_gives_the_mode_back():
    engine = Engine(chain(), (0.5,), (0.3,), "cpu", "fp32")
    engine.train()
    with engine.inference():
        assert not engine.twin.training
    assert engine.twin.training


def test_precision_and_device_that_are_not_there_are_refused():
    assert pick_dtype(torch.device("cpu"), "fp32") == torch.float32
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        pick_dtype(torch.device("cpu"), "fp16")
    with pytest.raises(UsageError, match="no device cuda:99"):
        pick_device("cuda:99")


def test_smaller_images_are_those_that_pillow_makes():
    x = torch.rand(2, 1, 24, 32)
    for picture, small in zip(x, resized(x, (15, 20)), strict=True):
        pillow = Image.fromarray(picture[0].numpy()).resize((20, 15), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(small[0], np.asarray(pillow), atol=1e-6)
    assert resized(x, (24, 32)) is x
