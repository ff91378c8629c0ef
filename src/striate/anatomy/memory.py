"""Memory before you train: what a rehearsed step needs, and the optimiser's state."""

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from striate.anatomy.rehearsal import PRECISIONS, inference, training
from striate.diagram.meta import meta_copy, uncompiled
from striate.errors import UsageError, nearest

# (values of state per weight, values in passing per weight of the largest tensor), weight decay included;
# Adam as torch fuses it
OPTIMISERS = {
    "gd": (0, 1),
    "sgd": (0, 1),
    "momentum": (1, 1),
    "nesterov": (1, 2),
    "rmsprop": (1, 2),
    "adagrad": (1, 2),
    "adadelta": (2, 3),
    "adam": (2, 0),
    "adamw": (2, 0),
    "muon": (1, 3),
}


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `training` is the peak of a step; the parts don't all live at once, so it is not their sum."""

    batch: int
    optimiser: str
    precision: str
    weights: int  # parameters and buffers
    gradients: int
    optimiser_state: int
    kept: int  # what backward needs of the forward pass, the images included
    training: int
    inference: int  # the peak of a forward pass without gradients

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def memory(
    module: nn.Module,
    input_shape: tuple[int, ...],
    batch: int = 32,
    optimiser: str = "adamw",
    precision: str = "fp32",
) -> Memory:
    """What `module` needs to train and to run; bf16 and fp16 mean autocast, which keeps fp32 weights.

    >>> memory(nn.Linear(1000, 1000, bias=False), (1000,), batch=1, optimiser="momentum").optimiser_state
    4000000
    """
    _known(optimiser, OPTIMISERS, "optimiser")
    _known(precision, PRECISIONS, "precision")
    shape = (batch, *input_shape)
    gradients = _bytes(p for p in module.parameters() if p.requires_grad)
    state, update = _updating(module, optimiser)
    kept, peak, left = training(module, shape, precision)
    return Memory(
        batch=batch,
        optimiser=optimiser,
        precision=precision,
        weights=_bytes((*module.parameters(), *module.buffers())),
        gradients=gradients,
        optimiser_state=state,
        kept=kept,
        training=state + max(peak, left + update),
        inference=inference(module, shape, precision),
    )


def largest_batch(
    module: nn.Module,
    input_shape: tuple[int, ...],
    limit: int,
    optimiser: str = "adamw",
    precision: str = "fp32",
) -> int:
    """The most images a step that fits in `limit` bytes, 0 if none does.

    The peak grows like a straight line once activations dominate: guess on the line, then make sure.
    """

    _known(optimiser, OPTIMISERS, "optimiser")
    _known(precision, PRECISIONS, "precision")
    state, update = _updating(module, optimiser)

    @functools.cache
    def peak(batch: int) -> int:
        _, top, left = training(module, (batch, *input_shape), precision)
        return state + max(top, left + update)

    low, high = 2, 32
    if peak(low) > limit:
        return 0
    while peak(high) <= limit:
        slope = max(1.0, (peak(high) - peak(low)) / (high - low))
        low, high = high, high + max(1, math.ceil((limit - peak(high)) / slope))
    while high - low > 1:  # peak(low) fits, peak(high) does not
        slope = (peak(high) - peak(low)) / (high - low)
        guess = low + int((limit - peak(low)) / slope)
        middle = min(max(guess, low + 1), high - 1)
        low, high = (middle, high) if peak(middle) <= limit else (low, middle)
    return low


def savings(module: nn.Module, input_shape: tuple[int, ...], now: Memory) -> dict[str, int | None]:
    """Bytes of the training peak that each remedy would save; None where the network does not allow it."""
    change = functools.partial(memory, module, input_shape)
    remedies: dict[str, Callable[[], Memory]] = {}
    if now.batch > 1:
        remedies["half the batch"] = lambda: change(now.batch // 2, now.optimiser, now.precision)
    if now.precision == "fp32":
        remedies["bf16 instead of fp32"] = lambda: change(now.batch, now.optimiser, "bf16")
    remedies["twice the first stride"] = lambda: memory(
        _coarser(module), input_shape, now.batch, now.optimiser, now.precision
    )
    saved: dict[str, int | None] = {}
    for name, remedy in remedies.items():
        try:
            saved[name] = now.training - remedy().training
        except UsageError:
            saved[name] = None
    return saved


def _coarser(module: nn.Module) -> nn.Module:
    """A hollow copy whose first convolution takes steps twice as long."""
    shadow = meta_copy(uncompiled(module))
    for m in shadow.modules():
        if isinstance(m, nn.Conv2d):
            m.stride = (2 * m.stride[0], 2 * m.stride[1])
            return shadow
    raise UsageError(f"{type(module).__name__} has no convolution")


def _known(name: str, table: dict[str, Any], kind: str) -> None:
    if name not in table:
        raise UsageError(f"unknown {kind} {name!r}", nearest(name, table) or f"one of {', '.join(table)}")


def _updating(module: nn.Module, optimiser: str) -> tuple[int, int]:
    """(bytes of optimiser state, bytes that the update needs in passing)."""
    state, passing = OPTIMISERS[optimiser]
    weights = [p for p in module.parameters() if p.requires_grad]
    return state * _bytes(weights), passing * max((p.nbytes for p in weights), default=0)


def _bytes(held: Iterable[Tensor]) -> int:
    return sum({id(t): t.nbytes for t in held}.values())
