"""Weights that follow the weights being trained: an average that is judged and kept, and lookahead's slow copy."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from striate.data import Images, Loader
from striate.train.engine import Engine


class Average:
    """A copy of a network whose weights are averages of the trained one's.

    ema: a <- d a + (1 - d) w after every step, with d = min(decay, (1 + t) / (10 + t)) so that the start is soon
    forgotten. swa: the mean of the weights that it was shown (Izmailov et al., 2018, arXiv:1803.05407, section 3).
    """

    def __init__(self, engine: Engine, kind: str, decay: float = 0.999) -> None:
        self.source, self.kind, self.decay, self.count = engine.module, kind, decay, 0
        self.module = copy.deepcopy(engine.module).requires_grad_(False)
        self.engine = engine.like(self.module)
        pairs = list(zip(_tensors(self.module), _tensors(self.source), strict=True))
        self._floats = [(a, w) for a, w in pairs if a.is_floating_point()]
        self._counts = [(a, w) for a, w in pairs if not a.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights as they are now into the average."""
        t = self.count
        self.count += 1
        left = min(self.decay, (1 + t) / (10 + t)) if self.kind == "ema" else t / (t + 1)
        averages, weights = [a for a, _ in self._floats], [w.detach() for _, w in self._floats]
        torch._foreach_lerp_(averages, weights, 1 - left if t else 1.0)
        for a, w in self._counts:
            a.copy_(w)

    def measure_norms(self, images: Images, batch_size: int, workers: int) -> None:
        """Give batch norms the statistics of averaged weights: those of the trained ones don't fit them."""
        loader = Loader(
            images, batch_size, shuffle=False, workers=workers, drop_last=len(images) > batch_size
        )
        with self.engine.arithmetic():
            update_bn((self.engine.prepare(x) for x, _ in loader), self.engine.twin)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages and how many weights are in them."""
        tensors = {f"average.{k}": v.detach().cpu().clone() for k, v in self.module.state_dict().items()}
        return {**tensors, "averaged": torch.tensor(self.count)}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Stand where `state_dict` stood; a run that had no average begins one."""
        if "averaged" in tensors:
            mine = {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
            self.module.load_state_dict(mine)
            self.count = int(tensors["averaged"])


class Lookahead:
    """Every k steps, s <- s + (w - s) / 2 and w <- s.  Zhang et al., 2019, arXiv:1907.08610, algorithm 1."""

    def __init__(self, parameters: Iterable[nn.Parameter], k: int) -> None:
        self.fast, self.k = list(parameters), k
        self.slow = [p.detach().clone() for p in self.fast]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """`step` optimiser steps are done."""
        if step % self.k == 0:
            torch._foreach_lerp_(self.slow, [p.detach() for p in self.fast], 0.5)
            for p, s in zip(self.fast, self.slow, strict=True):
                p.copy_(s)

    def state_dict(self) -> dict[str, Tensor]:
        """The slow weights."""
        return {f"slow.{i}": s.cpu().clone() for i, s in enumerate(self.slow)}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Stand where `state_dict` stood; a run that had no slow weights begins with those it has."""
        for i, (s, p) in enumerate(zip(self.slow, self.fast, strict=True)):
            s.copy_(tensors.get(f"slow.{i}", p.detach()))


def _tensors(module: nn.Module) -> list[Any]:
    return [*module.parameters(), *module.buffers()]
