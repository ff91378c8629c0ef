"""A network on a whole split, without gradients."""

import numpy as np
import torch
from torch import Tensor

from striate.data import Images, Loader
from striate.errors import DataError
from striate.train.checkpoint import to_probabilities
from striate.train.engine import Engine
from striate.train.metrics import Evaluation


def logits(engine: Engine, images: Images, batch_size: int = 256, workers: int = 2) -> tuple[Tensor, Tensor]:
    """Logits and labels in the order of the split.    (n, k), (n,)"""
    loader = Loader(images, batch_size, shuffle=False, workers=workers)
    with engine.inference():
        parts = [(engine(x), y) for x, y in loader]
    return torch.cat([p for p, _ in parts]), torch.cat([y for _, y in parts]).to(engine.device)


def evaluate(engine: Engine, images: Images, classes: tuple[str, ...], workers: int = 2) -> Evaluation:
    """Every metric of a split; raises DataError when it is empty."""
    if not len(images):
        raise DataError("there are no images in this split")
    scores, labels = logits(engine, images, workers=workers)
    return Evaluation(
        classes=classes,
        ids=tuple(images.ids),
        labels=labels.cpu().numpy(),
        probabilities=to_probabilities(scores).cpu().numpy().astype(np.float32),
    )
