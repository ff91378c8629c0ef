"""What every augmentation is: a frozen dataclass that changes a whole batch, and that a recipe can spell.

Pixels are on the scale 0..255 whatever their type, and keep their type. Labels are class numbers (n,), or
float (n, k) where images have several or were mixed.
"""

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from striate.errors import UsageError, nearest


@dataclass
class Draw:
    """The random numbers of one batch: a function of the generator alone, whatever the device of the images.

    `rows` are the numbers of the images in their data set, `epoch` counts from 0; few transforms ask for
    them.
    """

    generator: torch.Generator
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rows: Tensor | None = None
    epoch: int = 0

    def uniform(self, low: float, high: float, *size: int) -> Tensor:
        """float32 in [low, high)"""
        return torch.rand(size, generator=self.generator).mul_(high - low).add_(low).to(self.device)

    def integers(self, low: int, high: int, *size: int) -> Tensor:
        """int64 in low..high-1"""
        return torch.randint(low, high, size, generator=self.generator).to(self.device)

    def flags(self, p: float, n: int) -> Tensor:
        """True with probability p."""
        return (torch.rand(n, generator=self.generator) < p).to(self.device)

    def chosen(self, p: float, n: int) -> Tensor:
        """The numbers below n that were picked with probability p."""
        return (torch.rand(n, generator=self.generator) < p).nonzero()[:, 0].to(self.device)

    def permutation(self, n: int) -> Tensor:
        return torch.randperm(n, generator=self.generator).to(self.device)

    def beta(self, alpha: float) -> float:
        """One number of Beta(alpha, alpha)."""
        seed = int(torch.randint(1 << 62, (1,), generator=self.generator))
        return float(np.random.default_rng(seed).beta(alpha, alpha))


class Transform(ABC):
    """Images (n, c, h, w) and labels -> the same, changed; subclasses register under their name in snake_case."""

    mixes: ClassVar[bool] = False  # labels become float (n, k)
    registry: ClassVar[dict[str, type["Transform"]]] = {}

    def __init_subclass__(cls) -> None:
        Transform.registry[cls.kind()] = cls

    @classmethod
    def kind(cls) -> str:
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    @abstractmethod
    def __call__(self, images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]: ...

    def to_dict(self) -> dict[str, Any]:
        """`{"name": ..., and every field}`"""
        assert dataclasses.is_dataclass(self)
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {"name": self.kind()} | {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @staticmethod
    def from_dict(spec: Mapping[str, Any] | str) -> "Transform":
        """A name of the registry, or a mapping with `name` and any of the fields."""
        given = {"name": spec} if isinstance(spec, str) else dict(spec)
        name = given.pop("name")
        cls = Transform.registry[name]
        known_fields = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
        if unknown := [f for f in given if f not in known_fields]:
            hint = nearest(unknown[0], known_fields) or f"it has {', '.join(known_fields) or 'none'}"
            raise UsageError(f"{name} has no field {unknown[0]!r}", hint)
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})


def within(what: str, value: Any, low: float, high: float) -> None:
    """UsageError unless low <= value <= high."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise UsageError(f"{what} {value!r}: expected a number from {low:g} to {high:g}")


def within_pair(what: str, value: Any, low: float, high: float) -> None:
    """UsageError unless low <= value[0] <= value[1] <= high."""
    if not isinstance(value, tuple) or len(value) != 2:
        raise UsageError(f"{what} {value!r}: expected a pair (lowest, highest)")
    within(what, value[0], low, high)
    within(what, value[1], value[0], high)


def like(images: Tensor, values: Tensor) -> Tensor:
    """Float values on 0..255 in the type of `images`, rounded and clipped where that holds bytes."""
    if images.dtype == torch.uint8:
        return values.clamp_(0, 255).add_(0.5).to(torch.uint8)
    return values.to(images.dtype)
