"""The fast path computes what the user's network computes, to the bit where it says so, and leaves it alone."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from striate.errors import UsageError
from striate.train.engine import Engine, pick_device, pick_dtype, resized


def small():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 28 * 28, 10)
    )


def test_pixels_are_standardised_as_preprocessing_says():
    engine = Engine(nn.Flatten(), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "cpu", "fp32")
    pixels = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8)
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    x = engine.prepare(pixels)
    torch.testing.assert_close(x, (pixels / 255 - mean) / std, rtol=1e-5, atol=1e-5)
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_bf16_stays_near_fp32():
    net = small().eval()
    pixels = torch.randint(0, 256, (8, 1, 30, 30), dtype=torch.uint8)
    exact = Engine(net, (0.5,), (0.3,), "cpu", "fp32")
    rounded = Engine(net, (0.5,), (0.3,), "cpu", "bf16")
    with exact.inference(), rounded.inference():
        a, b = exact(pixels), rounded(pixels)
    assert a.dtype == b.dtype == torch.float32
    assert not torch.equal(a, b)
    torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)


def test_inference_gives_the_mode_back():
    engine = Engine(small(), (0.5,), (0.3,), "cpu", "fp32")
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
