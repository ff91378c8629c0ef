"""Colour against Pillow's enhancers and the definitions."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from striate.data.augment import Brightness, ChannelShift, Contrast, Draw, Saturation
from striate.data.augment.colour import shift_channels

PHOTOS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 3, 9, 11), np.uint8))
LABELS = torch.arange(12)


@pytest.mark.parametrize(
    ("transform", "enhancer", "tolerance"),
    [
        (Brightness, ImageEnhance.Brightness, 1),
        (Contrast, ImageEnhance.Contrast, 1),
        (Saturation, ImageEnhance.Color, 2),
    ],
)
@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_same_as_pillow(transform, enhancer, tolerance: int, factor: float) -> None:
    out, _ = transform((factor, factor))(PHOTOS, LABELS, Draw(torch.Generator()))
    for image, result in zip(PHOTOS, out, strict=True):
        expected = np.asarray(enhancer(Image.fromarray(image.permute(1, 2, 0).numpy())).enhance(factor))
        assert np.abs(result.permute(1, 2, 0).numpy().astype(int) - expected).max() <= tolerance


def test_every_image_draws_its_own_amount() -> None:
    flat = torch.full((200, 3, 2, 2), 100, dtype=torch.uint8)
    out, _ = Brightness((0.5, 1.5))(flat, torch.zeros(200), Draw(torch.Generator().manual_seed(0)))
    values = out[:, 0, 0, 0].float()
    assert values.min() < 60
    assert values.max() > 140
    assert (out.float().std((1, 2, 3)) == 0).all()


def test_channel_shift_is_one_value_clipped_to_the_images_own_range() -> None:
    out = shift_channels(PHOTOS.float(), torch.linspace(-50, 50, 12))
    for image, result, amount in zip(PHOTOS.numpy(), out.numpy(), np.linspace(-50, 50, 12), strict=True):
        assert np.allclose(result, np.clip(image + amount, image.min(), image.max()), atol=1e-4)
    _, labels = ChannelShift(10)(PHOTOS, LABELS, Draw(torch.Generator()))
    assert labels is LABELS
