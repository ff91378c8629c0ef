"""Pictures that could have been taken, made from those that were; for the training split only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.data.augment.affine import Affine
from striate.data.augment.base import Draw, Transform
from striate.data.augment.colour import Brightness, ChannelShift, Contrast, Saturation
from striate.data.augment.crop import RandomCrop, RandomResizedCrop
from striate.data.augment.erase import Cutout, RandomErasing
from striate.data.augment.flip import AlternatingFlip, HorizontalFlip, VerticalFlip
from striate.data.augment.mix import Cutmix, Mixup
from striate.data.augment.randaugment import RandAugment
from striate.data.augment.text import EXAMPLE, parse, spell
from striate.errors import UsageError, nearest, shown

__all__ = [
    "PRESETS", "Affine", "AlternatingFlip", "Augmentation", "Brightness", "ChannelShift", "Contrast",
    "Cutmix", "Cutout", "Draw", "HorizontalFlip", "Mixup", "RandAugment", "RandomCrop", "RandomErasing",
    "RandomResizedCrop", "Saturation", "Transform", "VerticalFlip", "spell", "transforms_of",
]  # fmt: skip

PRESETS: dict[str, tuple[Transform, ...]] = {
    "none": (),
    "shift": (RandomCrop(0.07, "nearest"),),
    "shift-flip": (RandomCrop(0.07, "nearest"), HorizontalFlip()),
    "digits": (Affine(rotation=10, width_shift=0.1, height_shift=0.1, zoom=(0.9, 1.1), fill="constant"),),
    "cifar": (RandomCrop(4, "reflect"), HorizontalFlip()),
    "photos": (Affine(rotation=15, width_shift=0.1, height_shift=0.1, zoom=(0.8, 1.2), fill="reflect"),
               HorizontalFlip(), Brightness((0.8, 1.2))),
}  # fmt: skip


@dataclass(frozen=True)
class Augmentation:
    """Transforms one after another; `num_classes` turns class numbers into float (n, k) where pictures are mixed."""

    transforms: tuple[Transform, ...] = ()
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if self.mixes and self.num_classes is None:
            raise UsageError("mixed pictures need num_classes, to say how much of each class they are")

    @property
    def mixes(self) -> bool:
        return any(t.mixes for t in self.transforms)

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        rows: Tensor | None = None,
        epoch: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """uint8 or float (n, c, h, w) on 0..255 -> the same type and shape; the same for the same generator.

        `rows` are the numbers of the images in the data set: alternating flips need them, and `epoch`.
        """
        draw = Draw(generator, images.device, rows, epoch)
        if self.mixes and labels.ndim == 1 and self.num_classes is not None:
            labels = F.one_hot(labels.long(), self.num_classes).float()
        for transform in self.transforms:
            images, labels = transform(images, labels, draw)
        return images, labels

    def to_list(self) -> list[dict[str, Any]]:
        """What a recipe stores."""
        return [t.to_dict() for t in self.transforms]

    @classmethod
    def of(
        cls,
        spec: "str | Iterable[Mapping[str, Any] | str | Transform] | None",
        num_classes: int | None = None,
    ) -> "Augmentation":
        """See `transforms_of` for what `spec` may be."""
        return cls(transforms_of(spec), num_classes)


def transforms_of(
    spec: "str | Iterable[Mapping[str, Any] | str | Transform] | None",
) -> tuple[Transform, ...]:
    """Text that names presets and transforms, or a list of names, mappings with `name` and fields, or objects."""
    made: list[Transform] = []
    items = parse(spec) if isinstance(spec, str) else () if spec is None else spec
    if not isinstance(items, Iterable):
        raise UsageError(f"augmentation {items!r}: expected text or a list of transforms", EXAMPLE)
    for item in items:
        if isinstance(item, Transform):
            made.append(item)
            continue
        given = {"name": item} if isinstance(item, str) else item
        name = given.get("name") if isinstance(given, Mapping) else given
        preset = str(name).replace("_", "-") if given == {"name": name} else ""
        if preset not in PRESETS and (not isinstance(name, str) or name not in Transform.registry):
            known = (*PRESETS, *Transform.registry)
            raise UsageError(
                f"unknown augmentation {shown(name)}",
                nearest(str(name), known) or f"one of {', '.join(known)}",
            )
        made += PRESETS[preset] if preset in PRESETS else [Transform.from_dict(given)]
    return tuple(made)
