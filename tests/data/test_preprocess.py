"""Squash, crop and pad against Pillow; the same object for files, bytes and batches."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.data import Preprocess
from striate.data.decode import decode
from striate.data.preprocess import fit
from striate.errors import DataError, UsageError

RNG = np.random.default_rng(0)
PHOTO = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (9, 12, 3), np.uint8)).resize((120, 90), Image.Resampling.BICUBIC)
)


@pytest.mark.parametrize("size", [(32, 48), (200, 150), (90, 60), (1, 1), (7, 1), (1, 7)])
def test_squash_is_pillows_bilinear(size: tuple[int, int]) -> None:
    expected = np.asarray(Image.fromarray(PHOTO).resize(size[::-1], Image.Resampling.BILINEAR)).transpose(
        2, 0, 1
    )
    assert np.abs(fit(PHOTO, size, "squash").astype(int) - expected).max() <= 1


@pytest.mark.parametrize("size", [(32, 48), (200, 150), (7, 1)])
def test_bicubic_is_pillows(size: tuple[int, int]) -> None:
    expected = np.asarray(Image.fromarray(PHOTO).resize(size[::-1], Image.Resampling.BICUBIC))
    mine = Preprocess(size, interpolation="bicubic").fit(PHOTO).astype(int)
    assert np.abs(mine - expected.transpose(2, 0, 1)).max() <= 2  # Pillow rounds twice, and so do we


def test_crop_keeps_the_centre_of_the_right_aspect() -> None:
    expected = np.asarray(Image.fromarray(PHOTO[:, 15:105]).resize((45, 45), Image.Resampling.BILINEAR))
    assert np.abs(fit(PHOTO, (45, 45), "crop").astype(int) - expected.transpose(2, 0, 1)).max() <= 1
    wide = np.asarray(Image.fromarray(PHOTO[15:75]).resize((60, 30), Image.Resampling.BILINEAR))
    assert np.abs(fit(PHOTO, (30, 60), "crop").astype(int) - wide.transpose(2, 0, 1)).max() <= 1


def test_part_of_the_crop() -> None:
    expected = np.asarray(Image.fromarray(PHOTO[9:81, 24:96]).resize((40, 40), Image.Resampling.BILINEAR))
    assert (
        np.abs(fit(PHOTO, (40, 40), "crop", crop_pct=0.8).astype(int) - expected.transpose(2, 0, 1)).max()
        <= 1
    )


def test_pad_keeps_everything_and_adds_black() -> None:
    padded = fit(PHOTO, (60, 60), "pad")
    expected = np.asarray(Image.fromarray(PHOTO).resize((60, 45), Image.Resampling.BILINEAR)).transpose(
        2, 0, 1
    )
    assert np.abs(padded[:, 7:52].astype(int) - expected).max() <= 1
    assert (padded[:, :7] == 0).all()
    assert (padded[:, 52:] == 0).all()


@pytest.mark.parametrize("mode", ["squash", "crop", "pad"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (75, 56), (3, 2)])
def test_any_shape_becomes_the_size_asked_for(mode: str, shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 77, np.uint8)
    result = fit(image, (64, 48), mode)
    assert result.shape == (3, 64, 48)
    assert set(np.unique(result)) <= ({77, 0} if mode == "pad" else {77})
    assert (result == 77).any()


def test_file_bytes_and_grey(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.fromarray(PHOTO).save(out, "PNG")
    (tmp_path / "a.png").write_bytes(out.getvalue())
    prepare = Preprocess((90, 120))
    assert (prepare.read(tmp_path / "a.png").numpy() == PHOTO.transpose(2, 0, 1)).all()
    assert torch.equal(prepare.read(out.getvalue()), prepare.read(str(tmp_path / "a.png")))
    grey = Preprocess((90, 120), channels=1, mean=(0.5,), std=(0.2,)).read(out.getvalue())
    assert np.abs(grey[0].numpy() - PHOTO @ [0.299, 0.587, 0.114]).max() < 1.5


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"a.jpg': this is an HTML"):
        Preprocess((8, 8)).read(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"^'[^']*b.jpg': No such file"):
        Preprocess((8, 8)).read(tmp_path / "b.jpg")


@pytest.mark.parametrize(
    ("resize", "crop_pct"), [("crop", 0.875), ("crop", 0.5), ("crop", 1.0), ("squash", 1.0)]
)
@given(h=st.integers(20, 400), w=st.integers(20, 400), size=st.tuples(st.integers(8, 64), st.integers(8, 64)))
@settings(max_examples=30, deadline=None)
def test_what_is_cut_from_a_smaller_decoded_jpeg_is_never_enlarged(
    h: int, w: int, size: tuple[int, int], resize: str, crop_pct: float
) -> None:
    out = io.BytesIO()
    Image.new("L", (w, h)).save(out, "JPEG")
    prepare = Preprocess(size, resize, 1, crop_pct=crop_pct)
    height, width, _ = decode(out.getvalue(), 1, prepare.least).shape
    if (height, width) != (h, w):  # pixels of the picture for each of ours
        assert min(height / size[0], width / size[1]) * crop_pct >= 1


def test_photographs_decoded_smaller_look_as_decoded_whole(shared_data: Path) -> None:
    def edges(image: np.ndarray) -> float:
        return float(sum(np.abs(np.diff(image.astype(int), axis=axis)).mean() for axis in (-1, -2)))

    prepare, shrunk = Preprocess((224, 224), "crop", crop_pct=0.875), 0
    with zipfile.ZipFile(shared_data / "imagenet-samples-250.zip") as photographs:
        for name in photographs.namelist():
            data = photographs.read(name)
            whole = decode(data)
            small = decode(data, 3, prepare.least)
            if small.shape != whole.shape:
                shrunk += 1
                seen, expected = prepare.fit(small), prepare.fit(whole)
                assert np.abs(seen.astype(int) - expected).mean() < 6.5
                assert edges(seen) > 0.9 * edges(expected)  # an enlarged picture is soft
    assert shrunk > 10


def test_normalise_is_minus_mean_over_std() -> None:
    prepare = Preprocess((2, 2), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    x = torch.randint(0, 256, (4, 3, 2, 2), dtype=torch.uint8)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (prepare.mean, prepare.std))
    torch.testing.assert_close(
        prepare.normalise(x), ((x.double() / 255 - mean) / std).float(), atol=1e-6, rtol=1e-5
    )
    floats = x.float()
    torch.testing.assert_close(prepare.normalise(floats), prepare.normalise(x))
    assert torch.equal(floats, x.float())  # the batch given isn't written to


def test_round_trip_through_a_dict() -> None:
    prepare = Preprocess((30, 40), "pad", 1, (0.1,), (0.3,), 0.875, "bicubic", (4095, 1))
    assert Preprocess.from_dict(prepare.to_dict()) == prepare
    with pytest.raises(UsageError, match="unknown preprocessing field 'sizes'") as e:
        Preprocess.from_dict({"sizes": [1, 2]})
    assert "size" in e.value.hint


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"resize": "squeeze"}, "unknown resize 'squeeze'"),
        ({"channels": 4}, "4 image channels"),
        ({"size": (0, 5)}, "image size"),
        ({"size": (5, 100_000)}, "image size"),
        ({"std": (1.0, 0.0, 1.0)}, "must be positive"),
        ({"mean": (0.0, 0.0)}, "mean has 2 values for 3 channels"),
        ({"crop_pct": 1.5}, "crop_pct"),
        ({"white": (100, 0)}, "white"),
        ({"white": (0, 2)}, "white"),
        ({"interpolation": "nearest"}, "interpolation 'nearest': one of bilinear, bicubic"),
    ],
)
def test_settings_out_of_range(fields: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Preprocess(**({"size": (8, 8)} | fields))  # type: ignore[arg-type]
