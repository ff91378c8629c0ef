"""The arithmetic of the exported file gives the pixels of training, which are Pillow's."""

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data import Preprocess
from striate.ship.pixels import Fit

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("mode", ["squash", "crop", "pad"])
def test_pixels_are_those_of_training_at_any_size(mode: str, interpolation: str) -> None:
    """To the last bit, of noise, the hardest picture: every rounding shows."""
    for k in range(36):
        size = [(32, 32), (64, 48), (20, 45)][k % 3]
        h, w = RNG.integers(20, 260, 2)
        preprocess = Preprocess(
            size, mode, crop_pct=[1.0, 0.875, 0.9][k // 3 % 3], interpolation=interpolation
        )
        x = RNG.integers(0, 256, (2, h, w, 3), dtype=np.uint8)
        mine, trained = Fit(preprocess)(torch.from_numpy(x)).numpy(), preprocess.fit(x)
        assert (mine == trained).all(), (h, w, size)


@pytest.mark.parametrize("size", [(32, 48), (200, 150), (1, 7), (7, 1)])
def test_squash_is_pillows(size: tuple[int, int], photo: np.ndarray) -> None:
    expected = np.asarray(Image.fromarray(photo).resize(size[::-1], Image.Resampling.BILINEAR)).transpose(
        2, 0, 1
    )
    mine = Fit(Preprocess(size))(torch.from_numpy(photo[None].copy())).numpy()[0]
    assert np.abs(mine - expected).max() <= 1


def test_halves_by_hand() -> None:
    """Twice as small, a pixel takes 1, 3, 3, 1 eighths of four: (0 + 3*0 + 3*80 + 160)/8 = 50 inside."""
    row = np.array([0, 0, 0, 80, 160, 240, 240, 240], np.uint8)
    x = torch.from_numpy(np.tile(row, (8, 1))[None, :, :, None].copy())
    assert Fit(Preprocess((8, 4), channels=1, mean=(0,), std=(1,)))(x)[0, 0, 0].tolist()[1] == 50


@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 0.95, 1.0])
def test_a_crop_is_cut_alike_at_every_size(crop_pct: float) -> None:
    """A column of different pixels shows a crop that is off by one."""
    preprocess = Preprocess((32, 32), "crop", 1, (0,), (1,), crop_pct)
    fit = Fit(preprocess)
    for side in [*range(8, 120), 333, 500, 1000]:
        x = RNG.integers(0, 256, (1, side, 40, 1), dtype=np.uint8)
        assert (fit(torch.from_numpy(x)).numpy() == preprocess.fit(x)).all(), side


def test_a_large_picture_is_cut_to_the_last_bit() -> None:
    """Weights of twenty bits, sums of twenty-eight."""
    preprocess = Preprocess((32, 32))
    x = RNG.integers(0, 256, (1, 1500, 2000, 3), dtype=np.uint8)
    assert (Fit(preprocess)(torch.from_numpy(x)).numpy() == preprocess.fit(x)).all()


def test_pictures_of_the_right_size_pass_unchanged() -> None:
    x = RNG.integers(0, 256, (3, 24, 40, 3), dtype=np.uint8)
    for mode in ("squash", "crop", "pad"):
        assert (Fit(Preprocess((24, 40), mode))(torch.from_numpy(x)).numpy() == x.transpose(0, 3, 1, 2)).all()
