"""ImageDataGenerator beside Keras' own: the same numbers drawn, the same pictures, the same statistics."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data import ImageDataGenerator
from striate.errors import DataError, UsageError

RNG = np.random.default_rng(0)
X = np.stack([
    np.asarray(Image.fromarray(RNG.integers(0, 256, (4, 4, 3), np.uint8)).resize((24, 24), Image.Resampling.BICUBIC))
    for _ in range(12)
]).astype(np.float32)  # fmt: skip
Y = np.arange(12) % 3


@pytest.fixture(scope="module")
def keras_image() -> Any:
    from keras.src.legacy.preprocessing import image

    return image


FULL = {
    "rotation_range": 40, "width_shift_range": 0.2, "height_shift_range": 0.1, "shear_range": 0.2, "zoom_range": 0.2,
    "horizontal_flip": True, "vertical_flip": True, "channel_shift_range": 20.0, "brightness_range": (0.5, 1.5),
}  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [FULL, {"width_shift_range": 5}, {"height_shift_range": [1, 3, 7]}, {"width_shift_range": [0.1, 0.2]},
     {"width_shift_range": 3.5, "zoom_range": (0.5, 2.0)}, {"horizontal_flip": True}],
)  # fmt: skip
def test_same_seed_draws_the_same_parameters(keras_image: Any, arguments: dict[str, Any]) -> None:
    ours, theirs = ImageDataGenerator(**arguments), keras_image.ImageDataGenerator(**arguments)
    for seed in range(20):
        a, b = ours.get_random_transform((24, 24, 3), seed), theirs.get_random_transform((24, 24, 3), seed)
        b["tx"], b["ty"] = b["ty"], b["tx"]  # theirs are swapped
        for key, value in a.items():
            assert value == (pytest.approx(b[key]) if b[key] is not None else None), key


@pytest.mark.parametrize(
    "parameters",
    [
        {"theta": 30.0}, {"tx": 3.0}, {"ty": -2.5}, {"shear": 20.0}, {"zx": 0.7, "zy": 1.3}, {"flip_horizontal": True},
        {"flip_vertical": True}, {"channel_shift_intensity": 15.0}, {"brightness": 0.6}, {"brightness": 1.4}, {},
        {"theta": -50.0, "tx": 2.0, "ty": 1.0, "shear": 10.0, "zx": 1.2, "zy": 0.8, "flip_horizontal": True},
    ],
)  # fmt: skip
def test_same_parameters_make_the_same_picture(keras_image: Any, parameters: dict[str, Any]) -> None:
    ours = ImageDataGenerator().apply_transform(X[0], parameters).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of SciPy's sub-namespace
        theirs = keras_image.ImageDataGenerator().apply_transform(X[0].copy(), parameters)
    tolerance = 1.01 if "brightness" in parameters else 0.05  # they go through whole numbers
    assert (np.abs(ours - theirs) > tolerance).mean() < 0.005


def test_standardize_and_fit_are_keras(keras_image: Any) -> None:
    x = RNG.normal(100, 40, (60, 4, 4, 3)).astype(np.float32)
    for options in (
        {"featurewise_center": True, "featurewise_std_normalization": True, "rescale": 1 / 255},
        {"samplewise_center": True, "samplewise_std_normalization": True},
        {"zca_whitening": True, "featurewise_center": True, "zca_epsilon": 1e-3},
        {"preprocessing_function": lambda image: image[::-1] * 2, "rescale": 0.5},
    ):
        ours, theirs = ImageDataGenerator(**options), keras_image.ImageDataGenerator(**options)  # type: ignore[arg-type]
        ours.fit(x)
        theirs.fit(x)
        expected = np.stack([theirs.standardize(image.copy()) for image in x[:5]])
        assert np.allclose(ours.standardize(x[:5]).numpy(), expected.reshape(5, 4, 4, 3), atol=2e-3)


def test_documented_meaning_of_the_shifts() -> None:
    dot = np.zeros((9, 15, 1), np.float32)
    dot[4, 7] = 255
    for argument, axis in (("width_shift_range", 1), ("height_shift_range", 0)):
        generator = ImageDataGenerator(**{argument: [3]}, fill_mode="constant")
        for seed in range(10):
            row, column = np.argwhere(generator.random_transform(dot, seed)[..., 0].numpy() > 128)[0]
            assert (abs(row - 4), abs(column - 7)) == ((3, 0) if axis == 0 else (0, 3))


def test_brightness_of_images_from_0_to_1() -> None:
    out = ImageDataGenerator().apply_transform(X[0] / 255, {"brightness": 0.5})
    assert np.allclose(out.numpy(), X[0] / 255 * 0.5, atol=1e-6)
    out = ImageDataGenerator().apply_transform(X[0] / 255, {"brightness": 2.0})
    assert np.allclose(out.numpy(), np.minimum(X[0] / 255 * 2, 1), atol=1e-6)


def test_a_batch_is_each_image_with_its_own_transform() -> None:
    generator = ImageDataGenerator(**FULL)  # type: ignore[arg-type]
    flow = generator.flow(X, batch_size=12, shuffle=False, seed=5)
    batch = next(flow)
    rng = np.random.RandomState(5)
    for image, result in zip(X, batch, strict=True):
        expected = generator.apply_transform(image, generator.get_random_transform(image.shape, rng=rng))
        assert torch.allclose(result, expected, atol=1e-3)


def test_flow_goes_through_all_and_on() -> None:
    flow = ImageDataGenerator(rescale=1 / 255).flow(X, Y, batch_size=5, sample_weight=np.arange(12.0), seed=1)
    assert len(flow) == 3
    assert flow.samples == 12
    seen: list[int] = []
    for _ in range(3):
        x, y, w = next(flow)
        assert x.dtype == torch.float32
        for image, label, weight in zip(x, y, w, strict=True):
            row = int(weight)
            assert torch.allclose(image, torch.from_numpy(X[row] / 255), atol=1e-6)
            assert label == Y[row]
            seen.append(row)
    assert sorted(seen) == list(range(12))
    assert [int(v) for v in next(flow)[2]] != seen[:5]
    assert isinstance(next(ImageDataGenerator().flow(X)), torch.Tensor)


def test_channels_first_is_the_same_turned() -> None:
    options: dict[str, Any] = {"rotation_range": 30, "horizontal_flip": True}
    last = next(ImageDataGenerator(**options).flow(X, seed=3))
    first = next(
        ImageDataGenerator(**options, data_format="channels_first").flow(X.transpose(0, 3, 1, 2), seed=3)
    )
    assert torch.allclose(first.permute(0, 2, 3, 1), last)


def test_validation_subset_is_stratified_and_plain() -> None:
    generator = ImageDataGenerator(rotation_range=90, validation_split=0.25)
    training = generator.flow(X, Y, subset="training", batch_size=12)
    validation = generator.flow(X, Y, subset="validation", batch_size=12, shuffle=False)
    assert (training.n, validation.n) == (9, 3)
    x, y = next(validation)
    assert sorted(y.tolist()) == [0, 1, 2]
    for image in x.numpy():
        assert any(np.array_equal(image, original) for original in X)


def test_two_flows_do_not_disturb_each_other() -> None:
    generator = ImageDataGenerator(rotation_range=40)
    alone = generator.flow(X, seed=1)
    expected = [next(alone) for _ in range(3)]
    one, other = generator.flow(X, seed=1), generator.flow(X, seed=2)
    for batch in expected:
        next(other)
        assert torch.equal(next(one), batch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate(["cat", "dog", "dog", "cat", "bird"] * 2):
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (20 * i, 100, 200)).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("mode", ["categorical", "binary", "sparse", "input", None])
def test_flow_from_directory(folder: Path, mode: Any) -> None:
    flow = ImageDataGenerator().flow_from_directory(
        folder, (16, 24), class_mode=mode, batch_size=10, shuffle=False
    )
    assert flow.class_indices == {"bird": 0, "cat": 1, "dog": 2}
    assert flow.samples == 10
    for _ in range(2):  # decoded, then remembered
        batch = next(flow)
        images, labels = (batch, None) if mode is None else batch
        assert images.shape == (10, 16, 24, 3)
        for image, name in zip(images, flow.filenames, strict=True):
            assert image[0, 0].tolist() == [20 * int(Path(name).stem), 100, 200]
        if mode == "categorical":
            assert labels.argmax(1).tolist() == flow.classes.tolist()
            assert labels.sum() == 10
        elif mode == "input":
            assert torch.equal(labels, images)
        elif mode:
            assert labels.tolist() == flow.classes.tolist()
    assert all(Path(p).is_file() for p in flow.filepaths)


def test_same_pixels_from_a_directory_as_keras(keras_image: Any, tmp_path: Path) -> None:
    photo = Image.fromarray(X[0].astype(np.uint8)).resize((50, 40))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        photo.save(tmp_path / name / "x.png")
    for interpolation in ("nearest", "bilinear", "lanczos"):
        for keep in (False, True):
            options: dict[str, Any] = {
                "target_size": (20, 30), "interpolation": interpolation, "keep_aspect_ratio": keep, "class_mode": None,
            }  # fmt: skip
            ours = next(ImageDataGenerator().flow_from_directory(tmp_path, **options))
            theirs = next(keras_image.ImageDataGenerator().flow_from_directory(str(tmp_path), **options))
            assert np.array_equal(ours.numpy(), theirs)


def test_given_classes_and_grey(folder: Path) -> None:
    flow = ImageDataGenerator().flow_from_directory(
        folder, (8, 8), "grayscale", classes=["dog", "cat"], batch_size=3
    )
    assert flow.class_indices == {"dog": 0, "cat": 1}
    assert flow.samples == 8
    assert next(flow)[0].shape == (3, 8, 8, 1)
    with pytest.raises(DataError, match="no folder for class 'dgo'"):
        ImageDataGenerator().flow_from_directory(folder, classes=["dgo"])
    with pytest.raises(UsageError, match="color_mode"):
        ImageDataGenerator().flow_from_directory(folder, color_mode="gray")


def test_save_to_dir_writes_what_was_fed(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "seen"
    out.mkdir()
    flow = ImageDataGenerator(rescale=1 / 255).flow(
        X, batch_size=4, save_to_dir=out, save_prefix="aug", shuffle=False
    )
    next(flow)
    files = sorted(out.iterdir())
    assert len(files) == 4
    assert files[0].name.startswith("aug_0_")
    seen = np.asarray(Image.open(files[0])).astype(float)
    stretched = (X[0] - X[0].min()) / (X[0].max() - X[0].min()) * 255
    assert np.abs(seen - stretched).max() <= 1.01


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"fill_mode": "mirror"}, "unknown fill"),
        ({"rotation_range": -5}, "rotation_range"),
        ({"zoom_range": (1, 2, 3)}, "zoom_range"),
        ({"brightness_range": (2, 1)}, "brightness_range"),
        ({"validation_split": 1.5}, "validation_split"),
        ({"data_format": "NCHW"}, "data_format"),
        ({"interpolation_order": 3}, "interpolation_order"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ImageDataGenerator(**arguments)


def test_statistics_that_were_never_found_are_an_error() -> None:
    with pytest.raises(UsageError, match="not known") as e:
        next(ImageDataGenerator(featurewise_center=True).flow(X))
    assert "fit" in e.value.hint
    with pytest.raises(UsageError, match="12 images but 3 labels"):
        ImageDataGenerator().flow(X, [1, 2, 3])
    with pytest.raises(UsageError, match="needs a generator with validation_split"):
        ImageDataGenerator().flow(X, subset="training")
