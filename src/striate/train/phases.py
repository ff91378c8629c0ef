"""Training that starts from trained weights: a head on frozen features first, then the last stages with it."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from striate.data import DataSet, Preprocess
from striate.data.scale import UNKNOWN
from striate.errors import UsageError
from striate.plan import Net, plan
from striate.train.checkpoint import Model
from striate.train.events import Listener, State, tell
from striate.train.hooks.record import Record
from striate.train.hooks.watch import rank
from striate.train.loop import Loop
from striate.train.nature import natures
from striate.train.recipe import Recipe
from striate.train.run import Run, open_data
from striate.train.schedule import factor
from striate.train.signals import interruptible
from striate.train.twin import twin
from striate.transfer.download import find_weights
from striate.transfer.features import Features
from striate.transfer.heads import attach, fold, logistic, moments, nearest_neighbours, replace_scorer
from striate.transfer.parts import base_and_tail, thaw
from striate.transfer.weights import Pretrained, load_weights
from striate.zoo.network import ZooNet, scorer

log = logging.getLogger("striate")
HEAD_LR = 3e-3  # of AdamW on standardised features
HEAD_STEPS = 24  # at most about so many an epoch: many features make larger batches
HIDDEN = 256  # width of the MLP head
Metrics = dict[str, float]


def start(recipe: Recipe) -> tuple[Pretrained | None, DataSet]:
    """The weights that the recipe starts from, if it does, and its data, prepared as they want it."""
    found = _weights(recipe)
    return found, open_data(recipe, preprocess=prepared(recipe, found))


def _weights(recipe: Recipe) -> Pretrained | None:
    if not recipe.starts_trained:
        return None
    origin = plan(recipe.model).origin
    if origin["kind"] != "zoo":
        raise UsageError(
            "--weights and --pretrained are for networks of the zoo", "`striate models` lists them"
        )
    if "arguments" in origin:
        raise UsageError(f"the weights decide the arguments of {origin['name']}", f"--model {origin['name']}")
    path = find_weights(recipe.model, recipe.weights, offline=recipe.offline)
    return _told(load_weights(recipe.model, path, in_chans=recipe.in_chans))


def _told(found: Pretrained) -> Pretrained:
    for note in found.notes:
        log.warning(note)
    return found


def pretrained(network: str, weights: str | Path | None = None, offline: bool = False) -> Model:
    """The zoo's `network` ready to use as its weights came: a file, a published tag, or None for the default.

    `.predict(files)` labels pictures, `.save(path)` makes a model file that every verb takes.
    """
    path = find_weights(network, None if weights is None else str(weights), offline=offline)
    found = _told(load_weights(network, path))
    module, origin = found.module, {"kind": "zoo", "name": network, "arguments": found.arguments}
    classes = found.classes or tuple(map(str, range(module.num_classes)))
    return Model(module, origin, found.preprocess.shape, module.num_classes, classes, found.preprocess)


def prepared(recipe: Recipe, found: Pretrained | None) -> Preprocess | None:
    """The preprocessing that came with the weights, but for what the recipe asks otherwise."""
    if found is None:
        return None
    size = recipe.img_size or found.preprocess.size
    resize = found.preprocess.resize if recipe.resize == "squash" else recipe.resize
    # the data have a scale of their own
    return replace(found.preprocess, size=size, resize=resize, white=UNKNOWN)


def network(recipe: Recipe, data: DataSet, found: Pretrained, outputs: int) -> Net:
    """The network with its weights and a head for the data's classes: the one it has, if it knows the very same."""
    module = found.module
    if found.classes != data.classes or outputs != module.num_classes:
        module.reset_head(outputs)
    if recipe.head in ("logistic", "knn"):
        vectors = isinstance(scorer(module.head)[1], nn.Linear)
        if data.several or outputs < 2 or not vectors:
            why = "chooses one class of several, by features that are vectors"
            raise UsageError(f"--head {recipe.head} {why}", "--head linear")
    origin: dict[str, Any] = {"kind": "zoo", "name": recipe.model, "arguments": found.arguments}
    if recipe.head == "mlp":
        origin["head"] = {"kind": "mlp", "hidden": HIDDEN}
        attach(module, origin["head"], outputs)
    return Net(module, data.shape, recipe.model, origin)


def prepare_parts(recipe: Recipe, module: nn.Module) -> None:
    """Freeze what the recipe never trains."""
    if recipe.head_first:
        thaw(module, recipe.unfreeze)


