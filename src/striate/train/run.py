"""A run and its folder: recipe, splits, metrics, best model, resume state, environment, report."""

import os
import platform
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import striate
from striate.data import DataSet, Preprocess, load
from striate.data.splits import SPLITS, restore
from striate.data.table import named_columns
from striate.data.whole import Whole, open_whole, relabelled
from striate.errors import DataError, UsageError, nearest
from striate.plan import is_diagram, plan
from striate.train import checkpoint, other_data
from striate.train.checkpoint import Model
from striate.train.engine import Engine
from striate.train.evaluate import evaluate
from striate.train.labels import LabelEvaluation
from striate.train.metrics import Evaluation
from striate.train.optim import defaults
from striate.train.recipe import Recipe
from striate.train.records import (
    read_command,
    read_environment,
    read_history,
    read_splits,
    read_summary,
)
from striate.train.written import heeded, stored

SCRATCH = "scratch"  # folder inside a run's, of the run without the weights that it started from
FINE = 0.1  # of the usual learning rate, where training starts from trained weights


class Run:
    """A run folder, finished or not."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @classmethod
    def open(cls, folder: Path | str) -> "Run":
        """The run in `folder`; raises UsageError where there is none."""
        folder = Path(folder)
        if not (folder / "recipe.yaml").is_file():
            raise UsageError(
                f"{folder} is no run folder: it has no recipe.yaml", "`striate train` writes one"
            )
        return cls(folder)

    @cached_property
    def recipe(self) -> Recipe:
        """What the run was told to do."""
        return stored(self.folder / "recipe.yaml")

    @property
    def history(self) -> list[dict[str, float]]:
        """One row of metrics an epoch, `epoch` counted from 1."""
        return read_history(self.folder)

    @property
    def scratch(self) -> list[dict[str, float]]:
        """The epochs of the same network without the weights that it started from, where that was asked for."""
        return Run(self.folder / SCRATCH).history

    @property
    def summary(self) -> dict[str, Any]:
        """The outcome: {run, epochs, train_seconds, images_per_second, val_accuracy, test_accuracy, params}."""
        return read_summary(self.folder)

    @property
    def finished(self) -> bool:
        """Whether the summary tells of everything that the run did."""
        try:
            summary, done = self.summary, len(self.history)
            read_environment(self.folder)
        except DataError:  # missing or damaged
            return False
        whole = not self.recipe.compare_scratch or SCRATCH in summary
        return whole and summary["epochs"] == done

    @property
    def command(self) -> str:
        """The command line that repeats the run."""
        return read_command(self.folder)

    @property
    def environment(self) -> dict[str, Any]:
        """What the run ran on."""
        return read_environment(self.folder)

    def model(self) -> Model:
        """The best network of the run."""
        word = self.recipe.model
        return checkpoint.load(self.folder / "model.safetensors", word if _is_code(word) else None)

    def dataset(self, source: object = None) -> DataSet:
        """The run's data in the run's own splits, or other data prepared and labelled as the run's is.

        What of other data isn't divided is all in `train`.
        """
        if source is None:
            return open_data(self.recipe, self.splits, self.initial.preprocess if self.initial else None)
        model = self.model()
        whole = self._opened(source, model)
        parts = {"train" if split == "all" else split: part for split, part in whole.source.parts.items()}
        nothing = next(iter(parts.values())).take([])
        train, val, test = (whole.images(parts.get(split, nothing)) for split in SPLITS)
        facts = model.preprocess, model.several, dict(whole.skipped)
        return DataSet(whole.source.name, model.classes, train, val, test, *facts, source=source)

    def _opened(self, source: object, model: Model, columns: Mapping[str, str] | None = None) -> Whole:
        """Other data, to be prepared as the run prepares."""
        r = self.recipe
        return open_whole(
            source,
            model.preprocess,
            model.classes,
            model.several,
            columns=columns or named_columns(r.columns),
            on_bad_image=r.on_bad_image,
            cache=r.cache,
            cache_limit=r.cache_limit,
            offline=r.offline,
        )

    def seen(self, files: Iterable[str | Path]) -> str:
        """How many of these image files trained the run or chose its best epoch, in a sentence; empty where none."""
        known, files = self._seen(), list(files)
        return other_data.told(len(files), Counter(map(known.file, files)))

    def _seen(self) -> other_data.Seen:
        return other_data.Seen(self.splits if (self.folder / "splits.json").is_file() else {})

    @property
    def source(self) -> str:
        """The run's data: a path where it was found, or a name."""
        return place(self.recipe, self.splits)

    @cached_property
    def initial(self) -> Model | None:
        """What training started from, where that were weights from elsewhere."""
        path = self.folder / "initial.safetensors"
        return checkpoint.load(path) if path.is_file() else None

    @property
    def splits(self) -> dict[str, Any]:
        """Which image is in which split, and a digest of each."""
        return read_splits(self.folder)

    def evaluate(self, data: object = None, split: str | None = None) -> Evaluation | LabelEvaluation:
        """Metrics of the best network on a split of the run's own data, or on other data of classes that it knows.

        `data` is whatever `striate.data.load` takes, or what it gave. Its images are prepared as the run prepares and
        its classes matched by name. Without `split` its test split is taken, or all of it where it has none; data of
        the run's own keeps the run's splits. `notes` of the result tell what was left out, and a UserWarning how many
        of the images were part of the training.
        """
        if split is not None and split not in SPLITS:
            raise UsageError(
                f"unknown split {split!r}", nearest(split, SPLITS) or f"one of {', '.join(SPLITS)}"
            )
        model = self.model()
        if data is None:
            own, split = self.dataset(), split or "test"
            chosen = other_data.Chosen([own.parts()[split]])
        else:
            seen = self._seen()
            chosen = self._chosen(data, split, model, seen)
            if told := other_data.overlap_told(chosen.images, seen, split or "test"):
                warnings.warn(told, stacklevel=2)
                chosen = replace(chosen, notes=(*chosen.notes, told))
        try:
            engine = model.engine(self.recipe.device, self.recipe.precision)
        except UsageError:  # trained on another machine
            engine = model.engine()
        return evaluate(engine, chosen.images, model.classes, self.recipe.workers, chosen.notes)

    def _chosen(
        self, data: object, split: str | None, model: Model, seen: other_data.Seen
    ) -> other_data.Chosen:
        """What of `data` is to be evaluated on."""
        if not isinstance(data, DataSet):
            return other_data.choose(self._opened(data, model), seen, split)
        alike = _cut_alike(data.preprocess, model.preprocess)
        if data.source is not None and (split is None or not alike):
            whole = self._opened(data.source, model, data.columns)
            if split is None:
                return other_data.choose(whole, seen)
            return other_data.Chosen([whole.images(restore(whole.source, data.splits())[split])])
        if not alike:
            raise UsageError(
                f"{data.name}: its images are cut to {data.shape}, the run's to {model.input_shape}",
                "give the images themselves: a path, arrays, a data frame",
            )
        wanted = [data.parts()[split]] if split else [data.test] if len(data.test) else [data.train, data.val]
        images = [relabelled(i, data.classes, model.classes, model.several, data.name) for i in wanted]
        return other_data.Chosen(images)


