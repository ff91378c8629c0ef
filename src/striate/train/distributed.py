"""One training run in many processes, as `torchrun` starts them: each takes its share of every batch.

A batch keeps the size that the recipe says, whatever the number of processes, so the result is that of one process.
Batch norms share their statistics. Only the first process, rank 0, writes.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from striate.data import Loader
from striate.data.source import Indices
from striate.errors import StriateError
from striate.train.engine import Engine, all_heads

TIMEOUT = timedelta(
    seconds=float(os.environ.get("STRIATE_TIMEOUT", "300"))
)  # of one exchange, all ranks alive


class Group:
    """The processes of a run; with one, nothing is exchanged."""

    def __init__(self, rank: int = 0, size: int = 1, control: Any = None) -> None:
        self.rank, self.size, self._control = rank, size, control

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over ranks."""
        if self.size > 1:
            values = values.clone()
            with self._blaming():
                dist.all_reduce(values)
        return values

    def most(self, numbers: Sequence[int]) -> list[int]:
        """The largest of each number over ranks."""
        if self.size == 1:
            return list(numbers)
        largest = torch.tensor(numbers)
        with self._blaming():
            dist.all_reduce(largest, dist.ReduceOp.MAX, self._control)
        return largest.tolist()

    def said_first(self, number: float) -> float:
        """The number of rank 0, which alone tells the listeners of users."""
        if self.size == 1:
            return number
        said = torch.tensor(number, dtype=torch.float64)
        with self._blaming():
            dist.broadcast(said, 0, self._control)
        return said.item()

    def gather(self, thing: Any) -> list[Any]:
        """The `thing` of every rank."""
        if self.size == 1:
            return [thing]
        found: list[Any] = [None] * self.size
        with self._blaming():
            dist.all_gather_object(found, thing, self._control)
        return found

    def agree(self, facts: dict[str, Any]) -> None:
        """Raise StriateError on every rank where `facts` differ between ranks."""
        told = self.gather(facts)
        for key, value in told[0].items():
            for rank, other in enumerate(told):
                if other[key] != value:
                    raise StriateError(
                        f"ranks disagree on {key}: {value!r} on rank 0, {other[key]!r} on rank {rank}",
                        "every process needs the same recipe and the same data",
                    )

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        """Say which ranks stayed away from an exchange."""
        try:
            yield
        except RuntimeError as error:
            raise StriateError(f"rank {self.rank} can't reach the others: {self._absent(error)}") from error

    def _absent(self, error: RuntimeError) -> str:
        try:
            dist.monitored_barrier(self._control, timedelta(seconds=5), wait_all_ranks=True)
        except RuntimeError as missing:
            error = missing
        return " ".join(str(error).split())


@contextmanager
def group() -> Iterator[Group]:
    """The group that torchrun's environment describes; without it, this process alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield Group()
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local < torch.cuda.device_count():
        torch.cuda.set_device(local)
    store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
    # torchrun's static rendezvous keeps its store when it restarts ranks, addresses of the dead ones in it
    store = dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    # one input channel makes two layouts of a kernel the same, and DistributedDataParallel thinks of the other one
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    try:
        control = dist.new_group(backend="gloo", timeout=TIMEOUT)
        yield Group(rank, size, control)
    except RuntimeError as error:
        if not any(word in str(error) for word in ("gloo", "Gloo", "NCCL")):
            raise
        cause = str(error).splitlines()[0]
        raise StriateError(f"rank {rank} lost the others: {cause}") from error
    finally:
        dist.destroy_process_group()


class Share(Loader):
    """A rank's part of every batch: rows rank, rank + size, rank + 2 size, ..."""

    def __init__(self, group: Group, *arguments: Any, **options: Any) -> None:
        self._group = group
        super().__init__(*arguments, **options)

    def rows(self, batch: int) -> Indices:
        """Numbers of the images of one batch that this rank reads."""
        return super().rows(batch)[self._group.rank :: self._group.size]


def spread(engine: Engine, group: Group) -> None:
    """Make training steps of `engine` exchange gradients and the statistics of batch norms."""
    if group.size == 1:
        return
    _share_statistics(engine.twin)
    engine.spread = DistributedDataParallel(
        _Heads(engine.twin),
        forward_sync_buffers=False,
        find_unused_parameters=hasattr(engine.twin, "forward_with_auxiliary"),
    )


def exchanging(engine: Engine, now: bool) -> Any:
    """Backward passes in this context exchange gradients, or only gather them on each rank."""
    alone = engine.spread is None or now
    return nullcontext() if alone else engine.spread.no_sync()  # type: ignore[union-attr, operator]


class _Heads(nn.Module):
    """A forward that gives auxiliary logits as well: DistributedDataParallel only sees what forward returns."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return all_heads(self.module, x)


class _Sum(torch.autograd.Function):
    """The sum over ranks; so is its gradient, for every rank's loss depends on it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the batches of all ranks; torch's own needs a GPU.    (n, c, h, w) -> (n, c, h, w)"""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        dims = [d for d in range(x.ndim) if d != 1]
        wide = x.float()
        sums = torch.cat((wide.sum(dims), wide.new_tensor([x.numel() / x.shape[1]])))
        sums = _Sum.apply(sums)
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        shape = [1, -1] + [1] * (x.ndim - 2)
        centred = wide - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(dims)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        out = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        step = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), step)
        self.running_var.lerp_(variance.to(self.running_var.dtype), step)

    def _check_input_dim(self, input: Tensor) -> None: ...


def _share_statistics(module: nn.Module) -> None:
    """Replace every batch norm below `module` by one that shares statistics and tensors with it."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            shared = SharedBatchNorm(child.num_features, child.eps, child.momentum, False, False)
            shared.__dict__.update(child.__dict__)
            setattr(module, name, shared)
        else:
            _share_statistics(child)
