"""`ConvNetClassifier`: a network as scikit-learn wants its classifiers."""

import math
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from striate.chance import Stream
from striate.data import ArrayImages, DataSet, Preprocess
from striate.errors import UsageError
from striate.plan import plan
from striate.train.begin import prepare_network
from striate.train.checkpoint import Model
from striate.train.engine import pick_device
from striate.train.loop import Loop
from striate.train.nature import natures
from striate.train.recipe import Recipe
from striate.train.signals import Interrupted
from striate.train.written import recipe

CONVNET = "INPUT => CONV(32,3) => BN => RELU => POOL(2) => CONV(64,3) => BN => RELU => POOL(2) => FC(64) => RELU => FC"
DENSE = "INPUT => FC(64) => RELU => FC(64) => RELU => FC"
PIXELS = (np.float64, np.float32, np.uint8)  # what is taken as it is; the first is what all else becomes
SMALL = 8  # px; images with a shorter side get the dense network
SETTINGS = {name for name, nature in natures(Recipe) if nature.estimator}


class ConvNetClassifier(ClassifierMixin, BaseEstimator):
    """Trains `model` on images (n, h, w), (n, h, w, c) or flat (n, features); pixels on any scale,
    but for transforms of colour in `augment`, which take them as 0 to 255.

    `image_shape`, (h, w) or (h, w, c), says what flat rows are; without it a row is an image of one line.
    `model` is a zoo name or a diagram; by default a small one for the size. `settings` are further fields of a
    recipe, as {"average": "ema"}. With equal `random_state`, fits are equal, in threads too; torch's own random state
    stays as it is.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        image_shape: tuple[int, ...] | None = None,
        epochs: int = 20,
        batch_size: int = 32,
        lr: float | None = None,
        opt: str = "adamw",
        weight_decay: float | None = None,
        augment: str = "none",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = 0,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.image_shape = image_shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.opt = opt
        self.weight_decay = weight_decay
        self.augment = augment
        self.device = device
        self.random_state = random_state
        self.settings = settings

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train from scratch on images `X` of classes `y` (n,), which count as `sample_weight` (n,) says.

        A weight of 2 is an image that is there twice, in the loss and in the mean and deviation of the pixels; batches
        and batch norm still see it once.
        """
        X, y = validate_data(self, X, y, allow_nd=True, dtype=PIXELS)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("Classifier can't train when only one class is present.")
        weights = None if sample_weight is None else _checked(sample_weight, X)
        data = _data(self._images(X), numbers.astype(np.int64), [str(c) for c in self.classes_], weights)
        r = self._recipe(data.shape)
        stream = Stream(r.seed, pick_device(r.device))
        with stream.drawing():
            net = plan(r.model).build(data.shape, len(self.classes_))
            prepare_network(net.module, r, data)
        self.model_ = Model(
            net.module, net.origin, data.shape, len(self.classes_), data.classes, data.preprocess
        )
        loop = Loop(r, data, self.model_.engine(r.device, r.precision), stream=stream)
        try:
            loop.fit(_nothing, due=lambda: False)
        except Interrupted as stop:  # searches take an error for a bad fit, and go on
            raise KeyboardInterrupt(str(stop)) from stop
        self.model_.module.load_state_dict(loop.judged.module.state_dict())
        self.n_iter_ = loop.state.epoch - 1
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Probabilities of `classes_` in order.    (n, ...) -> (n, k)"""
        check_is_fitted(self)
        X = validate_data(self, X, allow_nd=True, dtype=PIXELS, reset=False)
        images, learnt = self._images(X), self.model_.input_shape
        if tuple(images.shape[1:]) != learnt:
            c, h, w = images.shape[1:]
            raise ValueError(
                f"X holds images of {h} x {w} x {c}; this network was fitted to {learnt[1]} x {learnt[2]} x {learnt[0]}"
            )
        precision = (self.settings or {}).get("precision", "auto")
        return self.model_.probabilities(images, self.device, precision).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each image."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def _recipe(self, shape: tuple[int, int, int]) -> Recipe:
        _, h, w = shape
        given = {
            "data": "arrays",
            "model": self.model or (DENSE if min(h, w) < SMALL else CONVNET),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "opt": self.opt,
            "weight_decay": self.weight_decay,
            "augment": self.augment,
            "device": self.device,
            "seed": int(check_random_state(self.random_state).randint(2**31)),
            "workers": 0,
        }
        further = self.settings or {}
        asked = recipe(given | further)
        if strange := [name for name in further if name not in SETTINGS]:
            raise UsageError(f"settings: {strange[0]} is an argument of its own, or of runs with a folder")
        if asked.sched == "plateau" or asked.loss == "binary-cross-entropy":
            raise UsageError("settings: there is no validation split for plateau, and no single logit")
        return asked

    def _images(self, X: NDArray[Any]) -> torch.Tensor:
        """(n, ...) -> (n, c, h, w)"""
        shape = X.shape[1:]
        if len(shape) == 1:
            wanted = self.image_shape or (1, shape[0])
            if math.prod(wanted) != shape[0]:
                raise ValueError(
                    f"X has {shape[0]} features, image_shape {tuple(wanted)} has {math.prod(wanted)}"
                )
            shape = tuple(wanted)
        h, w, c = shape if len(shape) == 3 else (*shape, 1)
        pixels = np.ascontiguousarray(X.reshape(len(X), h, w, c).transpose(0, 3, 1, 2))
        return torch.from_numpy(pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32))


def _checked(sample_weight: Any, X: NDArray[Any]) -> NDArray[np.float32]:
    """(n,) with a mean of 1, so that the learning rate means what it meant; raises ValueError unless some is over 0."""
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise ValueError("sample_weight is zero for every image.")
    weights /= weights.max()  # their sum may be over what a float holds
    return (weights / weights.mean()).astype(np.float32)


def _data(
    images: torch.Tensor,
    labels: NDArray[np.int64],
    classes: list[str],
    weights: NDArray[np.float32] | None = None,
) -> DataSet:
    """All of it to train on, standardised by its own mean and deviation, channel by channel."""
    c, h, w = images.shape[1:]
    wide = images.double().div(255)
    counts = torch.ones(len(images)) if weights is None else torch.from_numpy(weights)
    share = (counts.double() / counts.double().sum() / (h * w)).view(-1, 1, 1, 1)
    mean = (share * wide).sum((0, 2, 3))
    std = (share * (wide - mean.view(-1, 1, 1)).square()).sum((0, 2, 3)).sqrt()
    std = torch.where(std > 0, std, 1.0)
    prepare = Preprocess((h, w), channels=c, mean=tuple(mean.tolist()), std=tuple(std.tolist()))
    names = [str(i) for i in range(len(images))]
    nothing = ArrayImages(images[:0], labels[:0], [])
    everything = ArrayImages(images, labels, names, weights)
    return DataSet("arrays", tuple(classes), everything, nothing, nothing, prepare)


def _nothing(loop: Loop) -> None: ...
