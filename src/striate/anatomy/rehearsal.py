"""One training step, or one forward pass, rehearsed without arithmetic, every tensor's life followed.

The network runs on tensors that have a size and no data. A storage counts from the operation that makes it until
Python and autograd let it go, so the peak has all that a real step has: weights, gradients, what backward keeps,
gradients in passing. Not seen are work spaces inside the convolution library: a few per cent, more where a CPU
must imitate bf16 instructions.
"""

import contextlib
import functools
import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from striate.diagram.meta import TraceError, float_type, meta_copy, tensors, uncompiled
from striate.diagram.shapes import Hollow
from striate.errors import UsageError

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
T = TypeVar("T")


def training(module: nn.Module, shape: tuple[int, ...], precision: str) -> tuple[int, int, int]:
    """(bytes kept for backward, peak of forward and backward, alive after backward), weights included."""
    return _rehearse(_train, "train", module, shape, precision)


def inference(module: nn.Module, shape: tuple[int, ...], precision: str) -> int:
    """Bytes at the peak of a forward pass without gradients, weights included."""
    return _rehearse(_run, "run", module, shape, precision)


def _rehearse(
    act: Callable[[nn.Module, Tensor], T],
    verb: str,
    module: nn.Module,
    shape: tuple[int, ...],
    precision: str,
) -> T:
    """On meta, which is quick, unless it makes a difference which device the step runs on."""
    module = uncompiled(module)
    try:
        if PRECISIONS[precision] is None:
            with contextlib.suppress(_FusedElsewhere):
                return act(meta_copy(module), torch.empty(shape, dtype=float_type(module), device="meta"))
        with _on_cpu(module, shape, PRECISIONS[precision]) as (net, x):
            return act(net, x)
    except UsageError:
        raise
    except Exception as error:
        raise TraceError(
            f"{type(module).__name__} can't {verb} on {shape}: {str(error).splitlines()[0]}"
        ) from error


@contextlib.contextmanager
def _on_cpu(
    module: nn.Module, shape: tuple[int, ...], dtype: torch.dtype | None
) -> Iterator[tuple[nn.Module, Tensor]]:
    """A hollow network with a batch of images, as on a CPU: half precision and fused attention are its own."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # a second to load

    with FakeTensorMode(allow_non_fake_inputs=True):
        net, x = meta_copy(module, "cpu"), torch.empty(shape, dtype=float_type(module))
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            yield net, x


class _FusedElsewhere(Exception):
    """Attention that meta spells out; devices have a kernel that never holds its matrix of weights."""


class Live(Hollow):
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
        if func is torch.ops.aten._safe_softmax.default and args[0].is_meta:
            raise _FusedElsewhere
        out = super().__torch_dispatch__(func, types, args, kwargs)
        for t in tensors(out):
            self.follow(t)
        return out


def _train(net: nn.Module, x: Tensor) -> tuple[int, int, int]:
    live = Live(net.parameters(), net.buffers(), [x])
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


def _loss(out: Any) -> Tensor:
    """As large as cross-entropy, of every head: some networks give auxiliary logits in training."""
    parts = [F.log_softmax(t.float(), -1).sum() for t in tensors(out)]
    return functools.reduce(torch.add, parts)


def _run(net: nn.Module, x: Tensor) -> int:
    live = Live(net.parameters(), net.buffers(), [x])
    with torch.no_grad(), live:
        net.eval()(x)
    return live.peak
