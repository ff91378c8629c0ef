"""What follows a validation metric: the best weights kept, early stopping, a lower rate on a plateau."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from torch import nn

from striate.train.checkpoint import Model
from striate.train.events import Listener, State

TENTH = 0.1  # what a plateau leaves of the learning rate


def score(metrics: dict[str, float], monitor: str) -> float:
    """The watched metric, higher is better: -loss, mean average precision, or accuracy; NaN without validation."""
    if monitor == "loss":
        return -metrics.get("val_loss", float("nan"))
    return metrics.get("val_map", metrics.get("val_accuracy", float("nan")))


class Best(Listener):
    """Keeps the weights of the best epoch in the model file: of equal scores, the one with the lowest loss.

    Without a validation split, those of the latest.
    """

    def __init__(self, model: Model, path: Path, monitor: str, judged: Callable[[], nn.Module]) -> None:
        self.model, self.path, self.monitor, self.judged = model, path, monitor, judged
        self.key: list[float] = []
        self.metrics: dict[str, float] = {}

    def on_epoch(self, state: State) -> None:
        metrics = state.metrics
        measured = "val_loss" in metrics
        key = [score(metrics, self.monitor), -metrics["val_loss"]] if measured else [float(state.epoch)]
        if all(map(isfinite, key)) and key > self.key:
            self.key = key
            self.metrics = {k: v for k, v in metrics.items() if k.startswith("val_")}
            self.metrics["epoch"] = state.before + state.epoch
            replace(self.model, module=self.judged(), metrics=self.metrics).save(self.path)

    def state_dict(self) -> dict[str, Any]:
        return {"key": self.key, "metrics": self.metrics}

    def load_state_dict(self, facts: dict[str, Any]) -> None:
        self.key, self.metrics = facts["key"], facts["metrics"]


class Patience(Listener):
    """Counts epochs since the score last rose by more than `min_delta`; a new high only just above isn't one."""

    def __init__(self, patience: int, monitor: str, min_delta: float = 0.0) -> None:
        self.patience, self.monitor, self.min_delta = patience, monitor, min_delta
        self.best, self.waited = -float("inf"), 0

    def on_epoch(self, state: State) -> None:
        now = score(state.metrics, self.monitor)
        self.waited += 1
        if now > self.best + self.min_delta:
            self.best, self.waited = now, 0
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
    """Leaves a tenth of the learning rate."""

    def over(self, state: State) -> None:
        state.rate *= TENTH
