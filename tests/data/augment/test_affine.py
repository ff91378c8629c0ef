"""The warp against SciPy for every fill mode and order, against Keras for every parameter; photographs, odd sizes."""

import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage

from striate.data.augment import Affine, Draw
from striate.data.augment.affine import affine_matrix, warp
from striate.errors import UsageError

SCIPY = {"constant": "constant", "nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap"}
RNG = np.random.default_rng(0)


def parameters(n: int, seed: int = 0) -> torch.Tensor:
    """theta, tx, ty, shear, zx, zy of n images -> (6, n)"""
    rng = np.random.default_rng(seed)
    ranges = ((-180, 180), (-9, 9), (-9, 9), (-40, 40), (0.5, 2), (0.5, 2))
    return torch.tensor(np.array([rng.uniform(*r, n) for r in ranges]), dtype=torch.float32)


def scipy_warp(image: np.ndarray, matrix: np.ndarray, fill: str, cval: float, order: int) -> np.ndarray:
    """One (h, w) plane; SciPy wants (row, column) and the origin in the corner."""
    m = matrix[::-1, [1, 0]].astype(float)
    centre = (np.array(image.shape) - 1) / 2
    offset = centre + matrix[::-1, 2] - m @ centre
    return ndimage.affine_transform(image, m, offset, order=order, mode=SCIPY[fill], cval=cval)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("fill", SCIPY)
@pytest.mark.parametrize("shape", [(17, 17), (9, 14), (20, 7), (5, 5)])
def test_same_numbers_as_scipy(fill: str, shape: tuple[int, int], order: int) -> None:
    images = torch.tensor(RNG.uniform(0, 255, (12, 2, *shape)), dtype=torch.float32)
    matrix = affine_matrix(*parameters(12))
    ours = warp(images, matrix, fill, 37.0, order).numpy()
    far = 0
    for image, mine, m in zip(images.numpy(), ours, matrix.numpy(), strict=True):
        for plane, result in zip(image, mine, strict=True):
            far += int((np.abs(result - scipy_warp(plane, m, fill, 37.0, order)) > 0.05).sum())
    # float32 puts a few points on the other side of an edge, where neighbours may be far apart
    assert far <= ours.size * 0.002


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ("constant", "kkkk abcd kkkk"),
        ("nearest", "aaaa abcd dddd"),
        ("reflect", "dcba abcd dcba"),
        ("wrap", "abcd abcd abcd"),
    ],
)
def test_fill_modes_as_documented(fill: str, expected: str) -> None:
    value = {"a": 10.0, "b": 20.0, "c": 30.0, "d": 40.0, "k": 5.0}
    row = torch.tensor([[[[10.0, 20.0, 30.0, 40.0]]]])
    left, middle, right = (torch.tensor([value[k] for k in word]) for word in expected.split())
    for shift, word in ((-4.0, left), (0.0, middle), (4.0, right)):
        matrix = torch.tensor([[[1.0, 0, shift], [0, 1, 0]]])
        assert torch.allclose(warp(row, matrix, fill, cval=5.0)[0, 0, 0], word, atol=1e-3)


def test_same_pictures_as_keras_on_squares() -> None:
    from keras.src.legacy.preprocessing.image import apply_affine_transform

    images = RNG.uniform(0, 255, (20, 3, 15, 15)).astype(np.float32)
    p = parameters(20)
    for fill in ("nearest", "constant", "reflect"):
        ours = warp(torch.from_numpy(images), affine_matrix(*p), fill)
        for image, mine, (theta, tx, ty, shear, zx, zy) in zip(
            images, ours.numpy(), p.T.tolist(), strict=True
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # its SciPy sub-namespace
                theirs = apply_affine_transform(
                    image,
                    theta,
                    tx,
                    ty,
                    shear,
                    zx,
                    zy,
                    row_axis=1,
                    col_axis=2,
                    channel_axis=0,
                    fill_mode=fill,
                )
            assert (np.abs(mine - theirs) > 0.1).mean() < 0.02


def test_positive_angle_turns_left_and_centre_stays_on_oblong_images() -> None:
    image = torch.zeros(1, 1, 5, 9)
    image[0, 0, 2, 4] = 100  # the middle
    image[0, 0, 0, 4] = 50  # above it
    zero, one = torch.zeros(1), torch.ones(1)
    turned = warp(image, affine_matrix(torch.tensor([90.0]), zero, zero, zero, one, one), "constant")
    assert turned[0, 0, 2, 4] == pytest.approx(100, abs=1e-3)
    assert turned[0, 0, 2, 2] == pytest.approx(50, abs=1e-2)


def test_bytes_are_rounded_floats() -> None:
    images = torch.from_numpy(RNG.integers(0, 256, (8, 3, 12, 10), np.uint8))
    matrix = affine_matrix(*parameters(8))
    for fill in SCIPY:
        bytes_ = warp(images, matrix, fill, 9)
        floats = warp(images.float(), matrix, fill, 9)
        assert bytes_.dtype == torch.uint8
        assert (bytes_ - floats).abs().max() <= 0.501


def test_identity_changes_nothing_and_long_batches_are_whole() -> None:
    images = torch.from_numpy(RNG.integers(0, 256, (200, 1, 6, 6), np.uint8))
    matrix = torch.eye(2, 3).repeat(200, 1, 1)
    for fill in SCIPY:
        assert torch.equal(warp(images, matrix, fill), images)
    assert warp(images[:0], matrix[:0]).shape == (0, 1, 6, 6)


def test_ranges_are_kept() -> None:
    """Shifts and zooms of a ramp are read off it."""
    ramp = torch.arange(101.0).expand(300, 1, 101, 101).contiguous()
    labels = torch.arange(300)

    def middle_and_slope(**fields: object) -> tuple[torch.Tensor, torch.Tensor]:
        out, same = Affine(fill="nearest", **fields)(ramp, labels, Draw(torch.Generator().manual_seed(1)))  # type: ignore[arg-type]
        assert same is labels
        row = out[:, 0, 50]
        return row[:, 50] - 50, (row[:, 55] - row[:, 45]) / 10

    shift, slope = middle_and_slope(width_shift=0.2)
    assert shift.abs().max() <= 20.2
    assert shift.min() < -18
    assert shift.max() > 18
    assert torch.allclose(slope, torch.ones(300), atol=1e-3)
    shift, slope = middle_and_slope(height_shift=0.2)
    assert torch.allclose(shift, torch.zeros(300), atol=1e-3)
    shift, slope = middle_and_slope(zoom=(0.5, 2.0))
    assert 0.5 <= slope.min() < 0.6
    assert 1.9 < slope.max() <= 2.0
    _, slope = middle_and_slope(rotation=60)  # cos
    assert slope.min() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    "fields",
    [
        {"rotation": -1},
        {"width_shift": 1.5},
        {"shear": 90},
        {"zoom": (2.0, 1.0)},
        {"zoom": 1.0},
        {"fill": "mirror"},
    ],
)
def test_out_of_range(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Affine(**fields)  # type: ignore[arg-type]
