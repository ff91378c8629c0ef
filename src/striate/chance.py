"""Random numbers of one's own, though layers draw from torch's global generators, of which all threads share one.

Whoever trains or builds holds a `Stream`. While it draws, the global generators stand where the stream stands, no other
stream draws, and afterwards they are where the caller had them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch
from torch import Tensor

CPU = torch.device("cpu")
_turn = RLock()


class Stream:
    """What `torch.manual_seed(seed)` begins, on the CPU and on `device`."""

    def __init__(self, seed: int, device: torch.device = CPU) -> None:
        self.states = {d: torch.Generator(d).manual_seed(seed).get_state() for d in (CPU, device)}

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """What is drawn meanwhile comes from this stream."""
        with _turn:
            before = {device: _state(device) for device in self.states}
            _set(self.states)
            try:
                yield
            finally:
                self.states = {device: _state(device) for device in self.states}
                _set(before)


def _state(device: torch.device) -> Tensor:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else torch.get_rng_state()


def _set(states: dict[torch.device, Tensor]) -> None:
    for device, state in states.items():
        if device.type == "cuda":
            torch.cuda.set_rng_state(state, device)
        elif device.type == "mps":
            torch.mps.set_rng_state(state)
        else:
            torch.set_rng_state(state)
