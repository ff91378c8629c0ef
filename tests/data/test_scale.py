"""One rule for what a number means as a pixel: the table in docs/data.md, held against arithmetic on whole numbers."""

import io
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from striate.data import ImageDataGenerator, Preprocess, check, load
from striate.data.decode import decode
from striate.data.scale import CLEAR, ROOM, on_one_scale, picture, to_uint8, white_of
from striate.errors import DataError

RNG = np.random.default_rng(0)
Numbers = npt.NDArray[Any]
BYTES = arrays(np.uint8, (4, 3, 2, 1))
FLOATS = (np.float16, np.float32, np.float64)


def read(images: Any) -> Numbers:
    return images.read(range(len(images))).numpy()


@given(BYTES, st.sampled_from((np.int16, np.int32, np.int64, np.uint32, np.uint64)))
def test_bytes_in_wider_integers_are_bytes(pixels: Numbers, kind: type) -> None:
    assert (to_uint8(pixels.astype(kind), "x") == pixels).all()


@given(BYTES, st.sampled_from(FLOATS), st.floats(-ROOM, ROOM))
def test_floats_are_their_bytes_within_rounding(pixels: Numbers, kind: type, off: float) -> None:
    assert (to_uint8((pixels / 255).astype(kind), "x") == pixels).all()
    moved = to_uint8((pixels / 255 + off).astype(np.float64), "x").astype(int)
    assert np.abs(moved - pixels).max() <= 1
    if pixels.max() >= CLEAR:
        assert (to_uint8(pixels.astype(kind), "x") == pixels).all()


@given(arrays(np.uint16, (3, 5)), st.sampled_from("<>"))
def test_16_bits_are_rounded_over_257_however_dark(values: Numbers, order: str) -> None:
    expected = [[round(Fraction(int(v) * 255, 65535)) for v in row] for row in values]
    assert to_uint8(values.astype(f"{order}u2"), "x").tolist() == expected


@given(arrays(np.uint16, (6, 4), elements=st.integers(0, 4095)), st.integers(9, 16))
def test_a_known_white_is_the_scale_of_every_image(values: Numbers, bits: int) -> None:
    top = (1 << bits) - 1
    values = np.minimum(values, top).astype(np.uint16)
    whole = to_uint8(values, "x", (top, 0))
    assert whole.tolist() == [[(int(v) * 255 + top // 2) // top for v in row] for row in values]
    for image, expected in zip(values, whole, strict=True):
        assert (to_uint8(image, "x", (top, 0)) == expected).all()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.array([0.0, 1.2]), "neither 0..1 nor 0..255"),
        (np.array([-0.1, 0.5]), r"values -0.1..0.5; expected 0..1"),
        (np.array([0.0, 255.6]), "expected 0..255"),
        (np.array([0, 70000]), r"values 0..70000; expected 0..65535"),
        (np.array([-1, 5]), r"values -1..5"),
    ],
)
def test_numbers_out_of_every_range_are_refused(values: Numbers, says: str) -> None:
    with pytest.raises(DataError, match=says) as error:
        to_uint8(values, "x")
    assert "uint8" in error.value.hint


# What a data set says


def npz(folder: Path, **splits: Numbers) -> Path:
    labels = {k.replace("x", "y", 1): np.arange(len(x)) % 2 for k, x in splits.items()}
    np.savez(folder / "d.npz", **splits, **labels)
    return folder / "d.npz"


