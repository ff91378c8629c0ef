"""How fast a network trains on this machine, and what share of the machine's arithmetic that uses."""

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate.chance import Stream
from striate.data import ArrayImages, DataSet, Preprocess
from striate.layers import Conv2d
from striate.train.engine import Engine
from striate.train.events import Listener, State
from striate.train.loop import Loop
from striate.train.written import recipe

WARM_STEPS = 3
BATCHES = 8  # of random images, over and over


@dataclass(frozen=True)
class Speed:
    """The real loop, data in memory; `limit` is the multiply-adds a second of a convolution that fits."""

    images_per_second: float
    step_seconds: float
    macs_per_second: float | None  # forward and backward, three times those of the network
    limit: float
    device: str
    precision: str

    @property
    def share(self) -> float | None:
        """Part of the limit that is reached, 0 to 1."""
        return None if self.macs_per_second is None else self.macs_per_second / self.limit


def training_speed(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    macs: int | None = None,
    *,
    batch_size: int = 64,
    seconds: float = 5.0,
    device: str = "auto",
    precision: str = "auto",
) -> Speed:
    """Train `module` for about `seconds` on noise; `macs` are its multiply-adds an image, forward."""
    settings = recipe(
        {"data": "noise", "model": "given", "epochs": 10**6, "batch_size": batch_size, "lr": 1e-6}
    )
    data = _noise(module, input_shape, BATCHES * batch_size)
    engine = Engine(module, data.preprocess.mean, data.preprocess.std, device, precision)
    watch = _Watch(engine.device, seconds)
    with suppress(_TimeIsUp):
        Loop(settings, data, engine, [watch]).fit(_nothing, due=lambda: False)
    rate = watch.steps * batch_size / watch.elapsed
    return Speed(
        images_per_second=rate,
        step_seconds=watch.elapsed / watch.steps,
        macs_per_second=None if macs is None else 3 * macs * rate,
        limit=convolution_limit(engine, min(1.0, seconds)),
        device=str(engine.device),
        precision=str(engine.dtype).removeprefix("torch."),
    )


def convolution_limit(engine: Engine, seconds: float) -> float:
    """Multiply-adds a second of a 3x3 convolution, 256 -> 256 channels at 16x16, forward and backward."""
    n = 8 if engine.device.type == "cpu" else 256
    with Stream(0, engine.device).drawing():
        layer = Conv2d(256, 256, 3).to(engine.device)
        x = torch.randn(n, 256, 16, 16, device=engine.device).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()

    def step() -> None:
        with torch.autocast(engine.device.type, engine.dtype, enabled=engine.dtype != torch.float32):
            out: Tensor = layer(x)
        torch.autograd.grad(out, (x, layer.weight), torch.ones_like(out))

    watch = _Watch(engine.device, seconds)
    try:
        while True:
            step()
            watch.on_step(None)
    except _TimeIsUp:
        return 3 * n * 16 * 16 * layer.weight.numel() * watch.steps / watch.elapsed


class _TimeIsUp(Exception):
    """Enough steps were seen."""


class _Watch(Listener):
    """Times the steps after the first few, until the time is up."""

    def __init__(self, device: torch.device, seconds: float) -> None:
        self.device, self.seconds = device, seconds
        self.steps = -WARM_STEPS
        self.began = self.elapsed = 0.0

    def on_step(self, state: State | None) -> None:
        self.steps += 1
        if self.steps == 0:
            self._wait()
            self.began = time.perf_counter()
        elif self.steps > 0 and time.perf_counter() - self.began > self.seconds:
            self._wait()
            self.elapsed = time.perf_counter() - self.began
            raise _TimeIsUp

    def _wait(self) -> None:
        """Let the device finish what was queued."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _noise(module: nn.Module, shape: tuple[int, int, int], n: int) -> DataSet:
    """Random images with random labels, nothing to validate on."""
    with torch.no_grad():
        k = int(module.eval()(torch.zeros(1, *shape)).shape[1])
    draw = np.random.default_rng(0)
    pixels = torch.from_numpy(draw.integers(0, 256, (n, *shape), dtype=np.uint8))
    images = ArrayImages(pixels, draw.integers(0, k, n), [str(i) for i in range(n)])
    nothing = ArrayImages(pixels[:0], np.zeros(0, np.int64), [])
    c, h, w = shape
    preprocess = Preprocess((h, w), channels=c, mean=(0.5,) * c, std=(0.29,) * c)
    return DataSet("noise", tuple(map(str, range(k))), images, nothing, nothing, preprocess)


def _nothing(loop: Any) -> None: ...
