"""A run from its recipe to its folder, begun or gone on with, in one process or in many."""

import json
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from striate.chance import Stream
from striate.data import DataSet, fingerprint
from striate.data.tree import told
from striate.errors import StriateError, UsageError, one_line
from striate.files import write_text
from striate.plan import plan
from striate.train import checkpoint, monitors, phases
from striate.train.begin import prepare_network
from striate.train.changes import (
    HARMLESS,
    as_begun,
    changed,
    differences,
    refuse_another_beginning,
    refuse_changes,
)
from striate.train.checkpoint import Model
from striate.train.distributed import Group, group
from striate.train.engine import Engine, pick_device, pick_dtype
from striate.train.evaluate import evaluate
from striate.train.events import Listener
from striate.train.folder import RUNS, came_to_nothing, hold, make_folder
from striate.train.hooks.health import Health
from striate.train.hooks.record import Record
from striate.train.hooks.track import TensorBoard, WandB
from striate.train.hooks.watch import Best, EarlyStopping, Keep, Plateau
from striate.train.labels import LabelEvaluation
from striate.train.loop import Loop
from striate.train.metrics import Evaluation
from striate.train.nature import flag
from striate.train.recipe import Recipe
from striate.train.records import read_state
from striate.train.run import SCRATCH, Run, effective, environment, open_data
from striate.train.saver import Saver
from striate.train.written import altered, to_yaml
from striate.transfer.weights import Pretrained

PLACE = ("striate", "torch", "device", "precision")  # where a run goes on as it would have


def train(
    recipe: Recipe, output: Path | str | None = None, listeners: Sequence[Listener] = (), report: bool = True
) -> Run:
    """Do what `recipe` says and leave a run folder; `output` is that folder, by default the next one under `runs`."""
    with group() as ranks, _arithmetic(recipe):
        device = pick_device(recipe.device)
        pick_dtype(device, recipe.precision)  # refused before a folder is there
        if _restarted() and output is None:
            raise UsageError("torchrun restarted a run whose folder has no fixed name", "add --output FOLDER")
        if _restarted() and checkpoint.states(Path(output or "") / "last"):
            return _resume(Run.open(output or ""), ranks, listeners, report, {}, False)
        asked, stream = recipe, Stream(recipe.seed, device)
        found, data = phases.start(recipe)
        recipe = effective(recipe, data)
        ranks.agree(_facts(recipe, data))
        model = _fresh_model(recipe, data, found, stream)
        engine = _engine(model, recipe)
        if not ranks.first:  # every rank draws its own dropout
            stream = Stream(recipe.seed + ranks.rank, device)
        # what can't work is refused before a folder is there
        loop = Loop(recipe, data, engine, group=ranks, stream=stream)
        run = Run(Path(ranks.gather(str(make_folder(asked, output)) if ranks.first else "")[0]))
        with hold(run.folder, ranks.first):
            if ranks.first:
                write_text(run.folder / "recipe.yaml", to_yaml(recipe))
                write_text(run.folder / "splits.json", json.dumps(data.splits()))
                write_text(run.folder / "command.txt", repeat_command(asked) + "\n")
            return _go(run, loop, model, listeners, report, state=None)


def rehearse(recipe: Recipe) -> Loop:
    """The loop that `train` would run, ready to start, with no folder: for finders, and to look at."""
    found, data = phases.start(recipe)
    recipe, stream = effective(recipe, data), Stream(recipe.seed, pick_device(recipe.device))
    model = _fresh_model(recipe, data, found, stream)
    loop = Loop(recipe, data, _engine(model, recipe), stream=stream)
    loop.listeners = _hooks(Run(RUNS), loop, model, ())
    return loop


def resume(
    folder: Path | str,
    listeners: Sequence[Listener] = (),
    report: bool = True,
    allow_changes: bool = False,
    **changes: Any,
) -> Run:
    """Go on with the run in `folder` from its last state.

    `changes` are recipe fields: more `epochs` extend it; what would make another run of it is shown and raises
    UsageError unless `allow_changes`.
    """
    run = Run.open(folder)
    if came_to_nothing(run.folder):
        return train(altered(run.recipe, changes), folder, listeners, report)
    with group() as ranks, _arithmetic(run.recipe):
        return _resume(run, ranks, listeners, report, changes, allow_changes)


