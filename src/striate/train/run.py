"""A run and its folder: recipe, splits, metrics, best model, resume state, environment, report."""

import csv
import json
import os
import platform
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import striate
from striate.data import DataSet, Preprocess, load
from striate.data.table import named_columns
from striate.errors import DataError, UsageError
from striate.plan import plan
from striate.train import checkpoint
from striate.train.checkpoint import Model
from striate.train.engine import Engine
from striate.train.evaluate import evaluate
from striate.train.labels import LabelEvaluation
from striate.train.metrics import Evaluation
from striate.train.optim import defaults
from striate.train.recipe import Recipe, heeded, stored

SCRATCH = "scratch"  # folder inside a run's, of the run without the weights that it started from
FINE = 0.1  # of the usual learning rate, where training starts from trained weights


class Run:
    """A run folder, finished or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
        path = self.folder / "metrics.csv"
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as f:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(f)]

    @property
    def scratch(self) -> list[dict[str, float]]:
        """The epochs of the same network without the weights that it started from, where that was asked for."""
        return Run(self.folder / SCRATCH).history

    @property
    def summary(self) -> dict[str, Any]:
        """The outcome: {run, epochs, train_seconds, images_per_second, val_accuracy, test_accuracy, params}."""
        return json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))

    @property
    def finished(self) -> bool:
        """Whether the summary tells of everything that the run did."""
        if not (self.folder / "summary.json").is_file():
            return False
        whole = not self.recipe.compare_scratch or SCRATCH in self.summary
        return whole and self.summary["epochs"] == len(self.history)

    @property
    def command(self) -> str:
        """The command line that repeats the run."""
        return (self.folder / "command.txt").read_text(encoding="utf-8").strip()

    @property
    def environment(self) -> dict[str, Any]:
        """What the run ran on."""
        return json.loads((self.folder / "environment.json").read_text(encoding="utf-8"))

    def model(self) -> Model:
        """The best network of the run."""
        word = self.recipe.model
        return checkpoint.load(self.folder / "model.safetensors", word if _is_code(word) else None)

    def dataset(self, source: str | None = None) -> DataSet:
        """The run's data in the run's own splits, or another data set read as the run read its own."""
        if source is not None:
            whole = self.recipe.model_copy(update={"data": source, "split": (1.0, 0.0, 0.0)})
            return open_data(whole, preprocess=self.model().preprocess)
        return open_data(self.recipe, self.splits, self.initial.preprocess if self.initial else None)

    @cached_property
    def initial(self) -> Model | None:
        """What training started from, where that were weights from elsewhere."""
        path = self.folder / "initial.safetensors"
        return checkpoint.load(path) if path.is_file() else None

    @property
    def splits(self) -> dict[str, Any]:
        """Which image is in which split, and a digest of each."""
        try:
            return json.loads((self.folder / "splits.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder / 'splits.json'} can't be read: {error}") from None

    def evaluate(
        self, data: "str | DataSet | None" = None, split: str = "test"
    ) -> Evaluation | LabelEvaluation:
        """Metrics of the best network on a split of the run's own data, or on other data of the same classes.

        Other data is taken whole where it has no test split of its own.
        """
        model, found = self.model(), data if isinstance(data, DataSet) else self.dataset(data)
        if found.classes != model.classes:
            raise DataError(
                f"the run knows the classes {list(model.classes)}, the data has {list(found.classes)}"
            )
        if found.several != model.several:
            raise DataError("one of the run and the data has several labels an image, the other one has one")
        try:
            engine = model.engine(self.recipe.device, self.recipe.precision)
        except UsageError:  # trained on another machine
            engine = model.engine()
        whole = isinstance(data, str) and split == "test" and not len(found.test)
        images = found.train if whole else found.parts()[split]
        return evaluate(engine, images, found.classes, self.recipe.workers)


def open_data(
    recipe: Recipe, splits: dict[str, Any] | None = None, preprocess: Preprocess | None = None
) -> DataSet:
    """The recipe's data at the size and with the channels that its network wants."""
    c, h, w = plan(recipe.model).wants
    size = recipe.img_size or ((h, w) if h and w else None)
    data = load(
        recipe.data,
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
    if recipe.num_classes not in (None, len(data.classes)):
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
    return wanted if "=>" in recipe.model or recipe.model.endswith(".diagram") else None


def _is_code(word: str) -> bool:
    return ":" in word and "=>" not in word


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
