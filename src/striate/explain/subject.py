"""A network to look into, and what a look gives: a picture, facts, arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from striate.errors import UsageError, nearest
from striate.explain.probe import asked, images_of, logits_of


@dataclass(frozen=True)
class Subject:
    """A trained network with its class names, what turns uint8 images (n, c, h, w) into its input, and (c, h, w)."""

    module: nn.Module
    classes: Sequence[str]
    normalise: Callable[[Tensor], Tensor]
    shape: tuple[int, int, int] = (3, 224, 224)
    several: bool = False  # labels an image: each has a probability of its own

    def class_number(self, word: str | None) -> int | None:
        """The number of a class named by its name or number; raises UsageError with the nearest names."""
        if word is None or word in self.classes:
            return None if word is None else list(self.classes).index(word)
        if word.isdecimal() and int(word) < len(self.classes):
            return int(word)
        raise UsageError(
            f"unknown class {word!r}", nearest(word, self.classes) or f"0 to {len(self.classes) - 1}"
        )

    def says(self, x: Tensor) -> tuple[str, float]:
        """The predicted class of one normalised image and its probability."""
        with asked(self.module) as net, torch.no_grad():
            logits = logits_of(net, images_of(net, x))[0].float()
        both = torch.cat((-logits, logits)) if len(logits) == 1 else logits
        p = both.sigmoid() if self.several or len(logits) == 1 else both.softmax(0)
        return self.classes[int(p.argmax())], float(p.max())


@dataclass(frozen=True)
class View:
    """A picture, what scripts want to know about it, and the arrays behind it."""

    picture: Image.Image
    facts: dict[str, Any]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
