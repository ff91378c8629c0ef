"""Is the network alive: gradient norms layer by layer, dead units, saturation."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from striate.chance import Stream
from striate.diagram.operations import name_of
from striate.errors import StriateError, UsageError
from striate.explain.probe import images_of
from striate.explain.rectify import RECTIFIERS

BOUNDS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu6": (0.0, 6.0), "hardtanh": (-1.0, 1.0)}
Criterion = Callable[[Tensor, Tensor], Tensor]  # mean loss of logits (n, k) and labels
NEAR = 0.02  # of the range: closer to a bound, the slope of a sigmoid is less than a tenth of its best


@dataclass(frozen=True)
class Gradient:
    """d loss / d weights of one layer: root mean square, and the same relative to the weights', unless all are 0."""

    layer: str
    rms: float
    relative: float | None


@dataclass(frozen=True)
class Activity:
    """What an activation gave: mean and standard deviation, the share of units that never fired, and of values
    within a fiftieth of a bound of its range."""

    layer: str
    kind: str
    units: int
    mean: float
    std: float
    dead: float
    saturated: float


@dataclass(frozen=True)
class Health:
    """One look at a network, layers in the order of the forward pass."""

    gradients: list[Gradient] = field(default_factory=list)
    activities: list[Activity] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """What scripts read."""
        return {
            "gradients": [asdict(g) for g in self.gradients],
            "activities": [asdict(a) for a in self.activities],
        }


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Of classes, or of two where the network gives one logit."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], y.to(logits.dtype))
    return F.cross_entropy(logits, y)


def health(
    module: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], criterion: Criterion = cross_entropy
) -> Health:
    """Gradients of the loss and activations over normalised images (n, c, h, w) with labels (n,).

    Batch norm uses the statistics of its batch, as in training, and keeps them to itself; random numbers, gradients
    and mode of the network are afterwards what they were. Raises StriateError where the network gives no numbers.
    """
    module = getattr(module, "_orig_mod", module)
    weights = {k: p for k, p in module.named_parameters() if p.dim() > 1}
    if not weights:
        raise UsageError(f"{type(module).__name__} has no weights to look at")
    total = {k: torch.zeros_like(p) for k, p in weights.items()}
    watch, seen = _Watch(module), 0
    device = next(iter(weights.values())).device
    modes = [(m, m.training) for m in module.modules()]
    module.train()
    try:
        with torch.inference_mode(False), torch.enable_grad(), Stream(0, device).drawing():
            for x, y in batches:
                gradients = _gradients(module, weights, images_of(module, x), y, watch, criterion)
                for k, g in gradients.items():
                    total[k] += g * len(x)
                seen += len(x)
    finally:
        watch.close()
        for m, training in modes:
            m.training = training
    if not seen:
        raise UsageError("there are no images to look at")
    return Health([_summary(k, weights[k], g / seen) for k, g in total.items()], watch.summaries())


def _gradients(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    watch: "_Watch",
    criterion: Criterion,
) -> dict[str, Tensor]:
    """d mean loss / d weights, whether frozen or not; parameters and buffers of the network stay as they are."""
    leaves = {k: p.detach().clone().requires_grad_() for k, p in weights.items()}
    buffers = {k: b.detach().clone() for k, b in module.named_buffers()}
    with watch:
        logits = functional_call(module, {**leaves, **buffers}, (x,))
    if not isinstance(logits, Tensor):
        logits = logits[0]  # torchvision's Inception and GoogLeNet add auxiliary heads in training
    if not logits.isfinite().all():
        raise StriateError("the network gives NaN or infinity: there is no gradient to look at")
    loss = criterion(logits, y.to(x.device))
    found = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True, allow_unused=True)
    return dict(zip(leaves, found, strict=True))


def _summary(name: str, weight: Tensor, gradient: Tensor) -> Gradient:
    rms = float(gradient.square().mean().sqrt())
    size = float(weight.detach().square().mean().sqrt())
    return Gradient(name.removesuffix(".weight"), rms, rms / size if size else None)


class _Watch(TorchFunctionMode):
    """Hears every activation, module or function, under the name of the module that calls it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.stack = [""]
        self.calls: dict[str, int] = {}
        self.sums: dict[str, list[Tensor]] = {}  # sum, sum of squares, values, fired (c,), near a bound
        self.kinds: dict[str, str] = {}
        self.handles = []
        for path, m in module.named_modules():
            self.handles += [
                m.register_forward_pre_hook(lambda _, args, path=path: self.stack.append(path)),
                m.register_forward_hook(lambda *_: self._leave(), always_call=True),
            ]

    def _leave(self) -> None:
        self.stack.pop()

    def __enter__(self) -> "_Watch":
        self.calls = {}
        super().__enter__()
        return self

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        kind = name_of(func)
        if (kind in RECTIFIERS or kind in BOUNDS) and isinstance(out, Tensor) and out.dim() > 1:
            self._hear(kind, out.detach())
        return out

    def _hear(self, kind: str, y: Tensor) -> None:
        path = self.stack[-1] or kind
        number = self.calls[path] = self.calls.get(path, 0) + 1
        name = path if number == 1 else f"{path} ({number})"
        low, high = BOUNDS.get(kind, (-math.inf, math.inf))
        edge = NEAR * (high - low) if math.isfinite(high) else 0.0
        near = (y > high - edge) | ((y < low + edge) if kind in ("sigmoid", "tanh", "hardtanh") else False)
        fired = (y > 0 if kind in RECTIFIERS else y.isfinite()).transpose(0, 1).flatten(1).any(1)
        new = [
            y.sum(dtype=torch.double),
            y.square().sum(dtype=torch.double),
            torch.tensor(y.numel()),
            fired,
            near.sum(),
        ]
        if name in self.sums:
            old = self.sums[name]
            new = [old[0] + new[0], old[1] + new[1], old[2] + new[2], old[3] | new[3], old[4] + new[4]]
        self.sums[name], self.kinds[name] = new, kind

    def summaries(self) -> list[Activity]:
        found = []
        for name, (total, squares, n, fired, near) in self.sums.items():
            mean = float(total / n)
            std = max(0.0, float(squares / n) - mean**2) ** 0.5
            dead = 1 - float(fired.float().mean())
            found.append(Activity(name, self.kinds[name], len(fired), mean, std, dead, float(near / n)))
        return found
