"""How each layer fares: gradients that vanish or explode, units that died, weights over time."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate.data import Images
from striate.files import write_text
from striate.layers import Maxout
from striate.train.engine import Engine
from striate.train.events import Listener, State

BINS = 32  # of a weight histogram
FEWEST, MOST = 16, 64  # images looked at: a fiftieth of the training split, within these
ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Mish, Maxout),
)


class Health(Listener):
    """Writes `health.jsonl`, a line an epoch, about the same training images each time; see `examine`.

    It draws no random number and changes nothing: a run with it is the run without it.
    """

    def __init__(
        self, folder: Path, engine: Engine, images: Images, criterion: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        self.path, self.engine, self.criterion = folder / "health.jsonl", engine, criterion
        n = min(len(images), max(FEWEST, min(MOST, len(images) // 50)))
        rows = np.linspace(0, len(images) - 1, n).astype(np.int64)
        self.images, self.labels = images.read(rows), torch.from_numpy(images.labels[rows])

    def on_start(self, state: State) -> None:
        if self.path.exists():  # a resumed run does some epochs again
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            write_text(self.path, "".join(s for s in lines if _epoch(s) < state.epoch))

    def on_epoch(self, state: State) -> None:
        x, y = self.engine.prepare(self.images), self.labels.to(self.engine.device)
        found = {"epoch": state.epoch, **examine(self.engine.module, x, y, self.criterion)}
        with self.path.open("a", encoding="utf-8") as f:
            f.write(json.dumps(found) + "\n")


def examine(
    module: nn.Module, x: Tensor, y: Tensor, criterion: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, Any]:
    """{images, loss, layers, activations} of a batch in evaluation mode, in float32.

    `layers`, one for each module that holds parameters, in the network's order: {name, type, grad_norm, weight_norm,
    histogram: {low, high, counts}}, norms being L2; grad_norm is None where the loss doesn't depend on them.
    `activations`: {name, type, mean, std, zero, dead}: the share of outputs that are 0, and of channels (or units
    of a dense layer) that are 0 everywhere for every image.
    """
    seen: list[dict[str, Any]] = []
    handles = [
        m.register_forward_hook(_noting(name, seen))
        for name, m in module.named_modules()
        if isinstance(m, ACTIVATIONS)
    ]
    owners = {n: (m, dict(m.named_parameters(recurse=False))) for n, m in module.named_modules()}
    owners = {n: (m, own) for n, (m, own) in owners.items() if own}
    trained = [p for _, own in owners.values() for p in own.values() if p.requires_grad]
    was_training = module.training
    module.eval()
    try:
        with torch.enable_grad():
            loss = criterion(module(x), y)
        gradients = dict(
            zip(map(id, trained), torch.autograd.grad(loss, trained, allow_unused=True), strict=True)
        )
    finally:
        module.train(was_training)
        for handle in handles:
            handle.remove()
    layers = [_layer(n, m, list(own.values()), gradients) for n, (m, own) in owners.items()]
    return {"images": len(x), "loss": float(loss.detach()), "layers": layers, "activations": seen}


def _layer(
    name: str, module: nn.Module, own: list[nn.Parameter], gradients: Mapping[int, Tensor | None]
) -> dict[str, Any]:
    weight = own[0].detach().float()
    low, high = float(weight.min()), float(weight.max())
    moving = [g for p in own if (g := gradients.get(id(p))) is not None]
    return {
        "name": name,
        "type": type(module).__name__,
        "grad_norm": _norm(moving) if moving else None,
        "weight_norm": _norm([p.detach() for p in own]),
        "histogram": {"low": low, "high": high, "counts": _histogram(weight, low, high)},
    }


def _noting(name: str, seen: list[dict[str, Any]]) -> Callable[[nn.Module, Any, Tensor], None]:
    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        out = output.detach().float()
        zero = out == 0
        dead = zero.all(dim=[d for d in range(out.ndim) if d != 1] or 0)
        facts = (out.mean(), out.std(correction=0), zero.float().mean(), dead.float().mean())
        mean, std, share, gone = torch.stack(facts).tolist()
        kind = type(module).__name__
        seen.append({"name": name, "type": kind, "mean": mean, "std": std, "zero": share, "dead": gone})

    return note


def _norm(tensors: list[Tensor]) -> float:
    return float(torch.stack([t.float().norm() for t in tensors]).norm())


def _histogram(weight: Tensor, low: float, high: float) -> list[int]:
    if not low < high:
        return [weight.numel()] + [0] * (BINS - 1)
    return [int(c) for c in torch.histc(weight, BINS, low, high).tolist()]


def _epoch(line: str) -> float:
    try:
        return int(json.loads(line)["epoch"])
    except (ValueError, KeyError):  # a line cut short
        return float("inf")
