"""The training loop: an epoch is steps, a look at the validation split, and events for whoever listens."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.data import DataSet, Images, Loader
from striate.errors import StriateError
from striate.train.augment import MOVES
from striate.train.checkpoint import pack_optimiser, to_probabilities, unpack_optimiser
from striate.train.engine import Engine
from striate.train.evaluate import logits
from striate.train.optim import optimiser
from striate.train.recipe import Recipe
from striate.train.schedule import factor


class Interrupted(StriateError):
    """SIGINT or SIGTERM came; the state was saved."""

    def __init__(self, number: int, hint: str = "") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}", hint)
        self.exit_code = 128 + number


@dataclass
class State:
    """What listeners see. `metrics` are those of the last finished epoch."""

    epochs: int
    steps_per_epoch: int
    epoch: int = 1
    step: int = 0  # steps done in this epoch
    metrics: dict[str, float] = field(default_factory=dict)
    seen: int = 0  # images of this epoch
    loss_sum: Tensor | None = (
        None  # on the device: reading it waits for the device, so nobody reads it every step
    )
    correct: Tensor | None = None

    @property
    def running_loss(self) -> float | None:
        """Mean training loss of the epoch so far."""
        return float(self.loss_sum) / self.seen if self.loss_sum is not None and self.seen else None


class Listener:
    """Hears the run: start, every step, every epoch, end. All methods may be left out."""

    def on_start(self, state: State) -> None: ...
    def on_step(self, state: State) -> None: ...
    def on_epoch(self, state: State) -> None: ...
    def on_end(self, state: State) -> None: ...


class Loop:
    """Trains `engine` on `data` as `recipe` says; everything that decides the next step is in `state_dict`."""

    def __init__(
        self, recipe: Recipe, data: DataSet, engine: Engine, listeners: Sequence[Listener] = ()
    ) -> None:
        self.recipe, self.data, self.engine, self.listeners = recipe, data, engine, listeners
        full = recipe.opt == "gd"  # one step an epoch, the gradient gathered over all batches
        self.batches = -(-len(data.train) // recipe.batch_size)
        self.steps = recipe.epochs * (1 if full else self.batches)
        self.gather = self.batches if full else 1
        self.optimiser = optimiser(recipe.opt, engine.module, recipe.lr, recipe.momentum, recipe.weight_decay)
        self.peaks = [g["lr"] for g in self.optimiser.param_groups]
        self.scaler = torch.amp.GradScaler(enabled=engine.dtype == torch.float16)
        self.criterion = loss_function(recipe)
        self.augment = MOVES[recipe.augment]
        self.state = State(recipe.epochs, self.batches)
        self.seconds = 0.0

    def fit(self, save: Callable[["Loop"], None], finished: Callable[["Loop"], None]) -> None:
        """Run to the last epoch. `finished` is called after each, `save` also when a signal stops the run."""
        self._tell("on_start")
        with listening() as signals:
            while self.state.epoch <= self.recipe.epochs:
                self._epoch(signals, save)
                finished(self)
                self._tell("on_epoch")
                self._next_epoch()
                save(self)
        self.state.epoch = self.recipe.epochs
        self._tell("on_end")

    def _epoch(self, signals: list[int], save: Callable[["Loop"], None]) -> None:
        state, recipe = self.state, self.recipe
        began, seen_before = time.perf_counter(), state.seen
        loader = Loader(
            self.data.train,
            recipe.batch_size,
            seed=recipe.seed,
            epoch=state.epoch,
            start=state.step,
            workers=recipe.workers,
        )
        self.engine.train()
        for images, labels in loader:
            self._step(images, labels)
            self._tell("on_step")
            if signals:
                self.seconds += time.perf_counter() - began
                save(self)
                raise Interrupted(signals[0], "go on with `striate train --resume RUN`")
        loss = state.running_loss or 0.0
        if not np.isfinite(loss):
            raise StriateError(
                f"the loss became {loss} in epoch {state.epoch}; the best weights so far are kept",
                "try a lower learning rate: --lr",
            )
        training_seconds = time.perf_counter() - began
        accuracy = float(state.correct) / state.seen if state.correct is not None else 0.0
        metrics = {"train_loss": loss, "train_accuracy": accuracy}
        if len(self.data.val):
            metrics["val_loss"], metrics["val_accuracy"] = self.validate(self.data.val)
        elapsed = time.perf_counter() - began
        self.seconds += elapsed
        metrics["lr"] = self.optimiser.param_groups[0]["lr"]
        metrics["images_per_second"] = (state.seen - seen_before) / training_seconds
        metrics["seconds"] = elapsed
        state.metrics = metrics

    def _step(self, images: Tensor, labels: Tensor) -> None:
        state = self.state
        gathered = state.step % self.gather
        done = (self.state.epoch - 1) * self.batches + state.step
        images = self.augment(images.to(self.engine.device, non_blocking=True), self._generator(done))
        labels = labels.to(self.engine.device, non_blocking=True)
        scores, auxiliary = self.engine.run_with_auxiliary(self.engine.prepare(images))
        loss = self.criterion(scores, labels)
        total = (
            loss + self.recipe.aux_weight * sum(self.criterion(a, labels) for a in auxiliary)
            if auxiliary
            else loss
        )
        share = len(labels) / len(self.data.train) if self.gather > 1 else 1.0
        self.scaler.scale(total * share if share != 1 else total).backward()
        if gathered == self.gather - 1:
            rate = factor(self.recipe.sched, done / self.gather / self.steps, self.recipe.warmup)
            for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
                group["lr"] = peak * rate
            self.scaler.step(self.optimiser)
            self.scaler.update()
            self.optimiser.zero_grad()
        with torch.no_grad():
            right = (to_labels(scores) == labels).sum()
            state.loss_sum = loss.detach() * len(labels) + (0 if state.loss_sum is None else state.loss_sum)
            state.correct = right + (0 if state.correct is None else state.correct)
        state.seen += len(labels)
        state.step += 1

    def validate(self, images: Images) -> tuple[float, float]:
        """Mean loss and accuracy."""
        scores, labels = logits(self.engine, images, max(256, self.recipe.batch_size), self.recipe.workers)
        return float(self.criterion(scores, labels)), float((to_labels(scores) == labels).float().mean())

    def _next_epoch(self) -> None:
        state = self.state
        state.epoch, state.step, state.seen, state.loss_sum, state.correct = state.epoch + 1, 0, 0, None, None

    def _generator(self, step: int) -> torch.Generator:
        """Augmentation of a step depends on the seed and the step alone, so a resumed run draws the same."""
        return torch.Generator(self.engine.device).manual_seed(self.recipe.seed * 1_000_003 + step)

    def _tell(self, event: str) -> None:
        for listener in self.listeners:
            method = getattr(listener, event, None)
            if method is not None:
                method(self.state)

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything a resumed run needs, as tensors and as plain facts."""
        tensors = {
            f"module.{k}": v.detach().cpu().clone() for k, v in self.engine.module.state_dict().items()
        }
        packed, groups = pack_optimiser(self.optimiser)
        tensors |= packed
        tensors["rng.cpu"] = torch.get_rng_state()
        if self.engine.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.engine.device)
        state = self.state
        for name in ("loss_sum", "correct"):
            value = getattr(state, name)
            if value is not None:
                tensors[f"sum.{name}"] = value.detach().cpu().clone()
        facts = {
            "epoch": state.epoch,
            "step": state.step,
            "seen": state.seen,
            "seconds": self.seconds,
            "groups": groups,
            "scaler": self.scaler.state_dict(),
        }
        return tensors, facts

    def load_state_dict(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Stand where `state_dict` stood."""
        module = {k.removeprefix("module."): v for k, v in tensors.items() if k.startswith("module.")}
        self.engine.module.load_state_dict(module)
        unpack_optimiser(self.optimiser, tensors, facts["groups"])
        self.scaler.load_state_dict(facts["scaler"])
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors and self.engine.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng.cuda"], self.engine.device)
        state = self.state
        state.epoch, state.step, state.seen = facts["epoch"], facts["step"], facts["seen"]
        for name in ("loss_sum", "correct"):
            if f"sum.{name}" in tensors:
                setattr(state, name, tensors[f"sum.{name}"].to(self.engine.device))
        self.seconds = facts["seconds"]


def loss_function(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    """Mean loss of logits against labels.    (n, k), (n,) -> ()"""
    if recipe.loss == "binary-cross-entropy":
        return lambda logits, y: F.binary_cross_entropy_with_logits(logits[:, 0], y.to(logits.dtype))
    return nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)


def to_labels(logits: Tensor) -> Tensor:
    """The most probable class.    (n, k) -> (n,)"""
    return to_probabilities(logits).argmax(dim=1) if logits.shape[1] == 1 else logits.argmax(dim=1)


@contextmanager
def listening() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM while a run goes on, so that it can save first; the second one acts at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before: dict[int, Any] = {}

    def catch(number: int, frame: Any) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    for n in (signal.SIGINT, signal.SIGTERM):
        before[n] = signal.signal(n, catch)
    try:
        yield caught
    finally:
        for n, handler in before.items():  # type: ignore[assignment]
            signal.signal(n, handler)