def _cut_alike(a: Preprocess, b: Preprocess) -> bool:
    """Whether both bring images to the same size in the same way; mean and deviation are the engine's."""
    return replace(a, mean=b.mean, std=b.std) == b if a.channels == b.channels else False


def place(recipe: Recipe, splits: Mapping[str, Any] | None) -> str:
    """Where the data is: a run may be opened from another folder than the one that it was started in."""
    found = splits.get("source") if splits else None
    known = isinstance(found, str) and (Path(found).exists() or not Path(recipe.data).exists())
    return str(found) if known else recipe.data


def open_data(
    recipe: Recipe, splits: dict[str, Any] | None = None, preprocess: Preprocess | None = None
) -> DataSet:
    """The recipe's data at the size and with the channels that its network wants."""
    c, h, w = plan(recipe.model).wants
    size = recipe.img_size or ((h, w) if h and w else None)
    data = load(
        place(recipe, splits),
        img_size=size,
        in_chans=recipe.in_chans or _channels(recipe, c),
        resize=recipe.resize,
        split=recipe.split,
        seed=recipe.seed,
        splits=splits,
        preprocess=preprocess,
        classes=None if splits else recipe.classes,
        allow_empty=recipe.allow_empty,
        on_bad_image=recipe.on_bad_image,
        columns=named_columns(recipe.columns),
        cache=recipe.cache,
        cache_limit=recipe.cache_limit,
        offline=recipe.offline,
    )
    if not splits and recipe.num_classes not in (None, len(data.classes)):
        raise DataError(f"--num-classes {recipe.num_classes}, but the data has {len(data.classes)} classes")
    return data


def effective(recipe: Recipe, data: DataSet) -> Recipe:
    """The recipe with every default that depends on the data or the optimiser filled in, and no file but the data's."""
    c, h, w = data.shape
    known = {
        "model": plan(recipe.model).origin.get("text", recipe.model),
        "loss": recipe.loss or ("binary-cross-entropy" if data.several else "cross-entropy"),
        "img_size": (h, w),
        "in_chans": c,
        "num_classes": len(data.classes),
    }
    return with_rates(recipe).model_copy(update=known)


def with_rates(recipe: Recipe) -> Recipe:
    """The recipe with the usual rate and decay of its optimiser; a head alone has a rate of its own."""
    usual = defaults(recipe.opt)
    rate = None if recipe.head_only else usual.lr * (FINE if recipe.starts_trained else 1)
    known = {
        "lr": recipe.lr or rate,
        "weight_decay": usual.weight_decay if recipe.weight_decay is None else recipe.weight_decay,
        "momentum": usual.momentum if recipe.momentum is None else recipe.momentum,
    }
    return heeded(recipe.model_copy(update=known))


def _channels(recipe: Recipe, wanted: int | None) -> int | None:
    """A diagram says what it takes; a zoo network is built for the channels that the data has."""
    return wanted if is_diagram(recipe.model) or recipe.model.endswith(".diagram") else None


def _is_code(word: str) -> bool:
    return ":" in word and not is_diagram(word)


def environment(engine: Engine) -> dict[str, Any]:
    """What decides speed and the last bits of a result."""
    return {
        "striate": striate.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": f"{engine.device} ({torch.cuda.get_device_name(engine.device)})"
        if engine.device.type == "cuda"
        else str(engine.device),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": str(engine.dtype).removeprefix("torch."),
    }
