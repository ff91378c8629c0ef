"""The fast path: the user's network in the layout, arithmetic and order of layers that this machine runs fastest.

Nothing here changes the network that the user built: the engine runs a twin that shares its tensors.
"""

import copy
import ctypes
import ctypes.util
import functools
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from striate.errors import UsageError
from striate.train.twin import twin
from striate.transfer.parts import frozen


class Engine:
    """Runs `module` on batches of uint8 images and returns float32 logits.    (n, c, h, w) -> (n, k)"""

    def __init__(
        self,
        module: nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        keep_memory()
        self.device = pick_device(device)
        self.dtype = pick_dtype(self.device, precision)
        self.module = module.to(self.device)
        self.twin = twin(module)
        scale = 1 / (255 * torch.tensor(std, device=self.device))
        self._scale = scale.view(1, -1, 1, 1)
        self._shift = (-torch.tensor(mean, device=self.device) * 255 * scale).view(1, -1, 1, 1)
        self.steady_norms = False  # all batch norms keep their statistics
        self.spread: nn.Module | None = None  # what runs a training step where several processes share it

    def like(self, module: nn.Module) -> "Engine":
        """The same preparation, device and arithmetic for another network."""
        other = copy.copy(self)
        other.module, other.twin, other.spread = module, twin(module), None
        return other

    def __call__(self, images: Tensor) -> Tensor:
        return self.run(self.prepare(images))

    def run(self, x: Tensor) -> Tensor:
        """Logits of a prepared batch."""
        with self.arithmetic():
            logits: Tensor = self.twin(x)
        return logits.float()

    def run_with_auxiliary(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits of the network and of its auxiliary heads; no heads, an empty list."""
        with self.arithmetic():
            logits, auxiliary = all_heads(self.twin, x) if self.spread is None else self.spread(x)
        return logits.float(), [a.float() for a in auxiliary]

    def arithmetic(self) -> torch.autocast:
        """Layers compute in the engine's precision while this is entered."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 pixels on the device, standardised, channels last."""
        x = torch.mul(images.to(self.device, non_blocking=True), self._scale).add_(self._shift)
        # moved last: what differs by channel is quick on whole maps; `contiguous` would leave grey images as they are
        return torch.empty_like(x, memory_format=torch.channels_last).copy_(x)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Evaluation mode without gradients; the mode before comes back."""
        was_training = self.twin.training
        self.twin.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.twin.train(was_training)

    def train(self) -> None:
        """Training mode, but for what is frozen: there batch norms keep their statistics, and nothing is dropped."""
        self.twin.train()
        for m in frozen(self.twin):
            m.eval()
        if self.steady_norms:
            for m in self.twin.modules():
                if isinstance(m, nn.modules.batchnorm._BatchNorm):
                    m.eval()


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """A batch at another height and width, its fine detail removed first.    (n, c, h, w) -> (n, c, *size)"""
    if tuple(x.shape[2:]) == size:
        return x
    return nn.functional.interpolate(x, size, mode="bilinear", antialias=True)


def all_heads(module: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits of a network and of its auxiliary heads, if it has any."""
    method = getattr(module, "forward_with_auxiliary", None)
    if method is None:
        return module(x), []
    logits, auxiliary = method(x)
    return logits, list(auxiliary)


def pick_device(wanted: str) -> torch.device:
    """`auto` is the first CUDA device, else the CPU; raises UsageError where the device isn't there."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"no device {wanted}: this machine has {torch.cuda.device_count()} CUDA devices", "--device cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("no device mps on this machine", "--device cpu")
    return device


def pick_dtype(device: torch.device, wanted: str) -> torch.dtype:
    """`auto` is bfloat16 where the device multiplies it natively, else float32."""
    if wanted == "auto":
        return torch.bfloat16 if _native_bf16(device) else torch.float32
    if wanted == "fp16" and device.type == "cpu":
        raise UsageError("fp16 needs a GPU", "--precision bf16 or fp32")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]


def _native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
    return False


@functools.cache
def keep_memory() -> None:
    """Let glibc keep freed memory: a step that gets fresh pages from the system spends half its time zeroing them.

    Where the C library isn't glibc, nothing happens.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(ctypes.util.find_library("c")).mallopt
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)
        mallopt(top_pad, 64 << 20)


def give_back_memory() -> None:
    """Let glibc return what it kept to the system, once."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(ctypes.util.find_library("c")).malloc_trim(0)
