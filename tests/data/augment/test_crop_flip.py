"""Crops against slices, flips against definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.data.augment import (
    AlternatingFlip,
    Draw,
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    VerticalFlip,
)
from striate.data.augment.crop import windows

RNG = np.random.default_rng(0)
PHOTOS = torch.from_numpy(RNG.integers(0, 256, (40, 3, 9, 11), np.uint8))
LABELS = torch.arange(40)


def draw(seed: int = 0, **fields: object) -> Draw:
    return Draw(torch.Generator().manual_seed(seed), **fields)  # type: ignore[arg-type]


@given(
    n=st.integers(1, 5),
    c=st.integers(1, 4),
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_windows_are_slices(n: int, c: int, h: int, w: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, c, 9, 9), generator=g, dtype=torch.uint8)
    top = torch.randint(0, 10 - h, (n,), generator=g)
    left = torch.randint(0, 10 - w, (n,), generator=g)
    expected = [x[:, t : t + h, k : k + w] for x, t, k in zip(images, top, left, strict=True)]
    assert torch.equal(windows(images, top, left, h, w), torch.stack(expected))


@pytest.mark.parametrize(
    ("fill", "numpy_mode"),
    [("constant", "constant"), ("nearest", "edge"), ("reflect", "reflect"), ("wrap", "wrap")],
)
def test_crop_is_a_slice_of_the_padded_image(fill: str, numpy_mode: str) -> None:
    out, _ = RandomCrop(3, fill)(PHOTOS, LABELS, draw())
    seen = set()
    for image, result in zip(PHOTOS.numpy(), out.numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (3, 3), (3, 3)), mode=numpy_mode)  # type: ignore[call-overload]
        places = [
            (y, x) for y in range(7) for x in range(7) if (padded[:, y : y + 9, x : x + 11] == result).all()
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 20


def test_padding_as_a_part_of_the_side() -> None:
    ramp = torch.arange(100, dtype=torch.uint8).expand(200, 1, 40, 100).contiguous()
    out, _ = RandomCrop(0.07, "nearest")(ramp, torch.zeros(200), draw())
    assert {int(v) - 50 for v in out[:, 0, 20, 50]} == set(range(-7, 8))
    out, _ = RandomCrop(0.07, "nearest")(ramp.transpose(2, 3).contiguous(), torch.zeros(200), draw())
    assert {int(v) - 50 for v in out[:, 0, 50, 20]} == set(range(-7, 8))


def test_flips() -> None:
    for transform, dim in ((HorizontalFlip(), 3), (VerticalFlip(), 2)):
        out, _ = transform(PHOTOS, LABELS, draw())
        flipped = [torch.equal(a, b.flip(dim - 1)) for a, b in zip(out, PHOTOS, strict=True)]
        same = [torch.equal(a, b) for a, b in zip(out, PHOTOS, strict=True)]
        assert all(f != s for f, s in zip(flipped, same, strict=True))
        assert 10 <= sum(flipped) <= 30
    assert torch.equal(HorizontalFlip(1.0)(PHOTOS, LABELS, draw())[0], PHOTOS.flip(3))
    assert torch.equal(VerticalFlip(0.0)(PHOTOS, LABELS, draw())[0], PHOTOS)


@pytest.mark.parametrize("size", [(8, 8), (3, 8), (1, 5), (1, 1)])
@pytest.mark.parametrize(
    ("fill", "numpy_mode"), [("reflect", "reflect"), ("wrap", "wrap"), ("nearest", "edge")]
)
def test_padding_may_be_longer_than_the_picture(size: tuple[int, int], fill: str, numpy_mode: str) -> None:
    photos = PHOTOS[:, :, : size[0], : size[1]]
    out, _ = RandomCrop(20, fill)(photos, LABELS, draw())
    for image, result in zip(photos.numpy(), out.numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (20, 20), (20, 20)), mode=numpy_mode)  # type: ignore[call-overload]
        windows = np.lib.stride_tricks.sliding_window_view(padded, size, (1, 2))
        assert (windows == result[:, None, None]).all((0, 3, 4)).any()


def test_alternating_flip_shows_both_sides_in_two_epochs() -> None:
    rows = torch.randperm(1000)[:40]
    epochs = [AlternatingFlip()(PHOTOS, LABELS, draw(e, rows=rows, epoch=e))[0] for e in range(4)]
    assert torch.equal(epochs[0], epochs[2])
    assert torch.equal(epochs[1], epochs[3])
    assert torch.equal(epochs[0], epochs[1].flip(3))
    flipped = sum(torch.equal(a, b.flip(2)) for a, b in zip(epochs[0], PHOTOS, strict=True))
    assert 8 <= flipped <= 32
    backwards, _ = AlternatingFlip()(PHOTOS.flip(0), LABELS, draw(9, rows=rows.flip(0), epoch=0))
    assert torch.equal(backwards, epochs[0].flip(0))  # the image decides, not its place in the batch


def test_resized_crop_is_a_part_of_the_right_size() -> None:
    """On a ramp the corner values say which part was taken."""
    y, x = torch.meshgrid(torch.arange(50.0), torch.arange(80.0), indexing="ij")
    ramp = torch.stack((x, y)).expand(400, 2, 50, 80).contiguous()
    out, _ = RandomResizedCrop((0.2, 0.6), (0.5, 2.0))(ramp, torch.zeros(400), draw())
    width = (out[:, 0, 25, 79] - out[:, 0, 25, 0]) * 80 / 79
    height = (out[:, 1, 49, 40] - out[:, 1, 0, 40]) * 50 / 49
    area = width * height / 4000
    fits = (width < 78) & (height < 49)  # others are cut to the picture
    assert fits.float().mean() > 0.7
    assert area[fits].min() > 0.18
    assert area[fits].max() < 0.62
    ratio = width / height
    assert ratio[fits].min() > 0.48
    assert ratio[fits].max() < 2.1
    assert out[:, 0].min() >= 0
    assert out[:, 0].max() <= 79
