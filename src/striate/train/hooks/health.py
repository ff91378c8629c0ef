"""How each layer fares: gradients that vanish or explode, units that died, weights over time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate.data import Images
from striate.explain.health import Criterion, health
from striate.files import write_text
from striate.train.engine import Engine
from striate.train.events import Listener, State

BINS = 32  # of a weight histogram
FEWEST, MOST = 16, 64  # images looked at: a fiftieth of the training split, within these


class Health(Listener):
    """Writes `health.jsonl`, a line an epoch: the health of the network on the same few training images each time.

    {epoch, images, gradients, activities, weights: [{layer, low, high, counts}]}, gradients and activities as in
    `striate.explain.health`, in training mode and of the loss without class weights and auxiliary heads. It changes
    nothing, random numbers included: a run with it is the run without it.
    """

    def __init__(
        self, folder: Path, engine: Engine, images: Images, criterion: Criterion, batch_size: int = MOST
    ) -> None:
        self.path, self.engine, self.criterion = folder / "health.jsonl", engine, criterion
        n = min(len(images), max(FEWEST, min(MOST, len(images) // 50)))
        rows = np.linspace(0, len(images) - 1, n).astype(np.int64)
        self.images, self.labels = images.read(rows), torch.from_numpy(images.labels[rows])
        self.parts = max(1, n // batch_size)  # of a batch of the run or more: batch norm needs two images

    def on_start(self, state: State) -> None:
        if self.path.is_file():  # a resumed run does some epochs again
            lines = self.path.read_text("utf-8", "replace").splitlines(keepends=True)
            write_text(self.path, "".join(s for s in lines if _epoch(s) < state.epoch))

    def on_epoch(self, state: State) -> None:
        module = self.engine.module
        parts = zip(self.images.tensor_split(self.parts), self.labels.tensor_split(self.parts), strict=True)
        look = health(module, ((self.engine.prepare(x), y) for x, y in parts), self.criterion)
        found = {"epoch": state.epoch, "images": len(self.labels), **look.to_json()}
        with self.path.open("a", encoding="utf-8") as f:
            f.write(json.dumps({**found, "weights": histograms(module)}) + "\n")


def histograms(module: nn.Module) -> list[dict[str, Any]]:
    """[{layer, low, high, counts}]: how the weights of each layer lie between the lowest and the highest."""
    weights = {
        k.removesuffix(".weight"): p.detach().float() for k, p in module.named_parameters() if p.dim() > 1
    }
    return [{"layer": layer, **_histogram(weight)} for layer, weight in weights.items()]


def _histogram(weight: Tensor) -> dict[str, Any]:
    low, high = float(weight.min()), float(weight.max())
    counts = torch.histc(weight, BINS, low, high) if low < high else [weight.numel()] + [0] * (BINS - 1)
    return {"low": low, "high": high, "counts": [int(c) for c in counts]}


def _epoch(line: str) -> float:
    try:
        return int(json.loads(line)["epoch"])
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):  # a line cut short, or edited
        return float("inf")
