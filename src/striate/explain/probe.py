"""Questions to a network that leave it as it was: modes, gradients, hooks, weights."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from striate.errors import StriateError, UsageError, nearest

Target = int | Sequence[int] | Tensor | None  # class of every image, one for all, None: what is predicted


NO_GRADIENT = "the network computes a part of its answer under torch.no_grad() or detaches it"


@contextmanager
def asked(module: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode and recorded gradients while inside, none of them the weights'; afterwards all is as it was.

    Compiled code runs as it was written: hooks don't reach what torch.compile makes of it.
    """
    module = getattr(module, "_orig_mod", module)
    modes = [(m, m.training) for m in module.modules() if hasattr(m, "training")]  # torch.jit.freeze has none
    trainable = [p for p in module.parameters() if p.requires_grad]
    try:
        if any(training for _, training in modes):
            with suppress(NotImplementedError):  # torch.export has settled the mode
                module.eval()
        for p in trainable:
            p.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad(), _uncompiled():
            yield module
    finally:
        for m, training in modes:
            m.training = training
        for p in trainable:
            p.requires_grad_(True)


def _uncompiled() -> AbstractContextManager[object]:
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and its import takes seconds
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


def images_of(module: nn.Module, x: Tensor) -> Tensor:
    """A copy of `x` on the device and in the precision of the network; raises UsageError unless (n, c, h, w)."""
    if not isinstance(x, Tensor) or x.dim() != 4 or not x.numel():
        shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise UsageError(f"expected images (n, c, h, w), got {shape}", "one image is x.unsqueeze(0)")
    if not x.is_floating_point():
        raise UsageError(f"expected normalised images as floats, got {x.dtype}", "Preprocess.normalise(x)")
    weight = next((p for p in module.parameters() if p.is_floating_point()), x)
    return x.detach().to(weight.device, weight.dtype, copy=True)


def logits_of(module: nn.Module, x: Tensor) -> Tensor:
    """What the network says, checked: finite numbers (n, k)."""
    logits = module(x)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UsageError(
            f"{type(module).__name__} gives {given}, expected the logits (n, k) of a classifier",
            "wrap it in a module that gives the logits alone",
        )
    if not logits.isfinite().all():
        raise StriateError(_not_finite(module, x))
    return logits


def _not_finite(module: nn.Module, x: Tensor) -> str:
    held = [("the image", x), *module.named_parameters(), *module.named_buffers()]
    culprit = next((name for name, t in held if not t.isfinite().all()), None)
    return "the network gives NaN or infinity" + (f": {culprit} holds some" if culprit else "")


def targets_of(logits: Tensor, target: Target) -> Tensor:
    """Class numbers (n,): the predicted ones where none are named.

    One logit tells two classes apart: it speaks for class 1, its negative for class 0.
    """
    chosen, k = each(target, len(logits)), max(2, logits.shape[1])
    if chosen is None:
        return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
    if chosen.min() < 0 or chosen.max() >= k:
        raise UsageError(f"target: classes are 0 to {k - 1}, got {target}")
    return chosen.to(logits.device)


def each(target: Target, n: int) -> Tensor | None:
    """Class numbers (n,), however they were named; None where they weren't."""
    if target is None:
        return None
    chosen = torch.as_tensor(target).reshape(-1)
    if chosen.is_floating_point() or len(chosen) not in (1, n):
        raise UsageError(f"target: expected a class number, or one for each of {n} images, got {target}")
    return chosen.long().expand(n)


def scores_of(logits: Tensor, targets: Tensor) -> Tensor:
    """The logit of each image's class.    (n, k), (n,) -> (n,)"""
    if logits.shape[1] == 1:
        return torch.where(targets == 1, logits[:, 0], -logits[:, 0])
    return logits.gather(1, targets[:, None])[:, 0]


def predict(module: nn.Module, x: Tensor, target: Target = None) -> tuple[Tensor, Tensor]:
    """Scores (n,) and classes (n,), without gradients; `module` is one that is being asked."""
    with torch.no_grad():
        logits = logits_of(module, x)
        targets = targets_of(logits, target)
        return scores_of(logits, targets), targets


