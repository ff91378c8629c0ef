"""What follows a validation metric: the best weights kept, early stopping, a lower rate on a plateau.

Beside Keras' callbacks: a metric always knows its direction, and all of this survives an interruption.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from torch import nn

from striate.train.checkpoint import Model, stored_metrics
from striate.train.events import Listener, State
from striate.train.monitors import column


def score(metrics: dict[str, float], monitor: str) -> float:
    """The watched metric, higher is better, and NaN without validation.

    Of `accuracy` it is the mean average precision where images have several labels.
    """
    if monitor == "loss":
        return -metrics.get("val_loss", float("nan"))
    if monitor != "accuracy":
        return metrics.get(f"val_{column(monitor)}", float("nan"))
    return metrics.get("val_map", metrics.get("val_accuracy", float("nan")))


def rank(metrics: dict[str, float], monitor: str) -> list[float]:
    """What makes an epoch better than others: its score, then a low loss; without validation, being later."""
    if "val_loss" not in metrics:
        return [float(metrics["epoch"])]
    return [score(metrics, monitor), -metrics["val_loss"]]


class Best(Listener):
    """Keeps the weights of the best epoch in the model file: of equal scores, the one with the lowest loss.

    Without a validation split, those of the latest. The file itself is its memory, for it may be ahead of the state
    that a run goes on from.
    """

    def __init__(self, model: Model, path: Path, monitor: str, judged: Callable[[], nn.Module]) -> None:
        self.model, self.path, self.monitor, self.judged = model, path, monitor, judged
        self.metrics: dict[str, float] = {}

    def on_start(self, state: State) -> None:
        if self.path.is_file():
            self.metrics = stored_metrics(self.path)

    def on_epoch(self, state: State) -> None:
        found = {k: v for k, v in state.metrics.items() if k.startswith("val_")}
        metrics = {**found, "epoch": state.before + state.epoch}
        if not found or self._better(metrics):
            self.metrics = metrics
            replace(self.model, module=self.judged(), metrics=metrics).save(self.path)

    def _better(self, metrics: dict[str, float]) -> bool:
        now = rank(metrics, self.monitor)
        before = rank(self.metrics, self.monitor) if self.metrics else []
        measured = all(map(isfinite, before))  # a run may go on by another figure than it began with
        return all(map(isfinite, now)) and (not measured or now > before)


class Keep(Listener):
    """Keeps model files of the `count` best epochs, as epoch-012.safetensors; without validation, of the latest."""

    def __init__(
        self, count: int, model: Model, folder: Path, monitor: str, judged: Callable[[], nn.Module]
    ) -> None:
        self.count, self.model, self.folder, self.monitor, self.judged = count, model, folder, monitor, judged
        self.kept: list[tuple[list[float], int]] = []  # rank and epoch, best first

    def on_start(self, state: State) -> None:
        self.folder.mkdir(exist_ok=True)

    def on_epoch(self, state: State) -> None:
        epoch = state.before + state.epoch
        metrics = {**state.metrics, "epoch": epoch}
        key = rank(metrics, self.monitor)
        if not all(map(isfinite, key)):
            return
        self.kept = sorted([*self.kept, (key, epoch)], key=lambda one: one[0], reverse=True)[: self.count]
        if (key, epoch) in self.kept:
            model = replace(self.model, module=self.judged(), metrics=metrics)
            model.save(self._file(epoch))
        self._remove_others()

    def _file(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:03}.safetensors"

    def _remove_others(self) -> None:
        """The new one stands before an old one goes, so that a kill leaves too many, never too few.

        What a killed run left goes with the next epoch, for until then there may be nothing in its place.
        """
        wanted = {self._file(epoch) for _, epoch in self.kept}
        for file in set(self.folder.glob("epoch-*.safetensors")) - wanted:
            file.unlink()

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def load_state_dict(self, facts: dict[str, Any]) -> None:
        self.kept = [(key, epoch) for key, epoch in facts["kept"]]


class Patience(Listener):
    """Counts epochs since the score last rose by more than `min_delta`; a new high only just above isn't one.

    Below `baseline` a rise doesn't begin the count anew. Epochs before `first` don't count.
    """

    def __init__(
        self,
        patience: int,
        monitor: str,
        min_delta: float = 0.0,
        first: int = 1,
        baseline: float | None = None,
    ) -> None:
        self.patience, self.monitor, self.min_delta, self.first = patience, monitor, min_delta, first
        self.best, self.waited, self.baseline = -float("inf"), 0, -float("inf")
        if baseline is not None:
            self.baseline = -baseline if monitor == "loss" else baseline

    def on_epoch(self, state: State) -> None:
        if state.epoch < self.first:
            return
        now = score(state.metrics, self.monitor)
        self.waited += 1
        if now > self.best + self.min_delta:
            self.best = now
            if now > self.baseline + self.min_delta:
                self.waited = min(self.waited, 0)
        elif self.waited >= self.patience:
            self.waited = 0
            self.over(state)

    @abstractmethod
    def over(self, state: State) -> None:
        """Patience is at its end."""

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, facts: dict[str, Any]) -> None:
        self.best, self.waited = facts["best"], facts["waited"]


class EarlyStopping(Patience):
    """Ends the run. The best weights are those that it gives, as always."""

    def over(self, state: State) -> None:
        state.stop = f"no improvement in {self.patience} epoch{'s' if self.patience > 1 else ''}"


class Plateau(Patience):
    """Leaves `factor` of the learning rate, at least `least` of its peak, and rests for `cooldown` epochs."""

    def __init__(
        self,
        patience: int,
        monitor: str,
        min_delta: float = 0.0,
        factor: float = 0.1,
        cooldown: int = 0,
        least: float = 0.0,
    ) -> None:
        super().__init__(patience, monitor, min_delta)
        self.factor, self.cooldown, self.least = factor, cooldown, least

    def over(self, state: State) -> None:
        state.rate = min(state.rate, max(state.rate * self.factor, self.least))
        self.waited = -self.cooldown