@settings(max_examples=20)
@given(data=st.data(), kind=st.sampled_from((np.uint16, np.int64, np.float32)))
def test_splits_share_one_scale(data: st.DataObject, kind: type, tmp_path_factory: Any) -> None:
    """Every pixel of every split is its number over the white of all, whatever lies in its own split."""
    top = 4095 if np.issubdtype(kind, np.integer) else 255
    splits = {}
    for name, least in (("x_train", top // 2 + 1), ("x_val", 3), ("x_test", 3)):
        splits[name] = data.draw(arrays(np.int64, (4, 3, 3), elements=st.integers(0, top)))
        splits[name].flat[0] = data.draw(st.integers(least, top))
    found = load(npz(tmp_path_factory.mktemp("d"), **{k: x.astype(kind) for k, x in splits.items()}))
    for name, images in found.parts().items():
        expected = (splits[f"x_{name}"] * 255 + top // 2) // top
        assert (read(images)[:, 0] == expected).all()
    assert found.preprocess.white == ((4095, 0) if top == 4095 else (0, 255))


def test_one_split_on_0_to_1_and_another_on_0_to_255_is_refused(tmp_path: Path) -> None:
    x = RNG.random((6, 4, 4))
    with pytest.raises(DataError, match=r"x_train goes to 0\.\d+, x_test to \d+\.\d+: not on one scale"):
        load(npz(tmp_path, x_train=x, x_test=x * 255))


def test_rounding_over_one_changes_no_pixel() -> None:
    x, y = RNG.random((20, 4, 4)).astype(np.float32), np.arange(20) % 2
    x[3, 0, 0] = np.nextafter(np.float32(1), np.float32(2))
    assert (read(load((x, y), split=(1, 0, 0)).train)[:, 0] == np.rint(x * 255)).all()


Save = Callable[[Numbers, Path], None]


def as_png(values: Numbers, path: Path) -> None:
    Image.fromarray(values).save(path.with_suffix(".png"))


def as_tiff(values: Numbers, path: Path) -> None:
    Image.fromarray(values).save(path.with_suffix(".tif"))


def as_colour_png(values: Numbers, path: Path) -> None:
    import cv2

    cv2.imwrite(str(path.with_suffix(".png")), np.stack((values, values, values), -1))


def as_colour_tiff(values: Numbers, path: Path) -> None:
    import cv2

    cv2.imwrite(str(path.with_suffix(".tif")), np.stack((values, values, values), -1))


def folder(root: Path, save: Save, images: Numbers) -> Path:
    for i, values in enumerate(images):
        (root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        save(values, root / "ab"[i % 2] / f"{i}")
    return root


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("save", [as_png, as_tiff, as_colour_png, as_colour_tiff])
def test_files_of_10_and_12_bits_keep_their_levels(save: Save, bits: int, tmp_path: Path) -> None:
    top = (1 << bits) - 1
    images = RNG.integers(0, top // 3, (12, 9, 7)).astype(np.uint16)
    images[4].flat[0] = top  # one image says what is white in all
    root = folder(tmp_path / "d", save, images)
    data = load(root, split=(1, 0, 0))
    assert data.preprocess.white == (max(255, top), 0)
    for name, pixels in zip(data.train.ids, read(data.train), strict=True):
        expected = np.rint(images[int(Path(name).stem)] * (255 / top))
        assert np.abs(pixels - expected).max() <= 0.5
    flow = ImageDataGenerator().flow_from_directory(root, (9, 7), "grayscale", class_mode=None, shuffle=False)
    for name, pixels in zip(flow.filenames, next(flow)[..., 0].numpy(), strict=True):
        assert (pixels == read(data.train)[data.train.ids.index(name)][0]).all()
    again = Preprocess.from_dict(data.preprocess.to_dict())
    for name, pixels in zip(data.train.ids, read(data.train), strict=True):
        assert (again.read(root / name).numpy() == pixels).all()  # alone as among the others
    told = [line for line in check(root).lines() if "is taken as white" in line]
    assert told == (
        [] if bits == 16 else [f"pixels of more than 8 bits use {bits} of 16: {top:,} is taken as white"]
    )


def test_float_files_share_one_scale(tmp_path: Path) -> None:
    images = RNG.uniform(0, 1, (6, 5, 5)).astype(np.float32)
    assert load(folder(tmp_path / "ones", as_tiff, images)).preprocess.white == (0, 1)
    images[2] *= 255
    data = load(folder(tmp_path / "bytes", as_tiff, images), split=(1, 0, 0))
    assert data.preprocess.white == (0, 255)
    for name, pixels in zip(data.train.ids, read(data.train), strict=True):
        assert (pixels[0] == np.rint(images[int(Path(name).stem)])).all()


def test_other_data_are_read_on_the_scale_of_the_run(tmp_path: Path) -> None:
    x = RNG.integers(0, 4096, (10, 4, 4)).astype(np.uint16)
    trained = load((x, np.arange(10) % 2)).preprocess
    dark = np.minimum(x, 900).astype(np.uint16)
    other = load((dark, np.arange(10) % 2), preprocess=trained, split=(1, 0, 0))
    assert (read(other.train)[:, 0] == (dark.astype(int) * 255 + 2047) // 4095).all()
    with pytest.raises(DataError, match=r"values 0..60000; expected 0..4095"):
        load((np.array([[[0, 60000]]] * 4, np.uint16), [0, 1, 0, 1]), preprocess=trained)
    ones = load((x / 4095, np.arange(10) % 2)).preprocess
    with pytest.raises(
        DataError, match=r"arrays/pixels: values to 2\d\d\.?\d*; in the data of the network 1 is white"
    ):
        load((x / 16, np.arange(10) % 2), preprocess=ones)
    with pytest.raises(
        DataError, match=r"arrays/pixels: values to 0.\d*; in the data of the network 255 is white"
    ):
        load((x / 4095, np.arange(10) % 2), preprocess=replace(ones, white=(0, 255)))


# What a single picture says


@given(arrays(np.float64, (3, 2, 2, 1), elements=st.floats(0, 255)))
def test_a_picture_alone_is_what_it_is_in_any_batch(values: Numbers) -> None:
    """Or the batch is refused, where its pictures aren't on one scale."""
    try:
        on_one_scale(values, "x")
        batch = to_uint8(values, "x")
        alone = [to_uint8(one, "x") for one in values]
    except DataError:
        return
    assert all((a == b).all() for a, b in zip(alone, batch, strict=True))


def test_pictures_on_two_scales_in_one_array_are_refused() -> None:
    bright = RNG.uniform(0, 255, (4, 4, 1))
    on_one_scale([bright, np.zeros((4, 4, 1)), bright / 2], "x")
    with pytest.raises(DataError, match=r"pictures on 0..1 and on 0..255"):
        on_one_scale([bright, bright / 255], "x")
    with pytest.raises(DataError, match=r"pictures on 0..255 and on 0..65535"):
        on_one_scale(np.array([[[[40000]]], [[[200]]]]), "x")


def test_a_picture_on_another_scale_than_the_data_is_refused() -> None:
    x = RNG.random((3, 3, 1))
    with pytest.raises(DataError, match=r"a scale of 1\? .* 255 as white"):
        picture(x, "x", (0, 255))
    with pytest.raises(DataError, match=r"expected 0..1"):
        picture(x * 255, "x", (0, 1))
    with pytest.raises(DataError, match=r"a scale of 255\? .* 4095 as white"):
        picture(np.array([[[200]]]), "x", (4095, 0))
    assert picture(np.array([[[200]]], np.uint16), "x", (4095, 0)).item() == 12
    assert picture(np.zeros((2, 2, 1)), "x", (0, 255)).max() == 0


def test_a_data_set_of_nothing_wide_has_no_white() -> None:
    arrays_of = [("a", RNG.integers(0, 256, 9)), ("b", np.zeros(3)), ("c", np.arange(9, dtype=np.uint8))]
    assert white_of(arrays_of) == (0, 0)


@pytest.mark.parametrize(
    ("kind", "scale", "white"),
    [(np.uint8, 255, 255), (np.float32, 255, 255), (np.float32, 1, 1), (np.uint16, 65535, 65535)],
)
def test_brightness_of_the_generator_ends_at_white(kind: type, scale: int, white: int) -> None:
    x = (RNG.random((8, 4, 4, 1)) * scale).astype(kind)
    x[0] = x[0] // 300 if kind is np.uint16 else x[0] / 300  # a dark one among them
    x.flat[-1] = scale
    if (kind, scale) == (np.float32, 1):
        x.flat[-1] = np.nextafter(np.float32(1), np.float32(2))
    flow = ImageDataGenerator(brightness_range=(3, 3)).flow(x, batch_size=8, shuffle=False)
    assert np.allclose(next(flow).numpy(), np.minimum(x.astype(np.float32) * 3, white))


def test_a_tiff_of_other_depths_says_the_same_as_an_array() -> None:
    for kind in (np.uint16, np.int32, np.float32):
        values = np.array([[0, 200, 255]], kind)
        out = io.BytesIO()
        Image.fromarray(values).save(out, "TIFF")
        expected = to_uint8(values if kind is np.float32 else values.astype(np.uint16), "x")
        assert (decode(out.getvalue(), 1)[..., 0] == expected).all()