def _resume(
    run: Run,
    ranks: Group,
    listeners: Sequence[Listener],
    report: bool,
    changes: dict[str, Any],
    allowed: bool,
) -> Run:
    with hold(run.folder, ranks.first):
        tensors, facts = read_state(run.folder)
        before = as_begun(run.recipe, facts["groups"])
        after = changed(before, changes)
        refuse_another_beginning(before, after)
        if not allowed:
            refuse_changes(differences(before, after))
        over = facts["epoch"] > after.epochs or (facts["stop"] and not changes.keys() - HARMLESS)
        if over and run.finished:
            return run
        if facts["step"] or not over:  # in mid-epoch the stop was not yet told of
            facts = {**facts, "stop": ""}
        stream = Stream(after.seed + ranks.rank, pick_device(after.device))
        initial = run.initial
        data = open_data(after, run.splits, initial.preprocess if initial else None)
        model = initial or _fresh_model(after, data, None, stream)
        phases.prepare_parts(after, model.module)
        engine = _engine(model, after)
        if not allowed:
            was, now = run.environment, environment(engine)
            refuse_changes([(k, was.get(k), now[k]) for k in PLACE if was.get(k) != now[k]])
        ranks.agree(_facts(after, data))
        loop = Loop(after, data, engine, group=ranks, stream=stream)
        if before.opt != after.opt:  # another optimiser has another memory
            tensors = {k: v for k, v in tensors.items() if not k.startswith("optimiser.")}
        return _go(Run(run.folder), loop, model, listeners, report, (tensors, facts))


def _go(
    run: Run,
    loop: Loop,
    model: Model,
    listeners: Sequence[Listener],
    report: bool,
    state: tuple[dict[str, torch.Tensor], dict[str, Any]] | None,
) -> Run:
    recipe, data, engine, ranks = loop.recipe, loop.data, loop.engine, loop.group
    loop.listeners = _hooks(run, loop, model, listeners)
    saver = Saver(run.folder / "last", model.module)
    if state is not None:
        try:
            loop.load_state_dict(*state)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UsageError(
                f"the state of {run.folder} is that of other settings: {one_line(error)}", "start a new run"
            ) from error
        if ranks.first:
            write_text(run.folder / "recipe.yaml", to_yaml(recipe))
        loop.state.before = phases.epochs_before(state[1]["listeners"]["Record"]["rows"])
    elif recipe.starts_trained:
        phases.begin(run, loop, model, listeners)
        if loop.state.epoch > loop.state.epochs:
            saver(loop)
    if ranks.first:
        write_text(run.folder / "environment.json", json.dumps(environment(engine), indent=2))
    loop.fit(saver, saver.due)
    if ranks.first:
        model.module.load_state_dict(checkpoint.weights(run.folder / "model.safetensors"))
        tested = evaluate(engine, data.test, data.classes, recipe.workers) if len(data.test) else None
        _summarise(run, loop, model, tested)
        if recipe.compare_scratch:
            _train_from_scratch(run, recipe, data, listeners)
        if report:
            from striate.train.report import write_report

            write_report(run, data)
    return run


