"""Memory before you train: one training step is rehearsed without arithmetic, every tensor's life followed.

The network runs forward and backward on tensors that have a size and no data. A storage counts from the
operation that makes it until Python and autograd let it go, so the peak has all that a real step has: weights,
gradients, what backward keeps, gradients in passing; the optimiser's state is added. Not seen are work spaces
inside the convolution library: a few per cent, more where a CPU must imitate bf16 instructions.
"""

import functools
import itertools
import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from striate.diagram.graph import TraceError, meta_copy, tensors
from striate.diagram.shapes import Hollow
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
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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
    kept, peak, left = _training(module, shape, precision)
    return Memory(
        batch=batch,
        optimiser=optimiser,
        precision=precision,
        weights=_bytes((*module.parameters(), *module.buffers())),
        gradients=gradients,
        optimiser_state=state,
        kept=kept,
        training=state + max(peak, left + update),
        inference=_inference(module, shape, precision),
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
        _, top, left = _training(module, (batch, *input_shape), precision)
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
    shadow = meta_copy(module)
    for m in shadow.modules():
        if isinstance(m, nn.Conv2d):
            m.stride = (2 * m.stride[0], 2 * m.stride[1])
            return shadow
    raise UsageError(f"{type(module).__name__} has no convolution")


def _known(name: str, table: dict[str, Any], kind: str) -> None:
    if name not in table:
        raise UsageError(f"unknown {kind} {name!r}", nearest(name, table) or f"one of {', '.join(table)}")


# --- rehearsals ---


class _Live(Hollow):
    """Follows the bytes of all storages that are alive, and their peak."""

    def __init__(self, *held: Iterable[Tensor]) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.storages: dict[int, weakref.ref[Any]] = {}
        for t in itertools.chain(*held):
            self.follow(t)

    def follow(self, t: Tensor) -> None:
        storage = t.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.storages:
            self.storages[key] = weakref.ref(storage, lambda _: self._forget(key, size))
            self.bytes += size
            self.peak = max(self.peak, self.bytes)

    def _forget(self, key: int, size: int) -> None:
        del self.storages[key]
        self.bytes -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        for t in tensors(out):
            self.follow(t)
        return out


@contextmanager
def _stage(module: nn.Module, shape: tuple[int, ...], precision: str) -> Iterator[tuple[nn.Module, Tensor]]:
    """A hollow network with a batch of images; half precision needs a device that autocast knows."""
    dtype = PRECISIONS[precision]
    if dtype is None:
        yield meta_copy(module), torch.empty(shape, device="meta")
        return
    from torch._subclasses.fake_tensor import FakeTensorMode  # a second to load

    with FakeTensorMode(allow_non_fake_inputs=True):
        net, x = meta_copy(module, "cpu"), torch.empty(shape)
        with torch.autocast("cpu", dtype):
            yield net, x


def _training(module: nn.Module, shape: tuple[int, ...], precision: str) -> tuple[int, int, int]:
    """(bytes kept for backward, peak of forward and backward, alive after backward), weights included."""
    try:
        with _stage(module, shape, precision) as (net, x):
            live = _Live(net.parameters(), net.buffers(), [x])
            weights = {t.untyped_storage()._cdata for t in (*net.parameters(), *net.buffers())}
            kept: dict[int, int] = {}

            def pack(t: Tensor) -> Tensor:
                storage = t.untyped_storage()
                if storage._cdata not in weights:
                    kept[storage._cdata] = storage.nbytes()
                return t

            with live:
                with saved_tensors_hooks(pack, lambda t: t):
                    loss = _loss(net.train()(x))
                with torch.autocast("cpu", enabled=False):
                    if loss.requires_grad:
                        loss.backward()
            return sum(kept.values()), live.peak, live.bytes
    except UsageError:
        raise
    except Exception as error:
        raise TraceError(
            f"{type(module).__name__} can't train on {shape}: {str(error).splitlines()[0]}"
        ) from error


def _loss(out: Any) -> Tensor:
    """As large as cross-entropy, of every head: some networks give auxiliary logits in training."""
    parts = [F.log_softmax(t.float(), -1).sum() for t in tensors(out)]
    return functools.reduce(torch.add, parts)


def _inference(module: nn.Module, shape: tuple[int, ...], precision: str) -> int:
    with _stage(module, shape, precision) as (net, x):
        live = _Live(net.parameters(), net.buffers(), [x])
        with torch.no_grad(), live:
            net.eval()(x)
        return live.peak


def _updating(module: nn.Module, optimiser: str) -> tuple[int, int]:
    """(bytes of optimiser state, bytes that the update needs in passing)."""
    state, passing = OPTIMISERS[optimiser]
    weights = [p for p in module.parameters() if p.requires_grad]
    return state * _bytes(weights), passing * max((p.nbytes for p in weights), default=0)


def _bytes(held: Iterable[Tensor]) -> int:
    return sum({id(t): t.nbytes for t in held}.values())
