"""When the state of a run is written: as often as that costs at most a fiftieth of the time."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from striate.train.checkpoint import save_state

if TYPE_CHECKING:
    from striate.train.loop import Loop

SHARE = 0.02  # of the time
GUESS = 2e8  # bytes a second, before the first state was written


class Saver:
    """Writes states into `folder` and knows what that costs; only the first rank writes."""

    def __init__(self, folder: Path, module: nn.Module) -> None:
        self.folder = folder
        self.cost = 0.01 + 3 * sum(p.numel() * p.element_size() for p in module.parameters()) / GUESS
        self.since = time.perf_counter()

    def due(self) -> bool:
        """Whether the time since the last state pays for another one."""
        return SHARE * (time.perf_counter() - self.since) > self.cost

    def __call__(self, loop: "Loop") -> None:
        began = time.perf_counter()
        tensors, facts = loop.state_dict()
        if loop.group.first:
            save_state(self.folder, tensors, facts)
        self.since = time.perf_counter()
        self.cost = self.since - began