def begin(run: Run, loop: Loop, model: Model, listeners: Sequence[Any]) -> None:
    """The head's phase of a new run, told to `listeners`, and the file of what the rest starts from."""
    if loop.group.size > 1 and (loop.recipe.head_first or loop.recipe.compare_scratch):
        raise UsageError("--freeze, --unfreeze and --compare-scratch train in one process")
    if loop.recipe.head_first:
        _head_phase(run, loop, model, listeners)
    model.save(run.folder / "initial.safetensors")


def hooks(loop: Loop) -> list[Listener]:
    """What goes on during fine-tuning; made while the network has the weights that it starts from."""
    recipe = loop.recipe
    if recipe.l2_sp:
        _pull(loop, recipe.l2_sp)
    return [Thaw(loop.engine.module, recipe)] if recipe.gradual and recipe.unfreeze else []


class Thaw(Listener):
    """Unfreezes one stage more at equal distances, the last stage first.  Howard & Ruder, arXiv:1801.06146, 3.3."""

    def __init__(self, module: nn.Module, recipe: Recipe) -> None:
        self.module, self.stages, self.epochs = module, recipe.unfreeze, recipe.epochs

    def on_start(self, state: State) -> None:
        self._thaw(state.epoch)

    def on_epoch(self, state: State) -> None:
        self._thaw(state.epoch + 1)

    def _thaw(self, epoch: int) -> None:
        thaw(self.module, min(self.stages, 1 + (epoch - 1) * self.stages // self.epochs))


def _pull(loop: Loop, alpha: float) -> None:
    """L2-SP: alpha / 2 * ||w - w0||^2 beside the loss, w0 being now.  Li et al., 2018, arXiv:1802.01483, eq. 2."""
    head = set(base_and_tail(loop.engine.module)[1].parameters())
    began = [(p, p.detach().clone()) for p in loop.trained if p not in head]

    def pull(optimiser: Any, *_: Any) -> None:
        scale = getattr(optimiser, "grad_scale", None)  # of float16, which fused optimisers undo themselves
        for p, p0 in began:
            if p.grad is not None:
                p.grad.add_((p.detach() - p0) * (alpha if scale is None else alpha * scale))

    loop.optimiser.register_step_pre_hook(pull)


def epochs_before(rows: Sequence[Metrics]) -> int:
    """How many epochs of a run were the head's alone."""
    return sum(row.get("phase") == 1 for row in rows)


def from_scratch(recipe: Recipe, data: DataSet) -> Recipe:
    """The recipe without its weights: the same pictures, splits, network and epochs, the usual learning rate."""
    words = [name for name, nature in natures(Recipe) if nature.group == "transfer"]
    usual = {word: Recipe.model_fields[word].default for word in words}
    return recipe.model_copy(update={**usual, "lr": None, "resize": data.preprocess.resize})


def _head_phase(run: Run, loop: Loop, model: Model, listeners: Sequence[Any]) -> None:
    """Train the head on cached features; the best of its epochs is the run's best so far."""
    recipe, began = loop.recipe, time.perf_counter()
    engine, base = loop.engine, base_and_tail(model.module)[0]
    seen = Features(base, engine.prepare, model.preprocess, engine.dtype, recipe.cache != "off")
    splits = (loop.data.train, loop.data.val)
    state = State(recipe.head_epochs, 1)
    rows: list[Metrics] = []
    kept = "" if recipe.cache == "off" else ", on the features that are kept"
    with interruptible(f"`striate train --resume {run.folder}` begins with the head again{kept}"):
        train, val = (seen.of(s, recipe.workers) if len(s) else torch.empty(0) for s in splits)
        tell(listeners, "on_start", state)
        for metrics in fit_head(loop, model, train, val):
            now = time.perf_counter()
            figures = {"images_per_second": len(train) / (now - began), "seconds": now - began}
            rows.append({"epoch": len(rows) + 1, **metrics, **figures, "phase": 1})
            loop.seconds, began = loop.seconds + now - began, now
            state.epoch, state.step, state.metrics = len(rows), 1, rows[-1]
            tell(listeners, "on_epoch", state)
    _keep(run, loop, model, rows)


def fit_head(loop: Loop, model: Model, train: Tensor, val: Tensor) -> Iterator[Metrics]:
    """Train the head in place, and tell how each epoch went."""
    kind, data, outputs = loop.recipe.head, loop.data, model.outputs
    if kind not in ("logistic", "knn"):
        with _few_threads(train):
            yield from _descend(loop, model, train, val)
        return
    labels = torch.from_numpy(data.train.labels)
    if kind == "logistic":
        _, tail = base_and_tail(model.module)
        tail[0].load_state_dict(logistic(train, labels, outputs).state_dict())
    else:
        head, spec = nearest_neighbours(train, labels, outputs)
        replace_scorer(cast(ZooNet, model.module), head.to(loop.engine.device))
        tail = nn.Sequential(head)
        model.origin = {**model.origin, "head": spec}
    yield _measure(loop, tail.eval(), train, val)


def _descend(loop: Loop, model: Model, train: Tensor, val: Tensor) -> Iterator[Metrics]:
    """AdamW on standardised features, folded into the first layer at the end: the best epoch stays."""
    recipe, device = loop.recipe, loop.engine.device
    _, tail = base_and_tail(model.module)
    tail.to(device)
    first = next(m for m in tail.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    mean, std = (v.to(device) for v in moments(train))
    fold(first, -mean / std, 1 / std)  # undone below: a head that knows something already starts from it
    shape = (1, -1, *[1] * (train.ndim - 2))
    x, v = ((t.to(device) - mean.view(shape)) / std.view(shape) if len(t) else t for t in (train, val))
    labels = torch.from_numpy(loop.data.train.labels).to(device)
    weights = None if loop.weights is None else loop.weights.to(device)
    optimiser = torch.optim.AdamW(
        tail.parameters(), HEAD_LR, weight_decay=recipe.weight_decay or 0.0, fused=True
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    batch = max(recipe.batch_size, len(x) // HEAD_STEPS)
    steps = recipe.head_epochs * -(-len(x) // batch)
    best: tuple[list[float], dict[str, Tensor]] = ([], {})
    done = 0
    for epoch in range(1, recipe.head_epochs + 1):
        tail.train()
        for rows in torch.randperm(len(x), generator=generator).to(device).split(batch):
            optimiser.param_groups[0]["lr"] = HEAD_LR * factor("one-cycle", done / steps, recipe.warmup, 1)
            w = None if weights is None else weights[rows]
            with loop.stream.drawing():
                scores = tail(x[rows])
            loop.criterion(scores, labels[rows], w).backward()
            optimiser.step()
            optimiser.zero_grad()
            done += 1
        metrics = _measure(loop, tail.eval(), x, v) | {"lr": optimiser.param_groups[0]["lr"]}
        key = rank({**metrics, "epoch": epoch}, recipe.monitor)
        if key > best[0]:
            best = key, {k: t.clone() for k, t in tail.state_dict().items()}
        yield metrics
    tail.load_state_dict(best[1])
    fold(first, mean, std)


@contextmanager
def _few_threads(x: Tensor) -> Iterator[None]:
    """One thread where features are vectors: a step is so short that threads would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if x.ndim == 2 else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def _measure(loop: Loop, tail: nn.Module, train: Tensor, val: Tensor) -> Metrics:
    found: Metrics = {}
    for name, x, images in (("train", train, loop.data.train), ("val", val, loop.data.val)):
        if len(x):
            labels = torch.from_numpy(images.labels).to(x.device)
            scores = torch.cat([tail(part).float() for part in x.split(4096)])
            told = loop.measured(scores, labels)
            # of training, later epochs tell no more either
            kept = ("loss", "accuracy") if name == "train" else told
            found |= {f"{name}_{k}": told[k] for k in kept}
    return {**found, "lr": HEAD_LR}


def _keep(run: Run, loop: Loop, model: Model, rows: Sequence[Metrics]) -> None:
    """Write the network with its head, and let what follows count from here."""
    recipe, engine = loop.recipe, loop.engine
    engine.twin = twin(model.module)
    loop.state.before = len(rows)
    for listener in loop.listeners:
        if isinstance(listener, Record):
            listener.rows = list(rows)
    best = max(rows, key=lambda row: rank(row, recipe.monitor))
    model.metrics = {k: v for k, v in best.items() if k == "epoch" or k.startswith("val_")}
    model.save(run.folder / "model.safetensors")
    if not recipe.unfreeze:
        loop.state.epoch = loop.state.epochs + 1  # nothing is left to do
