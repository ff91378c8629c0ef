"""What happens while a network trains, and who is told.

`on_start`; for each epoch `on_step` after every batch and `on_epoch` after the validation split was looked at;
`on_end`, whatever ended the run. Everybody is told in the order of the list.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

EVENTS = ("on_start", "on_step", "on_epoch", "on_end")


@dataclass
class State:
    """What listeners see, and the two things they may set: `rate` and `stop`."""

    epochs: int
    steps_per_epoch: int
    epoch: int = 1
    before: int = 0  # epochs of the head alone, which came first
    step: int = 0  # batches done in this epoch
    metrics: dict[str, float] = field(default_factory=dict)  # of the last finished epoch
    seen: int = 0  # images of this epoch
    loss_sum: Tensor | None = None  # on the device: reading it waits for the device, so few do
    correct: Tensor | None = None
    rate: float = 1.0  # multiplies the scheduled learning rate
    stop: str = ""  # why the run ends with this epoch

    @property
    def running_loss(self) -> float | None:
        """Mean training loss of the epoch so far."""
        return float(self.loss_sum) / self.seen if self.loss_sum is not None and self.seen else None


class Listener:
    """Hears the run. All methods may be left out; what must survive an interruption goes into `state_dict`."""

    def on_start(self, state: State) -> None: ...
    def on_step(self, state: State) -> None: ...
    def on_epoch(self, state: State) -> None: ...
    def on_end(self, state: State) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """Plain facts, to be stored as JSON."""
        return {}

    def load_state_dict(self, facts: dict[str, Any]) -> None:
        """Stand where `state_dict` stood."""


def tell(listeners: Iterable[Any], event: str, state: State) -> None:
    """Call the method `event` of each listener that has it."""
    for listener in listeners:
        method = getattr(listener, event, None)
        if method is not None:
            method(state)


def hears(listener: Any, event: str) -> bool:
    """Whether a listener does anything at `event`."""
    method = getattr(type(listener), event, None)
    return method is not None and method is not getattr(Listener, event)


def programme(listeners: Sequence[Any], steps: Sequence[str], averaged: str = "") -> str:
    """The run as an outline: each event with its listeners in order.

    `steps` are what a training step does, `averaged` what is done to weights before they are measured.
    """

    def line(event: str, depth: int) -> str:
        names = [type(listener).__name__ for listener in listeners if hears(listener, event)]
        return f"{'  ' * depth}{event}: {', '.join(names) or 'nobody listens'}"

    inner = [f"    {step}" for step in steps]
    before = [f"  {averaged}"] if averaged else []
    return "\n".join(
        ["save the state", line("on_start", 0), "for every epoch:", "  for every batch:", *inner,
         line("on_step", 2), *before, "  measure the validation split", line("on_epoch", 1),
         "  save the state, if that costs little enough", line("on_end", 0)]
    )  # fmt: skip
