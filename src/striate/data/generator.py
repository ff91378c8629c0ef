"""`ImageDataGenerator` with Keras' arguments and their documented meaning, on whole batches of torch tensors.

Different on purpose from the original: width shifts move pictures sideways and height shifts up and down; the centre
of oblong images stays where it is; a validation subset is stratified and never augmented; brightness ends at the white
of the whole array, 1 or 255 for floats; every flow has random numbers of its own; statistics that were never fitted are
an error. The same seed gives `get_random_transform` the numbers that Keras draws.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from striate.data.augment.affine import affine_matrix, check_fill, warp
from striate.data.augment.base import within
from striate.data.augment.colour import shift_channels
from striate.data.augment.flip import mirrored
from striate.data.augment.whiten import (
    EPS,
    centre_each,
    channel_mean,
    channel_std,
    scale_each,
    zca,
    zca_matrix,
)
from striate.data.flow import ArrayFlow, ClassFolders, ClassMode, DirectoryFlow, subset_rows
from striate.data.frame import Frame, FrameFlow, FrameMode
from striate.data.scale import brightest
from striate.errors import UsageError

Shift = float | int | Sequence[float]
Parameters = dict[str, Any]
GEOMETRY = {"theta": 0.0, "tx": 0.0, "ty": 0.0, "shear": 0.0, "zx": 1.0, "zy": 1.0}


class ImageDataGenerator:
    """Rotation, shifts, shear, zoom, flips, channel shift, brightness; then statistics. Angles in degrees.

    Images are (h, w, c) and batches float32 (n, h, w, c), or with `data_format="channels_first"` (n, c, h, w).
    """

    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = EPS,
        rotation_range: float = 0,
        width_shift_range: Shift = 0.0,
        height_shift_range: Shift = 0.0,
        brightness_range: Sequence[float] | None = None,
        shear_range: float = 0.0,
        zoom_range: float | Sequence[float] = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        preprocessing_function: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]] | None = None,
        data_format: str | None = None,
        validation_split: float = 0.0,
        interpolation_order: int = 1,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        check_fill(fill_mode)
        for name, value in (("rotation_range", rotation_range), ("shear_range", shear_range)):
            within(name, value, 0, 360)
        within("channel_shift_range", channel_shift_range, 0, 1e6)
        if data_format not in (None, "channels_last", "channels_first"):
            raise UsageError(f"data_format {data_format!r}: expected 'channels_last' or 'channels_first'")
        if interpolation_order not in (0, 1):
            raise UsageError(
                f"interpolation_order {interpolation_order}: expected 0 (nearest) or 1 (bilinear)"
            )
        if validation_split and not 0 < validation_split < 1:
            raise UsageError(f"validation_split {validation_split}: expected between 0 and 1")
        self.zca_whitening = zca_whitening
        self.featurewise_std_normalization = featurewise_std_normalization and not zca_whitening
        self.featurewise_center = featurewise_center or featurewise_std_normalization or zca_whitening
        self.samplewise_center = samplewise_center or samplewise_std_normalization
        self.samplewise_std_normalization = samplewise_std_normalization
        self.zca_epsilon, self.fill_mode, self.cval = zca_epsilon, fill_mode, cval
        self.rotation_range, self.shear_range = rotation_range, shear_range
        self.width_shift_range, self.height_shift_range = width_shift_range, height_shift_range
        self.zoom_range = _pair("zoom_range", zoom_range)
        self.brightness_range = (
            None if brightness_range is None else _pair("brightness_range", tuple(brightness_range))
        )
        self.channel_shift_range, self.rescale = channel_shift_range, rescale
        self.horizontal_flip, self.vertical_flip = horizontal_flip, vertical_flip
        self.preprocessing_function = preprocessing_function
        self.data_format = data_format or "channels_last"
        self.validation_split, self.interpolation_order = validation_split, interpolation_order
        self.dtype, self.device = dtype or torch.float32, torch.device(device)
        self.mean: Tensor | None = None
        self.std: Tensor | None = None
        self.zca_whitening_matrix: Tensor | None = None
        self._rng = np.random.RandomState()

    # Layout: everything inside is (n, c, h, w)

    def first(self, x: Tensor) -> Tensor:
        """A batch of this generator's layout -> (n, c, h, w)"""
        return x.permute(0, 3, 1, 2) if self.data_format == "channels_last" else x

    def _given(self, x: Any) -> Tensor:
        x = x if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
        if x.ndim != 4:
            raise UsageError(
                f"images of shape {tuple(x.shape)}: expected four dimensions, n images with channels"
            )
        return self.first(x)

    def _back(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1) if self.data_format == "channels_last" else x

    # What is drawn for an image, and what is done with it

    def get_random_transform(
        self, img_shape: Sequence[int], seed: int | None = None, rng: np.random.RandomState | None = None
    ) -> Parameters:
        """The parameters of one image; in the order of Keras, so that a seed gives the same ones."""
        draw = np.random.RandomState(seed) if seed is not None else rng or self._rng
        h, w = img_shape[:2] if self.data_format == "channels_last" else img_shape[1:]
        theta = draw.uniform(-self.rotation_range, self.rotation_range) if self.rotation_range else 0.0
        ty = _shift(draw, self.height_shift_range, h)
        tx = _shift(draw, self.width_shift_range, w)
        shear = draw.uniform(-self.shear_range, self.shear_range) if self.shear_range else 0.0
        zx, zy = (1.0, 1.0) if self.zoom_range == (1, 1) else draw.uniform(*self.zoom_range, 2)
        flip_horizontal = bool(draw.random_sample() < 0.5) and self.horizontal_flip
        flip_vertical = bool(draw.random_sample() < 0.5) and self.vertical_flip
        amount = self.channel_shift_range
        return {
            "theta": theta, "tx": tx, "ty": ty, "shear": shear, "zx": zx, "zy": zy,
            "flip_horizontal": flip_horizontal, "flip_vertical": flip_vertical,
            "channel_shift_intensity": draw.uniform(-amount, amount) if amount else None,
            "brightness": draw.uniform(*self.brightness_range) if self.brightness_range else None,
        }  # fmt: skip

    def apply_transform(self, x: Any, transform_parameters: Parameters) -> Tensor:
        """One image, changed as the parameters say; those that are missing change nothing."""
        image = np.asarray(x)
        given = self._given(image[None]).float()
        return self._back(self._apply(given, [transform_parameters], brightest(image)))[0]

    def random_transform(self, x: Any, seed: int | None = None) -> Tensor:
        """One image, changed at random."""
        return self.apply_transform(x, self.get_random_transform(np.shape(x), seed))

    def _apply(self, x: Tensor, parameters: Sequence[Parameters], white: float) -> Tensor:
        """float (n, c, h, w), n sets of parameters, the brightest that a pixel can be -> the same shape"""

        def column(name: str, default: float) -> Tensor:
            values = [p.get(name) for p in parameters]
            return torch.tensor(
                [default if v is None else v for v in values], dtype=torch.float32, device=x.device
            )

        flips = [column(f"flip_{d}", 0) for d in ("horizontal", "vertical")]
        if any(p.get(k, v) != v for p in parameters for k, v in GEOMETRY.items()):
            matrix = affine_matrix(**{k: column(k, v) for k, v in GEOMETRY.items()})
            matrix[:, :, :2] *= 1 - 2 * torch.stack(flips, -1)[:, None]  # mirrored afterwards
            x = warp(x, matrix, self.fill_mode, self.cval, self.interpolation_order)
        else:
            for dim, flip in ((3, flips[0]), (2, flips[1])):
                x = mirrored(x, flip.nonzero()[:, 0], dim) if flip.any() else x
        if any(p.get("channel_shift_intensity") is not None for p in parameters):
            x = shift_channels(x, column("channel_shift_intensity", 0))
        if any(p.get("brightness") is not None for p in parameters):
            x = (x * column("brightness", 1).view(-1, 1, 1, 1)).clamp_(0, white)
        return x

    # Statistics

    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Finds mean, standard deviation and whitening matrix of these images (n, h, w, c)."""
        images = self._given(x).to(self.dtype)
        if augment:
            rng, white = np.random.RandomState(seed), brightest(np.asarray(x))
            images = torch.cat([self._changed(images, rng, white) for _ in range(rounds)])
        images = images * self.rescale if self.rescale else images
        if self.featurewise_center:
            self.mean = channel_mean(images)
            images = images - self.mean
        if self.featurewise_std_normalization:
            self.std = channel_std(images)
        if self.zca_whitening:
            self.zca_whitening_matrix = zca_matrix(images, self.zca_epsilon)

    def standardize(self, x: Any) -> Tensor:
        """A batch after preprocessing function, scale, sample statistics, feature statistics and whitening."""
        return self._back(self._standardize(self._given(x).to(self.dtype)))

    def _standardize(self, x: Tensor) -> Tensor:
        if self.preprocessing_function:
            one_by_one = [self.preprocessing_function(image.cpu().numpy()) for image in self._back(x)]
            x = self._given(np.stack(one_by_one)).to(self.device, self.dtype)
        x = x * self.rescale if self.rescale else x
        x = centre_each(x) if self.samplewise_center else x
        x = scale_each(x) if self.samplewise_std_normalization else x
        if self.featurewise_center:
            x = x - _fitted(self.mean).to(x)
        if self.featurewise_std_normalization:
            x = x / (_fitted(self.std).to(x) + EPS)
        return zca(x, _fitted(self.zca_whitening_matrix).to(x)) if self.zca_whitening else x

    # Batches

    def batch(self, x: Tensor, rng: np.random.RandomState | None, white: float = 255.0) -> Tensor:
        """float (n, c, h, w) -> a finished batch in this generator's layout; nothing is random without `rng`."""
        x = x.to(self.device)
        changed = self._changed(x, rng, white) if rng is not None else x
        return self._back(self._standardize(changed.to(self.dtype)))

    def _changed(self, x: Tensor, rng: np.random.RandomState, white: float) -> Tensor:
        c, h, w = x.shape[1:]
        shape = (h, w, c) if self.data_format == "channels_last" else (c, h, w)
        drawn = [self.get_random_transform(shape, rng=rng) for _ in range(len(x))]
        return self._apply(x.float(), drawn, white)

    def flow(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        seed: int | None = None,
        save_to_dir: str | Path | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
    ) -> ArrayFlow:
        """Endless batches of images (n, h, w, c) with their labels and weights."""
        images = self._given(x)
        for name, other in (("labels", y), ("sample weights", sample_weight)):
            if other is not None and len(other) != len(images):
                raise UsageError(f"{len(images)} images but {len(other)} {name}")
        classes = np.zeros(len(images), np.int64) if y is None else np.asarray(y)
        classes = (
            classes if classes.ndim == 1 else np.unique(classes, axis=0, return_inverse=True)[1].reshape(-1)
        )
        rows = subset_rows(classes, self.validation_split, subset)
        white = brightest(np.asarray(x))
        flow = ArrayFlow(
            images, white, y, sample_weight, self, rows, batch_size, shuffle, seed, subset != "validation"
        )
        flow.save = (str(save_to_dir), save_prefix, save_format) if save_to_dir else None
        return flow

    def flow_from_directory(
        self,
        directory: str | Path,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: ClassMode | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | Path | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
    ) -> DirectoryFlow:
        """Endless batches of the images in class folders; `target_size` is (height, width)."""
        found = ClassFolders(directory, classes, color_mode, interpolation, keep_aspect_ratio, follow_links)
        rows = subset_rows(found.labels, self.validation_split, subset, found.paths)
        augment = subset != "validation"
        flow = DirectoryFlow(found, target_size, class_mode, self, rows, batch_size, shuffle, seed, augment)
        flow.save = (str(save_to_dir), save_prefix, save_format) if save_to_dir else None
        return flow

    def flow_from_dataframe(
        self,
        dataframe: Any,
        directory: str | Path | None = None,
        x_col: str = "filename",
        y_col: str | Sequence[str] = "class",
        weight_col: str | None = None,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: FrameMode | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | Path | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        interpolation: str = "nearest",
        validate_filenames: bool = True,
        keep_aspect_ratio: bool = False,
    ) -> FrameFlow:
        """Endless batches of the images that a data frame, or a mapping of columns, names in `x_col`.

        `class_mode` decides what `y_col` becomes: categorical 0 and 1 (b, k) of a name or a list of names, binary and
        sparse class numbers (b,), raw its numbers, multi_output a list with those of each column. Rows without an image
        file are left out with a warning, rows of other classes than `classes` without one.
        """
        found = Frame(
            dataframe, directory, x_col, y_col, weight_col, classes, class_mode, validate_filenames,
            color_mode, interpolation, keep_aspect_ratio,
        )  # fmt: skip
        rows = subset_rows(found.strata(), self.validation_split, subset, found.paths)
        flow = FrameFlow(found, target_size, self, rows, batch_size, shuffle, seed, subset != "validation")
        flow.save = (str(save_to_dir), save_prefix, save_format) if save_to_dir else None
        return flow


def _pair(name: str, value: float | Sequence[float]) -> tuple[float, float]:
    """`z` means (1 - z, 1 + z)."""
    pair = (1 - value, 1 + value) if isinstance(value, (int, float)) else tuple(value)
    if len(pair) != 2 or not 0 <= pair[0] <= pair[1]:
        raise UsageError(f"{name} {value!r}: expected a pair (lowest, highest), not negative")
    return pair[0], pair[1]


def _shift(draw: np.random.RandomState, spec: Shift, side: int) -> float:
    """Pixels: a float below 1 is a part of the side; an integer or a list names the shifts to choose from."""
    if not np.any(spec):
        return 0.0
    if isinstance(spec, (int, np.integer)) or np.ndim(spec):
        value = float(draw.choice(spec) * draw.choice([-1, 1]))
    else:
        value = draw.uniform(-float(spec), float(spec))  # type: ignore[arg-type]
    return value * side if np.max(spec) < 1 else value


def _fitted(value: Tensor | None) -> Tensor:
    if value is None:
        raise UsageError("statistics of the data set are asked for, but not known", "call fit(images) first")
    return value
