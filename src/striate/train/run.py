"""A run and its folder: recipe, splits, metrics, best model, resume state, environment, report."""

import csv
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import striate
from striate.data import DataSet, Preprocess, load
from striate.errors import DataError, UsageError
from striate.files import write_text
from striate.plan import plan
from striate.train import checkpoint
from striate.train.checkpoint import Model
from striate.train.engine import Engine, pick_device, pick_dtype
from striate.train.evaluate import evaluate
from striate.train.loop import Listener, Loop
from striate.train.metrics import Evaluation
from striate.train.optim import default_lr
from striate.train.recipe import Recipe, recipe, to_yaml

RUNS = Path("runs")


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
        return recipe({}, self.folder / "recipe.yaml")

    @property
    def history(self) -> list[dict[str, float]]:
        """One row of metrics an epoch, `epoch` counted from 1."""
        path = self.folder / "metrics.csv"
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as f:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(f)]

    @property
    def summary(self) -> dict[str, Any]:
        """The outcome: {run, epochs, train_seconds, images_per_second, val_accuracy, test_accuracy, params}."""
        return json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))

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
        try:
            splits = json.loads((self.folder / "splits.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder / 'splits.json'} can't be read: {error}") from None
        return open_data(self.recipe, splits)

    def evaluate(self, data: "str | DataSet | None" = None, split: str = "test") -> Evaluation:
        """Metrics of the best network on a split of the run's own data, or on other data of the same classes.

        Other data is taken whole where it has no test split of its own.
        """
        model, found = self.model(), data if isinstance(data, DataSet) else self.dataset(data)
        if found.classes != model.classes:
            raise DataError(
                f"the run knows the classes {list(model.classes)}, the data has {list(found.classes)}"
            )
        engine = model.engine(self.recipe.device, self.recipe.precision)
        whole = isinstance(data, str) and split == "test" and not len(found.test)
        images = found.train if whole else found.parts()[split]
        return evaluate(engine, images, found.classes, self.recipe.workers)


def train(
    recipe: Recipe, output: Path | str | None = None, listeners: Sequence[Listener] = (), report: bool = True
) -> Run:
    """Do what `recipe` says and leave a run folder; `output` is that folder, by default the next one under `runs`."""
    pick_dtype(pick_device(recipe.device), recipe.precision)  # refused before a folder is there
    repeat = repeat_command(recipe)
    torch.manual_seed(recipe.seed)
    data = open_data(recipe)
    recipe = effective(recipe, data)
    model = _fresh_model(recipe, data)
    folder = _make_folder(recipe, output)
    write_text(folder / "recipe.yaml", to_yaml(recipe))
    write_text(folder / "splits.json", json.dumps(data.splits()))
    write_text(folder / "command.txt", repeat + "\n")
    return _go(Run(folder), recipe, data, model, listeners, report, state=None)


def resume(
    folder: Path | str, epochs: int | None = None, listeners: Sequence[Listener] = (), report: bool = True
) -> Run:
    """Go on with the run in `folder` from its last state; `epochs` extends it."""
    run = Run.open(folder)
    recipe = run.recipe if epochs is None else run.recipe.model_copy(update={"epochs": epochs})
    state = checkpoint.load_state(run.folder / "last")
    if state[1]["epoch"] > recipe.epochs:
        return run
    torch.manual_seed(recipe.seed)
    data = run.dataset()
    write_text(run.folder / "recipe.yaml", to_yaml(recipe))
    return _go(run, recipe, data, _fresh_model(recipe, data), listeners, report, state)


def _go(
    run: Run,
    recipe: Recipe,
    data: DataSet,
    model: Model,
    listeners: Sequence[Listener],
    report: bool,
    state: tuple[dict[str, torch.Tensor], dict[str, Any]] | None,
) -> Run:
    engine = Engine(
        model.module, model.preprocess.mean, model.preprocess.std, recipe.device, recipe.precision
    )
    write_text(run.folder / "environment.json", json.dumps(environment(engine), indent=2))
    loop = Loop(recipe, data, engine, [*listeners, _Log(run.folder)])
    best = _Best(model, run)
    if state is not None:
        loop.load_state_dict(*state)
        best.key = tuple(state[1]["best"])

    def save(loop: Loop) -> None:
        tensors, facts = loop.state_dict()
        checkpoint.save_state(run.folder / "last", tensors, {**facts, "best": best.key})

    loop.fit(save, best)
    model.module.load_state_dict(checkpoint.weights(run.folder / "model.safetensors"))
    tested = evaluate(engine, data.test, data.classes, recipe.workers) if len(data.test) else None
    _summarise(run, loop, model, tested)
    if report:
        from striate.train.report import write_report

        write_report(run, data)
    return run


class _Best:
    """Keeps the weights of the epoch with the highest validation accuracy; of equals, the lowest loss."""

    def __init__(self, model: Model, run: Run) -> None:
        self.model, self.run = model, run
        self.key: tuple[float, ...] = ()

    def __call__(self, loop: Loop) -> None:
        metrics = loop.state.metrics
        key = (
            (metrics["val_accuracy"], -metrics["val_loss"]) if "val_loss" in metrics else (loop.state.epoch,)
        )
        if key > self.key:
            self.key = key
            self.model.metrics = {k: metrics[k] for k in metrics if k.startswith("val_")} | {
                "epoch": loop.state.epoch
            }
            self.model.save(self.run.folder / "model.safetensors")


class _Log(Listener):
    """metrics.csv and log.txt, a line an epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_epoch(self, state: Any) -> None:
        row = {"epoch": state.epoch, **state.metrics}
        path = self.folder / "metrics.csv"
        fresh = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, row)
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        with (self.folder / "log.txt").open("a", encoding="utf-8") as f:
            f.write("  ".join(f"{k} {v:.5g}" for k, v in row.items()) + "\n")


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
    )
    if recipe.num_classes not in (None, len(data.classes)):
        raise DataError(f"--num-classes {recipe.num_classes}, but the data has {len(data.classes)} classes")
    return data


def effective(recipe: Recipe, data: DataSet) -> Recipe:
    """The recipe with every default that depends on the data or the optimiser filled in."""
    c, h, w = data.shape
    lr = recipe.lr or default_lr(recipe.opt)
    return recipe.model_copy(
        update={"lr": lr, "img_size": (h, w), "in_chans": c, "num_classes": len(data.classes)}
    )


def _channels(recipe: Recipe, wanted: int | None) -> int | None:
    """A diagram says what it takes; a zoo network is built for the channels that the data has."""
    return wanted if "=>" in recipe.model or recipe.model.endswith(".diagram") else None


def _fresh_model(recipe: Recipe, data: DataSet) -> Model:
    outputs = len(data.classes)
    if recipe.loss == "binary-cross-entropy":
        if outputs != 2:
            raise UsageError(f"binary cross-entropy tells two classes apart; the data has {outputs}")
        outputs = 1
    net = plan(recipe.model).build(data.shape, outputs)
    return Model(net.module, net.origin, data.shape, outputs, data.classes, data.preprocess)


def _make_folder(recipe: Recipe, output: Path | str | None) -> Path:
    if output is not None:
        folder = Path(output)
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(
                f"{folder} is not empty", f"go on with --resume {folder}, or name another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    RUNS.mkdir(exist_ok=True)
    taken = [int(m[1]) for p in RUNS.iterdir() if (m := re.match(r"(\d+)-", p.name))]
    for number in range(max(taken, default=0) + 1, sys.maxsize):
        folder = RUNS / f"{number}-{_plain(plan(recipe.model).name)}-{_plain(Path(recipe.data).stem)}"
        try:
            folder.mkdir()
        except FileExistsError:  # another run took the number
            continue
        return folder
    raise UsageError(f"no free number in {RUNS}")


def _plain(name: str) -> str:
    return re.sub(r"[^\w.]+", "_", name)[:40] or "net"


def _is_code(word: str) -> bool:
    return ":" in word and "=>" not in word


def repeat_command(recipe: Recipe) -> str:
    """`striate train DATA --model NET` and every flag that differs from its default."""
    words = ["striate", "train", recipe.data, "--model", recipe.model]
    for name, field in Recipe.model_fields.items():
        value = getattr(recipe, name)
        if name not in ("data", "model") and value != field.default:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    return shlex.join(words)


def environment(engine: Engine) -> dict[str, Any]:
    """What decides speed and the last bits of a result."""
    return {
        "striate": striate.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": str(engine.device)
        if engine.device.type == "cpu"
        else f"{engine.device} ({torch.cuda.get_device_name(engine.device)})",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": str(engine.dtype).removeprefix("torch."),
    }


def _summarise(run: Run, loop: Loop, model: Model, tested: Evaluation | None) -> None:
    history = run.history
    seconds = sum(row["seconds"] for row in history)
    summary = {
        "run": str(run.folder),
        "epochs": len(history),
        "best_epoch": int(model.metrics["epoch"]),
        "train_seconds": round(loop.seconds, 3),
        "images_per_second": round(len(loop.data.train) * len(history) / seconds, 1) if seconds else 0.0,
        "val_accuracy": model.metrics.get("val_accuracy"),
        "test_accuracy": tested.accuracy if tested else None,
        "test_loss": tested.loss if tested else None,
        "params": sum(p.numel() for p in model.module.parameters()),
    }
    if tested:
        model.metrics |= {"test_accuracy": tested.accuracy, "test_loss": tested.loss}
        model.save(run.folder / "model.safetensors")
    write_text(run.folder / "summary.json", json.dumps(summary, indent=2))