def slope(
    score: Tensor, leaf: Tensor, what: str = "the image", seed: Tensor | None = None, keep: bool = False
) -> Tensor:
    """d score / d leaf, times a seed where the score is no number; raises UsageError where none comes through.

    `keep` the graph for another pass.
    """
    if score.requires_grad:
        found = torch.autograd.grad(score, leaf, seed, keep, allow_unused=True)[0]
        if found is not None:
            return found
    raise UsageError(
        f"no gradient reaches {what}: {NO_GRADIENT}", "occlusion and score-cam work without gradients"
    )


@dataclass
class Capture:
    """What a layer gave at its last call, cut off from what came before, and what the network made of it."""

    path: str
    output: Tensor
    logits: Tensor = field(default_factory=lambda: torch.empty(0))

    def gradient(self, targets: Tensor) -> Tensor:
        """d score / d output, of the output's shape."""
        total = scores_of(self.logits, targets).sum()
        return slope(total, self.output, f"the image by way of {self.path}")


def capture(module: nn.Module, x: Tensor, path: str) -> Capture:
    """Run `x` through a network that is being asked and keep the output of the layer at `path`.

    Where a layer is called twice, its last call counts, or that of the number in `relu (1)`.
    """
    kept: list[Capture] = []

    def cut(_: str, output: Tensor) -> Tensor:
        kept[:] = [Capture(path, output.detach().clone().requires_grad_())]
        return kept[0].output.clone()  # what follows may write into its input

    with hooked(module, [path], cut):
        logits = logits_of(module, x)
    if not kept:
        raise UsageError(f"layer {path} is never called")
    kept[0].logits = logits
    return kept[0]


def record(module: nn.Module, x: Tensor, paths: Sequence[str]) -> dict[str, Tensor]:
    """Outputs of the named layers for `x`, of their last calls, without gradients; `module` is one that is asked."""
    found: dict[str, Tensor] = {}
    with torch.no_grad(), hooked(module, paths, lambda path, output: found.__setitem__(path, output.clone())):
        logits_of(module, x)
    for path in paths:
        if path not in found:
            raise UsageError(f"layer {path} is never called")
    return {path: found[path] for path in paths}


@contextmanager
def hooked(module: nn.Module, paths: Sequence[str], tell: Callable[[str, Tensor], object]) -> Iterator[None]:
    """While inside, `tell(path, output)` hears every call of the named layers; a tensor it gives back replaces it.

    Of `relu (2)` only the second call is heard.
    """
    handles: list[Any] = []

    def listen(path: str) -> None:
        numbers, (_, wanted) = count(1), call_of(path)

        def hook(_: nn.Module, args: object, output: object) -> Any:
            if wanted not in (None, next(numbers)):
                return None
            if not isinstance(output, Tensor) or not output.is_floating_point():
                raise UsageError(f"layer {path} gives a {type(output).__name__}, expected a tensor")
            return tell(path, output)

        handles.append(layer_at(module, path).register_forward_hook(hook))

    try:
        for path in paths:
            listen(path)
        yield
    finally:
        for handle in handles:
            handle.remove()


def layer_at(module: nn.Module, path: str) -> nn.Module:
    """The layer of that name; raises UsageError with the nearest ones."""
    known = {name: m for name, m in module.named_modules(remove_duplicate=False) if name}
    name, _ = call_of(path)
    if name not in known:
        hint = nearest(name, known) or f"layers: {', '.join(list(known)[:8])}, ..."
        raise UsageError(f"no layer {name!r} in {type(module).__name__}", hint)
    if isinstance(known[name], torch.jit.ScriptModule):
        raise UsageError(f"layer {name} is compiled by torch.jit: it can't be looked into")
    return known[name]


def call_of(path: str) -> tuple[str, int | None]:
    """`relu (2)`, the second call of a layer, as its name and number; a plain name has none."""
    found = re.fullmatch(r"(.+) \((\d+)\)", path)
    return (found[1], int(found[2])) if found else (path, None)
