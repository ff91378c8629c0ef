"""A network on a whole split, without gradients."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from striate.data import Images
from striate.errors import DataError
from striate.train.distributed import Group, Share
from striate.train.engine import Engine
from striate.train.labels import LabelEvaluation
from striate.train.losses import to_probabilities
from striate.train.metrics import Evaluation


def logits(
    engine: Engine, images: Images, batch_size: int = 256, workers: int = 2, group: Group | None = None
) -> tuple[Tensor, Tensor]:
    """Logits and labels in the order of the split, the work shared by the ranks of `group`.    (n, k), (n, ...)"""
    shared = group is not None and group.size > 1 and len(images) >= 8 * group.size
    group = group if group is not None and shared else Group()
    loader = Share(group, images, batch_size, shuffle=False, workers=workers)
    with engine.inference():
        parts = [(loader.rows(b), engine(x)) for b, (x, _) in enumerate(loader) if len(x)]
    scores = torch.cat([p for _, p in parts])
    if shared:
        rows = torch.from_numpy(np.concatenate([r for r, _ in parts])).to(scores.device)
        scores = group.sum(scores.new_zeros(len(images), scores.shape[1]).index_copy_(0, rows, scores))
    return scores, torch.from_numpy(images.labels).to(engine.device)


def evaluate(
    engine: Engine,
    images: Images | Sequence[Images],
    classes: tuple[str, ...],
    workers: int = 2,
    notes: Sequence[str] = (),
) -> Evaluation | LabelEvaluation:
    """Every metric of a split, or of several together; raises DataError when there is no image."""
    parts = [part for part in ([images] if isinstance(images, Images) else images) if len(part)]
    if not parts:
        raise DataError("there are no images in this split")
    found = [logits(engine, part, workers=workers) for part in parts]
    scores, labels = (torch.cat(both) for both in zip(*found, strict=True))
    several = labels.ndim == 2
    kind = LabelEvaluation if several else Evaluation
    return kind(
        classes=classes,
        ids=tuple(name for part in parts for name in part.ids),
        labels=labels.cpu().numpy(),
        probabilities=to_probabilities(scores, several).cpu().numpy().astype(np.float32),
        notes=tuple(notes),
    )