def _train_from_scratch(run: Run, recipe: Recipe, data: DataSet, listeners: Sequence[Listener]) -> None:
    """The same network, data and epochs without the weights, as a run inside the run's folder."""
    folder = run.folder / SCRATCH
    if not (folder / "summary.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        train(phases.from_scratch(recipe, data), folder, listeners, report=False)
    keys = ("run", "epochs", "train_seconds", "val_accuracy", "test_accuracy")
    summary = {**run.summary, "scratch": {k: Run.open(folder).summary[k] for k in keys}}
    write_text(run.folder / "summary.json", json.dumps(summary, indent=2))


def _hooks(run: Run, loop: Loop, model: Model, listeners: Sequence[Any]) -> list[Any]:
    """What the recipe asks for, then `listeners`; ranks other than the first only stop and slow down together."""
    recipe = loop.recipe
    hooks: list[Any] = []
    if loop.group.first:
        path = run.folder / "model.safetensors"
        hooks.append(Best(model, path, recipe.monitor, lambda: loop.judged.module))
        if recipe.keep:
            epochs = run.folder / "epochs"
            hooks.append(Keep(recipe.keep, model, epochs, recipe.monitor, lambda: loop.judged.module))
    watched = (recipe.monitor, recipe.min_delta)
    if recipe.patience:
        hooks.append(EarlyStopping(recipe.patience, *watched, recipe.patience_from, recipe.baseline))
    if recipe.sched == "plateau":
        hooks.append(Plateau(recipe.plateau, *watched, recipe.plateau_factor, recipe.cooldown, loop.least))
    if recipe.starts_trained:
        hooks += phases.hooks(loop)
    if not loop.group.first:
        return hooks
    hooks.append(Record(run.folder))
    if recipe.health:
        hooks.append(Health(run.folder, loop.engine, loop.data.train, loop.criterion, recipe.batch_size))
    if recipe.track == "tensorboard":
        hooks.append(TensorBoard(run.folder))
    if recipe.track == "wandb":
        hooks.append(WandB(run.folder, recipe.model_dump(mode="json")))
    return [*hooks, *listeners]


def _engine(model: Model, recipe: Recipe) -> Engine:
    mean, std = model.preprocess.mean, model.preprocess.std
    engine = Engine(model.module, mean, std, recipe.device, recipe.precision)
    engine.steady_norms = recipe.starts_trained and recipe.freeze_norms
    return engine


def _fresh_model(recipe: Recipe, data: DataSet, found: Pretrained | None, stream: Stream) -> Model:
    if (recipe.patience or recipe.sched == "plateau") and not len(data.val):
        raise UsageError("--patience and --sched plateau need a validation split", "--split 70/15/15")
    outputs = len(data.classes)
    if data.several and recipe.loss == "cross-entropy":
        raise UsageError(
            "cross-entropy chooses one class; these images have several labels", "--loss binary-cross-entropy"
        )
    if recipe.loss == "binary-cross-entropy" and not data.several:
        if outputs != 2:
            raise UsageError(f"binary cross-entropy tells two classes apart; the data has {outputs}")
        outputs = 1
    with stream.drawing():
        if found is not None:
            net = phases.network(recipe, data, found, outputs)
        else:
            net = plan(recipe.model).build(data.shape, outputs)
        prepare_network(net.module, recipe, data)
    phases.prepare_parts(recipe, net.module)
    return Model(
        net.module, net.origin, data.shape, outputs, data.classes, data.preprocess, several=data.several
    )


def _facts(recipe: Recipe, data: DataSet) -> dict[str, Any]:
    """What all ranks must have alike."""
    facts = {flag(name): value for name, value in recipe.model_dump(mode="json").items()}
    for split, images in data.parts().items():
        facts |= {f"the number of {split} images": len(images), f"the {split} images": fingerprint(images)}
    return {**facts, "the classes": list(data.classes), "torch": torch.__version__}


def repeat_command(recipe: Recipe) -> str:
    """`striate train DATA --model NET` and every flag that differs from its default."""
    words = ["striate", "train", recipe.data, "--model", recipe.model]
    for name, field in Recipe.model_fields.items():
        value = getattr(recipe, name)
        if name in ("data", "model") or value == field.default:
            continue
        if isinstance(value, bool):
            words.append(flag(name) if value else f"--no-{flag(name)[2:]}")
        else:
            words += [flag(name), ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return shlex.join(words)


def _restarted() -> bool:
    """Whether torchrun started this process in place of one that failed."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


@contextmanager
def _arithmetic(recipe: Recipe) -> Iterator[None]:
    """Under `deterministic`, an operation without a reproducible form ends the run and is named."""
    before = torch.are_deterministic_algorithms_enabled()
    if recipe.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "deterministic" in str(error):
            raise StriateError(
                f"--deterministic: {str(error).split('.')[0]}", "leave the flag out"
            ) from error
        raise
    finally:
        torch.use_deterministic_algorithms(before)


def _summarise(run: Run, loop: Loop, model: Model, tested: Evaluation | LabelEvaluation | None) -> None:
    history = run.history
    model.metrics = dict(next(m.metrics for m in loop.listeners if isinstance(m, Best)))
    summary = {
        "run": str(run.folder),
        "epochs": len(history),
        "best_epoch": int(model.metrics["epoch"]),
        "train_seconds": round(loop.seconds, 3),
        "images_per_second": round(mean(row["images_per_second"] for row in history), 1) if history else 0.0,
        "val_accuracy": model.metrics.get("val_accuracy"),
        "test_accuracy": tested.accuracy if tested else None,
        "test_loss": tested.loss if tested else None,
        "params": sum(p.numel() for p in model.module.parameters()),
    }
    if loop.data.skipped:
        summary["skipped"] = loop.data.skipped
    if loop.data.passed:
        summary["passed_over"] = told(loop.data.passed)
    if loop.data.notes:
        summary["notes"] = list(loop.data.notes)
    if loop.data.cache:
        summary["cache"] = loop.data.cache
    if loop.state.stop:
        summary["stopped"] = loop.state.stop
    if isinstance(tested, LabelEvaluation):
        summary |= {"val_map": model.metrics.get("val_map"), "test_map": tested.map}
    if loop.recipe.monitor not in monitors.ALWAYS:
        name = monitors.column(loop.recipe.monitor)
        summary[f"val_{name}"] = model.metrics.get(f"val_{name}")
        summary[f"test_{name}"] = tested.figure(name) if tested else None
    if tested:
        model.metrics |= {"test_accuracy": tested.accuracy, "test_loss": tested.loss}
        model.save(run.folder / "model.safetensors")
    write_text(run.folder / "summary.json", json.dumps(summary, indent=2))
