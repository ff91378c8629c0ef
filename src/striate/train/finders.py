"""Measured before training: a learning rate, and the largest batch that fits. Both leave the run as it was."""

import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from striate.data import Loader
from striate.errors import StriateError
from striate.train.engine import give_back_memory
from striate.train.loop import Loop

LOWEST, HIGHEST = 1e-6, 10.0
SMOOTHING = 0.9  # of the losses, with the bias of its start removed
DIVERGED = 4.0  # times the lowest loss
CGROUP = Path("/sys/fs/cgroup")  # limits of a container
HEADROOM = 0.15  # of the memory, left for what other images and the allocator need


@dataclass(frozen=True)
class RateTest:
    """Learning rates that were tried, the smoothed loss at each, and `suggested`: a tenth of where it was lowest.

    Smith, 2017, arXiv:1506.01186, section 3.3.
    """

    rates: list[float]
    losses: list[float]
    suggested: float


@dataclass(frozen=True)
class BatchTest:
    """Batch sizes that were tried with bytes and images a second; `largest` leaves head-room, `fastest` fits too."""

    tried: list[dict[str, float]]
    largest: int
    fastest: int


def find_lr(loop: Loop, steps: int = 100) -> RateTest:
    """Train for up to `steps` batches while the rate climbs from 1e-6 to 10, until the loss diverges."""
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    with undisturbed(loop):
        for step, (images, labels) in enumerate(_batches(loop, loop.recipe.batch_size, steps)):
            rate = LOWEST * (HIGHEST / LOWEST) ** (step / max(steps - 1, 1))
            loss = _step(loop, images, labels, rate)
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            smooth = mean / (1 - SMOOTHING ** (step + 1))
            if not math.isfinite(smooth) or (losses and smooth > DIVERGED * min(losses)):
                break
            rates.append(rate)
            losses.append(smooth)
    if len(rates) < 3:
        raise StriateError("the loss diverges at once: no learning rate can be told", "look at the data")
    return RateTest(rates, losses, rates[losses.index(min(losses))] / 10)


def find_batch_size(loop: Loop, limit: int | None = None, most: int = 1 << 14) -> BatchTest:
    """Double the batch while a step is sure to fit into `limit` bytes, by default what the device has free.

    What a step takes is measured, and known for the next size from the last two before that is tried.
    """
    free = limit or available(loop.engine.device)
    room, tried = (1 - HEADROOM) * free, list[dict[str, float]]()
    size, before = 2, settle(loop.engine.device)  # two, for batch norm
    with undisturbed(loop):
        while size <= min(len(loop.data.train), most):
            if len(tried) > 1:
                a, b = tried[-2:]
                slope = (b["bytes"] - a["bytes"]) / (b["batch_size"] - a["batch_size"])
                if b["bytes"] + slope * (size - b["batch_size"]) > room:
                    break
            try:
                tried.append({"batch_size": size, **_cost(loop, size, before)})
            except torch.cuda.OutOfMemoryError:
                break
            if tried[-1]["bytes"] > room:
                tried.pop()
                break
            size *= 2
    if not tried:
        raise StriateError(
            f"not even a batch of {size} fits into {free:,} bytes", "--img-size, or a smaller network"
        )
    fastest = max(tried, key=lambda t: t["images_per_second"])
    return BatchTest(tried, int(tried[-1]["batch_size"]), int(fastest["batch_size"]))


@contextmanager
def undisturbed(loop: Loop) -> Iterator[None]:
    """Weights, optimiser, averages, random numbers and position are afterwards what they were, come what may."""
    tensors, facts = loop.state_dict()
    training = loop.engine.twin.training
    loop.engine.train()
    try:
        yield
    finally:
        loop.optimiser.zero_grad()
        loop.load_state_dict(tensors, facts)
        loop.engine.twin.train(training)


def available(device: torch.device) -> int:
    """Bytes that a process may still take: free ones of the GPU, or of the machine and of its control group."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    rooms = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")]
    with suppress(OSError, ValueError, IndexError):
        line = next(s for s in Path("/proc/meminfo").read_text().splitlines() if s.startswith("MemAvailable"))
        rooms = [1024 * int(line.split()[1])]
    with suppress(OSError, ValueError):  # "max" is no number: no limit
        held = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        cache = int(held.get("inactive_file", 0))  # of files: the kernel gives it back where memory is short
        used = int((CGROUP / "memory.current").read_text()) - cache
        rooms.append(int((CGROUP / "memory.max").read_text()) - used)
    return min(rooms)


def _batches(loop: Loop, size: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """`steps` batches, epoch after epoch."""
    epoch = 0
    while steps > 0:
        epoch += 1
        loader = Loader(
            loop.data.train,
            size,
            seed=loop.recipe.seed,
            epoch=epoch,
            workers=0,
            drop_last=len(loop.data.train) >= size,
        )
        for batch in loader:
            yield batch
            steps -= 1
            if not steps:
                return


def _step(loop: Loop, images: Tensor, labels: Tensor, rate: float) -> float:
    labels = labels.to(loop.engine.device)
    with loop.stream.drawing():
        scores, _ = loop.engine.run_with_auxiliary(loop.engine.prepare(images))
    loss = loop.criterion(scores, labels)
    loss.backward()
    for group, peak in zip(loop.optimiser.param_groups, loop.peaks, strict=True):
        group["lr"] = rate * peak / loop.peaks[0]
    loop.optimiser.step()
    loop.optimiser.zero_grad()
    return float(loss.detach())


def _cost(loop: Loop, size: int, before: int) -> dict[str, float]:
    """Bytes above `before` that two steps took at their most, and the speed of the second."""
    device = loop.engine.device
    began = 0.0
    for images, labels in _batches(loop, size, 2):
        began = time.perf_counter()
        _step(loop, images, labels, 1e-12)
    seconds = time.perf_counter() - began
    return {"bytes": max(0, peak(device) - before), "images_per_second": size / seconds}


def settle(device: torch.device) -> int:
    """Bytes in use now; from here on `peak` counts anew, but for a CPU outside Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    give_back_memory()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak(device)


def peak(device: torch.device) -> int:
    """The most bytes that were in use since `settle`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, StopIteration):
        status = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in status if line.startswith("VmHWM")).split()[1])
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
