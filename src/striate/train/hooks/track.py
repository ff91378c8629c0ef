"""TensorBoard and Weights & Biases; both are asked for by name and come with the extra `track`."""

import os
import secrets
from importlib import import_module
from pathlib import Path
from typing import Any

from striate.errors import UsageError
from striate.train.events import Listener, State


class TensorBoard(Listener):
    """Metrics under `tensorboard/` of the run folder, as loss/train, loss/val and so on, by epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tensorboard"
        self._writer = _need("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self.board: Any = None

    def on_start(self, state: State) -> None:
        self.board = self._writer(str(self.folder), purge_step=state.epoch)

    def on_epoch(self, state: State) -> None:
        for name, value in state.metrics.items():
            self.board.add_scalar(_grouped(name), value, state.epoch)
        self.board.flush()

    def on_end(self, state: State) -> None:
        self.board.close()


class WandB(Listener):
    """Metrics and recipe for Weights & Biases, below the run folder; offline unless WANDB_MODE says otherwise."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder, self.config, self.id = folder, config, secrets.token_hex(4)
        self._wandb = _need("wandb", "wandb")
        self.run: Any = None

    def on_start(self, state: State) -> None:
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        self.run = self._wandb.init(
            project="striate", name=self.folder.name, dir=str(self.folder), config=self.config, mode=mode,
            id=self.id, resume="allow",
        )  # fmt: skip

    def on_epoch(self, state: State) -> None:
        self.run.log({_grouped(name): value for name, value in state.metrics.items()}, step=state.epoch)

    def on_end(self, state: State) -> None:
        self.run.finish()

    def state_dict(self) -> dict[str, Any]:
        return {"id": self.id}

    def load_state_dict(self, facts: dict[str, Any]) -> None:
        self.id = facts["id"]


def _grouped(name: str) -> str:
    """train_loss and val_loss share a chart."""
    split, _, metric = name.partition("_")
    return f"{metric}/{split}" if split in ("train", "val") else name


def _need(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise UsageError(f"{package} is not installed", "pip install 'striate[track]'") from None
