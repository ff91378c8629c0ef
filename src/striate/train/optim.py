"""Optimisers by name: vanilla gradient descent to Muon."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop

from striate.errors import UsageError

STEPS = 5  # of Newton-Schulz


class Usual(NamedTuple):
    """What an optimiser does by default; `momentum` is None where it has none."""

    lr: float
    weight_decay: float
    momentum: float | None


# name: what is usual, constructor of (parameter groups, learning rate, momentum).
# AdamW and Muon shrink weights by lr * decay; elsewhere decay is part of the gradient, which adaptive ones rescale.
_OPTIMISERS: dict[str, tuple[Usual, Callable[[Any, float, float], Optimizer]]] = {
    "gd": (Usual(0.5, 0.0, None), lambda p, lr, m: SGD(p, lr)),
    "sgd": (Usual(0.05, 5e-4, 0.0), lambda p, lr, m: SGD(p, lr, momentum=m)),
    "momentum": (Usual(0.02, 5e-4, 0.9), lambda p, lr, m: SGD(p, lr, momentum=m)),
    "nesterov": (Usual(0.02, 5e-4, 0.9), lambda p, lr, m: SGD(p, lr, momentum=m, nesterov=True)),
    "rmsprop": (Usual(1e-3, 0.0, None), lambda p, lr, m: RMSprop(p, lr, alpha=0.9)),
    "adagrad": (Usual(1e-2, 0.0, None), lambda p, lr, m: Adagrad(p, lr)),
    "adadelta": (Usual(1.0, 0.0, None), lambda p, lr, m: Adadelta(p, lr)),
    "adam": (Usual(3e-3, 0.0, None), lambda p, lr, m: Adam(p, lr, fused=True)),
    "adamw": (Usual(3e-3, 0.01, None), lambda p, lr, m: AdamW(p, lr, fused=True)),
    "muon": (Usual(0.02, 0.01, 0.9), lambda p, lr, m: Muon(p, lr, momentum=m)),
}
MOMENTUM = tuple(name for name, (usual, _) in _OPTIMISERS.items() if usual.momentum is not None)


def defaults(name: str) -> Usual:
    """Learning rate, weight decay and momentum of `name` when none is given."""
    return _OPTIMISERS[name][0]


def optimiser(
    name: str,
    module: nn.Module,
    lr: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    *,
    decay_all: bool = False,
    bias_lr: float = 1.0,
    rates: Mapping[Tensor, float] | None = None,
) -> Optimizer:
    """The optimiser `name` over the trainable parameters of `module`, in two groups: weights; norms and biases.

    The second isn't decayed unless `decay_all`, and learns at `bias_lr` times the rate. With `rates`, two groups for
    each share of the rate that they give to parameters.
    """
    usual, make = _OPTIMISERS[name]
    rate = usual.lr if lr is None else lr
    decay = usual.weight_decay if weight_decay is None else weight_decay
    trainable = [p for p in module.parameters() if p.requires_grad]
    if not trainable:
        raise UsageError("every weight of the network is frozen: there is nothing to train")
    groups = []
    for share in sorted({rates[p] for p in trainable}, reverse=True) if rates else [1.0]:
        alike = [p for p in trainable if not rates or rates[p] == share]
        vectors = {"weight_decay": decay if decay_all else 0.0, "lr": rate * share * bias_lr}
        groups += [
            {
                "params": [p for p in alike if p.ndim > 1],
                "weight_decay": decay,
                "lr": rate * share,
            },
            {"params": [p for p in alike if p.ndim <= 1], **vectors},
        ]
    return make(
        [g for g in groups if g["params"]], rate, (usual.momentum or 0.0) if momentum is None else momentum
    )


class Muon(Optimizer):
    """Momentum whose update of every matrix is replaced by its nearest orthogonal one (Jordan et al., 2024).

    A kernel (c_out, c_in, h, w) counts as the matrix (c_out, c_in*h*w) and its update has unit root mean square row,
    sqrt(max(1, c_out / (c_in*h*w))) times the learning rate. Vectors take plain Nesterov momentum.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")  # TensorFloat-32 is too coarse for `orthogonalise`
        try:
            self._step()
        finally:
            torch.set_float32_matmul_precision(before)

    def _step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                velocity = state["momentum_buffer"].mul_(group["momentum"]).add_(p.grad)
                update = p.grad.add(velocity, alpha=group["momentum"])
                if p.ndim > 1:
                    matrix = orthogonalise(update.flatten(1))
                    scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                    update = matrix.mul(scale).view(p.shape)
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])


def orthogonalise(g: Tensor) -> Tensor:
    """Nearly U V^T of the singular value decomposition of g, by Newton-Schulz iteration.    (m, n) -> (m, n)

    x <- p(x x^T) x with p(s) = a + b s + c s^2. All p(s) are polynomials of the first x x^T, so they commute: their
    product is made of small matrices, and x, which is long where it is a kernel, is multiplied twice in all. That
    takes float32 at least: coarser rounding makes s indefinite, and it grows.
    """
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (x.norm() + 1e-7)
    s = x @ x.T
    p = product = _quintic(s)
    for _ in range(STEPS - 1):
        s = p @ s @ p
        p = _quintic(s)
        product = p @ product
    x = product @ x
    return x.T if g.shape[0] > g.shape[1] else x


def _quintic(s: Tensor) -> Tensor:
    a, b, c = 3.4445, -4.7750, 2.0315  # with a steep slope at 0 (Jordan et al., 2024)
    p = torch.addmm(b * s, s, s, alpha=c)
    p.diagonal().add_(a)
    return p
